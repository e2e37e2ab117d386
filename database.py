"""One database, SQLite or PostgreSQL: open, upgrade, transactions, and how their errors translate.

Knows nothing of conversations. What differs between the two databases below the level of a
statement is all here:

    SQLite       one file, one connection that writes, a few that read; every write waits its turn.
    PostgreSQL   one pool for both; several processes side by side.
"""

import asyncio
import fcntl
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import aiosqlite
import structlog
from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from errors import StartRefused, Unavailable
from models import SCHEMA_REVISION

log = structlog.get_logger(__name__)

BUSY_TIMEOUT_SECONDS = 1.0
"""How long a write waits for another process's lock on the SQLite file before it gives up."""

_READERS = 4
_POSTGRES_CONNECTIONS = 10
_UPGRADE_LOCK = 0x1A51_6875  # PostgreSQL advisory lock: any number that nothing else here uses

_SQLITE_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",  # in WAL, NORMAL would lose the last commits at a power cut
    "PRAGMA foreign_keys=ON",
    "PRAGMA secure_delete=ON",  # what is erased is overwritten, not only unlinked
    "PRAGMA temp_store=MEMORY",
    "PRAGMA journal_size_limit=16777216",
)

_SQLITE_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY: "The database is locked by another process.",
    sqlite3.SQLITE_LOCKED: "The database is locked by another process.",
    sqlite3.SQLITE_FULL: "The database's disk is full.",
    sqlite3.SQLITE_READONLY: "The database cannot be written: it is read-only.",
    sqlite3.SQLITE_IOERR: "The database's disk does not answer as it should.",
    sqlite3.SQLITE_CANTOPEN: "The database file cannot be opened.",
    sqlite3.SQLITE_PERM: "The database file cannot be opened.",
}

_SQLITE_LOCKS = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

# SQLSTATE, whole or its class: https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRES_UNAVAILABLE = {
    "08": "The database cannot be reached.",
    "53": "The database is out of disk, memory or connections.",
    "57P": "The database is shutting down or starting.",
    "57014": "The database took too long.",
    "25006": "The database cannot be written: it is read-only.",
    "40001": "The database is busy.",
    "40P01": "The database is busy.",
    "55P03": "The database is locked.",
}


class Database:
    """Built without I/O; `open()` before use, `close()` after.

    `read()` and `write()` each give a connection inside one transaction. Both raise Unavailable
    where the database cannot serve now, and then nothing has been stored.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._lock_file: IO[bytes] | None = None
        # On PostgreSQL transactions run side by side, so nobody waits here.
        self._write_turn: asyncio.Lock | None = asyncio.Lock() if self.is_sqlite else None
        if self.is_sqlite:
            # The writer waits for its turn in `_begin_writing`, not in SQLite.
            self._writer = self._sqlite_engine(_begin_writing, pool_size=1, busy_timeout=0.0)
            self._reader = self._sqlite_engine(
                _begin_reading, pool_size=_READERS, busy_timeout=BUSY_TIMEOUT_SECONDS
            )
        else:
            self._writer = self._reader = create_async_engine(
                self.url,
                hide_parameters=True,
                pool_size=_POSTGRES_CONNECTIONS,
                max_overflow=0,
                pool_pre_ping=True,
            )

    def _sqlite_engine(
        self,
        begin: Callable[[aiosqlite.Connection], Awaitable[object]],
        *,
        pool_size: int,
        busy_timeout: float,
    ) -> AsyncEngine:
        engine = create_async_engine(
            self.url,
            hide_parameters=True,  # errors are logged, texts are not
            pool_size=pool_size,
            max_overflow=0,
            pool_reset_on_return=None,  # each transaction ends in `_transaction`
            # The driver must not begin transactions of its own: `begin` does.
            connect_args={"isolation_level": None, "timeout": busy_timeout},
        )

        @event.listens_for(engine.sync_engine, "connect")
        def set_pragmas(connection: DBAPIConnection, _record: Any) -> None:
            cursor = connection.cursor()
            for pragma in _SQLITE_PRAGMAS:
                cursor.execute(pragma)
            cursor.close()

        @event.listens_for(engine.sync_engine, "begin")
        def begin_transaction(connection: Connection) -> None:
            # Straight at the driver: a third of the thread hand-overs of `exec_driver_sql`.
            connection.connection.run_async(begin)

        @event.listens_for(engine.sync_engine, "invalidate")
        def end_transaction(connection: Any, _record: Any, _error: Any) -> None:
            # Closing alone leaves it open for as long as anything refers to one of its cursors.
            with suppress(sqlite3.Error, ValueError):
                connection.run_async(lambda driver: driver.rollback())

        return engine

    # --- life ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, and upgrade the schema where it is older than the code.

        Raises StartRefused where it is newer, or the database cannot be had or written.
        """
        shown = self.url.render_as_string(hide_password=True)
        try:
            await self._connect()
            async with self.write() as connection:
                if not self.is_sqlite:  # SQLite's write transaction is the lock
                    await connection.execute(
                        text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK}
                    )
                await connection.run_sync(_upgrade)
                await connection.execute(_PROBE)  # a disk that cannot be written is told at once
        except Unavailable as error:
            raise StartRefused(f"DATABASE_URL {shown}: {error.details}") from error
        except (DBAPIError, OSError, PoolTimeoutError, TypeError) as error:
            # What no waiting mends: a wrong password, no such database, not a database file, an
            # option that the driver does not know.
            cause = str(_cause(error)).partition("\n")[0]
            raise StartRefused(f"DATABASE_URL {shown}: {cause}") from error

    async def _connect(self) -> None:
        """See that a connection can be had. Several processes may be making a new SQLite file:
        the switch to WAL then fails at once instead of waiting for its turn."""
        deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
        while True:
            try:
                async with self._writer.connect():
                    return
            except DBAPIError as error:
                if _sqlite_code(error) not in _SQLITE_LOCKS or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        await self._reader.dispose()
        await self._writer.dispose()
        self.resign_as_worker()

    # --- transactions -------------------------------------------------------------------------

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A snapshot: several statements inside see the same state on SQLite."""
        async with _transaction(self._reader) as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """On leaving, what was done is on disk; after an exception nothing is."""
        if self._write_turn is None:
            async with _transaction(self._writer) as connection:
                yield connection
        else:
            async with self._write_turn, _transaction(self._writer) as connection:
                yield connection

    async def check_writable(self) -> None:
        """Really write, since a lock taken tells nothing of a full disk. Raises Unavailable."""
        async with self.write() as connection:
            await connection.execute(_PROBE)

    async def forget_erased(self) -> None:
        """Fold SQLite's log into the database file, so that it keeps no copy of erased rows.

        As far as open readers allow; a later one does the rest. PostgreSQL sees to it by itself.
        """
        if self._write_turn is not None:
            # Shielded, so that who gave up waiting leaves the connection as it was.
            await asyncio.shield(self._truncate_log(self._write_turn))

    async def _truncate_log(self, turn: asyncio.Lock) -> None:
        async with turn:
            with suppress(Unavailable), _translated_errors():
                raw = await self._writer.raw_connection()
                try:
                    driver: Any = raw.driver_connection
                    await driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                finally:
                    raw.close()

    # --- one worker per SQLite file -----------------------------------------------------------

    def become_worker(self) -> bool:
        """Whether this process may analyse.

        On PostgreSQL always. On SQLite for one process at a time: a second one would call Grok
        with a second budget. The operating system frees the lock when its holder dies, however it
        dies, so whoever gets it knows that all rows in processing have been orphaned.
        """
        if not self.is_sqlite or self._lock_file is not None:
            return True
        assert self.url.database is not None
        try:
            lock_file = Path(self.url.database + "-worker-lock").open("ab")  # noqa: SIM115  held
        except OSError as error:
            raise Unavailable(
                f"The worker's lock file cannot be opened: {error.strerror}."
            ) from error
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock_file.close()
            return False
        self._lock_file = lock_file
        return True

    def resign_as_worker(self) -> None:
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None


_PROBE = text("UPDATE alembic_version SET version_num = version_num")
"""Changes nothing, and yet is really written."""


async def _begin_reading(driver: aiosqlite.Connection) -> None:
    await driver.execute("BEGIN")


async def _begin_writing(driver: aiosqlite.Connection) -> None:
    """Take the file's write lock, also from another process, within BUSY_TIMEOUT_SECONDS.

    SQLite's own waiting asks ever more rarely, up to every 100 ms, and starves beside a busy
    process; it also cannot be called off.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            await driver.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if _sqlite_code(error) not in _SQLITE_LOCKS or time.monotonic() > deadline:
                raise
        await asyncio.sleep(random.uniform(0.001, 0.005))


