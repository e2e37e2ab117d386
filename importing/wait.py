"""With --wait: follows the analysis of what was sent to its end, and shows what came of it."""

import os
import re
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from analysis.senders import account
from importing.api_client import ApiClient
from importing.errors import ImportFailed
from importing.period import Period
from importing.report import duration
from importing.rows import Item
from runtime.plurals import counted

POLL_SECONDS = 1.0
_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_REMINDERS = 60.0
_STANDS_STILL_SECONDS = 120.0
_LOOKED_AT = 1000
_AT_ONCE = 20  # asked for within POLL_SECONDS, of the 100 requests a second for everybody
_ID = re.compile(r"conv_([0-9a-f]{8})")
_CHUNK = 65_536
_MAX_PAGES = 100
_WRITERS = 8
_MOST_AUTHORS = 10_000
"""Names that are kept; those who write much are there early."""
_BAR_CELLS = 40
_TOP = 8


class SentIds:
    """The conversations that were sent, in order, four bytes for each in a temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # `close` ends it
        self.count = 0

    def close(self) -> None:
        with suppress(OSError):  # no room for what is to go anyway
            self._file.close()

    def add(self, ids: Iterable[str]) -> None:
        found = (_ID.fullmatch(each) for each in ids)
        numbers = array("I", (int(each[1], 16) for each in found if each))
        self._file.seek(0, os.SEEK_END)
        numbers.tofile(self._file)
        self.count += len(numbers)

    def newest_first(self) -> Iterator[str]:
        for start in reversed(range(0, self.count, _CHUNK)):
            numbers = array("I")
            self._file.seek(start * numbers.itemsize)
            numbers.fromfile(self._file, min(_CHUNK, self.count - start))
            yield from (f"conv_{number:08x}" for number in reversed(numbers))


class OwnPosts:
    """How many of the conversations that were sent are the company's own, which count nowhere: an
    import says so of some, and the service knows its own accounts."""

    def __init__(self) -> None:
        self._outbound = 0
        self._authors: Counter[str] = Counter()

    def add(self, items: Iterable[Item]) -> None:
        for item in items:
            if item.outbound:
                self._outbound += 1
            elif item.author is not None:
                name = account(item.author)
                if name in self._authors or len(self._authors) < _MOST_AUTHORS:
                    self._authors[name] += 1

    def count(self, api: ApiClient, period: Period) -> int:
        """The accounts that wrote most are asked for: where a company answers, it is among them."""
        writers = self._authors.most_common(_WRITERS)
        return self._outbound + sum(n for name, n in writers if _is_own(api, period, name))


def _is_own(api: ApiClient, period: Period, name: str) -> bool:
    """False where the service does not tell, as one of before there were own accounts."""
    found = None
    with suppress(ImportFailed):
        found = api.find("/api/v1/authors", prefix=name, limit=100, **period.query)
    authors = (found or {}).get("authors", ())
    return any(each.get("own") and account(each["author"]) == name for each in authors)


def wait_until_analysed(
    api: ApiClient,
    sent: SentIds,
    *,
    say: Callable[[str], None],
    sleep: Callable[[float], None],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Return once what was `sent` is completed, failed or erased. Raises ImportFailed.

    The newest conversation waits for longest, as a lane is worked off in order. Only the few that
    are tried again can end after it: unless the whole queue is empty by then, the newest _LOOKED_AT
    are asked for one by one.
    """
    waiting = _Waiting(say, clock)
    for number, id_ in enumerate(islice(sent.newest_first(), _LOOKED_AT)):
        if number % _AT_ONCE == 1 and _is_queue_empty(api.get("/api/v1/stats")):
            return
        while (conversation := api.find(f"/api/v1/conversations/{id_}")) is not None:
            if conversation["status"] in ("completed", "failed"):
                break
            waiting.tell(conversation["queue"], api.get("/api/v1/stats"))
            sleep(POLL_SECONDS)
        if number % _AT_ONCE == _AT_ONCE - 1:
            sleep(POLL_SECONDS)


