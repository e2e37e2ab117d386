"""Exact figures for any filter: from the tallies where they serve, else by an index.

A time range is cut into whole days, the whole hours to either side of them, and what is left at its
edges. Days and hours come from the tallies, edges from an index. So do, of the step of confidence
that the least that is asked for is inside of, those that reach it.
"""

from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    Table,
    bindparam,
    func,
    literal_column,
    select,
)

from models import insight_clusters, insight_tallies, insights
from store.derived.rollups import CONFIDENCE_BINS, DAY, EVERYTHING, HOUR, Grain, confidence_bin
from store.filters import InsightFilter, Sentiment, Shape, conditions, figure_conditions


class Span(NamedTuple):
    """From `start` up to, but without, `stop`, in microseconds. Empty where they are equal."""

    start: int
    stop: int


class RangeParts(NamedTuple):
    """A time range in pieces; those that are not needed are empty."""

    edges: tuple[Span, Span]
    hours: tuple[Span, Span]
    days: Span

    @property
    def whole(self) -> Span:
        """All but the edges."""
        return Span(self.hours[0].start, self.hours[1].stop)


def decompose(start: int, end: int) -> RangeParts:
    """Both inclusive."""
    stop = end + 1
    first_hour, last_hour = _up(start, HOUR), stop // HOUR * HOUR
    nothing = Span(start, start)
    if first_hour > last_hour:
        return RangeParts((Span(start, stop), nothing), (nothing, nothing), nothing)
    edges = (Span(start, first_hour), Span(last_hour, stop))
    first_day, last_day = _up(first_hour, DAY), last_hour // DAY * DAY
    if first_day > last_day:
        hours = Span(first_hour, last_hour)
        return RangeParts(edges, (hours, Span(last_hour, last_hour)), Span(last_hour, last_hour))
    hours_around = (Span(first_hour, first_day), Span(last_day, last_hour))
    return RangeParts(edges, hours_around, Span(first_day, last_day))


