"""Many rows by one statement, inserted or added to what is there.

On SQLite a thread releases the interpreter's lock with every step of a statement, and gets it back
only when the event loop's thread pauses: forty rows one by one would wait for that forty times.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql

_MOST_ROWS = 1000  # SQLite takes 32,766 parameters, of which a row has some ten


class SqliteInsert:
    """INSERT of any number of rows; `ending` follows the values in the statement."""

    def __init__(self, table: str, names: Sequence[str], ending: str = "") -> None:
        self._beginning = f"INSERT INTO {table} ({', '.join(names)}) VALUES"
        self._row = f"({', '.join('?' * len(names))})"
        self._ending = ending
        self._for = lru_cache(maxsize=256)(self._statement)

    def _statement(self, count: int) -> str:
        return f"{self._beginning} {', '.join([self._row] * count)} {self._ending}"

    def run(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> int:
        """How many rows were written."""
        written = 0
        for start in range(0, len(rows), _MOST_ROWS):
            some = rows[start : start + _MOST_ROWS]
            values = tuple(chain.from_iterable(some))
            written += connection.exec_driver_sql(self._for(len(some)), values).rowcount
        return written


class ManyRows:
    """INSERT into all columns of `table`. With `adding` it is an upsert: columns outside the key
    are numbers, and are added to those of a row that is there already."""

    def __init__(self, table: Table, *, adding: bool = False) -> None:
        self._names = [each.name for each in table.c]
        key = [each.name for each in table.primary_key]
        sums = [name for name in self._names if name not in key]
        insert, ending = postgresql.insert(table), ""
        if adding:
            grown = {name: table.c[name] + insert.excluded[name] for name in sums}
            insert = insert.on_conflict_do_update(index_elements=key, set_=grown)
            grow = ", ".join(f"{name} = {name} + excluded.{name}" for name in sums)
            ending = f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {grow}"
        self._on_postgresql = insert
        self._on_sqlite = SqliteInsert(table.name, self._names, ending)

    def insert(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Each row has its values in the order of the columns."""
        if connection.dialect.name == "sqlite":
            self._on_sqlite.run(connection, rows)
        else:
            named = [dict(zip(self._names, row, strict=True)) for row in rows]
            connection.execute(self._on_postgresql, named)
