"""Moving everything from one database into another, of either kind.

Ids stay what they are. What is kept beside the insights, and could be counted anew, is made anew in
the target; clusters are rows of their own and are copied.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Table, func, insert, select, text, tuple_

from database import UNDER_WAY, Database, set_revision
from errors import ServiceError
from models import SCHEMA_REVISION, derived_data, insight_rollups, metadata, status_counts
from runtime.plurals import counted
from store import derived
from store.replicas import count_present
from tables.replicas import replicas

_MADE_ANEW = {insight_rollups, derived_data, status_counts}
_OF_PROCESSES = {replicas}
MOVED = [table for table in metadata.sorted_tables if table not in _MADE_ANEW | _OF_PROCESSES]
"""Those that others refer to come first."""
ROWS_PER_STEP = 500
_SECONDS = 600.0


class MoveRefused(ServiceError):
    """`details` says why, and whether the target has been written to."""

    code = "conflict"


async def move(source: Database, target: Database) -> dict[str, int]:
    """Copy all of `source` into the empty `target`; how many rows, by table. Nothing may write to
    `source` meanwhile: a SQLite file is locked for that, and replicas at work on PostgreSQL are
    noticed.

    `source` is only read. Raises MoveRefused, or StartRefused where one cannot be opened.
    """
    if source.url == target.url:
        raise MoveRefused("source and target are the same: nothing was moved")
    if source.is_sqlite and not _is_file(source.url.database or ""):
        raise MoveRefused(f"there is no file {source.url.database}: nothing was moved")
    try:
        await source.open(upgrade=False)
        await _expect_nobody(source)
        await target.open()
        await _expect_nobody(target)
        if full := [name for name, count in (await _count(target)).items() if count]:
            raise MoveRefused(f"the target has rows in {', '.join(full)}: nothing was moved")
        await target.write(partial(set_revision, UNDER_WAY))  # or half of it would be served
        for table in MOVED:
            await _copy(table, source, target)
        await derived.ensure(target)
        await target.analyze()
        counts, moved = await _count(source), await _count(target)
        if different := [name for name in counts if counts[name] != moved[name]]:
            raise MoveRefused(
                f"the target is not the source in {', '.join(different)}: was something written"
                " meanwhile? Make the target anew, and try again"
            )
        await target.write(partial(set_revision, SCHEMA_REVISION))
        return moved
    finally:
        await target.close()
        await source.close()


async def _expect_nobody(database: Database) -> None:
    if not database.is_sqlite and (there := await database.read(count_present)):
        raise MoveRefused(
            f"{counted(there, 'replica is', 'replicas are')} at work: stop the service first,"
            " or, where it was killed, wait for 20 seconds"
        )


def _is_file(path: str) -> bool:
    return Path(path).is_file()


async def _count(database: Database) -> dict[str, int]:
    def count(connection: Connection) -> dict[str, int]:
        rows = select(func.count())
        return {table.name: connection.scalar(rows.select_from(table)) or 0 for table in MOVED}

    return await database.read(count, seconds=_SECONDS)


async def _copy(table: Table, source: Database, target: Database) -> None:
    last: Sequence[Any] | None = None
    while rows := await source.read(partial(_read, table, last), seconds=_SECONDS):
        await target.write(partial(_write, table, rows))
        last = [rows[-1][column.name] for column in table.primary_key]
    for column in _counted_up(table):
        highest = await source.read(partial(_highest_given, table, column), seconds=_SECONDS)
        await target.write(partial(_go_on_after, table, column, highest))


def _read(table: Table, last: Sequence[Any] | None, connection: Connection) -> list[dict[str, Any]]:
    """The next rows by primary key, after the one with the key `last`."""
    key = list(table.primary_key)
    columns = [column for column in table.columns if column.computed is None]
    statement = select(*columns).order_by(*key).limit(ROWS_PER_STEP)
    if last is not None:
        statement = statement.where(tuple_(*key) > tuple_(*last))
    return [dict(row) for row in connection.execute(statement).mappings()]


def _write(table: Table, rows: Sequence[dict[str, Any]], connection: Connection) -> None:
    connection.execute(insert(table), rows)


def _counted_up(table: Table) -> Iterator[Column[Any]]:
    """Columns whose numbers the database gives, and never gives twice."""
    return (column for column in table.primary_key if column.autoincrement is True)


def _highest_given(table: Table, column: Column[Any], connection: Connection) -> int:
    """Also of rows that are gone, as far as the database remembers."""
    highest = connection.scalar(select(func.coalesce(func.max(column), 0))) or 0
    if connection.dialect.name == "postgresql":
        sequence = connection.scalar(select(_sequence_of(table, column)))
        given = connection.scalar(
            text(
                "SELECT last_value FROM pg_sequences WHERE schemaname || '.' || sequencename = :it"
            ),
            {"it": sequence},
        )
    else:
        given = connection.scalar(
            text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": table.name}
        )
    return max(highest, given or 0)


def _go_on_after(table: Table, column: Column[Any], highest: int, connection: Connection) -> None:
    """The next number that the database gives is above `highest`."""
    if not highest:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.setval(_sequence_of(table, column), highest)))
        return
    values = {"name": table.name, "highest": highest}
    if not connection.execute(
        text("UPDATE sqlite_sequence SET seq = max(seq, :highest) WHERE name = :name"), values
    ).rowcount:
        connection.execute(text("INSERT INTO sqlite_sequence VALUES (:name, :highest)"), values)


def _sequence_of(table: Table, column: Column[Any]) -> Any:
    return func.pg_get_serial_sequence(table.name, column.name)
