"""Exact figures for any filter: one query builder for totals, series, clusters and trends.

A time range is decomposed into full days, the full hours to either side of them, and the parts of
hours at its two ends. Days and hours come from the rollups; the ends come from an index, and so
does the confidence bin that `min_confidence` falls inside of. Rollups do not know authors, minutes,
or which clusters come together: figures about those are summed over rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    select,
    union_all,
)

from analysis.micros import DAY, HOUR
from analysis.sentiment import NEGATIVE_BELOW, POSITIVE_ABOVE, Sentiment
from models import insight_clusters, insight_rollups, insights
from store.derived.rollups import (
    CONFIDENCE_BINS,
    EVERYTHING,
    UNIT,
    Grain,
    confidence_bin,
    facet_name,
    is_cluster,
)
from store.filters import (
    InsightFilter,
    Shape,
    Span,
    conditions,
    span_values,
    within,
)
from store.insight_row import read_clusters
from store.statements import Prepared, among

# --- decomposing a time range ---------------------------------------------------------------------


class RangeParts(NamedTuple):
    """Disjoint parts of a time range that together are all of it; any may be empty."""

    partial_buckets: tuple[Span, Span]
    hours: tuple[Span, Span]
    days: Span

    @property
    def full_buckets(self) -> Span:
        return Span(self.hours[0].start, self.hours[1].stop)


def decompose(span: Span, *, by_day: bool = True) -> RangeParts:
    """Without `by_day` all full buckets are hours, in the first of `hours`."""
    first_hour, last_hour = _round_up(span.start, HOUR), span.stop // HOUR * HOUR
    if first_hour > last_hour:
        nothing = Span(span.start, span.start)
        return RangeParts((span, nothing), (nothing, nothing), nothing)
    partial = (Span(span.start, first_hour), Span(last_hour, span.stop))
    first_day, last_day = _round_up(first_hour, DAY), last_hour // DAY * DAY
    if first_day > last_day or not by_day:
        first_day = last_day = last_hour
    hours = (Span(first_hour, first_day), Span(last_day, last_hour))
    return RangeParts(partial, hours, Span(first_day, last_day))


def _round_up(moment: int, width: int) -> int:
    return -(-moment // width) * width


# --- figures --------------------------------------------------------------------------------------

Rows = Sequence[Sequence[Any]]
"""Keys, the bucket before the cluster, then five sums: positive, neutral and negative insights, and
their scores and confidences in billionths. The same keys may come several times."""

ANY = Shape()


class Key(NamedTuple):
    """What figures are grouped by. A bucket is its start, in microseconds."""

    bucket: bool = False
    cluster: bool = False


def is_costly(wanted: InsightFilter) -> bool:
    """Whether a count reads more than rollups: the matches of a search, an author's insights, or
    the rows of a confidence bin."""
    inside_bin = wanted.min_confidence is not None and wanted.min_confidence not in CONFIDENCE_BINS
    return wanted.shape.is_searched or wanted.author is not None or inside_bin


def signed_parts(wanted: InsightFilter) -> Iterator[tuple[int, InsightFilter]]:
    """Filters whose figures, each times 1 or -1, add up to those of the filter, and that ask for no
    facet's usual value: what has it are all insights but those that have another. An author's are
    looked at one by one."""
    for facet, values in wanted.facets.items():
        if values == (facet.usual,) and wanted.author is None:
            any_value: dict[str, Any] = {facet: None}
            rest = replace(wanted, **any_value)
            but = replace(rest, unusual=wanted.unusual | {facet})
            yield from signed_parts(rest)
            yield from ((-sign, part) for sign, part in signed_parts(but))
            return
    yield 1, wanted


def count(wanted: InsightFilter, connection: Connection) -> int:
    """For a filter that is not searched; `store/derived/word_counts.py` counts the others."""
    if wanted.cluster is not None and not is_cluster(wanted.cluster):
        return 0
    return sum(
        sign * (n or 0)
        for sign, part in signed_parts(wanted)
        for (n,) in figures(part.shape, Key(), values_of(part), connection, only_count=True)
    )


def count_between(span: Span, connection: Connection) -> int:
    """All insights in the time range."""
    values = values_between(span)
    return sum(n or 0 for (n,) in figures(ANY, Key(), values, connection, only_count=True))


def series(wanted: InsightFilter, width: int, connection: Connection) -> Rows:
    """By a moment in the bucket. `width`, in microseconds, is a minute, an hour or a day. For a
    filter that asks for no facet's usual value."""
    if wanted.cluster is not None and not is_cluster(wanted.cluster):
        return []
    values = values_of(wanted, by_day=width >= DAY)
    values |= bucket_values(values["range_start"] // width * width, width)
    return figures(wanted.shape, Key(bucket=True), values, connection, by_rows=width < HOUR)


def figures(
    shape: Shape,
    key: Key,
    values: Mapping[str, Any],
    connection: Connection,
    *,
    by_rows: bool = False,
    only_count: bool = False,
) -> Rows:
    """The insights with these values, by `key`. `by_rows` reads no rollups; with `only_count` one
    count is in place of the five sums. Without a key, what is summed of nothing may be None.

    By cluster, but without a filter by cluster, facet or author, `values` also has `names`: those
    of all clusters. By bucket, it also has `bucket_values`.
    """
    parts = ("range",) if by_rows or shape.author else _PARTS[shape.min_confidence]
    spans = tuple(part for part in parts if values[f"{part}_start"] < values[f"{part}_stop"])
    if not spans:
        return []
    return _statement(shape, key, spans, only_count).run(connection, values)


def clusters_of_own(wanted: InsightFilter, connection: Connection) -> Rows:
    """By cluster, an author's own posts, whose topics are in their rows alone: those of others are
    in what `figures` finds."""
    rows = _own_statement(wanted.shape).run(connection, values_of(wanted))
    return [[name, *sums] for listed, *sums in rows for name in read_clusters(listed)]


def values_of(wanted: InsightFilter, *, by_day: bool = True) -> dict[str, Any]:
    """For a filter without words."""
    values: dict[str, Any] = values_between(wanted.span, by_day=by_day)
    values["author"] = wanted.author
    for facet, some in wanted.facets.items():
        values |= {facet: some, "names": [facet_name(facet, value) for value in some]}
    if wanted.cluster is not None:
        values |= {"cluster": wanted.cluster, "listed_cluster": wanted.listed_cluster}
    if (least := wanted.min_confidence) is not None:
        bin_ = confidence_bin(least)
        is_edge = least == CONFIDENCE_BINS[bin_]
        values |= {
            "min_confidence": least,
            "hour_grain": Grain.HOUR_BY_BIN.value,
            "day_grain": Grain.DAY_BY_BIN.value,
            "first_bin": bin_ if is_edge else bin_ + 1,
            "next_bin_from": least if is_edge else CONFIDENCE_BINS[bin_ + 1],
        }
    return values


def values_between(span: Span, *, by_day: bool = True) -> dict[str, Any]:
    """For all insights in a time range."""
    parts = decompose(span, by_day=by_day)
    return {
        **span_values("range", span),
        **span_values("partial1", parts.partial_buckets[0]),
        **span_values("partial2", parts.partial_buckets[1]),
        **span_values("hours1", parts.hours[0]),
        **span_values("hours2", parts.hours[1]),
        **span_values("days", parts.days),
        **span_values("full_buckets", parts.full_buckets),
        "cluster": EVERYTHING,
        "hour_grain": Grain.HOUR.value,
        "day_grain": Grain.DAY.value,
        "first_bin": 0,
    }


def bucket_values(origin: int, width: int) -> dict[str, int]:
    """For buckets of `width`; none begins before `origin`."""
    return {"origin": origin, "width": width}


# --- the builder ----------------------------------------------------------------------------------

_PARTS = {
    False: ("hours1", "hours2", "days", "partial1", "partial2"),
    True: ("hours1", "hours2", "days", "partial1", "partial2", "full_buckets"),
}
"""The spans that a time range is decomposed into, without and with a least confidence."""


class _Source(NamedTuple):
    """Rows of one table. `hint` is the index by which SQLite must enter."""

    table: Table
    where: Sequence[ColumnElement[bool]]
    hint: str | None = None


@lru_cache(maxsize=256)
def _statement(shape: Shape, key: Key, spans: Sequence[str], only_count: bool) -> Prepared:
    """The sources of the spans are disjoint, and together are all that the filter asks for."""
    sources = (_source(shape, key, span) for span in spans)
    return Prepared(union_all(*(_select(source, shape, key, only_count) for source in sources)))


@lru_cache(maxsize=64)
def _own_statement(shape: Shape) -> Prepared:
    """By all topics of a row together, as they stand in it."""
    listed = cast(insights.c.clusters, Text)
    found = select(listed, *_row_sums(insights, only_count=False)).where(
        *conditions(shape), insights.c.own == literal_column("1")
    )
    found = found.with_hint(insights, "INDEXED BY idx_insight_author", "sqlite")
    return Prepared(found.group_by(literal_column("1")))


def _source(shape: Shape, key: Key, span: str) -> _Source:
    match span:
        case "hours1" | "hours2":
            return _rollups_between(shape, key, "hour_grain", span)
        case "days":
            return _rollups_between(shape, key, "day_grain", span)
        case "full_buckets":
            return _rows_of_bin(shape)
        case _:
            return _rows_between(shape, key, span)


def _rollups_between(shape: Shape, key: Key, grain: str, span: str) -> _Source:
    columns = insight_rollups.c
    where = [
        _named(columns.name, any_name=key.cluster or bool(shape.facets)),
        columns.grain == bindparam(grain),
        *within(span, columns.bucket),
        columns.confidence_bin >= bindparam("first_bin"),
    ]
    return _Source(insight_rollups, where)


def _rows_between(shape: Shape, key: Key, span: str) -> _Source:
    if shape.author:
        return _Source(insights, conditions(shape, span=span), "idx_insight_author")
    if shape.cluster:
        return _Source(insight_clusters, conditions(shape, insight_clusters, span=span))
    if key.cluster and not shape.facets:
        any_name = _named(insight_clusters.c.cluster, any_name=True)
        return _Source(
            insight_clusters, [any_name, *conditions(shape, insight_clusters, span=span)]
        )
    return _Source(insights, conditions(shape, span=span), "idx_insight_timestamp")


def _rows_of_bin(shape: Shape) -> _Source:
    """In full hours and days, the rows from `min_confidence` up to the next confidence bin."""
    table = insight_clusters if shape.cluster else insights
    where = conditions(shape, table, span="full_buckets")
    where.append(table.c.confidence < bindparam("next_bin_from"))
    if table is insight_clusters:
        return _Source(table, where)
    return _Source(table, [*where, has_sentiment(shape)], "idx_insight_sentiment")


def _named(name: ColumnElement[str], *, any_name: bool) -> ColumnElement[bool]:
    if any_name:
        return among(name, "names")
    return name == bindparam("cluster")


def has_sentiment(shape: Shape) -> ColumnElement[bool]:
    """The condition by which `idx_insight_sentiment` is entered; the index has numbers."""
    numbers = {Sentiment.POSITIVE: "1", Sentiment.NEUTRAL: "0", Sentiment.NEGATIVE: "-1"}
    asked = [numbers[shape.sentiment]] if shape.sentiment else numbers.values()
    return insights.c.sentiment.in_([literal_column(number) for number in asked])


def _select(source: _Source, shape: Shape, key: Key, only_count: bool) -> Select[*tuple[Any, ...]]:
    table = source.table
    is_rollup = table is insight_rollups
    sums = _rollup_sums(shape, only_count) if is_rollup else _row_sums(table, only_count)
    keys: list[ColumnElement[Any]] = []
    if key.bucket and not is_rollup:
        keys.append(_bucket(table.c.timestamp))
    elif key.bucket:  # without clusters the rollups come in its order, so that nothing is sorted
        keys.append(_bucket(table.c.bucket) if key.cluster else table.c.bucket)
    together = insight_clusters.alias("together")
    joins = key.cluster and not is_rollup and (table is insights or shape.cluster)
    if key.cluster:
        named = together if joins else table
        keys.append(named.c.name if is_rollup else named.c.cluster)
    found = select(*keys, *sums).where(*source.where)
    if joins:
        id_ = table.c.id if table is insights else table.c.insight_id
        found = found.join_from(table, together, together.c.insight_id == id_)
    else:
        found = found.select_from(table)
    if source.hint:
        found = found.with_hint(table, f"INDEXED BY {source.hint}", "sqlite")
    return found.group_by(*(literal_column(str(place + 1)) for place in range(len(keys))))


def _bucket(moment: ColumnElement[int]) -> ColumnElement[int]:
    """Counted from the origin, since dividing a time before 1970 would round it up."""
    origin, width = (bindparam(name, type_=BigInteger) for name in ("origin", "width"))
    return origin + (moment - origin) // width * width


def _rollup_sums(shape: Shape, only_count: bool) -> list[ColumnElement[Any]]:
    columns = insight_rollups.c
    wanted = [shape.sentiment] if shape.sentiment else list(Sentiment)

    def summed(what: str) -> ColumnElement[Any]:
        total: ColumnElement[Any] = columns[wanted[0] + what]
        for sentiment in wanted[1:]:
            total = total + columns[sentiment + what]
        return cast(func.sum(total), BigInteger)  # PostgreSQL makes it a decimal, which is slow

    if only_count:
        return [summed("")]
    counts = [
        func.sum(columns[each]) if each in wanted else literal_column("0") for each in Sentiment
    ]
    return [*counts, summed("_score"), summed("_confidence")]


def _row_sums(table: Table, only_count: bool) -> list[ColumnElement[Any]]:
    if only_count:
        return [func.count()]
    score = table.c.sentiment_score
    return [
        func.count(case((score > POSITIVE_ABOVE, 1))),
        func.count(case((score.between(NEGATIVE_BELOW, POSITIVE_ABOVE), 1))),
        func.count(case((score < NEGATIVE_BELOW, 1))),
        *(
            # Rounded one by one, as rollups are.
            cast(
                func.sum(cast(func.round(figure * literal_column(f"{UNIT}.0")), BigInteger)),
                BigInteger,
            )
            for figure in (score, table.c.confidence)
        ),
    ]