def _up(moment: int, width: int) -> int:
    return -(-moment // width) * width


def is_costly(wanted: InsightFilter) -> bool:
    """Whether counting it goes through more than tallies: through the matches of a search, through
    an author's insights, or through those in the step of confidence that the least is inside of."""
    inside_step = wanted.min_confidence is not None and wanted.min_confidence not in CONFIDENCE_BINS
    return wanted.words is not None or wanted.author is not None or inside_step


# --- counting -------------------------------------------------------------------------------------


def count(wanted: InsightFilter, connection: Connection) -> int:
    """For a filter without words: those are counted by `store/derived/word_counts.py`."""
    shape = wanted.shape
    if wanted.cluster == EVERYTHING:
        return 0  # no cluster has this name
    if shape.author:
        return connection.scalar(_count_rows(shape), wanted.values()) or 0
    return connection.scalar(_count_tallied(shape), rollup_values(wanted)) or 0


def count_all_between(wanted: InsightFilter, connection: Connection) -> int:
    """How many there are in the time range, whatever else is asked."""
    return count(InsightFilter(wanted.start_time, wanted.end_time), connection)


@lru_cache(maxsize=64)
def _count_rows(shape: Shape) -> Select[*tuple[Any, ...]]:
    counted = select(func.count()).select_from(insights).where(*conditions(shape))
    return counted.with_hint(insights, "INDEXED BY idx_insight_author", "sqlite")


def rollup_values(wanted: InsightFilter) -> dict[str, Any]:
    """For the statements of this module."""
    values = wanted.values()
    pieces = decompose(values["start"], values["end"])
    spans = {
        "edge1": pieces.edges[0],
        "edge2": pieces.edges[1],
        "hours1": pieces.hours[0],
        "hours2": pieces.hours[1],
        "days": pieces.days,
        "whole": pieces.whole,
    }
    for name, span in spans.items():
        values[f"{name}_start"], values[f"{name}_stop"] = span
    values["cluster"] = EVERYTHING if wanted.cluster is None else wanted.cluster
    values["hour_grain"], values["day_grain"] = Grain.HOUR.value, Grain.DAY.value
    values["first_step"] = 0
    if (least := wanted.min_confidence) is not None:
        step = confidence_bin(least)
        values["hour_grain"] = Grain.HOUR_BY_BIN.value
        values["day_grain"] = Grain.DAY_BY_BIN.value
        # The step that the least is inside of is counted by an index.
        values["first_step"] = step if least == CONFIDENCE_BINS[step] else step + 1
        values["step_stop"] = least if least == CONFIDENCE_BINS[step] else CONFIDENCE_BINS[step + 1]
    return values


@lru_cache(maxsize=64)
def _count_tallied(shape: Shape) -> Select[*tuple[Any, ...]]:
    parts = [
        *(_count_whole(shape, grain, span) for grain, span in WHOLE),
        _count_in(shape, "edge1"),
        _count_in(shape, "edge2"),
    ]
    if shape.min_confidence:
        parts.append(_count_in_step(shape))
    total: ColumnElement[int] = parts[0]
    for part in parts[1:]:
        total = total + part
    return select(total)


def _count_whole(shape: Shape, grain: str, span: str) -> ScalarSelect[int]:
    columns = insight_tallies.c
    counted: ColumnElement[int] = columns.positive + columns.neutral + columns.negative
    if shape.sentiment:
        counted = columns[shape.sentiment.value]
    return (
        select(func.coalesce(func.sum(counted), 0))
        .where(columns.cluster == bindparam("cluster"), *whole(grain, span))
        .scalar_subquery()
    )


WHOLE = (("hour", "hours1"), ("hour", "hours2"), ("day", "days"))
"""The grains of the tallies and the spans that are counted by them."""


def whole(grain: str, span: str) -> list[ColumnElement[bool]]:
    """The tallies of whole hours or days, for the confidence that is asked for."""
    columns = insight_tallies.c
    return [
        columns.grain == bindparam(f"{grain}_grain"),
        columns.bucket >= bindparam(f"{span}_start"),
        columns.bucket < bindparam(f"{span}_stop"),
        columns.step >= bindparam("first_step"),
    ]


def _count_in(shape: Shape, span: str) -> ScalarSelect[int]:
    table = insight_clusters if shape.cluster else insights
    return (
        hinted(select(func.count()).select_from(table), table)
        .where(*within(span, table), *figure_conditions(shape, table), *of_cluster(shape))
        .scalar_subquery()
    )


def within(span: str, table: Table) -> list[ColumnElement[bool]]:
    timestamp = table.c.timestamp
    return [timestamp >= bindparam(f"{span}_start"), timestamp < bindparam(f"{span}_stop")]


def of_cluster(shape: Shape) -> list[ColumnElement[bool]]:
    return [insight_clusters.c.cluster == bindparam("cluster")] if shape.cluster else []


def hinted(statement: Select[*tuple[Any, ...]], table: Table) -> Select[*tuple[Any, ...]]:
    if table is insight_clusters:
        return statement
    return statement.with_hint(table, "INDEXED BY idx_insight_timestamp", "sqlite")


def _count_in_step(shape: Shape) -> ScalarSelect[int]:
    """In whole hours and days, those from the least confidence to the next step."""
    table = insight_clusters if shape.cluster else insights
    counted = select(func.count()).select_from(table)
    if table is insights:
        counted = counted.where(sentiments_of(shape)).with_hint(
            table, "INDEXED BY idx_insight_sentiment", "sqlite"
        )
    return counted.where(*in_step(shape, table)).scalar_subquery()


def in_step(shape: Shape, table: Table) -> list[ColumnElement[bool]]:
    return [
        *within("whole", table),
        *figure_conditions(shape, table),
        *of_cluster(shape),
        table.c.confidence < bindparam("step_stop"),
    ]


def sentiments_of(shape: Shape) -> ColumnElement[bool]:
    """What enters the index by sentiment and confidence."""
    numbers = {Sentiment.POSITIVE: "1", Sentiment.NEUTRAL: "0", Sentiment.NEGATIVE: "-1"}
    asked = [numbers[shape.sentiment]] if shape.sentiment else numbers.values()
    return insights.c.sentiment.in_([literal_column(number) for number in asked])
