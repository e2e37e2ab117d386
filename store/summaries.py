"""Series, clusters and totals for any filter: what counting the insights by hand would give.

Whole hours and days come from the tallies, what is left of them from an index, and so does all that
the tallies do not know: authors, minutes, and which clusters come together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from functools import lru_cache, partial
from itertools import chain
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Connection,
    Select,
    Table,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    select,
    union_all,
)

from database import Database
from errors import InvalidInput
from models import from_micros, insight_clusters, insight_tallies, insights
from store.derived import rollup_query
from store.derived.day_cache import DayCache, whole_days
from store.derived.rollups import DAY, EVERYTHING, HOUR, NAMES_OF_CLUSTERS, UNIT
from store.filters import (
    NEGATIVE_BELOW,
    POSITIVE_ABOVE,
    InsightFilter,
    Sentiment,
    Shape,
    conditions,
    figure_conditions,
)

MAX_BUCKETS = 2000
_DAYS_AT_A_TIME = 50
_KEPT_DAYS = 5000
"""Some kilobytes each: one row for each cluster that another was with that day."""


class Interval(IntEnum):
    """The width of a bucket, in microseconds."""

    MINUTE = HOUR // 60
    HOUR = HOUR
    DAY = DAY


@dataclass(slots=True)
class Tally:
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

    def add(self, more: "Tally") -> None:
        self.positive += more.positive
        self.neutral += more.neutral
        self.negative += more.negative
        self.scores += more.scores
        self.confidences += more.confidences


@dataclass(frozen=True, slots=True)
class Summary:
    """`series` has every bucket that the time range touches, also the empty ones, by its start;
    `clusters` are the most frequent first, and by name where they are equally so."""

    series: Mapping[datetime, Tally]
    clusters: Sequence[tuple[str, Tally]]
    totals: Tally


class SummaryStore:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._together = DayCache[Rows](most=_KEPT_DAYS)

    async def summary(self, wanted: InsightFilter, interval: Interval) -> Summary:
        """Raises InvalidInput where that makes more than `MAX_BUCKETS` buckets."""
        values = wanted.values()
        first, last = values["start"] // interval, values["end"] // interval
        if last - first >= MAX_BUCKETS:
            raise InvalidInput(
                f"interval: {last - first + 1} buckets of that width are in the time range, and at"
                f" most {MAX_BUCKETS} are answered"
            )
        work = partial(_summary, wanted, interval, self._together)
        # What no tally knows: minutes, and which clusters come together.
        by_rows = interval is Interval.MINUTE or wanted.cluster is not None
        return await self._database.read(work, costly=by_rows or rollup_query.is_costly(wanted))


Rows = Sequence[Sequence[Any]]


def _summary(
    wanted: InsightFilter, interval: Interval, together: DayCache[Rows], connection: Connection
) -> Summary:
    values = rollup_query.rollup_values(wanted)
    origin = values["start"] // interval * interval
    values |= {"origin": origin, "width": int(interval)}
    series: dict[int, Tally] = {}
    if wanted.cluster != EVERYTHING:  # no cluster has this name
        for bucket, *sums in _series(wanted.shape, interval, values, connection):
            _add(series, bucket // interval * interval, sums)
    totals = Tally()
    for each in series.values():
        totals.add(each)
    clusters: dict[str, Tally] = {}
    if totals.count:
        for cluster, *sums in _clusters(wanted, values, together, connection):
            _add(clusters, cluster, sums)
    return Summary(
        series={
            from_micros(bucket): series.get(bucket) or Tally()
            for bucket in range(origin, values["end"] + 1, interval)
        },
        clusters=sorted(
            ((name, each) for name, each in clusters.items() if each.count),
            key=lambda pair: (-pair[1].count, pair[0]),
        ),
        totals=totals,
    )


Key = TypeVar("Key", int, str)


def _add(tallies: dict[Key, Tally], key: Key, sums: Sequence[Any]) -> None:
    """Counts, and sums in billionths, or as an index gave them, as numbers."""
    positive, neutral, negative, scores, confidences = sums
    if isinstance(scores, float):
        scores, confidences = round(scores * UNIT), round(confidences * UNIT)
    tally = Tally(positive, neutral, negative, scores, confidences)
    if key in tallies:
        tallies[key].add(tally)
    else:
        tallies[key] = tally


def _series(
    shape: Shape, interval: Interval, values: dict[str, Any], connection: Connection
) -> Rows:
    """A bucket's start, or a moment in it, and five sums; a bucket may come several times."""
    if interval is Interval.MINUTE or shape.author:
        return connection.execute(_series_of_rows(shape), values).all()
    if interval is Interval.HOUR:  # then days are of no use
        nothing = dict.fromkeys(("hours2_start", "hours2_stop", "days_start", "days_stop"), 0)
        start, stop = values["whole_start"], values["whole_stop"]
        values = values | {"hours1_start": start, "hours1_stop": stop, **nothing}
    return [  # all at once: row by row the interpreter's lock changes hands for each
        *connection.execute(_series_of_tallies(shape), values).all(),
        *connection.execute(_series_of_edges(shape), values).all(),
    ]


