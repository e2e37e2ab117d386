"""Insights as dashboards ask for them: one page, newest first, and the exact total."""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeVar

from pydantic_core import to_json
from sqlalchemy import (
    Connection,
    Row,
    Select,
    Table,
    Text,
    bindparam,
    cast,
    func,
    select,
    tuple_,
)

from database import LONG_READ_SECONDS, Database
from models import from_micros, insight_clusters, insights
from store import cursors
from store.derived import rollup_query, word_counts, word_index
from store.derived.word_counts import MatchCounter
from store.filters import COUNTS, InsightFilter, Shape, conditions
from store.insight_row import BYTES_OF_PAGE, read_notes

ROWS_AT_A_TIME = 128
"""Of one statement: with texts of the greatest length these are 5 MB."""

ROWS_OF_EXPORT = 500
BYTES_OF_EXPORT = 64_000
BYTES_OF_EVENTS = 125_000
_ROW_BYTES = 220
"""An insight's JSON without its values."""

_LIST = "insights"
"""Whose cursors they are."""

Position = tuple[int, int]
"""Of the last row that was given: its timestamp and id."""

Rows = Sequence[Row[*tuple[Any, ...]]]


class ListedInsight(NamedTuple):
    """`notes` has what a reader should also know, such as `reused_from`; mostly it is empty."""

    conversation_id: str
    timestamp: datetime
    text: str
    author: str | None
    sentiment_score: float
    clusters: Sequence[str]
    confidence: float
    reasoning: str
    notes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class InsightPage:
    """`total_count` is for the whole filter; `next_cursor` is None on the last page.

    A page may be shorter than asked for: it ends at `BYTES_OF_PAGE` of JSON.
    """

    insights: Sequence[ListedInsight]
    total_count: int
    next_cursor: str | None


class InsightStore:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._matches = MatchCounter()

    async def page(self, wanted: InsightFilter, *, limit: int, cursor: str | None) -> InsightPage:
        """Up to `limit` insights after `cursor`, newest timestamp first, then newest id; fewer
        where they are large.

        The cursor names the last row of the page before, so rows that come or go meanwhile make
        nothing repeat or be skipped. Raises InvalidInput for a cursor that is none of ours.
        """
        position = None if cursor is None else cursors.decode(_LIST, cursor)
        page = partial(self._page, wanted, limit, position)
        return await self._database.read(page, costly=rollup_query.is_costly(wanted))

    def _page(
        self,
        wanted: InsightFilter,
        limit: int,
        position: Position | None,
        connection: Connection,
    ) -> InsightPage:
        if wanted.words is not None:
            found = self._matches.count(wanted, connection)
            total = found.total
            read = partial(_matches, wanted, found, connection)
        else:
            total = rollup_query.count(wanted, connection)
            read = partial(_rows, wanted, total, connection)
        rows, more = (
            _some(read, _position, position, limit, BYTES_OF_PAGE) if total else ([], False)
        )
        return InsightPage(
            insights=[_to_insight(row) for row in rows],
            total_count=total,
            next_cursor=cursors.encode(_LIST, *_position(rows[-1])) if more else None,
        )

    async def has_cluster(self, name: str) -> bool:
        """Whether any insight has it."""
        return await self._database.read(
            lambda connection: connection.scalar(_HAS_CLUSTER, {"cluster": name}) is not None
        )

    async def newest_id(self) -> int:
        """0 where there is none yet. Ids become visible in the order in which they are given."""
        return await self._database.read(lambda connection: connection.scalar(_NEWEST_ID) or 0)

    async def since(
        self, id_: int, *, limit: int
    ) -> tuple[Sequence[tuple[int, ListedInsight]], bool]:
        """Up to `limit` insights written after the one with this id, in that order, or as many as
        are `BYTES_OF_EVENTS` of JSON; and whether there are more."""

        def some(connection: Connection) -> tuple[Rows, bool]:
            def read(limit: int, after: int) -> Rows:
                return connection.execute(_SINCE, {"id": after, "limit": limit}).all()

            return _some(read, lambda row: int(row.id), id_, limit, BYTES_OF_EVENTS)

        rows, more = await self._database.read(some)
        return [(row.id, _to_insight(row)) for row in rows], more

    async def all_of(self, wanted: InsightFilter) -> AsyncIterator[Sequence[ListedInsight]]:
        """Every insight of the filter in the order of pages, some at a time.

        No read stays open between them, since that would keep the database from reclaiming space.
        So insights erased meanwhile are missing, and new ones are there if their timestamp is older
        than was reached.
        """
        position: Position | None = None
        more = True
        while more:
            rows, more = await self._database.read(
                partial(self._rows_of_export, wanted, position),
                costly=True,
                seconds=LONG_READ_SECONDS,
            )
            if rows:
                position = _position(rows[-1])
            insights = [_to_insight(row) for row in rows]
            del rows
            yield insights

    def _rows_of_export(
        self, wanted: InsightFilter, position: Position | None, connection: Connection
    ) -> tuple[Rows, bool]:
        if wanted.words is not None:
            found = self._matches.count(wanted, connection)
            read = partial(_matches, wanted, found, connection)
        else:
            read = partial(_rows, wanted, None, connection)
        return _some(read, _position, position, ROWS_OF_EXPORT, BYTES_OF_EXPORT)


