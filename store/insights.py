"""Insights as dashboards ask for them: one page, newest first, and the exact total."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from pydantic_core import to_json
from sqlalchemy import (
    Connection,
    Select,
    Table,
    bindparam,
    func,
    select,
    tuple_,
)

from analysis.priority import Priority
from database import LONG_READ_SECONDS, Database
from models import insight_clusters, insights
from store import cursors
from store.derived import rollup_query, word_counts, word_index
from store.derived.word_counts import MatchCount, MatchCounter, SpanCount
from store.filters import COUNTS, InsightFilter, Shape, conditions
from store.insight_row import BYTES_OF_PAGE, how_many_fit
from store.listed import SHOWN, ListedInsight, to_listed
from store.originals import with_originals
from store.statements import Prepared

ROWS_AT_A_TIME = 128
"""Of one statement: with texts of the greatest length these are 5 MB."""

ROWS_OF_EXPORT = ROWS_AT_A_TIME - 1
"""One more is read, which tells whether there are more."""
BYTES_OF_EXPORT = 128_000
BYTES_OF_EVENTS = 125_000
_ROWS_MEASURED = 16
_ROW_BYTES = 700
"""An insight's JSON without its long values."""

_LIST = "insights"
"""Whose cursors they are."""

Position = tuple[int, int]
"""Of the last row that was given: its timestamp and id."""

Rows = Sequence[Sequence[Any]]
"""The columns of `SHOWN` by their places, or those of InsightKey."""

_Read = Callable[[int, Position | None], Rows]
"""Gives the next rows, up to a number, after a position."""


class InsightKey(NamedTuple):
    """An insight's names and its place in the order of pages; `timestamp` is in microseconds."""

    id: int
    conversation_id: str
    timestamp: int


@dataclass(frozen=True, slots=True)
class InsightPage:
    """`total_count` and `corrected_count`, those whose labels a person or a rule has put right, are
    for the whole filter; `next_cursor` is None on the last page.

    A page may be shorter than asked for: it ends at `BYTES_OF_PAGE` of JSON. One in the order of
    priority has the `priorities` of its insights, and how many were `missed`.
    """

    insights: Sequence[ListedInsight]
    total_count: int
    corrected_count: int
    next_cursor: str | None
    priorities: Sequence[Priority] = ()
    missed: int | None = None


