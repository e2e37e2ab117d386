"""How a team is doing: how many are open, claimed, answered, and how long answers took.

Counts come from where those of lists come from. Times to the answer are kept sorted, day by day, so
that shares and medians are exact however many there are: each is a search in the days' times.
"""

import json
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from itertools import chain

from sqlalchemy import BigInteger, Connection, bindparam, func, literal_column, select

from analysis.handling import HandlingState
from analysis.micros import DAY, SECOND
from models import insights, time_or_none
from store.derived import rollup_query
from store.derived.day_cache import DayCache, ends_around, full_days
from store.derived.word_counts import MatchCounter
from store.facets import Facet
from store.filters import InsightFilter, Shape, Span, conditions, span_values
from store.statements import Prepared

_KEPT_TIMES = 2_000_000
"""8 bytes each."""
_DAYS_AT_A_TIME = 20

Times = Sequence[int]
"""From a conversation to its answer, in microseconds, the shortest first; 0 where it bears a later
time than its answer."""


@dataclass(frozen=True, slots=True)
class HandlingFigures:
    """`oldest_open` is None where nothing is open. Of what is answered: the share that was in time,
    and the median time that it took; None where nothing is."""

    counts: Mapping[HandlingState, int]
    oldest_open: datetime | None
    answered_in_goal: float | None
    median_answer_seconds: float | None


