"""What PostgreSQL's planner knows of how many rows there are.

The server itself looks a minute or more after many rows have come. Until then its planner takes the
tables for nearly empty: a search of ten thousand new posts went through all of them once for each,
and was stopped after three seconds, where it takes three hundredths of one.
"""

from collections.abc import Sequence

from sqlalchemy import text

from database import Database

_LEAST_ROWS = 500

# `reltuples` is -1 where nobody has looked yet.
_GROWN = text(
    """
SELECT kept.relname, n_live_tup
FROM pg_stat_user_tables AS kept JOIN pg_class ON pg_class.oid = relid
WHERE schemaname = current_schema() AND n_live_tup > 2 * greatest(reltuples, :least)
ORDER BY kept.relname
"""
)


class PlannerStatistics:
    """On PostgreSQL alone: SQLite's planner takes the indexes that are meant for a question."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows: dict[str, int] = {}
        """Of each table, when this process looked at it last: the server passes over tables of
        another owner, and they stay as they are."""

    async def refresh(self) -> Sequence[str]:
        """Have the server look at the tables that have more than doubled since it has; their names.
        It counts the rows that were written within a second or so, or ten where nobody writes."""
        found = await self._database.read(
            lambda connection: connection.execute(_GROWN, {"least": _LEAST_ROWS}).all()
        )
        grown = {name: rows for name, rows in found if rows > 2 * self._rows.get(name, 0)}
        if grown:
            names = ", ".join(f'"{name}"' for name in grown)
            await self._database.rework(
                lambda connection: connection.execute(text(f"ANALYZE {names}")).close()
            )
            self._rows |= grown
        return list(grown)
