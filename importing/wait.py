"""With --wait: follows the analysis to its end, and shows what came of it."""

import os
import re
import tempfile
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import httpx

from importing.errors import ImportFailed
from importing.report import duration
from runtime.environment import NOT_REACHED

POLL_SECONDS = 1.0
_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_REMINDERS = 60.0
_STANDS_STILL_SECONDS = 120.0
_LOOKED_AT = 1000
_AT_ONCE = 20  # asked for within POLL_SECONDS, of the 100 requests a second for everybody
_ID = re.compile(r"conv_([0-9a-f]{8})")
_CHUNK = 65_536
_MAX_PAGES = 100
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
        """The JSON; None where there is no such page. Raises ImportFailed."""
        waited = 0.0
        while True:
            wait = 2.0
            try:
                answer = self._client.get(path, params=query)
            except NOT_REACHED as error:
                problem = f"cannot reach {self._client.base_url}{self._via}: {error!s}"
            else:
                if answer.status_code == 200:
                    return _json(answer)
                if answer.status_code == 404:
                    return None
                problem = f"GET {path} answers {answer.status_code}"
                if answer.status_code not in (429, 502, 503, 504):
                    raise ImportFailed(problem)
                with suppress(ValueError):
                    wait = max(1.0, min(120.0, float(answer.headers.get("retry-after", ""))))
            if waited >= self._patience:
                raise ImportFailed(f"{problem}; waited {waited:.0f} s")
            self._sleep(wait)
            waited += wait


class Ids:
    """The conversations that were sent, in order, four bytes for each in a temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # `close` ends it
        self.count = 0

    def close(self) -> None:
        self._file.close()

    def add(self, ids: Iterable[str]) -> None:
        found = (_ID.fullmatch(each) for each in ids)
        numbers = array("I", (int(each[1], 16) for each in found if each))
        self._file.seek(0, os.SEEK_END)
        numbers.tofile(self._file)
        self.count += len(numbers)

    def from_last(self) -> Iterator[str]:
        for start in reversed(range(0, self.count, _CHUNK)):
            yield from reversed(self._chunk(start))

    def _chunk(self, start: int) -> list[str]:
        numbers = array("I")
        self._file.seek(start * numbers.itemsize)
        numbers.fromfile(self._file, min(_CHUNK, self.count - start))
        return [f"conv_{number:08x}" for number in numbers]


def follow(
    service: Service,
    sent: Ids,
    first: str | None,
    last: str | None,
    *,
    say: Callable[[str], None],
    sleep: Callable[[float], None],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Until what was `sent` is analysed; then the summary from `first` to `last`.

    Raises ImportFailed.
    """
    _until_analysed(service, sent, say, sleep, clock)
    failed = _failed(service, sent)
    end = datetime.fromisoformat(last) if last else datetime.now(UTC)
    start = datetime.fromisoformat(first) if first else end - timedelta(days=1)
    for line in summary(service, start, end):
        say(line)
    if failed:
        say(f"{failed:,} conversations could not be analysed; POST /api/v1/conversations/retry"
            " tries them again")  # fmt: skip


def _until_analysed(
    service: Service,
    sent: Ids,
    say: Callable[[str], None],
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> None:
    """The last one waits for longest, as a lane is worked off in order; of those before it only the
    few that are tried again may end later, and they are looked at once it has ended."""
    told = moved = clock()
    ended = 0
    state = ""
    last_place: int | None = None
    waiting = islice(sent.from_last(), _LOOKED_AT)
    id_ = next(waiting, None)
    while id_ is not None:
        conversation = service.get(f"/api/v1/conversations/{id_}")
        if conversation is None or conversation["status"] in ("completed", "failed"):
            id_ = next(waiting, None)
            ended += 1
            if ended % _AT_ONCE == 0:
                sleep(POLL_SECONDS)
            continue
        now = clock()
        place = (conversation.get("queue") or {}).get("position")
        if place != last_place:
            last_place, moved = place, now
        stands_still = now - moved > _STANDS_STILL_SECONDS
        reason = _why_it_waits(service.get("/api/v1/stats") or {}, stands_still=stands_still)
        if reason != state or (reason and now - told >= _SECONDS_BETWEEN_REMINDERS):
            say(f"The analysis is paused: {reason}" if reason else "The analysis goes on.")
            state, told = reason, now
        elif not reason and now - told >= _SECONDS_BETWEEN_LINES:
            told = now
            say(_progress(conversation.get("queue") or {}))
        sleep(POLL_SECONDS)


def _why_it_waits(stats: dict[str, Any], *, stands_still: bool) -> str:
    """Empty where it does not, or only for its turn."""
    breaker = stats.get("breaker") or {}
    if breaker.get("state") == "open":
        return f"{breaker.get('reason') or 'the circuit breaker is open'}"
    if stats.get("bound_by") == "budget":
        return "the daily budget is spent; it goes on at midnight UTC"
    if stands_still:
        return "nothing has been analysed for minutes; /ready tells whether a worker is running"
    return ""


def _progress(queue: dict[str, Any]) -> str:
    position, eta = queue.get("position"), queue.get("eta_seconds")
    left = f", {duration(eta)} left" if isinstance(eta, int | float) else ""
    return f"{position or 1:,} wait for their analysis{left}"


def _failed(service: Service, sent: Ids) -> int:
    """How many of those sent could not be analysed."""
    failed: set[str] = set()
    cursor: dict[str, str | int] = {}
    for _ in range(_MAX_PAGES):
        page = service.get("/api/v1/conversations/failed", limit=1000, **cursor)
        if page is None:
            break
        failed.update(each["conversation_id"] for each in page["conversations"])
        if (next_cursor := page["metadata"]["next_cursor"]) is None:
            break
        cursor = {"cursor": next_cursor}
    return sum(id_ in failed for id_ in sent.from_last()) if failed else 0


def summary(service: Service, start: datetime, end: datetime) -> Iterator[str]:
    """Sentiment, clusters and what is rising, of all conversations from `start` to `end`."""
    start = max(start, end - timedelta(days=_MAX_DAYS - 1))
    span = {"start_time": _shown(start), "end_time": _shown(end)}
    found = service.get("/api/v1/insights/summary", **span, interval="day")
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


def _json(answer: httpx.Response) -> Any:
    """Raises ImportFailed where another program answers, such as a proxy with a page of its own."""
    try:
        return answer.json()
    except ValueError:
        raise ImportFailed(f"GET {answer.url.path} answers no JSON (is API_URL right?)") from None


def _shown(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
