"""Rollups: how many insights there are by hour and by day, kept as they are written.

A row of `insight_rollups` is for one cluster (or, with an empty name, for all insights), one hour
or day and, in two of the four grains, one confidence bin. Every transaction that writes or erases
insights calls `add` or `subtract`. Scores and confidences are summed as whole billionths: these
sums are exact in any order, so that taking away undoes adding, and a recount is equal to the digit.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, and_, bindparam, delete, func, select

from analysis.sentiment import Sentiment, sentiment_of
from models import insight_rollups
from store.bulk_insert import ManyRows
from store.insight_row import InsightRow

HOUR = 3_600_000_000
DAY = 24 * HOUR

UNIT = 1_000_000_000
"""Sums are in billionths: the error of an average is below one of them."""

CONFIDENCE_BINS = tuple(number / 20 for number in range(21))
"""A bin reaches from its number up to, but without, the next one; the last is 1.0 alone."""

EVERYTHING = ""
"""In place of a cluster's name."""


class Grain(IntEnum):
    HOUR = 0  # all confidence bins together, as bin 0
    HOUR_BY_BIN = 1
    DAY_BY_BIN = 2
    DAY = 3  # all bins together


class RollupKey(NamedTuple):
    """In the order of the table's key; `bucket` is the start of the hour or day."""

    name: str
    grain: int
    bucket: int
    confidence_bin: int


def confidence_bin(confidence: float) -> int:
    return bisect_right(CONFIDENCE_BINS, confidence) - 1


_FIRST_COLUMN = {sentiment: 3 * place for place, sentiment in enumerate(Sentiment)}


def rollup_rows(insights: Iterable[InsightRow]) -> dict[RollupKey, list[int]]:
    """The rows that these insights make; nine sums each, in the order of the columns."""
    rows: dict[RollupKey, list[int]] = {}
    for insight in insights:
        first = _FIRST_COLUMN[sentiment_of(insight.sentiment_score)]
        score = round(insight.sentiment_score * UNIT)
        confidence = round(insight.confidence * UNIT)
        bin_ = confidence_bin(insight.confidence)
        hour = insight.timestamp // HOUR * HOUR
        day = insight.timestamp // DAY * DAY
        for cluster in (EVERYTHING, *insight.clusters):
            for key in (
                RollupKey(cluster, Grain.HOUR, hour, 0),
                RollupKey(cluster, Grain.HOUR_BY_BIN, hour, bin_),
                RollupKey(cluster, Grain.DAY_BY_BIN, day, bin_),
                RollupKey(cluster, Grain.DAY, day, 0),
            ):
                sums = rows.setdefault(key, [0] * 9)
                sums[first] += 1
                sums[first + 1] += score
                sums[first + 2] += confidence
    return rows


def add(connection: Connection, insights: Sequence[InsightRow]) -> None:
    """Count insights that are being written in this transaction."""
    _change(connection, insights, 1)


def subtract(connection: Connection, insights: Sequence[InsightRow]) -> None:
    """Take out insights that are being erased in this transaction, which must have locked their
    rows, so that no other takes them out too. Rows that then count nothing are erased as well."""
    keys = _change(connection, insights, -1)
    if keys:
        connection.execute(_ERASE_EMPTY, [key._asdict() for key in keys])


def _change(
    connection: Connection, insights: Sequence[InsightRow], sign: int
) -> Sequence[RollupKey]:
    rows = rollup_rows(insights)
    if not rows:
        return []
    # Every transaction changes rows in the order of their keys, so that no two wait for each other.
    keys = sorted(rows)
    _ROLLUPS.insert(connection, [(*key, *(sign * n for n in rows[key])) for key in keys])
    return keys


_ROLLUPS = ManyRows(insight_rollups, adding=True)

_ERASE_EMPTY = delete(insight_rollups).where(
    *(
        column == bindparam(name)
        for column, name in zip(insight_rollups.primary_key, RollupKey._fields, strict=True)
    ),
    and_(*(insight_rollups.c[name] == 0 for name in ("positive", "neutral", "negative"))),
)


def _names_of_clusters() -> Select[*tuple[Any, ...]]:
    """Each name by one search of the table's key, in place of a scan of all rows."""
    name = insight_rollups.c.name
    names = (
        select(func.min(name).label("name")).where(name > EVERYTHING).cte("names", recursive=True)
    )
    next_name = select(func.min(name)).where(name > names.c.name).scalar_subquery()
    names = names.union_all(select(next_name).where(names.c.name.is_not(None)))
    return select(names.c.name).where(names.c.name.is_not(None))


NAMES_OF_CLUSTERS = _names_of_clusters()
