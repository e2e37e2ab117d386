"""Insights in the order in which they are to be answered: a page, its total, and what was missed.

A page is a walk along the index of keys. Where few match what is asked for, or words are, all that
match are found first, and sorted.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache, partial
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select, tuple_

from analysis.priority import Facts, Weights, highest_key, priority
from database import Database
from errors import InvalidInput
from models import insights, now_micros
from store import cursors, derived
from store.derived import priority as priority_keys
from store.derived import rollup_query, word_counts, word_index
from store.derived.priority import read_weights
from store.derived.word_counts import MatchCounter
from store.derived.word_index import AccessPath
from store.filters import BEGINNING, COUNTS, InsightFilter, Shape, conditions
from store.insight_row import BYTES_OF_PAGE, SUSPECTED, read_notes
from store.insights import InsightPage, rows_that_fit
from store.listed import SHOWN, to_listed

KEYS_PER_STEP = 200
"""They hold the writer for some 5 ms."""
MOST_SORTED = 10_000
"""Matches of words: no more are sorted for a page."""
_LIST = "priority"
"""Whose cursors they are."""

Position = tuple[int, int]
"""Of the last row that was given: its key and id."""


class PriorityStore:
    def __init__(self, database: Database, matches: MatchCounter) -> None:
        self._database = database
        self._matches = matches

    async def take_up(self, weights: Weights) -> None:
        """Go by these weights; `catch_up` does the rest where they were others before."""
        await self._database.write(partial(priority_keys.take_up, weights=weights))

    async def catch_up(self, *, limit: int) -> bool:
        """Make the keys of up to `limit` insights anew that go by other weights; whether more are
        left."""
        return await self._database.write(partial(_catch_up, limit))

    async def page(self, wanted: InsightFilter, *, limit: int, cursor: str | None) -> InsightPage:
        """Up to `limit` insights after `cursor` of a filter for what is open, whom to answer first
        at the top. `missed` are those of the same filter that are older.

        Raises InvalidInput for a cursor that is none of ours, and for words that too many match.
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
        total = self._total(wanted, connection)
        if wanted.words is not None and total > MOST_SORTED:
            raise InvalidInput(
                f"q: {total:,} conversations match, and at most {MOST_SORTED:,} are put in the"
                " order of priority: ask for more words, or a shorter time"
            )
        weights = read_weights(connection)
        everything = InsightFilter(wanted.start_time, wanted.end_time, handling=wanted.handling)
        sort = wanted.words is not None or (
            # The walk reads `all / total` keys for each match.
            wanted != everything
            and total * total < limit * self._matches.total(everything, connection)
        )
        if sort:
            read = partial(_sorted, wanted, connection)
        else:
            read = partial(_walked, wanted, weights, connection)
        rows, more = (
            rows_that_fit(read, _position, position, limit, BYTES_OF_PAGE) if total else ([], False)
        )
        now = now_micros()
        return InsightPage(
            insights=to_listed(row[:-4] for row in rows),
            total_count=total,
            corrected_count=self._matches.corrected(wanted, connection),
            next_cursor=cursors.encode(_LIST, *_position(rows[-1])) if more else None,
            priorities=[priority(_facts(row), weights, now) for row in rows],
            missed=self._missed(wanted, connection),
        )

    def _missed(self, wanted: InsightFilter, connection: Connection) -> int:
        if wanted.start_time == BEGINNING:
            return 0
        end_time = wanted.start_time - timedelta.resolution
        return self._total(replace(wanted, start_time=BEGINNING, end_time=end_time), connection)

    def _total(self, wanted: InsightFilter, connection: Connection) -> int:
        if wanted.author is not None and wanted.words is None:
            # Also of an account of one's own, whose posts nobody is to answer.
            return connection.scalar(_count_by_author(wanted.shape), wanted.values()) or 0
        return self._matches.total(wanted, connection)


def _catch_up(limit: int, connection: Connection) -> bool:
    derived.take_turn(connection)
    return priority_keys.catch_up(connection, limit)


