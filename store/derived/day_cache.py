"""Answers cached by day, each with the version of the day at which it was found.

`insight_days` has a version for each day that ever had insights. Every transaction that writes or
erases insights of a day raises it. So a cached answer is right in every snapshot in which the day
has that version, whichever process writes.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

from sqlalchemy import Connection, bindparam, select, update

from analysis.micros import DAY
from models import insight_days
from store.bulk_insert import ManyRows
from store.filters import Span
from store.statements import Prepared

Answer = TypeVar("Answer")

_QUERIES = 200
"""At most so many are kept, however few days each is about."""


class Days(NamedTuple):
    """From `first` up to, but without, `stop`, in days since 1970-01-01 UTC."""

    first: int
    stop: int


def full_days(span: Span) -> Days:
    """Those inside a time range."""
    first, stop = -(-span.start // DAY), span.stop // DAY
    return Days(first, max(first, stop))


def ends_around(span: Span, days: Days) -> Sequence[Span]:
    """What the time range has beside its full days; either end may be empty."""
    if days.first == days.stop:
        return [span]
    return [Span(span.start, days.first * DAY), Span(days.stop * DAY, span.stop)]


def bump_day_version(connection: Connection, timestamps: Iterable[int]) -> None:
    """For insights with these timestamps, which are written or erased in this transaction."""
    days = sorted({timestamp // DAY for timestamp in timestamps})  # in one order: no deadlocks
    if days:
        _CHANGES.insert(connection, [(day, 1) for day in days])


def bump_all_day_versions(connection: Connection) -> None:
    """Any figure may differ after this transaction."""
    connection.execute(update(insight_days).values(changes=insight_days.c.changes + 1))


class DayCache(Generic[Answer]):
    """Answers to the latest queries, day by day; for several threads at once."""

    def __init__(self, *, most: int, weigh: Callable[[Answer], int] = lambda _answer: 1) -> None:
        """Answers that weigh `most` together are kept, each for a day, but always all to the latest
        query."""
        self._most = most
        self._weigh = weigh
        self._lock = Lock()
        self._queries: dict[Hashable, dict[int, tuple[int, Answer]]] = {}  # the latest is the last

    def get(
        self,
        query: Hashable,
        days: Days,
        connection: Connection,
        ask: Callable[[Sequence[int]], Mapping[int, Answer]],
        *,
        at_a_time: int | None = None,
    ) -> Mapping[int, Answer]:
        """The answer by day, for each of `days` that ever had insights and for which `ask` has one.

        Days that have changed since they were cached are given to `ask`, which reads the
        connection's snapshot; with `at_a_time` so many days in a call. Answers are kept even if a
        later call is stopped, so that the same query gets further the next time.
        """
        found: dict[int, Answer] = {}
        if days.first >= days.stop:
            return found
        known = self._known(query)
        changed: dict[int, int] = {}
        for day, version in _VERSIONS.run(connection, days._asdict()):
            kept = known.get(day)
            if kept is not None and kept[0] == version:
                found[day] = kept[1]
            else:
                changed[day] = version
        asked = sorted(changed)
        step = at_a_time or len(asked) or 1
        for start in range(0, len(asked), step):
            for day, answer in ask(asked[start : start + step]).items():
                found[day] = answer
                known[day] = changed[day], answer
            self._forget_some()
        return found

    def _known(self, query: Hashable) -> dict[int, tuple[int, Answer]]:
        """The cached answers by day, each with the version at which it was found."""
        queries = self._queries
        with self._lock:
            known = queries[query] = queries.pop(query, {})
            while len(queries) > _QUERIES:
                del queries[next(iter(queries))]
        return known

    def _forget_some(self) -> None:
        queries = self._queries
        with self._lock:
            while len(queries) > 1 and self._weight() > self._most:
                del queries[next(iter(queries))]

    def _weight(self) -> int:
        weigh = self._weigh
        answers = (answer for query in self._queries.values() for _, answer in query.values())
        return sum(map(weigh, answers))


_VERSIONS = Prepared(
    select(insight_days.c.day, insight_days.c.changes).where(
        insight_days.c.day >= bindparam("first"), insight_days.c.day < bindparam("stop")
    )
)


_CHANGES = ManyRows(insight_days, adding=True)
