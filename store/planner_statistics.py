"""What PostgreSQL's planner knows of how many rows there are.

The server itself looks a minute or more after many rows have come. Until then its planner takes the
tables for nearly empty: a search of ten thousand new posts went through all of them once for each,
and was stopped after three seconds, where it takes three hundredths of one.
"""

from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection, bindparam, text

from database import Database
from models import metadata

_LEAST_ROWS = 500
_TABLES = [*metadata.tables, "insight_terms"]
"""Ours: others may have some beside them."""

# `reltuples` is -1 where nobody has looked yet.
_GROWN = text(
    """
SELECT kept.relname, n_live_tup
FROM pg_stat_user_tables AS kept JOIN pg_class ON pg_class.oid = relid
WHERE schemaname = current_schema() AND kept.relname IN :tables
AND n_live_tup > 2 * greatest(reltuples, :least)
ORDER BY kept.relname
"""
).bindparams(bindparam("tables", _TABLES, expanding=True))
_FOR_NO_LONGER = text("SET LOCAL lock_timeout = '1s'")
"""A vacuum or the making of an index keeps the table for itself: then later."""


class PlannerStatistics:
    """On PostgreSQL alone: SQLite's planner takes the indexes that are meant for a question."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows: dict[str, int] = {}
        """Of each table, when this process looked at it last: the server passes over tables of
        another owner, and they stay as they are."""

    async def refresh(self) -> Sequence[str]:
        """Have the server look at the tables that have more than doubled since it has; their names.
        It counts the rows that were written within a second or so, or ten where nobody writes.
        Raises Unavailable where somebody keeps a table for himself."""
        found = await self._database.read(
            lambda connection: connection.execute(_GROWN, {"least": _LEAST_ROWS}).all()
        )
        grown = {name: rows for name, rows in found if rows > 2 * self._rows.get(name, 0)}
        for name, rows in grown.items():  # each by itself, so that it is locked for as short
            await self._database.rework(partial(_analyze, name))
            self._rows[name] = rows
        return list(grown)


def _analyze(name: str, connection: Connection) -> None:
    connection.execute(_FOR_NO_LONGER)
    connection.execute(text(f"ANALYZE {name}"))
