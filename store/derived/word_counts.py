"""Insights that a filter with words finds, or with more names than a rollup has: how many there
are, and the newest of them.

The index of words holds all that a filter asks for, so counting reads no rows, except for those of
the first and the last second and of the confidence bin that `min_confidence` falls inside of.
Counts of full days are cached until the day changes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, func, literal_column, select, text

from analysis.labels import LastWord
from analysis.micros import DAY
from models import insight_days, insights
from store.derived import rollup_query, terms, word_index
from store.derived.day_cache import DayCache, full_days
from store.derived.rollups import CONFIDENCE_BINS, confidence_bin
from store.derived.word_index import AccessPath
from store.facets import Facet
from store.filters import COUNTS, InsightFilter, Shape, Span, conditions, span_values, within
from store.statements import Prepared


class _Query(NamedTuple):
    """A filter as expressions of the index: what may match, what surely does, and what does where
    its row is confident enough. `least` makes queries equal only where their answers are."""

    possible: str
    sure: str
    unsure: str | None
    least: float | None


def expression_of(wanted: InsightFilter, dialect: str) -> str:
    """For the index: all that may match. Only time and confidence are left to check."""
    return _query_of(wanted, dialect).possible


def residual_shape(wanted: InsightFilter) -> Shape:
    """What the index cannot check, and is asked of the rows of `insights` that it names."""
    return Shape(min_confidence=wanted.min_confidence is not None, anyone=wanted.author is not None)


def _query_of(wanted: InsightFilter, dialect: str) -> _Query:
    words, least = wanted.words or (), wanted.min_confidence
    groups, absent = terms.terms_in(wanted)

    def asking(*more: terms.Group) -> str:
        asked = word_index.expression if wanted.author is None else word_index.of_anyone
        return asked(dialect, words, [*groups, *more], absent)

    if least is None:
        return _Query(asking(), asking(), None, None)
    bin_ = confidence_bin(least)
    possible = asking(terms.bins_from(bin_))
    if least == CONFIDENCE_BINS[bin_]:
        return _Query(possible, possible, None, None)
    sure, unsure = terms.bins_from(bin_ + 1), terms.bins_from(bin_, bin_ + 1)
    return _Query(possible, asking(sure), asking(unsure), least)


class SpanCount(NamedTuple):
    span: Span
    matches: int


@dataclass(frozen=True, slots=True)
class MatchCount:
    """`spans` are disjoint, the newest first, and hold every match of the time range."""

    total: int
    spans: Sequence[SpanCount]


_KEPT_COUNTS = 50_000
"""A hundred bytes each; enough for a dozen searches over ten years."""


class MatchCounter:
    """Counts matches, and caches the counts of full days."""

    def __init__(self) -> None:
        self._kept = DayCache[int](most=_KEPT_COUNTS)

    def total(self, wanted: InsightFilter, connection: Connection) -> int:
        """How many insights any filter finds."""
        if not wanted.shape.is_searched:
            return rollup_query.count(wanted, connection)
        edges, by_day = self._counts(wanted, connection)
        return sum(by_day.values()) + sum(each.matches for each in edges)

    def corrected(self, wanted: InsightFilter, connection: Connection) -> int:
        """How many of the filter's insights a person or a rule has labelled."""
        if wanted.labelled is LastWord.MODEL:
            return 0
        labelled = frozenset({Facet.LABELLED})
        corrected = replace(wanted, unusual=wanted.unusual | labelled)
        if corrected.shape.is_searched and wanted.author is None:
            # Mostly nothing is labelled, which the rollups tell at once.
            any_ = InsightFilter(wanted.start_time, wanted.end_time, unusual=labelled)
            if not rollup_query.count(any_, connection):
                return 0
        return self.total(corrected, connection)

    def count(self, wanted: InsightFilter, connection: Connection) -> MatchCount:
        edges, by_day = self._counts(wanted, connection)
        days = (
            SpanCount(Span(day * DAY, (day + 1) * DAY), by_day[day])
            for day in sorted(by_day, reverse=True)
        )
        spans = [*edges[1:], *days, edges[0]]
        return MatchCount(sum(each.matches for each in spans), spans)

    def _counts(
        self, wanted: InsightFilter, connection: Connection
    ) -> tuple[Sequence[SpanCount], Mapping[int, int]]:
        """The counts before and after the full days of the time range, or of all of it where it has
        none, and those of the full days."""
        start, stop = wanted.span
        query = _query_of(wanted, connection.dialect.name)
        counter = _Counter(query, residual_shape(wanted), wanted.values(), connection)
        days = word_index.distinguishable_days(full_days(wanted.span))
        if days.first >= days.stop:
            return [counter.count_in(wanted.span)], {}
        # FTS5 goes to each day anyway, GIN finds all at once.
        at_a_time = _DAYS_AT_A_TIME if connection.dialect.name == "sqlite" else None
        by_day = self._kept.get(query, days, connection, counter.by_day, at_a_time=at_a_time)
        edges = Span(start, days.first * DAY), Span(days.stop * DAY, stop)
        return [counter.count_in(edge) for edge in edges], by_day


