"""Series, clusters and totals for any filter: what counting the insights by hand would give."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from itertools import chain

from sqlalchemy import Connection

from analysis.micros import DAY, HOUR
from database import Database
from errors import InvalidInput
from models import from_micros
from store.derived import rollup_query
from store.derived.day_cache import DayCache, ends_around, full_days
from store.derived.rollup_query import Key, Rows
from store.derived.rollups import NAMES_OF_CLUSTERS, UNIT
from store.derived.word_counts import MatchCounter
from store.filters import InsightFilter, Span, span_values
from store.handling_figures import HandlingCounter, HandlingFigures

MAX_BUCKETS = 2000
_DAYS_AT_A_TIME = 10
_KEPT_DAYS = 5000
"""Some kilobytes each: one row for each cluster that another was with that day, or each hour."""


class Interval(StrEnum):
    """`width` is that of a bucket, in microseconds."""

    MINUTE = "minute", HOUR // 60
    HOUR = "hour", HOUR
    DAY = "day", DAY

    width: int

    def __new__(cls, value: str, width: int) -> "Interval":
        interval = str.__new__(cls, value)
        interval._value_, interval.width = value, width
        return interval


@dataclass(slots=True)
class Aggregate:
    """How many insights, and the sums of their scores and confidences in billionths."""

    positive: int = 0
    neutral: int = 0
    negative: int = 0
    scores: int = 0
    confidences: int = 0

    @property
    def count(self) -> int:
        return self.positive + self.neutral + self.negative

    @property
    def average_sentiment(self) -> float | None:
        """None where there is nothing."""
        return self._average(self.scores)

    @property
    def average_confidence(self) -> float | None:
        return self._average(self.confidences)

    def _average(self, total: int) -> float | None:
        return round(total / self.count / UNIT, 9) if self.count else None

    def add(self, sums: Sequence[int], sign: int) -> None:
        """The five figures, in the order of the fields, `sign` times."""
        positive, neutral, negative, scores, confidences = sums
        self.positive += sign * positive
        self.neutral += sign * neutral
        self.negative += sign * negative
        self.scores += sign * scores
        self.confidences += sign * confidences


@dataclass(frozen=True, slots=True)
class Summary:
    """`series` has every bucket that the time range touches, also the empty ones, by its start;
    `clusters` are the most frequent first, and by name where they are equally so; `corrected` are
    those whose labels a person or a rule has put right."""

    series: Mapping[datetime, Aggregate]
    clusters: Sequence[tuple[str, Aggregate]]
    totals: Aggregate
    corrected: int
    handling: HandlingFigures


def is_costly_summary(wanted: InsightFilter, interval: Interval) -> bool:
    """Whether it reads more than rollups, which do not know minutes, nor which names come
    together."""
    by_rows = interval is Interval.MINUTE or wanted.cluster is not None or bool(wanted.facets)
    return by_rows or rollup_query.is_costly(wanted)


class SummaryStore:
    def __init__(
        self,
        database: Database,
        matches: MatchCounter | None = None,
        *,
        goal_seconds: float = 3600.0,
    ) -> None:
        """`matches` may be shared with others, for its cache. An answer within `goal_seconds` is in
        time."""
        self._database = database
        self._by_day = DayCache[Rows](most=_KEPT_DAYS)
        self._matches = matches or MatchCounter()
        self._handling = HandlingCounter(self._matches, goal_seconds=goal_seconds)

    async def summary(self, wanted: InsightFilter, interval: Interval) -> Summary:
        """For a filter without words. Raises InvalidInput for more than `MAX_BUCKETS` buckets."""
        start, stop = wanted.span
        count = (stop - 1) // interval.width - start // interval.width + 1
        if count > MAX_BUCKETS:
            raise InvalidInput(
                f"interval: {count} buckets of that width are in the time range, and at"
                f" most {MAX_BUCKETS} are answered"
            )
        work = partial(self._summary, wanted, interval)
        return await self._database.read(work, costly=is_costly_summary(wanted, interval))

    def _summary(
        self, wanted: InsightFilter, interval: Interval, connection: Connection
    ) -> Summary:
        start, stop = wanted.span
        buckets = range(start // interval.width * interval.width, stop, interval.width)
        series = {bucket: Aggregate() for bucket in buckets}
        totals = Aggregate()
        clusters: defaultdict[str, Aggregate] = defaultdict(Aggregate)
        for sign, part in rollup_query.signed_parts(wanted):
            for moment, *sums in self._series(part, interval, connection):
                series[moment // interval.width * interval.width].add(sums, sign)
                totals.add(sums, sign)
            for cluster, *sums in self._clusters(part, connection):
                clusters[cluster].add(sums, sign)
        return Summary(
            series={from_micros(bucket): each for bucket, each in series.items()},
            clusters=sorted(
                ((name, each) for name, each in clusters.items() if each.count),
                key=lambda pair: (-pair[1].count, pair[0]),
            ),
            totals=totals,
            corrected=self._matches.corrected(wanted, connection),
            handling=self._handling.figures(wanted, totals.count, connection),
        )

    def _series(self, part: InsightFilter, interval: Interval, connection: Connection) -> Rows:
        """By a moment in the bucket."""
        if part.shape.is_searched and interval is not Interval.MINUTE:
            return self._rows_by_day(part, Key(bucket=True), HOUR, connection)
        return rollup_query.series(part, interval.width, connection)

    def _clusters(self, part: InsightFilter, connection: Connection) -> Rows:
        """By cluster."""
        if part.author is None and (part.cluster is not None or part.facets):
            key = Key(bucket=True, cluster=True)
            rows = self._rows_by_day(part, key, DAY, connection)
            return [row for _, *row in rows]
        values, key = rollup_query.values_of(part), Key(cluster=True)
        if part.author is None:
            values["names"] = connection.scalars(NAMES_OF_CLUSTERS).all()
            return rollup_query.figures(part.shape, key, values, connection)
        found = rollup_query.figures(part.shape, key, values, connection)
        return [*found, *rollup_query.clusters_of_own(part, connection)]

    def _rows_by_day(
        self, part: InsightFilter, key: Key, width: int, connection: Connection
    ) -> Rows:
        """By a moment in a bucket of `width`, at most a day, and what else the key has. Rows are
        summed day by day and full days are kept, since no rollup knows which names come together.
        """
        values = rollup_query.values_of(part)
        days = full_days(part.span)

        def rows_in(span: Span) -> Rows:
            origin = span.start // DAY * DAY
            between = span_values("range", span) | rollup_query.bucket_values(origin, width)
            return rollup_query.figures(part.shape, key, values | between, connection, by_rows=True)

        def rows_of(changed: Sequence[int]) -> Mapping[int, Rows]:
            span = Span(min(changed) * DAY, (max(changed) + 1) * DAY)
            found: dict[int, list[Sequence[int]]] = {day: [] for day in changed}
            for row in rows_in(span):
                if (day := row[0] // DAY) in found:
                    found[day].append(row)
            return found

        query = key, part.at_any_time()
        kept = self._by_day.get(query, days, connection, rows_of, at_a_time=_DAYS_AT_A_TIME)
        rows = list(chain(*kept.values()))
        for span in ends_around(part.span, days):
            rows += rows_in(span)
        return rows