class InsightStore:
    def __init__(self, database: Database, matches: MatchCounter | None = None) -> None:
        """`matches` may be shared with others, for its cache."""
        self._database = database
        self._matches = matches or MatchCounter()

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
        total, read = self._counted(wanted, connection)
        rows, more = (
            rows_that_fit(read, _position, position, limit, BYTES_OF_PAGE) if total else ([], False)
        )
        return InsightPage(
            insights=to_listed(rows),
            total_count=total,
            corrected_count=self._matches.corrected(wanted, connection),
            next_cursor=cursors.encode(_LIST, *_position(rows[-1])) if more else None,
        )

    def count(self, wanted: InsightFilter, connection: Connection) -> int:
        """In a transaction of the caller's."""
        return self._matches.total(wanted, connection)

    def keys_after(
        self, wanted: InsightFilter, position: Position | None, limit: int, connection: Connection
    ) -> Sequence[InsightKey]:
        """The next `limit` in the order of pages, in a transaction of the caller's."""
        _, read = self._counted(wanted, connection, keys_only=True)
        return [InsightKey(*row) for row in read(limit, position)]

    def newest(
        self, wanted: InsightFilter, limit: int, connection: Connection
    ) -> Sequence[ListedInsight]:
        """The first `limit` in the order of pages, in a transaction of the caller's."""
        return to_listed(self._uncounted(wanted, connection)(limit, None))

    def _counted(
        self, wanted: InsightFilter, connection: Connection, *, keys_only: bool = False
    ) -> tuple[int, _Read]:
        """How many match, and what reads them."""
        if wanted.shape.is_searched:
            found = self._matches.count(wanted, connection)
            total = found.total
            read = partial(_matches, wanted, found, connection, keys_only=keys_only)
        else:
            total = rollup_query.count(wanted, connection)
            read = partial(_rows, wanted, total, connection, keys_only=keys_only)
        return total, read

    def _uncounted(self, wanted: InsightFilter, connection: Connection) -> _Read:
        """What reads the matches, which are counted only where finding them takes it."""
        if wanted.shape.is_searched:
            return self._counted(wanted, connection)[1]
        return partial(_rows, wanted, None, connection)

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

            return rows_that_fit(read, lambda row: int(row[0]), id_, limit, BYTES_OF_EVENTS)

        rows, more = await self._database.read(some)
        return [(row[0], each) for row, each in zip(rows, to_listed(rows), strict=True)], more

    async def all_of(
        self, wanted: InsightFilter, *, originals: bool = False
    ) -> AsyncIterator[Sequence[ListedInsight]]:
        """Every insight of the filter in the order of pages, some at a time; with `originals` each
        says where it was written.

        No read stays open between them, since that would keep the database from reclaiming space.
        So insights erased meanwhile are missing, and new ones are there if their timestamp is older
        than was reached.
        """
        position: Position | None = None
        more = True
        while more:
            found, position, more = await self._database.read(
                partial(self._some_to_export, wanted, position, originals),
                costly=True,
                seconds=LONG_READ_SECONDS,
            )
            yield found

    def _some_to_export(
        self,
        wanted: InsightFilter,
        position: Position | None,
        originals: bool,
        connection: Connection,
    ) -> tuple[Sequence[ListedInsight], Position | None, bool]:
        """With the position of the last one, and whether there are more."""
        read = self._uncounted(wanted, connection)
        rows, more = rows_that_fit(read, _position, position, ROWS_OF_EXPORT, BYTES_OF_EXPORT)
        insights: Sequence[ListedInsight] = to_listed(rows)
        if originals:
            insights = list(with_originals(insights, connection))
        return insights, _position(rows[-1]) if rows else position, more


Place = TypeVar("Place")


