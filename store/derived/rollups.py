"""Rollups: how many insights there are by hour and by day, kept as they are written.

A row of `insight_rollups` is for one name, one hour or day and, in two of the four grains, one
confidence bin. A name is that of a cluster, or `language=en` for a facet's value (but not its usual
one), or empty for all insights. Every transaction that writes or erases
insights calls `add` or `subtract`. Scores and confidences are summed as whole billionths: these
sums are exact in any order, so that taking away undoes adding, and a recount is equal to the digit.
"""

import operator
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, delete, func, select

from analysis.micros import DAY, HOUR
from analysis.sentiment import Sentiment, sentiment_of
from backends.sqlite_driver import execute_many
from models import insight_rollups
from store.bulk_insert import ManyRows
from store.facets import Facet, unusual_values
from store.insight_row import InsightRow

UNIT = 1_000_000_000
"""Sums are in billionths: the error of an average is below one of them."""

CONFIDENCE_BINS = tuple(number / 20 for number in range(21))
"""A bin reaches from its number up to, but without, the next one; the last is 1.0 alone."""

EVERYTHING = ""
"""In place of a cluster's name."""

_EQUALS = "="  # in no cluster's name


def facet_name(facet: Facet, value: str) -> str:
    return f"{facet}{_EQUALS}{value}"


@lru_cache(maxsize=4096)
def _facet_names(unusual: Sequence[tuple[Facet, str]]) -> Sequence[str]:
    """Cached, since few different ones make up most insights."""
    return [facet_name(*each) for each in unusual]


def is_cluster(name: str) -> bool:
    """Whether a cluster can have the name."""
    return name != EVERYTHING and _EQUALS not in name


class Grain(IntEnum):
    HOUR = 0  # all confidence bins together, as bin 0
    HOUR_BY_BIN = 1
    DAY_BY_BIN = 2
    DAY = 3  # all bins together


_HOUR, _HOUR_BY_BIN, _DAY_BY_BIN, _DAY = map(int, Grain)  # which SQLite's driver knows at once

RollupKey = tuple[str, int, int, int]
"""Name, grain, bucket and confidence bin, as in the table's key; a bucket is the start of the hour
or day. Plain, since a named tuple takes eight times as long to make."""


def confidence_bin(confidence: float) -> int:
    return bisect_right(CONFIDENCE_BINS, confidence) - 1


_FIRST_COLUMN = {sentiment: 3 * place for place, sentiment in enumerate(Sentiment)}


def rollup_rows(
    insights: Iterable[InsightRow], gone: Iterable[InsightRow] = ()
) -> dict[RollupKey, list[int]]:
    """The rows that these insights make, less those that `gone` ones had made; nine sums each, in
    the order of the columns."""
    # The finest grain first, whose rows many insights of a group share.
    finest: dict[tuple[str, int, int], list[int]] = {}
    for sign, some in ((1, insights), (-1, gone)):
        for insight in some:
            first = _FIRST_COLUMN[sentiment_of(insight.sentiment_score)]
            score = sign * round(insight.sentiment_score * UNIT)
            confidence = sign * round(insight.confidence * UNIT)
            bin_ = confidence_bin(insight.confidence)
            hour = insight.timestamp // HOUR * HOUR
            for name in (EVERYTHING, *insight.clusters, *_facet_names(unusual_values(insight))):
                key = (name, hour, bin_)
                sums = finest.get(key)
                if sums is None:
                    sums = finest[key] = [0] * 9
                sums[first] += sign
                sums[first + 1] += score
                sums[first + 2] += confidence
    rows: dict[RollupKey, list[int]] = {}
    for (name, hour, bin_), sums in finest.items():
        if any(sums):
            rows[name, _HOUR_BY_BIN, hour, bin_] = sums
            day = hour // DAY * DAY
            for wider in ((name, _HOUR, hour, 0), (name, _DAY_BY_BIN, day, bin_)):
                before = rows.get(wider)
                rows[wider] = sums if before is None else list(map(operator.add, before, sums))
    for (name, grain, hour, _), sums in [*rows.items()]:
        if grain == _HOUR:
            wider = name, _DAY, hour // DAY * DAY, 0
            before = rows.get(wider)
            rows[wider] = sums if before is None else list(map(operator.add, before, sums))
    return rows


def add(connection: Connection, insights: Sequence[InsightRow]) -> None:
    """Count insights that are being written in this transaction."""
    replace(connection, [], insights)


def subtract(connection: Connection, insights: Sequence[InsightRow]) -> None:
    """Take out insights that are being erased in this transaction, which must have locked their
    rows, so that no other takes them out too."""
    replace(connection, insights, [])


def replace(
    connection: Connection, before: Sequence[InsightRow], after: Sequence[InsightRow]
) -> None:
    """Count `after` in place of `before`. Rows that then count nothing are erased."""
    rows = rollup_rows(after, gone=before)
    # Every transaction changes rows in the order of their keys, so that no two wait for each other.
    changes = sorted(change for change in rows.items() if any(change[1]))
    _ROLLUPS.insert(connection, [(*key, *sums) for key, sums in changes])
    fewer = [key for key, sums in changes if sums[0] + sums[3] + sums[6] < 0]
    if not fewer:
        return
    if connection.dialect.name == "sqlite":
        execute_many(connection, _ERASE_EMPTY_ON_SQLITE, fewer)
    else:
        connection.execute(
            _ERASE_EMPTY, [dict(zip(_KEY_COLUMNS, key, strict=True)) for key in fewer]
        )


_ROLLUPS = ManyRows(insight_rollups, adding=True)

_KEY_COLUMNS = [column.name for column in insight_rollups.primary_key]
_ERASE_EMPTY = delete(insight_rollups).where(
    *(insight_rollups.c[name] == bindparam(name) for name in _KEY_COLUMNS),
    and_(*(insight_rollups.c[name] == 0 for name in ("positive", "neutral", "negative"))),
)

# The same at a third of the cost.
_ERASE_EMPTY_ON_SQLITE = """
DELETE FROM insight_rollups WHERE name = ? AND grain = ? AND bucket = ? AND confidence_bin = ?
AND positive = 0 AND neutral = 0 AND negative = 0
"""


def _names_of_clusters() -> Select[*tuple[Any, ...]]:
    """Each name by one search of the table's key, in place of a scan of all rows."""
    name = insight_rollups.c.name
    names = (
        select(func.min(name).label("name")).where(name > EVERYTHING).cte("names", recursive=True)
    )
    next_name = select(func.min(name)).where(name > names.c.name).scalar_subquery()
    names = names.union_all(select(next_name).where(names.c.name.is_not(None)))
    # Null, which follows the last one, is left out as well.
    return select(names.c.name).where(~names.c.name.contains(_EQUALS))


NAMES_OF_CLUSTERS = _names_of_clusters()