_DAYS_BY_KEY = 3
"""Up to so many days are counted by key."""
_PART = 3
"""More days are counted by the index of words, and where they are at most this part of all days, by
its matches among their keys, or by these keys alone: as the planner finds cheaper for these words.
What is left to it costs no more than to pass by their rows, however wrong it is."""
_DAYS_AT_A_TIME = 50


class _Counter(NamedTuple):
    query: _Query
    shape: Shape
    values: Mapping[str, Any]
    connection: Connection

    def by_day(self, days: Sequence[int]) -> Mapping[int, int]:
        """For days that the index key can represent."""
        counts = dict.fromkeys(days, 0)
        for day, count in self._rows_by_day(days):
            if day in counts:
                counts[day] += count
        return counts

    def _rows_by_day(self, days: Sequence[int]) -> Iterator[Sequence[int]]:
        """Days and counts, also of days in between; a day may come twice."""
        path = self._path_to(max(days) - min(days) + 1)
        by_key, by_row = _statements_by_day(self.connection.dialect.name, self.shape, path)
        values = {**self.values, "days": days}
        values["low"] = word_index.second_key(min(days) * DAY)
        values["high"] = word_index.second_key((max(days) + 1) * DAY) - 1
        for statement, q in ((by_key, self.query.sure), (by_row, self.query.unsure)):
            if q is not None:
                yield from self.connection.execute(statement, {**values, "q": q}).all()

    def _path_to(self, days: int) -> AccessPath:
        if days <= _DAYS_BY_KEY:
            return AccessPath.BY_KEY
        if self.connection.dialect.name == "sqlite":
            return AccessPath.BY_WORDS
        if days * _PART > (self.connection.scalar(_ALL_DAYS) or 0):
            return AccessPath.BY_WORDS
        self.connection.execute(_PLAN_FOR_THESE_VALUES)
        return AccessPath.EITHER

    def count_in(self, span: Span) -> SpanCount:
        if not self._may_match(span):
            return SpanCount(span, 0)
        first, last = word_index.second_key(span.start), word_index.last_key(span.stop - 1)
        low, high = word_index.full_seconds(span)
        if low > high:
            return SpanCount(span, self._at_edge(span, first, last))
        full = Span(word_index.time_of(low), word_index.time_of(high + 1))
        count = (
            self._by_key(low, high)
            + self._at_edge(Span(span.start, full.start), first, low - 1)
            + self._at_edge(Span(full.stop, span.stop), high + 1, last)
        )
        return SpanCount(span, count)

    def _may_match(self, span: Span) -> bool:
        """Days before the first insight and parts of seconds are mostly empty. To look there first
        spares the index of words, where nothing takes as long to find as a little."""
        if span.start >= span.stop:
            return False
        if self.shape.anyone:
            return True
        return _ANY.value(self.connection, span_values("range", span)) is not None

    def _at_edge(self, span: Span, low: int, high: int) -> int:
        return self._by_row(self.query.possible, low, high) if self._may_match(span) else 0

    def _by_key(self, low: int, high: int) -> int:
        """For full seconds."""
        by_key, _ = _prepared(self.connection.dialect.name, self.shape)
        values = {"q": self.query.sure, "low": low, "high": high}
        count: int = by_key.value(self.connection, values)
        if self.query.unsure is not None:
            count += self._by_row(self.query.unsure, low, high)
        return count

    def _by_row(self, q: str, low: int, high: int) -> int:
        _, by_row = _prepared(self.connection.dialect.name, self.shape)
        values = {**self.values, "q": q, "low": low, "high": high}
        count: int = by_row.value(self.connection, values)
        return count