def _is_queue_empty(stats: dict[str, Any]) -> bool:
    counts = stats["counts"]
    return not any(sum(counts[status].values()) for status in ("pending", "processing"))


class _Waiting:
    """Tells a person now and then how far the analysis is, or why it is paused."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._say, self._clock = say, clock
        self._told_at = self._moved_at = clock()
        self._reason = ""
        self._position: int | None = None

    def tell(self, queue: dict[str, Any] | None, stats: dict[str, Any]) -> None:
        """`queue` is the place of the conversation that is waited for, None in a call."""
        now = self._clock()
        position = queue["position"] if queue else None
        if position != self._position:
            self._position, self._moved_at = position, now
        reason = _why_paused(stats, seconds_without_progress=now - self._moved_at)
        since = now - self._told_at
        if reason != self._reason or (reason and since >= _SECONDS_BETWEEN_REMINDERS):
            self._say(f"The analysis is paused: {reason}" if reason else "The analysis goes on.")
        elif not reason and since >= _SECONDS_BETWEEN_LINES:
            self._say(_progress(queue))
        else:
            return
        self._reason, self._told_at = reason, now


def _why_paused(stats: dict[str, Any], *, seconds_without_progress: float) -> str:
    """Empty where it is not."""
    if stats["breaker"]["state"] == "open":
        return str(stats["breaker"]["reason"])
    if stats["bound_by"] == "budget":
        return "the daily budget is spent; it goes on at midnight UTC"
    if seconds_without_progress > _STANDS_STILL_SECONDS:
        return "nothing has been analysed for minutes; /ready tells whether a worker is running"
    return ""


def _progress(queue: dict[str, Any] | None) -> str:
    if queue is None:
        return "The last one is being analysed"
    eta = queue["eta_seconds"]
    left = "" if eta is None else f", {duration(eta)} left"
    waiting = counted(queue["position"], "waits for its analysis", "wait for their analysis")
    return f"{waiting}{left}"


def count_failed(api: ApiClient, sent: SentIds) -> int:
    """How many of those sent could not be analysed. Raises ImportFailed."""
    failed: set[str] = set()
    cursor: dict[str, str | int] = {}
    for _ in range(_MAX_PAGES):
        page = api.get("/api/v1/conversations/failed", limit=1000, **cursor)
        failed.update(each["conversation_id"] for each in page["conversations"])
        if (next_cursor := page["metadata"]["next_cursor"]) is None:
            break
        cursor = {"cursor": next_cursor}
    return sum(id_ in failed for id_ in sent.newest_first()) if failed else 0


def summary(api: ApiClient, period: Period, *, own: int = 0) -> Iterator[str]:
    """Sentiment, clusters and what is rising, of all conversations of the period: the service
    has no figures of some alone. `own` are those that were sent and are not counted."""
    found = api.get("/api/v1/insights/summary", **period.query, interval="day")
    totals = found["totals"]
    count = totals["count"]
    are = counted(count, "conversation is", "conversations are")
    yield f"{are} analysed {period}, whoever sent them"
    if own:
        were = counted(own, "post of an own account was", "posts of own accounts were")
        yield f"{were} sent as well: what the company says itself is counted nowhere"
    if not count:
        return
    for sentiment in ("positive", "neutral", "negative"):
        share = totals[sentiment] / count
        bar = "█" * round(share * _BAR_CELLS)
        yield f"  {sentiment:9} {bar:{_BAR_CELLS}} {share:4.0%} {totals[sentiment]:8,}"
    yield "Top clusters"
    for cluster in found["clusters"][:_TOP]:
        mood = f"average sentiment {cluster['average_sentiment']:+.2f}"
        yield f"  {cluster['cluster']:24} {cluster['count']:8,}  {mood}"
    trends = api.get("/api/v1/trends", window="24h", as_of=period.query["end_time"])["trends"]
    rising = [each for each in trends if each["direction"] != "falling"]
    if any(each["expected"] for each in rising):  # there was something before to compare with
        yield "Rising in the last 24 hours of them"
        for trend in rising[:_TOP]:
            yield f"  {trend['cluster']:24} {trend['count']:8,}, {trend['expected']:,.1f} expected"
