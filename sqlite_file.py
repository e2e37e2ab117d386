"""A database in one file: one connection that writes, a few that read.

The writer has a thread of its own, and a whole transaction is one visit to it. Reading is done
through aiosqlite. See docs/decisions/0007-a-thread-for-the-sqlite-writer.md for the figures.
"""

import asyncio
import fcntl
import random
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import aiosqlite
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from database_errors import is_lock, translated_errors
from errors import Unavailable

T = TypeVar("T")

BUSY_TIMEOUT_SECONDS = 1.0
"""How long one waits for another process's lock on the file before giving up."""

_READERS = 4

_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",  # in WAL, NORMAL would lose the last commits at a power cut
    "PRAGMA foreign_keys=ON",
    "PRAGMA secure_delete=ON",  # what is erased is overwritten, not only unlinked
    "PRAGMA temp_store=MEMORY",
    "PRAGMA journal_size_limit=16777216",
)


class SqliteFile:
    def __init__(self, url: URL) -> None:
        assert url.database is not None
        self._path = url.database
        self._lock_file: IO[bytes] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        self._writer = _writing_engine(url)
        self._connection: Connection | None = None
        self._log_to_fold = True  # what a process that died had erased may still be in there
        self.reader = _reading_engine(url)

    async def write(self, work: Callable[[Connection], T], *, rebuilding: bool = False) -> T:
        """`work` in a transaction of its own, after all that were asked for before.

        Who is cancelled while waiting has only stopped waiting: what was begun is finished. With
        `rebuilding`, tables may be dropped and made again without taking along the rows that refer
        to theirs; that all references still hold is checked in the end.
        """
        deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS  # one wait for all that wait together
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._in_transaction, work, deadline, rebuilding
        )

    def _in_transaction(
        self, work: Callable[[Connection], T], deadline: float, rebuilding: bool
    ) -> T:
        with translated_errors():
            if self._connection is None:
                self._connection = self._writer.connect()  # kept: getting one costs a statement
            connection = self._connection
            try:
                if rebuilding:
                    _on_driver(connection, "PRAGMA foreign_keys=OFF")  # heeded outside only
                with connection.begin():
                    _begin_writing(connection, deadline)
                    result = work(connection)
                    if rebuilding and _on_driver(connection, "PRAGMA foreign_key_check"):
                        raise RuntimeError("rows are left that refer to others which are gone")
            except (DBAPIError, sqlite3.Error) as error:
                # A connection that has met a full or read-only disk may stay that way after the
                # cause is gone, so the next transaction gets a new one. A lock leaves no mark.
                if not is_lock(error):
                    self._drop_connection()
                raise
            finally:
                if rebuilding:
                    self._drop_connection()  # the next one checks references again
        if self._log_to_fold:
            self._truncate_log()
        return result

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._give_back()

    def _give_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def truncate_log(self) -> None:
        """Fold the write-ahead log into the file, so that it keeps no copy of what was erased.

        A reader that is at work stands in the way; then each write tries again until it is done.
        """
        self._log_to_fold = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._truncate_log)

    def _truncate_log(self) -> None:
        if self._connection is None:
            return
        with suppress(Unavailable), translated_errors():  # what was written is safe all the same
            ((busy, *_),) = _on_driver(self._connection, "PRAGMA wal_checkpoint(TRUNCATE)")
            self._log_to_fold = bool(busy)

    async def close(self) -> None:
        await self.reader.dispose()
        await asyncio.to_thread(self._close_writer)
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def _close_writer(self) -> None:
        self._thread.shutdown()  # waits for what is in it
        self._give_back()
        self._writer.dispose()

    def become_worker(self) -> bool:
        """Take the right to analyse, which one process has at a time, until `close`.

        The operating system frees the lock when its holder dies, however it dies, so whoever gets
        it knows that all rows in processing have been orphaned. Raises Unavailable.
        """
        if self._lock_file is not None:
            return True
        try:
            lock_file = Path(self._path + "-worker-lock").open("ab")  # noqa: SIM115  held
        except OSError as error:
            raise Unavailable(
                f"The worker's lock file cannot be opened: {error.strerror}."
            ) from error
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock_file.close()
            return False
        except OSError as error:
            lock_file.close()
            raise Unavailable(
                f"The worker's lock file cannot be locked: {error.strerror}."
            ) from error
        self._lock_file = lock_file
        return True


def _reading_engine(url: URL) -> AsyncEngine:
    engine = create_async_engine(
        url,
        hide_parameters=True,  # errors are logged, texts are not
        pool_size=_READERS,
        max_overflow=0,
        pool_reset_on_return=None,  # each transaction ends where it began
        # The driver must not begin transactions of its own.
        connect_args={"isolation_level": None, "timeout": BUSY_TIMEOUT_SECONDS},
    )
    event.listen(engine.sync_engine, "connect", _set_pragmas)

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        # Straight at the driver: a third of the thread hand-overs of `exec_driver_sql`.
        connection.connection.run_async(_begin_reading)

    @event.listens_for(engine.sync_engine, "invalidate")
    def end_transaction(connection: Any, _record: Any, _error: Any) -> None:
        # Closing alone leaves it open for as long as anything refers to one of its cursors.
        with suppress(sqlite3.Error, ValueError):
            connection.run_async(lambda driver: driver.rollback())

    return engine


async def _begin_reading(driver: aiosqlite.Connection) -> None:
    await driver.execute("BEGIN")


def _writing_engine(url: URL) -> Engine:
    engine = create_engine(
        url.set(drivername="sqlite"),
        hide_parameters=True,
        pool_size=1,
        max_overflow=0,
        pool_reset_on_return=None,
        # `_begin_writing` waits, SQLite does not.
        connect_args={"isolation_level": None, "timeout": 0.0, "check_same_thread": False},
    )
    event.listen(engine, "connect", _set_pragmas)
    return engine


def _begin_writing(connection: Connection, deadline: float) -> None:
    """Take the file's write lock, also from another process; tries once at least.

    SQLite's own waiting asks ever more rarely, up to every 100 ms, and starves beside a process
    that writes all the time.
    """
    while True:
        try:
            _on_driver(connection, "BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if not is_lock(error) or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0.001, 0.005))


def _on_driver(connection: Connection, statement: str) -> list[Any]:
    """Past SQLAlchemy, which would begin a transaction for it."""
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver.execute(statement).fetchall()


def _set_pragmas(connection: DBAPIConnection, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()
