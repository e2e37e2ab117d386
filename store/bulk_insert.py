"""Many rows by one statement: inserted, added to what is there, put in its place, or changed.

On SQLite a thread releases the interpreter's lock with every step of a statement, and gets it back
only when the event loop's thread pauses: forty rows one by one would wait for that forty times. On
PostgreSQL each statement is a way to the server and back, and `sent_together` spares even that.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from sqlite3 import Cursor
from typing import Any

from pydantic_core import to_json
from sqlalchemy import (
    JSON,
    Connection,
    CursorResult,
    Double,
    String,
    Table,
    TextClause,
    bindparam,
    text,
    update,
)
from sqlalchemy.types import TypeEngine

from backends.sqlite_driver import execute

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
    """INSERT into the columns `names` of `table`: all, but a key that the database gives.

    With `adding` it is an upsert: columns outside the key are numbers, and are added to those of a
    row that is there already. With `replacing` they take the place of what is there. No two rows
    of an upsert have the same key.
    """

    def __init__(
        self,
        table: Table,
        names: Sequence[str] | None = None,
        *,
        adding: bool = False,
        replacing: bool = False,
    ) -> None:
        if names is None:
            names = [each.name for each in table.c if each is not table.autoincrement_column]
        self._json = _json_places(table, names)
        key = [each.name for each in table.primary_key]
        quoted = [f'"{name}"' for name in names]
        ending = ""
        if adding or replacing:
            new_value = f"{table.name}.{{0}} + excluded.{{0}}" if adding else "excluded.{0}"
            others = [name for name in quoted if name.strip('"') not in key]
            changes = ", ".join(f"{name} = {new_value.format(name)}" for name in others)
            ending = f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}"
        self._on_sqlite = SqliteInsert(table.name, quoted, ending)
        self._on_postgresql = insert_arrays(table, names, ending)
        self._names = names

    def insert(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Each row has its values in the order of the columns."""
        if not rows:
            return
        if connection.dialect.name == "sqlite":
            self._on_sqlite.run(connection, _with_json(rows, self._json, _short_json))
        else:
            # As SQLAlchemy writes it, so that what is put back is the same text.
            arrays = map(list, zip(*_with_json(rows, self._json, json.dumps), strict=True))
            send(connection, self._on_postgresql, dict(zip(self._names, arrays, strict=True)))


def insert_arrays(table: Table, names: Sequence[str], ending: str) -> str:
    """INSERT of any number of rows on PostgreSQL: the values of a column are an array that bears
    its name."""
    kinds = [_kind(table.c[name].type) for name in names]
    arrays = ", ".join(
        f"CAST(:{name} AS {kind}[])" for name, kind in zip(names, kinds, strict=True)
    )
    values = ", ".join(
        f'CAST("{name}" AS json)' if isinstance(table.c[name].type, JSON) else f'"{name}"'
        for name in names
    )
    columns = ", ".join(f'"{name}"' for name in names)
    return (
        f"INSERT INTO {table.name} ({columns}) SELECT {values}"  # noqa: S608  names of ours
        f" FROM unnest({arrays}) AS new ({columns}) {ending}"
    )


def _kind(type_: TypeEngine[Any]) -> str:
    """Of an array's members. A text that is too long for its column is then still refused."""
    if isinstance(type_, JSON | String):
        return "text"
    return "double precision" if isinstance(type_, Double) else str(type_)


# --- on PostgreSQL --------------------------------------------------------------------------------

_WAITING = "waiting statements"


@contextmanager
def sent_together(connection: Connection) -> Iterator[None]:
    """On PostgreSQL what is given to `send` waits, and goes as one statement at the end. It sees
    nothing of each other, and nothing that is read inside sees it."""
    if connection.dialect.name == "sqlite":
        yield
        return
    info = connection.info
    info[_WAITING] = []
    try:
        yield
        send_waiting(connection)
    finally:
        info.pop(_WAITING, None)  # a connection that broke has none


def send(connection: Connection, statement: str, values: Mapping[str, Any]) -> None:
    """Carry out a change whose result nobody asks for."""
    waiting = connection.info.get(_WAITING)
    if waiting is None:
        connection.execute(text(statement), values)
    else:
        waiting.append((statement, values))


def send_waiting(connection: Connection) -> None:
    """For whoever reads what may be waiting until now."""
    if waiting := connection.info.get(_WAITING):
        statements = tuple(statement for statement, _ in waiting)
        values = {
            f"{name}_{number}": value
            for number, (_, named) in enumerate(waiting)
            for name, value in named.items()
        }
        waiting.clear()
        connection.execute(_as_one(statements), values)


@lru_cache(maxsize=256)
def _as_one(statements: Sequence[str]) -> TextClause:
    """The parameters of each bear its number."""
    parts = [
        f"change_{number} AS (" + _PARAMETER.sub(rf":\1_{number}", statement) + ")"
        for number, statement in enumerate(statements)
    ]
    return text(f"WITH {', '.join(parts)} SELECT 1")


_PARAMETER = re.compile(":([a-z_]+)")


# --- changes --------------------------------------------------------------------------------------


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
        for some in _parts(_with_json(rows, self._json, _repeated_json)):
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


_REPEATED: dict[str, str] = {}
_MOST_REPEATED = 2048


def _repeated_json(value: Any) -> str:
    """As SQLAlchemy writes JSON, so that what is put back is the same text. Many rows have the
    same."""
    key = repr(value)  # a fifth of the time of `json.dumps`
    if (found := _REPEATED.get(key)) is None:
        if len(_REPEATED) >= _MOST_REPEATED:
            _REPEATED.clear()
        found = _REPEATED[key] = json.dumps(value)
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