Rows = Sequence[Any]


def _position(row: Any) -> Position:
    return row.priority, row.id


def _facts(row: Any) -> Facts:
    """By position: `SHOWN` begins with columns that are named there, `_fetch` adds four."""
    suspected = row[9] is not None and SUSPECTED in read_notes(row[9])
    return Facts(row[2], row[5], row[7], row[11], suspected, *row[-4:-1])


def _walked(
    wanted: InsightFilter,
    weights: Weights,
    connection: Connection,
    limit: int,
    position: Position | None,
) -> Rows:
    """The next `limit` rows along the index, from the highest key on that its times may have."""
    span = wanted.span
    values = _values(wanted, limit, position)
    highest = highest_key(weights, span.start, span.stop)
    values["highest"] = highest if position is None else min(highest, position[0])
    return connection.execute(_walk(wanted.shape, position is not None), values).all()


def _values(wanted: InsightFilter, limit: int, position: Position | None) -> dict[str, Any]:
    values = wanted.values() | {"limit": limit}
    if position is not None:
        values |= {"last_priority": position[0], "last_id": position[1]}
    return values


_COLUMNS = insights.c


@lru_cache(maxsize=64)
def _count_by_author(shape: Shape) -> Select[*tuple[Any, ...]]:
    counted = select(func.count()).where(*conditions(shape), COUNTS)
    return counted.with_hint(insights, "INDEXED BY idx_insight_author", "sqlite")


@lru_cache(maxsize=256)
def _walk(shape: Shape, after: bool) -> Select[*tuple[Any, ...]]:
    # An own account's have no key, so that the index alone tells.
    picked = (
        select(_COLUMNS.priority, _COLUMNS.id)
        .where(
            _COLUMNS.priority.is_not(None),
            _COLUMNS.priority <= bindparam("highest"),
            *conditions(shape._replace(anyone=True)),
        )
        .with_hint(insights, "INDEXED BY idx_insight_priority", "sqlite")
    )
    return _fetch(picked, after)


def _fetch(picked: Select[*tuple[Any, ...]], after: bool) -> Select[*tuple[Any, ...]]:
    """The rows of the `limit` first ones."""
    if after:
        last = tuple_(bindparam("last_priority"), bindparam("last_id"))
        picked = picked.where(tuple_(_COLUMNS.priority, _COLUMNS.id) < last)
    picked = picked.order_by(_COLUMNS.priority.desc(), _COLUMNS.id.desc())
    keys = picked.limit(bindparam("limit")).subquery("picked")
    return (
        SHOWN.add_columns(_COLUMNS.repeats, _COLUMNS.reach, _COLUMNS.rising, keys.c.priority)
        .join_from(keys, insights, _COLUMNS.id == keys.c.id)
        .order_by(keys.c.priority.desc(), keys.c.id.desc())
    )


def _sorted(
    wanted: InsightFilter, connection: Connection, limit: int, position: Position | None
) -> Rows:
    """The next `limit` of all that the word index names."""
    dialect, span = connection.dialect.name, wanted.span
    values = _values(wanted, limit, position)
    values |= {
        "q": word_counts.expression_of(wanted, dialect),
        "low": word_index.second_key(span.start),
        "high": word_index.last_key(span.stop - 1),
    }
    shape = word_counts.residual_shape(wanted)
    return connection.execute(_sort(dialect, shape, position is not None), values).all()


@lru_cache(maxsize=256)
def _sort(dialect: str, shape: Shape, after: bool) -> Select[*tuple[Any, ...]]:
    index = word_index.index(dialect, AccessPath.BY_WORDS)
    found = (
        select(_COLUMNS.priority, _COLUMNS.id)
        .join_from(index.table, insights, _COLUMNS.id == word_index.id_of(index.key))
        .where(
            index.matching,
            index.between(bindparam("low"), bindparam("high")),
            _COLUMNS.priority.is_not(None),
            *conditions(shape),
        )
    )
    return _fetch(found, after)