class HandlingCounter:
    def __init__(self, matches: MatchCounter, *, goal_seconds: float) -> None:
        """An answer within `goal_seconds` is in time."""
        self._matches = matches
        self._goal = round(goal_seconds * SECOND)
        self._kept = DayCache[Times](most=_KEPT_TIMES, weigh=len)

    def figures(self, wanted: InsightFilter, total: int, connection: Connection) -> HandlingFigures:
        """For a filter without words, which finds `total` insights."""
        counts = self._counts(wanted, total, connection)
        days: list[Times] = []
        if counts[HandlingState.ANSWERED]:
            days = self._times(wanted, connection)
        in_goal, median = _in_goal(days, self._goal), _median(days)
        return HandlingFigures(
            counts,
            self._oldest_open(wanted, connection) if counts[HandlingState.OPEN] else None,
            in_goal,
            None if median is None else median / SECOND,
        )

    def _counts(
        self, wanted: InsightFilter, total: int, connection: Connection
    ) -> dict[HandlingState, int]:
        counts = dict.fromkeys(HandlingState, 0)
        if wanted.handling is not None:
            return counts | {wanted.handling: total}
        unusual = frozenset({Facet.HANDLING})
        # Mostly few states are in use, which the rollups tell at once.
        any_ = InsightFilter(wanted.start_time, wanted.end_time, unusual=unusual)
        if rollup_query.count(any_, connection):
            for state in HandlingState:
                if state is not HandlingState.OPEN:
                    of_state = replace(wanted, handling=state)
                    counts[state] = self._matches.total(of_state, connection)
        return counts | {HandlingState.OPEN: total - sum(counts.values())}

    # --- the oldest that is open --------------------------------------------------------------

    def _oldest_open(self, wanted: InsightFilter, connection: Connection) -> datetime | None:
        """Looked for in the first day that has any; None where no day has."""
        wanted = replace(wanted, handling=HandlingState.OPEN)
        span = self._first_span(wanted, connection)
        if span is None:
            return None
        values = wanted.values() | span_values("range", span)
        oldest = _oldest(wanted.shape).value(connection, values)
        return time_or_none(oldest)

    def _first_span(self, wanted: InsightFilter, connection: Connection) -> Span | None:
        if wanted.author is not None:
            return wanted.span
        if wanted.shape.is_searched:
            spans = self._matches.count(wanted, connection).spans
            return min((each.span for each in spans if each.matches), default=None)
        by_day: dict[int, int] = {}
        for sign, part in rollup_query.signed_parts(wanted):
            for moment, *counts, _, _ in rollup_query.series(part, DAY, connection):
                by_day[moment // DAY] = by_day.get(moment // DAY, 0) + sign * sum(counts)
        day = min((day for day, count in by_day.items() if count), default=None)
        if day is None:
            return None
        start, stop = wanted.span
        return Span(max(start, day * DAY), min(stop, (day + 1) * DAY))

    # --- times to the answer ------------------------------------------------------------------

    def _times(self, wanted: InsightFilter, connection: Connection) -> list[Times]:
        """In parts that are sorted."""
        wanted = replace(wanted, handling=None)
        shape, values = wanted.shape, wanted.values()
        days = full_days(wanted.span)

        def times_in(span: Span) -> dict[int, Times]:
            first = span.start // DAY
            asked = values | span_values("range", span) | {"origin": first * DAY}
            found = _times_by_day(connection.dialect.name, shape).run(connection, asked)
            return {first + day: _sorted(times) for day, times in found}

        def times_of(changed: Sequence[int]) -> Mapping[int, Times]:
            found = times_in(Span(min(changed) * DAY, (max(changed) + 1) * DAY))
            return {day: found.get(day, _NONE) for day in changed}

        query = wanted.at_any_time()
        kept = self._kept.get(query, days, connection, times_of, at_a_time=_DAYS_AT_A_TIME)
        ends = (times_in(end).values() for end in ends_around(wanted.span, days))
        return [times for times in chain(kept.values(), *ends) if times]


_NONE: Times = array("q")


def _sorted(times: str | Sequence[int]) -> Times:
    """SQLite gives them as JSON, and PostgreSQL as a list."""
    listed = sorted(json.loads(times) if isinstance(times, str) else times)
    before = bisect_left(listed, 0)
    return array("q", [*[0] * before, *listed[before:]] if before else listed)


def _in_goal(days: Sequence[Times], goal: int) -> float | None:
    count = sum(map(len, days))
    if not count:
        return None
    return round(sum(bisect_right(times, goal) for times in days) / count, 9)


def _median(days: Sequence[Times]) -> float | None:
    """Between the two in the middle, where they are two."""
    count = sum(map(len, days))
    if not count:
        return None
    rank = (count + 1) // 2
    low = _smallest(days, rank)
    not_longer = [bisect_right(times, low) for times in days]
    if count % 2 or sum(not_longer) > rank:
        return float(low)
    rest = zip(days, not_longer, strict=True)
    return (low + min(times[place] for times, place in rest if place < len(times))) / 2


def _smallest(days: Sequence[Times], rank: int) -> int:
    """The time that `rank` times are not longer than, found by halving the range of all."""
    low, high = min(times[0] for times in days), max(times[-1] for times in days)
    while low < high:
        middle = (low + high) // 2
        if sum(bisect_right(times, middle) for times in days) >= rank:
            high = middle
        else:
            low = middle + 1
    return low


_COLUMNS = insights.c


@lru_cache(maxsize=64)
def _oldest(shape: Shape) -> Prepared:
    index = "idx_insight_author" if shape.author else "idx_insight_timestamp"
    return Prepared(
        select(_COLUMNS.timestamp)
        .where(*conditions(shape))
        .order_by(_COLUMNS.timestamp)
        .limit(1)
        .with_hint(insights, f"INDEXED BY {index}", "sqlite")
    )


@lru_cache(maxsize=64)
def _times_by_day(dialect: str, shape: Shape) -> Prepared:
    """The days since `:origin`, each with all its times."""
    collect = func.json_group_array if dialect == "sqlite" else func.array_agg
    day = (_COLUMNS.timestamp - bindparam("origin", type_=BigInteger)) // DAY
    found = select(day.label("day"), collect(_COLUMNS.handling_at - _COLUMNS.timestamp)).where(
        *conditions(shape), _COLUMNS.handling == literal_column("'answered'")
    )
    if not shape.author:
        found = found.with_hint(insights, "INDEXED BY idx_insight_answered", "sqlite")
    return Prepared(found.group_by(literal_column("1")))
