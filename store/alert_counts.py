"""What alerts count: posts of a filter in a window, and hour by hour before it.

From rollups and indexes alone, however many insights there are. Texts that are suspected to be
written for the model are taken out again, and so are own posts: nobody can raise an alert with
them, nor hide one behind them. Counts by hour are kept by day, until the day changes: posts of
before may come at any time, and go.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, Text, cast, or_, select

from analysis.micros import DAY, HOUR
from analysis.rising import KEPT_HOURS, HourCounts
from analysis.rules import hold
from analysis.words import words_of
from models import IS_SUSPECTED, from_micros, insights
from store.derived import rollup_query
from store.derived.day_cache import DayCache, Days
from store.derived.rollup_query import Key
from store.derived.rollups import EVERYTHING, NAMES_OF_CLUSTERS
from store.derived.word_counts import MatchCounter
from store.filters import InsightFilter, Shape, conditions, filter_of
from store.insight_row import read_clusters

_MOST_KEPT = 500
"""Filters whose hours are kept; of many topics each has some kilobytes."""
_MOST_DAYS = 40_000
"""Days of a topic or filter that are kept, of 200 bytes each."""

_ByName = Mapping[str, Sequence[float]]
"""Counts by hour, of topics or, under `EVERYTHING`, of a filter."""
_Count = Callable[[InsightFilter, Connection], _ByName]


class LeftOut(NamedTuple):
    """A post that does not count; `timestamp` is in microseconds."""

    timestamp: int
    clusters: Sequence[str]


@dataclass(frozen=True, slots=True)
class Counted:
    """How many posts count, and how many were left out since they are suspected."""

    count: int
    suspected: int


class TopicCount(NamedTuple):
    """Of the last window, and of the hours before now."""

    counted: Counted
    hours: HourCounts


class _Hours(NamedTuple):
    """`hours` are made of `by_day`. They are kept, since to find their rhythm takes longer than to
    count them."""

    by_day: Mapping[int, _ByName]
    hours: Mapping[str, HourCounts]


class AlertCounter:
    def __init__(self, matches: MatchCounter) -> None:
        self._matches = matches
        self._days = DayCache[_ByName](most=_MOST_DAYS, weigh=len)
        self._kept: dict[Hashable, _Hours] = {}
        self._kept_for = 0

    def count(self, wanted: InsightFilter, connection: Connection) -> Counted:
        found = self._matches.total(wanted, connection)
        if not found:
            return Counted(0, 0)
        suspected = len(left_out(wanted, connection))
        return Counted(found - suspected, suspected)

    def by_topic(self, wanted: InsightFilter, connection: Connection) -> Mapping[str, TopicCount]:
        """Of each topic that has any in the filter's time. The filter names no topic, and is
        answered by the rollups."""
        values = rollup_query.values_of(wanted) | {
            "names": connection.scalars(NAMES_OF_CLUSTERS).all()
        }
        found: Counter[str] = Counter()
        for name, count in rollup_query.figures(
            wanted.shape, Key(cluster=True), values, connection, only_count=True
        ):
            found[name] += count
        suspected = Counter(name for each in left_out(wanted, connection) for name in each.clusters)
        hours = self._hours_of(_count_topics, wanted, connection)
        none = HourCounts([], wanted.span.stop // HOUR * HOUR)
        return {
            name: TopicCount(
                Counted(count - suspected[name], suspected[name]), hours.get(name, none)
            )
            for name, count in found.items()
            if count
        }

    def hours(self, wanted: InsightFilter, connection: Connection) -> HourCounts:
        """Of the filter, whatever its times, in the hours before the one that its end is in."""
        count = self._count_searched if wanted.shape.is_searched else _count
        hours = self._hours_of(count, wanted, connection)
        return hours.get(EVERYTHING) or HourCounts([], wanted.span.stop // HOUR * HOUR)

    def _hours_of(
        self, count: _Count, wanted: InsightFilter, connection: Connection
    ) -> Mapping[str, HourCounts]:
        """Days are counted again when they have changed."""
        stop = wanted.span.stop // HOUR * HOUR
        start, last = stop - KEPT_HOURS * HOUR, stop // DAY

        def ask(days: Sequence[int]) -> Mapping[int, _ByName]:
            spans = [(day * DAY, min((day + 1) * DAY, stop)) for day in days]
            found = [count(_within(*span, wanted), connection) for span in spans]
            return dict(zip(days, found, strict=True))

        key = count, wanted.at_any_time()
        by_day = {**self._days.get(key, Days(start // DAY, last), connection, ask)}
        if stop > last * DAY:  # the day is not over
            by_day |= self._days.get((key, stop), Days(last, last + 1), connection, ask)
        if self._kept_for != stop or len(self._kept) > _MOST_KEPT:
            self._kept.clear()
            self._kept_for = stop
        kept = self._kept.get(key)
        if kept is None or kept.by_day != by_day:
            kept = self._kept[key] = _Hours(by_day, _put_together(by_day, stop))
        return kept.hours

    def _count_searched(self, wanted: InsightFilter, connection: Connection) -> _ByName:
        """As `_count`. Matches are known of the whole day: they are put where all posts are."""
        matches = self._matches.total(wanted, connection)
        everything = _count(InsightFilter(wanted.start_time, wanted.end_time), connection)
        if not matches or not everything:
            return {}
        in_all = sum(everything[EVERYTHING])
        counts = [matches * count / in_all for count in everything[EVERYTHING]]
        for each in left_out(wanted, connection):
            counts[(each.timestamp - wanted.span.start) // HOUR] -= 1
        return {EVERYTHING: [max(0.0, count) for count in counts]}


def _put_together(by_day: Mapping[int, _ByName], stop: int) -> Mapping[str, HourCounts]:
    start = stop - KEPT_HOURS * HOUR
    found: dict[str, list[float]] = {}
    for day, by_name in by_day.items():
        first = (day * DAY - start) // HOUR
        for name, counts in by_name.items():
            of_name = found.setdefault(name, [0] * KEPT_HOURS)
            of_name[max(0, first) : first + len(counts)] = counts[max(0, -first) :]
    return {name: HourCounts(counts, stop) for name, counts in found.items()}


def _within(start: int, stop: int, wanted: InsightFilter) -> InsightFilter:
    return replace(wanted, start_time=from_micros(start), end_time=from_micros(stop - 1))


def _count(wanted: InsightFilter, connection: Connection) -> _ByName:
    """By the hours of the filter's time, of all that it finds."""
    start, stop = wanted.span
    counts = [0] * ((stop - start) // HOUR)
    for sign, part in rollup_query.signed_parts(wanted):
        for moment, *sums, _, _ in rollup_query.series(part, HOUR, connection):
            counts[(moment - start) // HOUR] += sign * sum(sums)
    for each in left_out(wanted, connection):
        counts[(each.timestamp - start) // HOUR] -= 1
    return {EVERYTHING: counts} if any(counts) else {}


def _count_topics(wanted: InsightFilter, connection: Connection) -> _ByName:
    """As `_count`, by topic."""
    return counts_by_topic(wanted, HOUR, connection)


def counts_by_topic(
    wanted: InsightFilter, step: int, connection: Connection
) -> Mapping[str, list[int]]:
    """Of each topic that has any in the filter's time, in steps of so many microseconds; without
    posts that do not count."""
    start, stop = wanted.span
    values = rollup_query.values_of(wanted, by_day=False) | rollup_query.bucket_values(start, step)
    values["names"] = connection.scalars(NAMES_OF_CLUSTERS).all()
    found: dict[str, list[int]] = {}
    for moment, name, count in rollup_query.figures(
        wanted.shape,
        Key(bucket=True, cluster=True),
        values,
        connection,
        by_rows=step < HOUR,
        only_count=True,
    ):
        counts = found.setdefault(name, [0] * ((stop - start) // step))
        counts[(moment - start) // step] += count
    for each in left_out(wanted, connection):
        for name in each.clusters:
            if name in found:
                found[name][(each.timestamp - start) // step] -= 1
    return found


def left_out(wanted: InsightFilter, connection: Connection) -> Sequence[LeftOut]:
    """Those that match, and do not count."""
    rows = connection.execute(_not_counted(wanted.shape), wanted.values())
    return [
        LeftOut(timestamp, read_clusters(clusters))
        for timestamp, clusters, text in rows
        if wanted.words is None or hold(words_of(text), wanted.words)
    ]


@lru_cache(maxsize=256)
def _not_counted(shape: Shape) -> Select[*tuple[Any, ...]]:
    columns = insights.c
    found = select(columns.timestamp, cast(columns.clusters, Text), columns.text).where(
        *conditions(shape)
    )
    if shape.author:  # whose posts are the only ones among which own ones are counted
        return found.where(or_(columns.own == 1, IS_SUSPECTED)).with_hint(
            insights, "INDEXED BY idx_insight_author", "sqlite"
        )
    return found.where(IS_SUSPECTED).with_hint(
        insights, "INDEXED BY idx_insight_suspected", "sqlite"
    )


def is_by_topic(named: Mapping[str, Any]) -> bool:
    """Whether the rollups tell the topics of a filter apart, by its names in the API."""
    return named.keys() <= {"sentiment", "min_confidence"}


def between(named: Mapping[str, Any], start: int, stop: int) -> InsightFilter:
    """The filter, by its names in the API, from `start` up to, but without `stop`."""
    return replace(filter_of(named), start_time=from_micros(start), end_time=from_micros(stop - 1))
