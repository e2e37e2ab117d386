"""Insights that hold words: how many there are, and the newest of them.

All that a filter asks for is in the index of words, so counting looks at no row, but for those of
the first and the last second, and of the step of confidence that the least is inside of. What was
counted of a whole day is kept until something of that day changes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, literal_column, select

from models import from_micros, insight_days, insights
from store.derived import rollup_query, terms, word_index
from store.derived.day_cache import DayCache, whole_days
from store.derived.rollups import CONFIDENCE_BINS, DAY, confidence_bin
from store.derived.word_index import AccessPath
from store.filters import InsightFilter, Shape, conditions


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


def residual_conditions(shape: Shape) -> list[ColumnElement[bool]]:
    """What the index does not know of the rows of `insights` that it names."""
    return conditions(Shape(None, shape.min_confidence, cluster=False, author=False, words=False))


def _question(wanted: InsightFilter, dialect: str) -> _Question:
    words, groups, least = wanted.words or (), terms.groups_of(wanted), wanted.min_confidence

    def asking(*more: terms.Group) -> str:
        return word_index.expression(dialect, words, [*groups, *more])

    if least is None:
        return _Question(asking(), asking(), None, None)
    step = confidence_bin(least)
    possible = asking(terms.steps_from(step))
    if least == CONFIDENCE_BINS[step]:
        return _Question(possible, possible, None, None)
    sure, unsure = terms.steps_from(step + 1), terms.steps_from(step, step + 1)
    return _Question(possible, asking(sure), asking(unsure), least)


class Span(NamedTuple):
    """How many there are from `start` to `end`, in microseconds and inclusive."""

    start: int
    end: int
    matches: int


@dataclass(frozen=True, slots=True)
class MatchCount:
    """`spans` make up the time range, the newest first, but for days that have nothing at all."""

    total: int
    spans: Sequence[Span]


_KEPT_COUNTS = 50_000
"""A hundred bytes each: of a dozen searches in ten years."""


class MatchCounter:
    """Counts, and keeps what it counted."""

    def __init__(self) -> None:
        self._kept = DayCache[int](most=_KEPT_COUNTS)

    def count(self, wanted: InsightFilter, connection: Connection) -> MatchCount:
        values = wanted.values()
        start, end = values["start"], values["end"]
        question = _question(wanted, connection.dialect.name)
        counter = _Counter(question, wanted.shape, values, connection)
        days = word_index.distinguishable_days(whole_days(start, end))
        if days.first >= days.stop:
            spans = [counter.span(start, end)]
        else:
            # FTS5 goes to each day anyway, GIN finds all at once.
            at_a_time = _DAYS_AT_A_TIME if connection.dialect.name == "sqlite" else None
            counts = self._kept.get(question, days, connection, counter.by_day, at_a_time=at_a_time)
            spans = [
                counter.span(days.stop * DAY, end),
                *(
                    Span(day * DAY, (day + 1) * DAY - 1, counts[day])
                    for day in sorted(counts, reverse=True)
                ),
                counter.span(start, days.first * DAY - 1),
            ]
        return MatchCount(sum(span.matches for span in spans), spans)


_DAYS_BY_KEY = 3
"""So many days are counted by going through them, more by the index of words."""
_DAYS_AT_A_TIME = 50


class _Counter(NamedTuple):
    question: _Question
    shape: Shape
    values: Mapping[str, Any]
    connection: Connection

    def by_day(self, days: Sequence[int]) -> Mapping[int, int]:
        """For days whose times the keys tell apart."""
        counts = dict.fromkeys(days, 0)
        for day, count in self._rows_by_day(days):
            if day in counts:
                counts[day] += count
        return counts

    def _rows_by_day(self, days: Sequence[int]) -> Iterator[Sequence[int]]:
        """Days and numbers, also of days in between; a day may come twice."""
        way = AccessPath.BY_KEY if max(days) - min(days) < _DAYS_BY_KEY else AccessPath.BY_WORDS
        by_key, by_row = _statements_by_day(self.connection.dialect.name, self.shape, way)
        values = {**self.values, "days": days}
        values["low"] = word_index.second_key(min(days) * DAY)
        values["high"] = word_index.second_key((max(days) + 1) * DAY) - 1
        for statement, q in ((by_key, self.question.sure), (by_row, self.question.unsure)):
            if q is not None:
                yield from self.connection.execute(statement, {**values, "q": q}).all()

    def span(self, start: int, end: int) -> Span:
        """For any times, in microseconds and inclusive."""
        if start > end:
            return Span(start, end, 0)
        first, last = word_index.second_key(start), word_index.last_key(end)
        low, high = word_index.whole_seconds(start, end)
        if low > high:
            return Span(start, end, self._by_row(self.question.possible, first, last))
        count = (
            self._by_key(low, high)
            + self._by_row(self.question.possible, first, low - 1)
            + self._by_row(self.question.possible, high + 1, last)
        )
        return Span(start, end, count)

    def _by_key(self, low: int, high: int) -> int:
        """For whole seconds."""
        by_key, _ = _statements(self.connection.dialect.name, self.shape, AccessPath.BY_KEY)
        values = {"q": self.question.sure, "low": low, "high": high}
        count: int = self.connection.scalar(by_key, values) or 0
        if self.question.unsure is not None:
            count += self._by_row(self.question.unsure, low, high)
        return count

    def _by_row(self, q: str, low: int, high: int) -> int:
        if low > high:
            return 0
        _, by_row = _statements(self.connection.dialect.name, self.shape, AccessPath.BY_KEY)
        values = {**self.values, "q": q, "low": low, "high": high}
        return self.connection.scalar(by_row, values) or 0


_Statement = Select[*tuple[Any, ...]]


@lru_cache(maxsize=64)
def _statements(dialect: str, shape: Shape, way: AccessPath) -> tuple[_Statement, _Statement]:
    """One that trusts the index, and one that looks at the rows as well."""
    index = word_index.index(dialect, way)
    matching = index.matching, index.between(bindparam("low"), bindparam("high"))
    by_key = select(func.count()).select_from(index.table).where(*matching)
    return by_key, by_key.join(insights, insights.c.id == word_index.id_of(index.key)).where(
        *residual_conditions(shape)
    )


@lru_cache(maxsize=64)
def _statements_by_day(
    dialect: str, shape: Shape, way: AccessPath
) -> tuple[_Statement, _Statement]:
    """The same, day by day. FTS5 enters each day by its key, which costs less than sorting; GIN
    finds all at once."""
    index = word_index.index(dialect, way)
    if dialect != "sqlite":
        by_key, by_row = (
            statement.with_only_columns(index.day, func.count()).group_by(literal_column("1"))
            for statement in _statements(dialect, shape, way)
        )
        return by_key, by_row
    day = insight_days.c.day
    counts = select(func.count()).select_from(index.table)
    counts = counts.where(index.matching, index.between(*word_index.keys_of_day(day)))
    counts = counts.correlate(insight_days)
    with_rows = counts.join(insights, insights.c.id == word_index.id_of(index.key))
    by_key, by_row = (
        select(day, each.scalar_subquery()).where(day.in_(bindparam("days", expanding=True)))
        for each in (counts, with_rows.where(*residual_conditions(shape)))
    )
    return by_key, by_row


# --- a page ---------------------------------------------------------------------------------------


class CandidateRange(NamedTuple):
    """The keys among which the next matches are, and the way to find them."""

    low: int
    high: int
    way: AccessPath


_PASSED_AT_ONCE = 30_000
_PASSED_FOR_ONE = 10
"""PostgreSQL passes by so many keys while it fetches one match that the index of words names: what
lies together in the table is read at once."""


def candidate_range(
    found: MatchCount, limit: int, end: int, connection: Connection
) -> CandidateRange | None:
    """Where the next `limit` matches surely are, from the moment `end` back, at which some may have
    been given already; None where none are."""
    spans, missing = [], limit
    for span in found.spans:
        if span.matches and span.start <= end:
            spans.append(span)
            # Of what is in the end's own span, some may have been given already.
            missing -= span.matches if span.end < end else 0
        if missing <= 0:
            break
    if not spans:
        return None
    start, end = spans[-1].start, min(spans[0].end, end)
    way = AccessPath.BY_WORDS
    if connection.dialect.name == "postgresql":
        between = InsightFilter(from_micros(start), from_micros(end))
        share = limit / sum(span.matches for span in spans)
        passed = rollup_query.count(between, connection) * min(share, 1.0)
        if passed <= max(_PASSED_AT_ONCE, _PASSED_FOR_ONE * found.total):
            way = AccessPath.BY_KEY
    return CandidateRange(word_index.second_key(start), word_index.last_key(end), way)
