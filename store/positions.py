"""How many conversations a pending one waits behind.

Counting them costs some 40 ms for a million, on SQLite. So in a long lane counts are kept for a
second, and only rows between a counted one and the conversation are counted: the position may be a
second old. In a short lane it is exact.
"""

import time
from bisect import bisect_right
from threading import Lock
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, select

from models import Lane, Status, conversations
from store.derived.status_counts import counted

LONG_LANE = 10_000
_KEPT_SECONDS = 1.0


class _Mark(NamedTuple):
    """How many of the lane are older than `moment`, which is in microseconds."""

    moment: int
    older: int


class QueuePositions:
    """For several threads at once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._marks: dict[Lane, list[_Mark]] = {}
        self._kept_until = 0.0

    def find(self, lane: Lane, created_at: int, connection: Connection) -> int:
        """From 1. Older ones of the same lane come before, and all live ones before a bulk one."""
        counts = counted(connection)
        pending = counts[Status.PENDING, lane]
        live_first = counts[Status.PENDING, Lane.LIVE] if lane is Lane.BULK else 0
        if pending < LONG_LANE:
            return 1 + live_first + _count(lane, _BEGINNING, created_at, connection)
        return 1 + live_first + self._older(lane, created_at, pending, connection)

    def _older(self, lane: Lane, moment: int, pending: int, connection: Connection) -> int:
        marks = self._kept(lane)
        if not marks:
            first, last = connection.execute(_ENDS, {"lane": lane.value}).one()
            marks = [_Mark(first, 0), _Mark(last + 1, pending)]
        place = bisect_right(marks, moment, key=lambda mark: mark.moment)
        place = min(max(place, 1), len(marks) - 1)
        before, after = marks[place - 1], marks[place]
        if moment - before.moment <= after.moment - moment:
            older = before.older + _count(lane, before.moment, moment, connection)
        else:
            older = after.older - _count(lane, moment, after.moment, connection)
        older = max(0, older)  # what was kept may be of a moment ago
        self._keep(lane, sorted([*marks, _Mark(moment, older)]))
        return older

    def _kept(self, lane: Lane) -> list[_Mark]:
        """In the order of their moments."""
        with self._lock:
            if time.monotonic() > self._kept_until:
                self._marks.clear()
                self._kept_until = time.monotonic() + _KEPT_SECONDS
            return self._marks.get(lane, [])

    def _keep(self, lane: Lane, marks: list[_Mark]) -> None:
        """Where two threads do so at once, the marks of one are kept, which is enough."""
        with self._lock:
            self._marks[lane] = marks


_COLUMNS = conversations.c
_BEGINNING = -(2**63)
_OF_LANE = (_COLUMNS.status == Status.PENDING, _COLUMNS.lane == bindparam("lane"))
_BETWEEN = select(func.count()).where(
    *_OF_LANE, _COLUMNS.created_at >= bindparam("start"), _COLUMNS.created_at < bindparam("stop")
)
_ENDS = select(
    select(func.min(_COLUMNS.created_at)).where(*_OF_LANE).scalar_subquery(),
    select(func.max(_COLUMNS.created_at)).where(*_OF_LANE).scalar_subquery(),
)


def _count(lane: Lane, start: int, stop: int, connection: Connection) -> int:
    values = {"lane": lane.value, "start": start, "stop": stop}
    return connection.scalar(_BETWEEN, values) or 0
