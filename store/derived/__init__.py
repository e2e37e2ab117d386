"""What is kept beside an insight so that reading is fast: its clusters, the tallies, the index of
words, and which days have changed. Whoever writes or erases an insight calls `add` or `subtract` in
the same transaction; `rebuild` makes it all anew, and `ensure` does so where an earlier version of
this code made it.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection, Select, bindparam, delete, insert, select, text, tuple_

from database import Database
from models import (
    derived_data,
    insight_clusters,
    insight_tallies,
    insights,
)
from store.bulk_insert import ManyRows
from store.derived import day_cache, rollups, status_counts, word_index
from store.insight_row import InsightRow

log = structlog.get_logger(__name__)

_ROWS_AT_A_TIME = 5000

_CLUSTERS = ManyRows(insight_clusters)

_IN_ORDER = text("SELECT pg_advisory_xact_lock(:key)")
_ORDER_LOCK = 0x1A51_6876  # any number that nothing else here uses; database.py has one too


def take_turn(connection: Connection) -> None:
    """Before insights are inserted: from here to the end of the transaction nobody else inserts
    any. So ids come up in the order in which they are given, and who has seen one has seen all
    below it. On SQLite every write has its turn anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(_IN_ORDER, {"key": _ORDER_LOCK})


def add(connection: Connection, added: Sequence[InsightRow]) -> None:
    """For insights that are being written in this transaction."""
    _CLUSTERS.insert(
        connection,
        [
            (cluster, each.timestamp, each.id, each.sentiment_score, each.confidence)
            for each in added
            for cluster in each.clusters
        ],
    )
    _add_but_clusters(connection, added)


def _add_but_clusters(connection: Connection, added: Sequence[InsightRow]) -> None:
    word_index.add(connection, added)
    rollups.add(connection, added)
    day_cache.bump_day_version(connection, (insight.timestamp for insight in added))


def subtract(connection: Connection, conversation_ids: Collection[str]) -> None:
    """For conversations that are being erased in this transaction, and whose rows it has locked."""
    found = connection.execute(_OF_CONVERSATIONS, {"ids": list(conversation_ids)})
    if erased := [InsightRow(*row) for row in found]:
        word_index.subtract(connection, erased)
        rollups.subtract(connection, erased)
        day_cache.bump_day_version(connection, (insight.timestamp for insight in erased))


def _select_rows() -> Select[*tuple[Any, ...]]:
    """The columns of an InsightRow."""
    return select(*(insights.c[name] for name in InsightRow._fields))


_OF_CONVERSATIONS = _select_rows().where(
    insights.c.conversation_id.in_(bindparam("ids", expanding=True))
)


# --- rebuilding -----------------------------------------------------------------------------------

VERSION = 2
"""Raised with every change to what is kept, be it only to what a word is."""


async def ensure(database: Database) -> None:
    """Rebuild where there is nothing yet, or what another version made."""
    if await database.read(_version) != VERSION:
        await database.rework(_ensure)


def _ensure(connection: Connection) -> None:
    _keep_others_out(connection)
    before = _version(connection)
    if before != VERSION:  # no other replica was faster
        log.info("derived_data_is_rebuilt", before=before, after=VERSION)
        _rebuild(connection)


async def rebuild(database: Database) -> bool:
    """Whether the tallies had been wrong. It is one transaction, of some thirty seconds for a
    million insights: who wants to write meanwhile waits, or is told to come back."""
    return await database.rework(_rebuild_and_compare)


def _rebuild_and_compare(connection: Connection) -> bool:
    _keep_others_out(connection)
    before = _fingerprint(connection)
    _rebuild(connection)
    return _fingerprint(connection) != before


def _keep_others_out(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # whoever settles or erases waits
        connection.execute(text("LOCK TABLE conversations IN EXCLUSIVE MODE"))


def _rebuild(connection: Connection) -> None:
    for table in (insight_tallies, derived_data):
        connection.execute(delete(table))
    status_counts.recount(connection)
    word_index.clear(connection)
    day_cache.bump_all_day_versions(connection)
    for rows in _chunks(connection):
        _add_but_clusters(connection, rows)
    connection.execute(insert(derived_data), {"version": VERSION})


def _version(connection: Connection) -> int | None:
    version: int | None = connection.scalar(select(derived_data.c.version))
    return version


def _chunks(connection: Connection) -> Iterator[Sequence[InsightRow]]:
    """By time, so that few tallies are written twice."""
    columns = insights.c
    last = tuple_(bindparam("timestamp"), bindparam("id"))
    statement = (
        _select_rows()
        .where(tuple_(columns.timestamp, columns.id) > last)
        .order_by(columns.timestamp, columns.id)
        .limit(_ROWS_AT_A_TIME)
    )
    after = {"timestamp": -(2**63), "id": 0}
    while rows := [InsightRow(*row) for row in connection.execute(statement, after)]:
        yield rows
        after = {"timestamp": rows[-1].timestamp, "id": rows[-1].id}


def _fingerprint(connection: Connection) -> str:
    digest = hashlib.sha256()
    ordered = select(insight_tallies).order_by(*insight_tallies.primary_key)
    for row in connection.execute(ordered):
        digest.update(repr(tuple(row)).encode())
    digest.update(repr(status_counts.counted(connection)).encode())
    return digest.hexdigest()