def _clusters(
    wanted: InsightFilter,
    values: dict[str, Any],
    together: DayCache[Rows],
    connection: Connection,
) -> Rows:
    """A cluster's name and five sums; a cluster may come several times."""
    shape = wanted.shape
    if shape.author:
        return connection.execute(_clusters_of_rows(shape), values).all()
    if shape.cluster:
        return _clusters_together(wanted, values, together, connection)
    values = values | {"names": connection.scalars(NAMES_OF_CLUSTERS).all()}
    return [
        *connection.execute(_clusters_of_tallies(shape), values).all(),
        *connection.execute(_clusters_of_edges(shape), values).all(),
    ]


def _clusters_together(
    wanted: InsightFilter,
    values: dict[str, Any],
    together: DayCache[Rows],
    connection: Connection,
) -> Rows:
    """Those of the insights of one cluster: no tally knows which come together."""
    start, end = values["start"], values["end"]
    days = whole_days(start, end)

    def by_day(changed: Sequence[int]) -> Mapping[int, Rows]:
        first, stop = min(changed) * DAY, (max(changed) + 1) * DAY
        between = {"start": first, "end": stop - 1, "origin": first, "width": DAY}
        found: dict[int, list[Sequence[Any]]] = {day: [] for day in changed}
        rows = connection.execute(_clusters_by_day(wanted.shape), values | between).all()
        for moment, *row in rows:
            if moment // DAY in found:
                found[moment // DAY].append(row)
        return found

    question = wanted.cluster, wanted.sentiment, wanted.min_confidence
    kept = together.get(question, days, connection, by_day, at_a_time=_DAYS_AT_A_TIME)
    rows = list(chain(*kept.values()))
    edges = [(start, end)]
    if days.first < days.stop:
        edges = [(start, days.first * DAY - 1), (days.stop * DAY, end)]
    for first, last in edges:
        if first <= last:
            between = {"start": first, "end": last}
            rows += connection.execute(_clusters_of_rows(wanted.shape), values | between).all()
    return rows


# --- statements -----------------------------------------------------------------------------------


def _rollup_sums(shape: Shape) -> list[ColumnElement[Any]]:
    columns = insight_tallies.c

    def summed(what: str) -> ColumnElement[Any]:
        wanted = [shape.sentiment] if shape.sentiment else list(Sentiment)
        total: ColumnElement[Any] = columns[wanted[0] + what]
        for sentiment in wanted[1:]:
            total = total + columns[sentiment + what]
        return cast(func.sum(total), BigInteger)  # PostgreSQL makes it a decimal, which is slow

    counts = [
        func.sum(columns[each]) if shape.sentiment in (None, each) else literal_column("0")
        for each in Sentiment
    ]
    return [*counts, summed("_score"), summed("_confidence")]


def _row_sums(table: Table) -> list[ColumnElement[Any]]:
    score = table.c.sentiment_score
    return [
        func.count(case((score > POSITIVE_ABOVE, 1))),
        func.count(case((score.between(NEGATIVE_BELOW, POSITIVE_ABOVE), 1))),
        func.count(case((score < NEGATIVE_BELOW, 1))),
        func.sum(score),
        func.sum(table.c.confidence),
    ]


def _bucket(table: Table) -> ColumnElement[int]:
    """Counted from the origin, since dividing a time before 1970 would round it up."""
    width = bindparam("width", type_=table.c.timestamp.type)
    origin = bindparam("origin", type_=table.c.timestamp.type)
    return origin + (table.c.timestamp - origin) // width * width


@lru_cache(maxsize=64)
def _series_of_rows(shape: Shape) -> Select[*tuple[Any, ...]]:
    table, hint = _rows_table(shape)
    bucket = _bucket(table).label("bucket")
    return _hinted(
        select(bucket, *_row_sums(table)).where(*conditions(shape, table)), table, hint
    ).group_by(literal_column("1"))


def _rows_table(shape: Shape) -> tuple[Table, str]:
    if shape.author:
        return insights, "idx_insight_author"
    if shape.cluster:
        return insight_clusters, ""
    return insights, "idx_insight_timestamp"


def _hinted(
    statement: Select[*tuple[Any, ...]], table: Table, index: str
) -> Select[*tuple[Any, ...]]:
    return statement.with_hint(table, f"INDEXED BY {index}", "sqlite") if index else statement


@lru_cache(maxsize=64)
def _series_of_tallies(shape: Shape) -> CompoundSelect[*tuple[Any, ...]]:
    bucket = insight_tallies.c.bucket
    return union_all(
        *(
            select(bucket, *_rollup_sums(shape))
            .where(
                insight_tallies.c.cluster == bindparam("cluster"), *rollup_query.whole(grain, span)
            )
            .group_by(bucket)
            for grain, span in rollup_query.WHOLE
        )
    )


@lru_cache(maxsize=64)
def _series_of_edges(shape: Shape) -> CompoundSelect[*tuple[Any, ...]]:
    table, index = _rows_table(shape)
    asked = [*figure_conditions(shape, table), *rollup_query.of_cluster(shape)]
    bucket = _bucket(table)
    parts = [
        _hinted(select(bucket, *_row_sums(table)).where(*within, *asked), table, index)
        for within in (rollup_query.within("edge1", table), rollup_query.within("edge2", table))
    ]
    if shape.min_confidence:
        in_step = select(bucket, *_row_sums(table)).where(*rollup_query.in_step(shape, table))
        if table is insights:
            in_step = in_step.where(rollup_query.sentiments_of(shape))
            index = "idx_insight_sentiment"
        parts.append(_hinted(in_step, table, index))
    return union_all(*(part.group_by(literal_column("1")) for part in parts))


_NAME = insight_tallies.c.cluster


@lru_cache(maxsize=64)
def _clusters_of_tallies(shape: Shape) -> CompoundSelect[*tuple[Any, ...]]:
    return union_all(
        *(
            select(_NAME, *_rollup_sums(shape))
            .where(
                _NAME.in_(bindparam("names", expanding=True)),
                *rollup_query.whole(grain, span),
            )
            .group_by(_NAME)
            for grain, span in rollup_query.WHOLE
        )
    )


@lru_cache(maxsize=64)
def _clusters_of_edges(shape: Shape) -> CompoundSelect[*tuple[Any, ...]]:
    name = insight_clusters.c.cluster
    parts = [
        select(name, *_row_sums(insight_clusters)).where(
            name.in_(bindparam("names", expanding=True)),
            *rollup_query.within(edge, insight_clusters),
            *figure_conditions(shape, insight_clusters),
        )
        for edge in ("edge1", "edge2")
    ]
    if shape.min_confidence:
        in_step = (
            select(name, *_row_sums(insights))
            .join_from(insights, insight_clusters, insight_clusters.c.insight_id == insights.c.id)
            .where(rollup_query.sentiments_of(shape), *rollup_query.in_step(shape, insights))
        )
        parts.append(_hinted(in_step, insights, "idx_insight_sentiment"))
    return union_all(*(part.group_by(name) for part in parts))


@lru_cache(maxsize=64)
def _clusters_by_day(shape: Shape) -> Select[*tuple[Any, ...]]:
    clusters = _clusters_of_rows(shape)
    bucket = _bucket(insight_clusters)
    return clusters.with_only_columns(bucket, *clusters.selected_columns).group_by(
        literal_column("1")
    )


@lru_cache(maxsize=64)
def _clusters_of_rows(shape: Shape) -> Select[*tuple[Any, ...]]:
    table, index = _rows_table(shape)
    id_ = table.c.insight_id if table is insight_clusters else table.c.id
    together = insight_clusters.alias("together")
    return _hinted(
        select(together.c.cluster, *_row_sums(table))
        .join_from(table, together, together.c.insight_id == id_)
        .where(*conditions(shape, table))
        .group_by(together.c.cluster),
        table,
        index,
    )
