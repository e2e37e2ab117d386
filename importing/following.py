"""With --wait: follows the analysis to its end, and shows what came of it."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from environment import NOT_REACHED
from importing.report import duration
from importing.stops import GivenUp

POLL_SECONDS = 1.0
_SECONDS_BETWEEN_LINES = 10.0
_BAR_CELLS = 40
_TOP = 8
_MAX_DAYS = 2000
"""As many buckets as a summary may have."""


class Service:
    """GETs that outlast a restart of the service."""

    def __init__(
        self,
        client: httpx.Client,
        *,
        patience: float,
        sleep: Callable[[float], None],
        via: str = "",
    ) -> None:
        self._client, self._patience, self._sleep, self._via = client, patience, sleep, via

    def get(self, path: str, **query: str | int) -> Any:
        """The JSON; None where there is no such page. Raises GivenUp."""
        waited = 0.0
        while True:
            wait = 2.0
            try:
                answer = self._client.get(path, params=query)
            except NOT_REACHED as error:
                problem = f"cannot reach {self._client.base_url}{self._via}: {error!s}"
            else:
                if answer.status_code == 200:
                    return answer.json()
                if answer.status_code == 404:
                    return None
                problem = f"GET {path} answers {answer.status_code}"
                if answer.status_code not in (429, 502, 503, 504):
                    raise GivenUp(problem)
                with suppress(ValueError):
                    wait = max(1.0, min(120.0, float(answer.headers.get("retry-after", ""))))
            if waited >= self._patience:
                raise GivenUp(f"{problem}; waited {waited:.0f} s")
            self._sleep(wait)
            waited += wait


def follow(
    service: Service,
    first: str | None,
    last: str | None,
    *,
    say: Callable[[str], None],
    sleep: Callable[[float], None],
) -> None:
    """Until no bulk work is left, then the summary from `first` to `last`. Raises GivenUp."""
    failed = _until_analysed(service, say, sleep)
    end = datetime.fromisoformat(last) if last else datetime.now(UTC)
    start = datetime.fromisoformat(first) if first else end - timedelta(days=1)
    for line in summary(service, start, end):
        say(line)
    if failed:
        say(f"{failed:,} conversations could not be analysed; POST /api/v1/conversations/retry"
            " tries them again")  # fmt: skip


def _until_analysed(
    service: Service, say: Callable[[str], None], sleep: Callable[[float], None]
) -> int:
    """How many bulk conversations have failed."""
    told = started = time.monotonic()
    before: int | None = None
    blocked = ""
    while True:
        stats = service.get("/api/v1/stats") or {}
        counts = {status: lanes.get("bulk", 0) for status, lanes in stats.get("counts", {}).items()}
        left = counts.get("pending", 0) + counts.get("processing", 0)
        if not left:
            return int(counts.get("failed", 0))
        now = time.monotonic()
        before = left if before is None else before
        reason = (stats.get("analyser") or {}).get("blocked_reason") or ""
        if reason and reason != blocked:
            say(f"The analysis is paused: {reason}")
        blocked = reason
        if now - told >= _SECONDS_BETWEEN_LINES:
            told = now
            rate = (before - left) / (now - started)
            eta = f", {duration(left / rate)} left" if rate > 0 else ""
            say(f"{left:,} wait for their analysis, {max(0.0, rate):,.0f} a second{eta}")
        sleep(POLL_SECONDS)


def summary(service: Service, start: datetime, end: datetime) -> Iterator[str]:
    """Sentiment, clusters and what is rising, of all conversations from `start` to `end`."""
    start = max(start, end - timedelta(days=_MAX_DAYS - 1))
    span = {"start_time": _shown(start), "end_time": _shown(end)}
    found = service.get("/api/v1/insights/summary", **span, interval="day")
    if found is None:
        found = _counted(service, span)
    totals = found["totals"]
    count = totals["count"]
    yield f"{count:,} conversations are analysed from {start:%Y-%m-%d} to {end:%Y-%m-%d}"
    if not count:
        return
    for sentiment in ("positive", "neutral", "negative"):
        share = totals[sentiment] / count
        bar = "█" * round(share * _BAR_CELLS)
        yield f"  {sentiment:9} {bar:{_BAR_CELLS}} {share:4.0%} {totals[sentiment]:8,}"
    yield "Top clusters"
    for cluster in found["clusters"][:_TOP]:
        average = cluster["average_sentiment"]
        mood = "" if average is None else f"  average sentiment {average:+.2f}"
        yield f"  {cluster['cluster']:24} {cluster['count']:8,}{mood}"
    trends = service.get("/api/v1/trends", window="24h", as_of=_shown(end))
    rising = [each for each in (trends or {}).get("trends", []) if each["direction"] != "falling"]
    if rising:
        yield "Rising in the last 24 hours of them"
        for trend in rising[:_TOP]:
            yield f"  {trend['cluster']:24} {trend['count']:8,}, {trend['expected']:,.1f} expected"


def _counted(service: Service, span: dict[str, str]) -> Any:
    """The same from the list, for a service that has no summary: its newest 1,000 by cluster."""
    totals = {
        sentiment: service.get("/api/v1/insights", **span, sentiment=sentiment, limit=1)
        for sentiment in ("positive", "neutral", "negative")
    }
    counts = {name: page["metadata"]["total_count"] for name, page in totals.items()}
    listed = service.get("/api/v1/insights", **span, limit=1000)["insights"]
    clusters = Counter(name for each in listed for name in each["grok_analysis"]["clusters"])
    return {
        "totals": {"count": sum(counts.values()), **counts},
        "clusters": [
            {"cluster": name, "count": count, "average_sentiment": None}
            for name, count in clusters.most_common()
        ],
    }


def _shown(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