def rows_that_fit(
    read: Callable[[int, Place], Rows],
    place_of: Callable[[Sequence[Any]], Place],
    place: Place,
    limit: int,
    max_bytes: int,
) -> tuple[Rows, bool]:
    """Up to `limit` rows after `place`, or as many as are `max_bytes` of JSON, but one at least;
    and whether there are more. `read` gives the next rows after a place, up to a number."""
    taken: list[Sequence[Any]] = []
    used = 0
    while True:
        wanted = min(limit + 1 - len(taken), ROWS_AT_A_TIME)
        if used:  # by what the rows so far take, few more may fit
            wanted = min(wanted, (max_bytes - used) * len(taken) // used + 1)
        rows = read(wanted, place)
        fitting = rows[: limit - len(taken)]
        used += (size := _size_of(fitting))  # of all at once, since mostly all fit
        if used > max_bytes:
            sizes = [used - size, *(_size_of([row]) for row in fitting)]
            fitting = fitting[: max(how_many_fit(sizes, max_bytes) - 1, not taken)]
        taken += fitting
        if len(fitting) < len(rows):
            return taken, True
        if len(rows) < wanted:
            return taken, False
        place = place_of(rows[-1])


_TEXTS = (
    "text",
    "author",
    "clusters",
    "reasoning",
    "notes",
    "label",
    "model_clusters",
    "handling_by",
)
_texts_of = itemgetter(*map(SHOWN.selected_columns.keys().index, _TEXTS))


def _size_of(rows: Rows) -> int:
    """As JSON, in bytes. Few at a time, since what is measured is in memory once more meanwhile."""
    size = _ROW_BYTES * len(rows)
    for start in range(0, len(rows), _ROWS_MEASURED):
        some = map(_texts_of, rows[start : start + _ROWS_MEASURED])
        size += len(to_json("".join(filter(None, chain.from_iterable(some)))))
    return size


def _position(row: Sequence[Any]) -> Position:
    id_, _, timestamp, *_ = row
    return timestamp, id_


def _rows(
    wanted: InsightFilter,
    total: int | None,
    connection: Connection,
    limit: int,
    position: Position | None,
    *,
    keys_only: bool = False,
) -> Rows:
    """The next `limit` rows; `total` is how many match, None where that is not known."""
    values, shape = _values(wanted, limit, position), wanted.shape
    few = False
    looked_at = not (shape.cluster or shape.author)
    if total and looked_at and (shape.sentiment or shape.min_confidence or shape.facets):
        # Reading the newest until enough match reads `all / total` rows for each match.
        few = total * total < limit * rollup_query.count_between(wanted.span, connection)
    if total and few and shape.facets:
        found = MatchCount(total, [SpanCount(wanted.span, total)])
        return _matches(wanted, found, connection, limit, position, keys_only=keys_only)
    return _statement(shape, position is not None, few, keys_only).run(connection, values)


def _values(wanted: InsightFilter, limit: int, position: Position | None) -> dict[str, Any]:
    values = wanted.values() | {"limit": limit}
    if position is not None:
        values |= {"last_timestamp": position[0], "last_id": position[1]}
        # Where the index is entered.
        values["range_stop"] = min(values["range_stop"], position[0] + 1)
    return values


# --- statements: each picks keys in a covering index, then fetches their rows ---------------------


@lru_cache(maxsize=256)
def _statement(shape: Shape, after: bool, few: bool, keys_only: bool) -> Prepared:
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
    newest = _newest(picked, table.c.timestamp, id_, after).limit(bindparam("limit"))
    return Prepared(_fetch(newest, keys_only))


def _newest(
    picked: Select[*tuple[Any, ...]], timestamp: Any, id_: Any, after: bool
) -> Select[*tuple[Any, ...]]:
    if after:
        last = tuple_(bindparam("last_timestamp"), bindparam("last_id"))
        picked = picked.where(tuple_(timestamp, id_) < last)
    return picked.order_by(timestamp.desc(), id_.desc())


_KEY = select(*(insights.c[name] for name in InsightKey._fields))


def _fetch(picked: Select[*tuple[Any, ...]], keys_only: bool) -> Select[*tuple[Any, ...]]:
    keys = picked.subquery("picked")
    shown = _KEY if keys_only else SHOWN
    return shown.join_from(keys, insights, insights.c.id == keys.c.id).order_by(
        keys.c.timestamp.desc(), keys.c.id.desc()
    )


def _matches(
    wanted: InsightFilter,
    found: MatchCount,
    connection: Connection,
    limit: int,
    position: Position | None,
    *,
    keys_only: bool = False,
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
    shape = word_counts.residual_shape(wanted)
    last_key, page = _words_statements(
        dialect, candidates.path, shape, position is not None, keys_only
    )
    key = last_key.value(connection, values | {"skip": values["limit"] - 1})
    if key is not None:
        values["low"] = max(values["low"], word_index.first_of_second(key))
    return page.run(connection, values)


@lru_cache(maxsize=256)
def _words_statements(
    dialect: str, path: word_index.AccessPath, shape: Shape, after: bool, keys_only: bool
) -> tuple[Prepared, Prepared]:
    index = word_index.index(dialect, path)
    joined = select(insights.c.timestamp, insights.c.id).join_from(
        index.table, insights, insights.c.id == word_index.id_of(index.key)
    )
    between = index.between(bindparam("low"), bindparam("high"))
    found = joined.where(index.matching, between, *conditions(shape))
    if after:
        last = tuple_(bindparam("last_timestamp"), bindparam("last_id"))
        found = found.where(tuple_(insights.c.timestamp, insights.c.id) < last)
    by_key = found.with_only_columns(index.key).order_by(index.key.desc())
    last_key = by_key.limit(1).offset(bindparam("skip"))
    page = _newest(found, insights.c.timestamp, insights.c.id, after=False)
    return Prepared(last_key), Prepared(_fetch(page.limit(bindparam("limit")), keys_only))


_HAS_CLUSTER = (
    select(insight_clusters.c.insight_id)
    .where(insight_clusters.c.cluster == bindparam("cluster"))
    .limit(1)
)
_NEWEST_ID = select(func.max(insights.c.id))
_SINCE = (
    SHOWN.where(insights.c.id > bindparam("id"), COUNTS)
    .order_by(insights.c.id)
    .limit(bindparam("limit"))
)
