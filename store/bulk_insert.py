"""Many rows by one statement: inserted, added to what is there, put in its place, or changed.

On SQLite a thread releases the interpreter's lock with every step of a statement, and gets it back
only when the event loop's thread pauses: forty rows one by one would wait for that forty times.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from sqlite3 import Cursor
from typing import Any

from pydantic_core import to_json
from sqlalchemy import JSON, Connection, CursorResult, Table, bindparam, update
from sqlalchemy.dialects import postgresql

from backends.sqlite import execute

_PARTS = (256, 128, 64, 32, 16)
_REST = 20


def _parts(rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Sequence[Any]]]:
    """Few parts of few sizes: SQLite has to read a statement for another number of rows, and takes
    three times as long over that as to run it."""
    start = 0
    for size in _PARTS:
        while len(rows) - start > max(size - 1, _REST):
            yield rows[start : start + size]
            start += size
    if start < len(rows):
        yield rows[start:]


class SqliteInsert:
    """INSERT of any number of rows; `ending` follows the values in the statement."""

    def __init__(self, table: str, names: Sequence[str], ending: str = "") -> None:
        self._beginning = f"INSERT INTO {table} ({', '.join(names)}) VALUES"
        self._row = f"({', '.join('?' * len(names))})"
        self._ending = ending
        self._for = lru_cache(maxsize=64)(self._statement)

    def _statement(self, count: int) -> str:
        return f"{self._beginning} {', '.join([self._row] * count)} {self._ending}"

    def run(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> int:
        """How many rows were written."""
        return sum(result.rowcount for result in self._results(connection, rows))

    def returned(
        self, connection: Connection, rows: Sequence[Sequence[Any]]
    ) -> list[Sequence[Any]]:
        """What the `ending` returns of the rows, in any order."""
        return list(chain.from_iterable(self._results(connection, rows)))

    def _results(
        self, connection: Connection, rows: Sequence[Sequence[Any]]
    ) -> Iterator[CursorResult[Any] | Cursor]:
        for some in _parts(rows):
            values = tuple(chain.from_iterable(some))
            yield execute(connection, self._for(len(some)), values)


class ManyRows:
    """INSERT into all columns of `table` but a key that the database gives.

    With `adding` it is an upsert: columns outside the key are numbers, and are added to those of a
    row that is there already. With `replacing` they take the place of what is there.
    """

    def __init__(self, table: Table, *, adding: bool = False, replacing: bool = False) -> None:
        self._names = [each.name for each in table.c if each is not table.autoincrement_column]
        self._json = _json_places(table, self._names)
        key = [each.name for each in table.primary_key]
        others = [name for name in self._names if name not in key]
        insert, ending = postgresql.insert(table), ""
        if adding or replacing:
            new = {
                name: table.c[name] + insert.excluded[name] if adding else insert.excluded[name]
                for name in others
            }
            insert = insert.on_conflict_do_update(index_elements=key, set_=new)
            new_value = "{0} + excluded.{0}" if adding else "excluded.{0}"
            changes = ", ".join(f'"{name}" = {new_value.format(name)}' for name in others)
            ending = f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}"
        self._on_postgresql = insert
        quoted = [f'"{name}"' for name in self._names]
        self._on_sqlite = SqliteInsert(table.name, quoted, ending)

    def insert(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Each row has its values in the order of the columns."""
        if not rows:
            return
        if connection.dialect.name == "sqlite":
            self._on_sqlite.run(connection, _with_json(rows, self._json, _short_json))
        else:
            named = [dict(zip(self._names, row, strict=True)) for row in rows]
            connection.execute(self._on_postgresql, named)


class ManyChanges:
    """UPDATE of the columns `names` of `table`, each row by its key, the column `id`."""

    def __init__(self, table: Table, names: Sequence[str]) -> None:
        self._names = ["key_", *names]
        self._json = _json_places(table, self._names)
        changed = {name: bindparam(name, type_=table.c[name].type) for name in names}
        self._on_postgresql = update(table).where(table.c.id == bindparam("key_")).values(**changed)
        changes = ", ".join(f"{name} = v.column{n}" for n, name in enumerate(names, start=2))
        self._beginning = f"UPDATE {table.name} SET {changes} FROM (VALUES "  # noqa: S608 - names
        self._ending = f") AS v WHERE {table.name}.id = v.column1"
        self._for = lru_cache(maxsize=64)(self._statement)

    def update(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Each row begins with its key, then has the values in the order of the names."""
        if not rows:
            return
        if connection.dialect.name != "sqlite":
            connection.execute(
                self._on_postgresql, [dict(zip(self._names, row, strict=True)) for row in rows]
            )
            return
        for some in _parts(_with_json(rows, self._json, _Repeated())):
            execute(connection, self._for(len(some)), tuple(chain.from_iterable(some)))

    def _statement(self, count: int) -> str:
        row = f"({', '.join('?' * len(self._names))})"
        return f"{self._beginning}{', '.join([row] * count)}{self._ending}"


def _json_places(table: Table, names: Sequence[str]) -> list[int]:
    columns = table.c
    return [
        place
        for place, name in enumerate(names)
        if name in columns and isinstance(columns[name].type, JSON)
    ]


class _Repeated:
    """As SQLAlchemy writes JSON, so that what is put back is the same text. Many rows have the
    same."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def __call__(self, value: Any) -> str:
        key = repr(value)  # a fifth of the time of `json.dumps`
        if (found := self._known.get(key)) is None:
            found = self._known[key] = json.dumps(value)
        return found


def _short_json(value: Any) -> str:
    """Takes a fifth of the time of `json.dumps`."""
    return to_json(value).decode()


def _with_json(
    rows: Sequence[Sequence[Any]], places: Sequence[int], dumps: Callable[[Any], str]
) -> Sequence[Sequence[Any]]:
    """The rows as SQLite takes them, with JSON as a text. None is no JSON."""
    if not places:
        return rows
    found = [list(row) for row in rows]
    for row in found:
        for place in places:
            if row[place] is not None:
                row[place] = dumps(row[place])
    return found