_ALL_DAYS = select(func.count()).select_from(insight_days)
_PLAN_FOR_THESE_VALUES = text("SET LOCAL plan_cache_mode = force_custom_plan")
"""A plan for any words and times would take every word for rare, and every range for narrow."""

_Statement = Select[*tuple[Any, ...]]

_ANY = Prepared(
    select(insights.c.id).where(*within("range", insights.c.timestamp), COUNTS).limit(1)
)


@lru_cache(maxsize=64)
def _statements(dialect: str, shape: Shape, path: AccessPath) -> tuple[_Statement, _Statement]:
    """One that trusts the index, and one that checks the rows as well."""
    index = word_index.index(dialect, path)
    matching = index.matching, index.between(bindparam("low"), bindparam("high"))
    by_key = select(func.count()).select_from(index.table).where(*matching)
    return by_key, by_key.join(insights, insights.c.id == word_index.id_of(index.key)).where(
        *conditions(shape)
    )


@lru_cache(maxsize=64)
def _prepared(dialect: str, shape: Shape) -> tuple[Prepared, Prepared]:
    by_key, by_row = _statements(dialect, shape, AccessPath.BY_KEY)
    return Prepared(by_key), Prepared(by_row)


@lru_cache(maxsize=64)
def _statements_by_day(
    dialect: str, shape: Shape, path: AccessPath
) -> tuple[_Statement, _Statement]:
    """The same, day by day. FTS5 enters each day by its key, which costs less than sorting; GIN
    finds all at once."""
    index = word_index.index(dialect, path)
    if dialect != "sqlite":
        by_key, by_row = (
            statement.with_only_columns(index.day, func.count()).group_by(literal_column("1"))
            for statement in _statements(dialect, shape, path)
        )
        return by_key, by_row
    day = insight_days.c.day
    counts = select(func.count()).select_from(index.table)
    counts = counts.where(index.matching, index.between(*word_index.keys_of_day(day)))
    counts = counts.correlate(insight_days)
    with_rows = counts.join(insights, insights.c.id == word_index.id_of(index.key))
    by_key, by_row = (
        select(day, each.scalar_subquery()).where(day.in_(bindparam("days", expanding=True)))
        for each in (counts, with_rows.where(*conditions(shape)))
    )
    return by_key, by_row


# --- a page ---------------------------------------------------------------------------------------


class CandidateRange(NamedTuple):
    """The keys among which the next matches are, and the access path to them."""

    low: int
    high: int
    path: AccessPath


_PASSED_AT_ONCE = 30_000
_PASSED_FOR_ONE = 10
"""PostgreSQL reads so many keys in order in the time of fetching one match that the index of words
names, since neighbours share a page."""


def candidate_range(
    found: MatchCount, limit: int, stop: int, connection: Connection
) -> CandidateRange | None:
    """Keys that surely hold the next `limit` matches before `stop`, newest first; None where there
    are no more matches."""
    used, missing = [], limit
    for span, matches in found.spans:
        if matches and span.start < stop:
            used.append(SpanCount(span, matches))
            # Earlier pages may have given some matches of the span that `stop` is in.
            missing -= matches if span.stop < stop else 0
        if missing <= 0:
            break
    if not used:
        return None
    range_ = Span(used[-1].span.start, min(used[0].span.stop, stop))
    path = AccessPath.BY_WORDS
    if connection.dialect.name == "postgresql":
        share = limit / sum(each.matches for each in used)
        passed = rollup_query.count_between(range_, connection) * min(share, 1.0)
        if passed <= max(_PASSED_AT_ONCE, _PASSED_FOR_ONE * found.total):
            path = AccessPath.BY_KEY
    low, high = word_index.second_key(range_.start), word_index.last_key(range_.stop - 1)
    return CandidateRange(low, high, path)