@asynccontextmanager
async def _transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    with _translated_errors():
        async with engine.connect() as connection:
            try:
                async with connection.begin():
                    yield connection
            except (DBAPIError, sqlite3.Error, OSError, asyncio.CancelledError) as error:
                # A connection that has met a full or read-only disk may stay that way after the
                # cause is gone, so the next transaction gets a new one. A lock leaves no mark.
                # And one whose user was cancelled may still be at work in the driver's thread.
                if _sqlite_code(error) not in _SQLITE_LOCKS and not connection.invalidated:
                    await connection.invalidate()
                raise


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:  # a BEGIN's error comes from the driver itself
        if (sentence := _why_unavailable(error)) is None:
            raise
        log.warning("database_unavailable", reason=sentence, cause=str(_cause(error)))
        raise Unavailable(sentence) from error
    except (OSError, PoolTimeoutError) as error:  # asyncpg lets the socket's own errors through
        log.warning("database_unavailable", cause=repr(error))
        raise Unavailable("The database cannot be reached.") from error


def _why_unavailable(error: DBAPIError | sqlite3.Error) -> str | None:
    """A sentence for people; None where the error is a bug of ours."""
    cause = _cause(error)
    if isinstance(cause, sqlite3.Error):
        return _SQLITE_UNAVAILABLE.get(_sqlite_code(error))
    state = getattr(cause, "sqlstate", None) or ""
    for prefix, sentence in _POSTGRES_UNAVAILABLE.items():
        if state.startswith(prefix):
            return sentence
    gone = isinstance(error, DBAPIError) and error.connection_invalidated
    return "The database cannot be reached." if gone else None


def _cause(error: BaseException) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error


def _sqlite_code(error: BaseException) -> int:
    """The primary result code: the low byte of the extended one. 0 where there is none."""
    return int(getattr(_cause(error), "sqlite_errorcode", 0)) & 0xFF


def _upgrade(connection: Connection) -> None:
    current = None
    if inspect(connection).has_table("alembic_version"):
        current = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if current == SCHEMA_REVISION:
        return
    # Alembic costs 60 ms and 6 MB, and most starts do not need it.
    from migrations.upgrade import upgrade

    upgrade(connection, current)
    log.info("database_upgraded", before=current, after=SCHEMA_REVISION)
