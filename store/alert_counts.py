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
from models import SUSPECTED, from_micros, insights
from store.derived import rollup_query
from store.derived.day_cache import DayCache, Days
from store.derived.rollup_query import Key
from store.derived.rollups import EVERYTHING, NAMES_OF_CLUSTERS
from store.derived.word_counts import MatchCounter
from store.filters import InsightFilter, Shape, conditions, filter_of
from store.insight_row import read_clusters

_HOURS_OF_DAY = DAY // HOUR
_MOST_KEPT = 500
"""Filters whose hours are kept; of many topics each has some kilobytes."""
_MOST_DAYS = 40_000
"""Days of a topic or filter that are kept, of 200 bytes each."""

_ByName = Mapping[str, list[int]]
"""Counts by hour, of topics or, under `EVERYTHING`, of a filter."""
_CountDay = Callable[[InsightFilter, Connection], _ByName]
_Known = tuple[Sequence[float], HourCounts]


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


class AlertCounter:
    def __init__(self, matches: MatchCounter) -> None:
        self._matches = matches
        self._days = DayCache[_ByName](most=_MOST_DAYS, weigh=len)
        self._hours: dict[Hashable, dict[str, _Known]] = {}
        self._remembered_for = 0

    def count(self, wanted: InsightFilter, connection: Connection) -> Counted:
        found = self._matches.total(wanted, connection)
        if not found:
            return Counted(0, 0)
        left_out = _left_out(wanted, connection)
        return Counted(found - len(left_out), len(left_out))

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
        suspected = Counter(
            name for each in _left_out(wanted, connection) for name in each.clusters
        )
        hours = self._topic_hours(wanted, connection)
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
        stop = wanted.span.stop // HOUR * HOUR
        found: Mapping[str, Sequence[float]]
        if wanted.shape.is_searched:
            found = {EVERYTHING: self._count_searched(_before(wanted, stop), connection)}
        else:
            found = self._by_days(_count_day, wanted, stop, connection)
        hours = self._remembered(wanted.at_any_time(), found, stop)
        return hours.get(EVERYTHING, HourCounts([], stop))

    def _topic_hours(
        self, wanted: InsightFilter, connection: Connection
    ) -> Mapping[str, HourCounts]:
        stop = wanted.span.stop // HOUR * HOUR
        found = self._by_days(_count_topics_of_day, wanted, stop, connection)
        return self._remembered(("topics", wanted.at_any_time()), found, stop)

    def _by_days(
        self, count: _CountDay, wanted: InsightFilter, stop: int, connection: Connection
    ) -> dict[str, list[int]]:
        """Counts of the hours before `stop`. Days are counted again when they have changed."""
        start = stop - KEPT_HOURS * HOUR

        def ask(days: Sequence[int]) -> Mapping[int, _ByName]:
            return {day: count(_on(day, wanted), connection) for day in days}

        key = count, wanted.at_any_time()
        days = Days(start // DAY, -(-stop // DAY))
        found: dict[str, list[int]] = {}
        for day, by_name in self._days.get(key, days, connection, ask).items():
            first = (day * DAY - start) // HOUR
            low, high = max(0, first), min(first + _HOURS_OF_DAY, KEPT_HOURS)
            for name, counts in by_name.items():
                of_name = found.setdefault(name, [0] * KEPT_HOURS)
                of_name[low:high] = counts[low - first : high - first]
        return found

    def _remembered(
        self, key: Hashable, found: Mapping[str, Sequence[float]], stop: int
    ) -> Mapping[str, HourCounts]:
        """As objects, those of before where nothing has changed: they know their rhythm."""
        if self._remembered_for != stop or len(self._hours) > _MOST_KEPT:
            self._hours.clear()
            self._remembered_for = stop
        before = self._hours.get(key, {})
        hours = self._hours[key] = {}
        for name, counts in found.items():
            known = before.get(name)
            if known is None or known[0] != counts:
                known = counts, HourCounts(counts, stop)
            hours[name] = known
        return {name: known for name, (_, known) in hours.items()}

    def _count_searched(self, wanted: InsightFilter, connection: Connection) -> list[float]:
        start = wanted.span.start
        counts = [0.0] * KEPT_HOURS
        self._spread_days(wanted, counts, connection)
        for each in _left_out(wanted, connection):
            counts[(each.timestamp - start) // HOUR] -= 1
        return [max(0.0, count) for count in counts]

    def _spread_days(
        self, wanted: InsightFilter, counts: list[float], connection: Connection
    ) -> None:
        """Of a search the counts of days are known: within a day they are put where all posts
        are."""
        start = wanted.span.start
        everything = self.hours(_everything(wanted), connection)
        for (first, last), matches in self._matches.count(wanted, connection).spans:
            in_all = everything.between(first, last)
            for place in range(max(0, (first - start) // HOUR), KEPT_HOURS):
                hour = start + place * HOUR
                if hour >= last or not in_all:
                    break
                there = everything.between(max(hour, first), min(hour + HOUR, last))
                counts[place] += matches * there / in_all


def _before(wanted: InsightFilter, stop: int) -> InsightFilter:
    """The same, of all hours that are looked at."""
    start = from_micros(stop - KEPT_HOURS * HOUR)
    return replace(wanted, start_time=start, end_time=from_micros(stop - 1))


def _everything(wanted: InsightFilter) -> InsightFilter:
    return InsightFilter(wanted.start_time, from_micros(wanted.span.stop))


def _on(day: int, wanted: InsightFilter) -> InsightFilter:
    start, stop = from_micros(day * DAY), from_micros((day + 1) * DAY - 1)
    return replace(wanted, start_time=start, end_time=stop)


def _count_day(wanted: InsightFilter, connection: Connection) -> _ByName:
    """The hours of a day, of all that the filter finds."""
    start = wanted.span.start
    counts = [0] * _HOURS_OF_DAY
    for sign, part in rollup_query.signed_parts(wanted):
        for moment, *sums, _, _ in rollup_query.series(part, HOUR, connection):
            counts[(moment - start) // HOUR] += sign * sum(sums)
    for each in _left_out(wanted, connection):
        counts[(each.timestamp - start) // HOUR] -= 1
    return {EVERYTHING: counts} if any(counts) else {}


def _count_topics_of_day(wanted: InsightFilter, connection: Connection) -> _ByName:
    """As `_count_day`, by topic."""
    start = wanted.span.start
    found = counts_by_topic(wanted, HOUR, connection)
    for each in _left_out(wanted, connection):
        for name in each.clusters:
            if name in found:
                found[name][(each.timestamp - start) // HOUR] -= 1
    return found


def counts_by_topic(
    wanted: InsightFilter, step: int, connection: Connection
) -> Mapping[str, list[int]]:
    """Of each topic that has any in the filter's time, in steps of so many microseconds."""
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
    return found


def _left_out(wanted: InsightFilter, connection: Connection) -> Sequence[LeftOut]:
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
        return found.where(or_(columns.own == 1, SUSPECTED)).with_hint(
            insights, "INDEXED BY idx_insight_author", "sqlite"
        )
    return found.where(SUSPECTED).with_hint(insights, "INDEXED BY idx_insight_suspected", "sqlite")


def is_by_topic(named: Mapping[str, Any]) -> bool:
    """Whether the rollups tell the topics of a filter apart, by its names in the API."""
    return named.keys() <= {"sentiment", "min_confidence"}


def between(named: Mapping[str, Any], start: int, stop: int) -> InsightFilter:
    """The filter, by its names in the API, from `start` up to, but without `stop`."""
    return replace(filter_of(named), start_time=from_micros(start), end_time=from_micros(stop - 1))