Place = TypeVar("Place")


def _some(
    read: Callable[[int, Place], Rows],
    place_of: Callable[[Row[*tuple[Any, ...]]], Place],
    place: Place,
    limit: int,
    max_bytes: int,
) -> tuple[Rows, bool]:
    """Up to `limit` rows after `place`, or as many as are `max_bytes` of JSON, but one at least;
    and whether there are more. `read` gives the next rows after a place, up to a number."""
    taken: list[Row[*tuple[Any, ...]]] = []
    size = 0
    while True:
        wanted = min(limit + 1 - len(taken), ROWS_AT_A_TIME)
        rows = read(wanted, place)
        for row in rows:
            size += _ROW_BYTES + len(to_json(tuple(row)))
            if len(taken) == limit or (taken and size > max_bytes):
                return taken, True
            taken.append(row)
        if len(rows) < wanted:
            return taken, False
        place = place_of(rows[-1])


def _position(row: Row[*tuple[Any, ...]]) -> Position:
    return row.timestamp, row.id


def _rows(
    wanted: InsightFilter,
    total: int | None,
    connection: Connection,
    limit: int,
    position: Position | None,
) -> Rows:
    """The next `limit` rows; `total` is how many match, None where that is not known."""
    values, shape = _values(wanted, limit, position), wanted.shape
    few = False
    by_figures = (shape.sentiment or shape.min_confidence) and not (shape.cluster or shape.author)
    if total is not None and by_figures:
        # Reading the newest until enough match reads `all / total` rows for each match.
        few = total * total < limit * rollup_query.count_between(wanted.span, connection)
    return connection.execute(_statement(shape, position is not None, few), values).all()


def _values(wanted: InsightFilter, limit: int, position: Position | None) -> dict[str, Any]:
    values = wanted.values() | {"limit": limit}
    if position is not None:
        values |= {"last_timestamp": position[0], "last_id": position[1]}
        # Where the index is entered.
        values["range_stop"] = min(values["range_stop"], position[0] + 1)
    return values


# --- statements: each picks keys in a covering index, then fetches their rows ---------------------


@lru_cache(maxsize=256)
def _statement(shape: Shape, after: bool, few: bool) -> Select[*tuple[Any, ...]]:
    table: Table = insights
    index = "idx_insight_timestamp"
    if shape.author:
        index = "idx_insight_author"
    elif shape.cluster:
        table, index = insight_clusters, ""
    elif few:
        index = "idx_insight_sentiment"
    id_ = table.c.insight_id if table is insight_clusters else table.c.id
    picked = select(table.c.timestamp, id_.label("id")).where(*conditions(shape, table))
    if few:
        picked = picked.where(rollup_query.has_sentiment(shape))
    if index:
        picked = picked.with_hint(table, f"INDEXED BY {index}", "sqlite")
    return _fetch(_newest(picked, table.c.timestamp, id_, after).limit(bindparam("limit")))


