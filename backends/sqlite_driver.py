"""Statements past SQLAlchemy, on Python's own `sqlite3`."""

import sqlite3
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from backends.errors import is_lock

if TYPE_CHECKING:
    from sqlalchemy import CursorResult


def execute(
    connection: Connection, statement: str, parameters: Sequence[Any] | dict[str, Any] = ()
) -> "CursorResult[Any] | sqlite3.Cursor":
    """Past SQLAlchemy, which takes 30 us for each; in a transaction that has begun."""
    driver = connection.connection.dbapi_connection
    if isinstance(driver, sqlite3.Connection):
        return driver.execute(statement, parameters)
    given = parameters if isinstance(parameters, dict) else tuple(parameters)
    return connection.exec_driver_sql(statement, given)  # `reworking`, by aiosqlite


def execute_many(
    connection: Connection, statement: str, parameters: Sequence[Sequence[Any]]
) -> None:
    """As `execute`, once for each of the parameters."""
    driver = connection.connection.dbapi_connection
    if isinstance(driver, sqlite3.Connection):
        driver.executemany(statement, parameters)
    else:
        connection.exec_driver_sql(statement, [tuple(each) for each in parameters])


def on_driver(connection: Connection, statement: str) -> list[Any]:
    """Past SQLAlchemy, which would begin a transaction for it."""
    return driver_of(connection).execute(statement).fetchall()


def pages_in_use(connection: Connection) -> int:
    """One row may take hundreds. Takes 7 us."""
    ((pages,),) = on_driver(connection, "PRAGMA page_count")
    ((free,),) = on_driver(connection, "PRAGMA freelist_count")
    return int(pages) - int(free)


def driver_of(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def begin_writing(connection: Connection, deadline: float) -> None:
    """Take the file's write lock; where another program has it, wait until `deadline`."""
    try:
        on_driver(connection, "BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        left = deadline - time.monotonic()
        if not is_lock(error) or left <= 0:
            raise
        on_driver(connection, f"PRAGMA busy_timeout={int(left * 1000)}")
        try:
            on_driver(connection, "BEGIN IMMEDIATE")
        finally:
            on_driver(connection, "PRAGMA busy_timeout=0")
