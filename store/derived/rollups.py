"""The summary tables: how many insights there are by hour and by day, kept and not counted anew.

A row of `insight_tallies` is for one cluster (or, with an empty name, for all insights), one hour
or day and, in two of the four grains, one step of confidence. Whoever writes or erases insights
calls `add` or `subtract` in the same transaction. Scores and confidences are summed as whole
billionths: such sums are exact, whatever their order, so that taking away undoes adding, and a
recount is equal to the digit.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, and_, bindparam, delete, func, select

from models import insight_tallies
from store.bulk_insert import ManyRows
from store.insight_row import InsightRow

HOUR = 3_600_000_000
DAY = 24 * HOUR

UNIT = 1_000_000_000
"""Sums are in billionths: the error of an average is below one of them."""

CONFIDENCE_BINS = tuple(number / 20 for number in range(21))
"""A confidence is in the last of these steps that it is not below."""

EVERYTHING = ""
"""In place of a cluster's name."""


class Grain(IntEnum):
    HOUR = 0  # all steps together, as 0
    HOUR_BY_BIN = 1
    DAY_BY_BIN = 2
    DAY = 3  # all steps together


class Key(NamedTuple):
    cluster: str
    grain: int
    bucket: int
    step: int


def confidence_bin(confidence: float) -> int:
    return bisect_right(CONFIDENCE_BINS, confidence) - 1


def sentiment_place(score: float) -> int:
    """0 positive, 1 neutral, 2 negative: the order of the columns."""
    return 0 if score > 0.1 else 2 if score < -0.1 else 1


def rollup_rows(insights: Iterable[InsightRow]) -> dict[Key, list[int]]:
    """The rows that these insights make; nine sums each, in the order of the columns."""
    rows: dict[Key, list[int]] = {}
    for insight in insights:
        first = 3 * sentiment_place(insight.sentiment_score)
        score = round(insight.sentiment_score * UNIT)
        confidence = round(insight.confidence * UNIT)
        step = confidence_bin(insight.confidence)
        hour = insight.timestamp // HOUR * HOUR
        day = insight.timestamp // DAY * DAY
        for cluster in (EVERYTHING, *insight.clusters):
            for key in (
                Key(cluster, Grain.HOUR, hour, 0),
                Key(cluster, Grain.HOUR_BY_BIN, hour, step),
                Key(cluster, Grain.DAY_BY_BIN, day, step),
                Key(cluster, Grain.DAY, day, 0),
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
    """Take insights away that are being erased in this transaction, whose rows must be locked, so
    that nobody else takes them away too. What is left of nothing is erased as well."""
    keys = _change(connection, insights, -1)
    if keys:
        connection.execute(_ERASE_EMPTY, [key._asdict() for key in keys])


def _change(connection: Connection, insights: Sequence[InsightRow], sign: int) -> Sequence[Key]:
    rows = rollup_rows(insights)
    if not rows:
        return []
    # Every transaction takes the rows in one order, so that no two wait for each other.
    keys = sorted(rows)
    _TALLIES.insert(connection, [(*key, *(sign * n for n in rows[key])) for key in keys])
    return keys


_TALLIES = ManyRows(insight_tallies, adding=True)

_ERASE_EMPTY = delete(insight_tallies).where(
    *(insight_tallies.c[name] == bindparam(name) for name in Key._fields),
    and_(*(insight_tallies.c[name] == 0 for name in ("positive", "neutral", "negative"))),
)


def _names_of_clusters() -> Select[*tuple[Any, ...]]:
    """Each name by one look into the key, in place of going through all rows."""
    name = insight_tallies.c.cluster
    names = (
        select(func.min(name).label("name")).where(name > EVERYTHING).cte("names", recursive=True)
    )
    next_name = select(func.min(name)).where(name > names.c.name).scalar_subquery()
    names = names.union_all(select(next_name).where(names.c.name.is_not(None)))
    return select(names.c.name).where(names.c.name.is_not(None))


NAMES_OF_CLUSTERS = _names_of_clusters()