def _newest(
    picked: Select[*tuple[Any, ...]], timestamp: Any, id_: Any, after: bool
) -> Select[*tuple[Any, ...]]:
    if after:
        last = tuple_(bindparam("last_timestamp"), bindparam("last_id"))
        picked = picked.where(tuple_(timestamp, id_) < last)
    return picked.order_by(timestamp.desc(), id_.desc())


_SHOWN = select(
    insights.c.id,
    insights.c.conversation_id,
    insights.c.timestamp,
    insights.c.text,
    insights.c.author,
    insights.c.sentiment_score,
    cast(insights.c.clusters, Text).label("clusters"),
    insights.c.confidence,
    insights.c.reasoning,
    cast(insights.c.notes, Text).label("notes"),
)


def _fetch(picked: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    keys = picked.subquery("picked")
    return _SHOWN.join_from(keys, insights, insights.c.id == keys.c.id).order_by(
        keys.c.timestamp.desc(), keys.c.id.desc()
    )


def _matches(
    wanted: InsightFilter,
    found: word_counts.MatchCount,
    connection: Connection,
    limit: int,
    position: Position | None,
) -> Rows:
    """The next `limit` matches. Keys of the index are in order only down to the second: so first
    the second of the last row is found, and then all matches from there on are sorted."""
    values, dialect = _values(wanted, limit, position), connection.dialect.name
    candidates = word_counts.candidate_range(found, limit, values["range_stop"], connection)
    if candidates is None:
        return []
    values |= {
        "q": word_counts.expression_of(wanted, dialect),
        "low": candidates.low,
        "high": candidates.high,
    }
    last_key, page = _words_statements(dialect, candidates.path, wanted.shape, position is not None)
    key = connection.scalar(last_key, values | {"skip": values["limit"] - 1})
    if key is not None:
        values["low"] = max(values["low"], word_index.first_of_second(key))
    return connection.execute(page, values).all()


@lru_cache(maxsize=256)
def _words_statements(
    dialect: str, path: word_index.AccessPath, shape: Shape, after: bool
) -> tuple[Select[*tuple[Any, ...]], Select[*tuple[Any, ...]]]:
    index = word_index.index(dialect, path)
    joined = select(insights.c.timestamp, insights.c.id).join_from(
        index.table, insights, insights.c.id == word_index.id_of(index.key)
    )
    between = index.between(bindparam("low"), bindparam("high"))
    found = joined.where(index.matching, between, *word_counts.residual_conditions(shape))
    if after:
        last = tuple_(bindparam("last_timestamp"), bindparam("last_id"))
        found = found.where(tuple_(insights.c.timestamp, insights.c.id) < last)
    by_key = found.with_only_columns(index.key).order_by(index.key.desc())
    last_key = by_key.limit(1).offset(bindparam("skip"))
    page = _newest(found, insights.c.timestamp, insights.c.id, after=False)
    return last_key, _fetch(page.limit(bindparam("limit")))


_HAS_CLUSTER = (
    select(insight_clusters.c.insight_id)
    .where(insight_clusters.c.cluster == bindparam("cluster"))
    .limit(1)
)
_NEWEST_ID = select(func.max(insights.c.id))
_SINCE = (
    _SHOWN.where(insights.c.id > bindparam("id"), COUNTS)
    .order_by(insights.c.id)
    .limit(bindparam("limit"))
)


# --- rows -----------------------------------------------------------------------------------------


def _to_insight(row: Row[*tuple[Any, ...]]) -> ListedInsight:
    """By position, since a page may have a thousand rows."""
    _, conversation_id, timestamp, text, author, score, clusters, confidence, reasoning, notes = row
    return ListedInsight(
        conversation_id,
        from_micros(timestamp),
        text,
        author,
        score,
        _clusters_in(clusters),
        confidence,
        reasoning,
        read_notes(notes),
    )


@lru_cache(maxsize=4096)
def _clusters_in(stored: str) -> Sequence[str]:
    """Cached, since few different lists make up most rows."""
    return tuple(json.loads(stored))
