"""Insights that hold words: how many there are, and the newest of them.

All that a filter asks for is in the index of words, so counting looks at no row, but for those of
the first and the last second, and of the step of confidence that the least is inside of. What was
counted of a whole day is kept until something of that day changes.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, func, literal_column, select

from models import insight_days, insights
from store import search, terms
from store.days import KeptByDay, whole_days
from store.filters import InsightFilter, Shape, conditions
from store.tallies import DAY, STEPS, step_of


class _Question(NamedTuple):
    """As the index takes it: what may match, what surely does, and what does where its row is
    confident enough. `least` is there so that equal questions have equal answers."""

    possible: str
    sure: str
    unsure: str | None
    least: float | None


def expression_of(wanted: InsightFilter, dialect: str) -> str:
    """For the index: all that may match, which is certain but for time and confidence."""
    return _question(wanted, dialect).possible


def _question(wanted: InsightFilter, dialect: str) -> _Question:
    words, groups, least = wanted.words or (), terms.groups_of(wanted), wanted.min_confidence

    def asking(*more: terms.Group) -> str:
        return search.expression(dialect, words, [*groups, *more])

    if least is None:
        return _Question(asking(), asking(), None, None)
    step = step_of(least)
    possible = asking(terms.steps_from(step))
    if least == STEPS[step]:
        return _Question(possible, possible, None, None)
    sure, unsure = terms.steps_from(step + 1), terms.steps_from(step, step + 1)
    return _Question(possible, asking(sure), asking(unsure), least)


class MatchCounter:
    """Counts, and keeps what it counted."""

    def __init__(self) -> None:
        self._kept = KeptByDay[int]()

    def count(self, wanted: InsightFilter, connection: Connection) -> int:
        values = wanted.values()
        start, end = values["start"], values["end"]
        question = _question(wanted, connection.dialect.name)
        counter = _Counter(question, wanted.shape, values, connection)
        days = search.told_apart(whole_days(start, end))
        if days.first >= days.stop:
            return counter.between(start, end)
        counts = self._kept.get(question, days, connection, counter.by_day)
        return (
            sum(counts.values())
            + counter.between(start, days.first * DAY - 1)
            + counter.between(days.stop * DAY, end)
        )


class _Counter(NamedTuple):
    question: _Question
    shape: Shape
    values: Mapping[str, Any]
    connection: Connection

    def by_day(self, days: Sequence[int]) -> Mapping[int, int]:
        """For days whose times the keys tell apart."""
        by_key, by_row = _statements_by_day(self.connection.dialect.name, self.shape)
        values = {**self.values, "days": days}
        values["low"] = search.second_key(min(days) * DAY)
        values["high"] = search.second_key((max(days) + 1) * DAY) - 1
        counts = dict.fromkeys(days, 0)
        for statement, q in ((by_key, self.question.sure), (by_row, self.question.unsure)):
            if q is not None:
                for day, count in self.connection.execute(statement, {**values, "q": q}):
                    if day in counts:
                        counts[day] += count
        return counts

    def between(self, start: int, end: int) -> int:
        """For any times, in microseconds and inclusive."""
        if start > end:
            return 0
        first, last = search.second_key(start), search.last_key(end)
        low, high = search.whole_seconds(start, end)
        if low > high:
            return self._by_row(self.question.possible, first, last)
        return (
            self._by_key(low, high)
            + self._by_row(self.question.possible, first, low - 1)
            + self._by_row(self.question.possible, high + 1, last)
        )

    def _by_key(self, low: int, high: int) -> int:
        """For whole seconds."""
        by_key, _ = _statements(self.connection.dialect.name, self.shape)
        values = {"q": self.question.sure, "low": low, "high": high}
        count: int = self.connection.scalar(by_key, values) or 0
        if self.question.unsure is not None:
            count += self._by_row(self.question.unsure, low, high)
        return count

    def _by_row(self, q: str, low: int, high: int) -> int:
        if low > high:
            return 0
        _, by_row = _statements(self.connection.dialect.name, self.shape)
        values = {**self.values, "q": q, "low": low, "high": high}
        return self.connection.scalar(by_row, values) or 0


_Statement = Select[*tuple[Any, ...]]


@lru_cache(maxsize=64)
def _statements(dialect: str, shape: Shape) -> tuple[_Statement, _Statement]:
    """One that trusts the index, and one that looks at the rows as well."""
    index = search.index(dialect)
    matching = index.matching, index.between(bindparam("low"), bindparam("high"))
    by_key = select(func.count()).select_from(index.table).where(*matching)
    return by_key, by_key.join(insights, insights.c.id == search.id_of(index.key)).where(
        *conditions(shape)
    )


@lru_cache(maxsize=64)
def _statements_by_day(dialect: str, shape: Shape) -> tuple[_Statement, _Statement]:
    """The same, day by day. FTS5 enters each day by its key, which costs less than sorting; GIN
    finds all at once."""
    index = search.index(dialect)
    if dialect != "sqlite":
        by_key, by_row = (
            statement.with_only_columns(index.day, func.count()).group_by(literal_column("1"))
            for statement in _statements(dialect, shape)
        )
        return by_key, by_row
    day = insight_days.c.day
    counts = select(func.count()).select_from(index.table)
    counts = counts.where(index.matching, index.between(*search.keys_of_day(day)))
    counts = counts.correlate(insight_days)
    with_rows = counts.join(insights, insights.c.id == search.id_of(index.key))
    by_key, by_row = (
        select(day, each.scalar_subquery()).where(day.in_(bindparam("days", expanding=True)))
        for each in (counts, with_rows.where(*conditions(shape)))
    )
    return by_key, by_row
