"""What was counted of a day may be kept as long as nothing of that day has changed.

`insight_days` has a number for each day that ever had insights. Whoever writes or erases insights
of a day raises it in the same transaction. So a figure is right for every snapshot in which the
day's number is the one that it was counted at, whichever process writes.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

from sqlalchemy import Connection, bindparam, select, update

from models import insight_days
from store.bulk_insert import ManyRows
from store.derived.rollups import DAY

Kept = TypeVar("Kept")

_QUERIES = 200
"""More are not kept, however few days each is about."""


class Days(NamedTuple):
    """From `first` up to, but without, `stop`, in days since 1970-01-01 UTC."""

    first: int
    stop: int


def whole_days(start: int, end: int) -> Days:
    """Those inside a time range, which is in microseconds and inclusive."""
    first, stop = -(-start // DAY), (end + 1) // DAY
    return Days(first, max(first, stop))


def bump_day_version(connection: Connection, timestamps: Iterable[int]) -> None:
    """Insights with these timestamps are written or erased in this transaction."""
    days = sorted({timestamp // DAY for timestamp in timestamps})  # in one order: no deadlocks
    if days:
        _CHANGES.insert(connection, [(day, 1) for day in days])


def bump_all_day_versions(connection: Connection) -> None:
    """Every figure may be another after this transaction."""
    connection.execute(update(insight_days).values(changes=insight_days.c.changes + 1))


class DayCache(Generic[Kept]):
    """Answers to the latest questions, day by day; for several threads at once."""

    def __init__(self, *, most: int) -> None:
        """`most` answers are kept, each for a day, but always all to the latest question."""
        self._most = most
        self._lock = Lock()
        self._queries: dict[Hashable, dict[int, tuple[int, Kept]]] = {}  # the latest is the last

    def get(
        self,
        question: Hashable,
        days: Days,
        connection: Connection,
        ask: Callable[[Sequence[int]], Mapping[int, Kept]],
        *,
        at_a_time: int | None = None,
    ) -> Mapping[int, Kept]:
        """The answer for each of the days that has one: what is kept, and for days that have
        changed since what `ask` now finds in the connection's snapshot.

        With `at_a_time` it is asked for so many days at a time. What it has found is kept even if
        it is stopped later, so that the same question gets further the next time.
        """
        found: dict[int, Kept] = {}
        if days.first >= days.stop:
            return found
        known = self._known(question)
        changed: dict[int, int] = {}
        for day, number in connection.execute(_NUMBERS, days._asdict()).all():
            kept = known.get(day)
            if kept is not None and kept[0] == number:
                found[day] = kept[1]
            else:
                changed[day] = number
        asked = sorted(changed)
        step = at_a_time or len(asked) or 1
        for start in range(0, len(asked), step):
            for day, answer in ask(asked[start : start + step]).items():
                found[day] = answer
                known[day] = changed[day], answer
        return found

    def _known(self, question: Hashable) -> dict[int, tuple[int, Kept]]:
        """The answers by day, each with the number at which it was found."""
        questions = self._queries
        with self._lock:
            known = questions[question] = questions.pop(question, {})
            while len(questions) > 1 and (
                len(questions) > _QUERIES or sum(map(len, questions.values())) > self._most
            ):
                del questions[next(iter(questions))]
        return known


_NUMBERS = select(insight_days.c.day, insight_days.c.changes).where(
    insight_days.c.day >= bindparam("first"), insight_days.c.day < bindparam("stop")
)


_CHANGES = ManyRows(insight_days, adding=True)
