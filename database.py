"""One database, SQLite or PostgreSQL: open, upgrade, and transactions.

Knows nothing of conversations.

    SQLite       `backends/sqlite.py`: every write waits its turn for one connection, a few read.
    PostgreSQL   one pool for reading and writing; several processes side by side.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import TypeVar

import structlog
from sqlalchemy import URL, Connection, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from backends.errors import TOOK_TOO_LONG, cause_of, translated_errors
from backends.sqlite import SqliteFile
from errors import StartRefused, Unavailable
from models import SCHEMA_REVISION

log = structlog.get_logger(__name__)

T = TypeVar("T")

_POSTGRES_CONNECTIONS = 10
_POSTGRES_CONNECT_SECONDS = 5.0
_POSTGRES_STATEMENT_SECONDS = 15.0
_POSTGRES_COSTLY_READS = 3

READ_SECONDS = 3.0
"""A read that a client waits for is stopped after so long."""
LONG_READ_SECONDS = 15.0
"""A part of an export, which its client has already begun to receive, has so long."""
_UPGRADE_LOCK = 0x1A51_6875  # PostgreSQL advisory lock: any number that nothing else here uses

_PROBE = text("UPDATE alembic_version SET version_num = version_num")
"""Changes nothing, and yet is really written."""


class Database:
    """Built without I/O; `open()` before use, `close()` after.

    `read()` and `write()` raise Unavailable where the database cannot serve now, and then nothing
    has been stored.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._file: SqliteFile | None = None
        if self.is_sqlite:
            self._file = SqliteFile(self.url)
            return
        self._engine = _postgres_engine(
            self.url,
            connections=_POSTGRES_CONNECTIONS,
            statement_seconds=_POSTGRES_STATEMENT_SECONDS,
        )
        self._patient_engine = _postgres_engine(self.url, connections=1, statement_seconds=None)
        self._costly_reads = asyncio.Semaphore(_POSTGRES_COSTLY_READS)
        self._snapshots = self._engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    # --- life ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, and upgrade the schema where it is older than the code.

        Raises StartRefused where it is newer, or the database cannot be had or written.
        """
        shown = self.url.render_as_string(hide_password=True)
        try:
            await self._connect()
            await self._upgrade()
            await self.check_writable()  # a disk that cannot be written is told at once
        except Unavailable as error:
            raise StartRefused(f"DATABASE_URL {shown}: {error.details}") from error
        except (DBAPIError, OSError, PoolTimeoutError, TypeError) as error:
            # What no waiting mends: a wrong password, no such database, not a database file, an
            # option that the driver does not know.
            cause = str(cause_of(error)).partition("\n")[0]
            raise StartRefused(f"DATABASE_URL {shown}: {cause}") from error

    async def _upgrade(self) -> None:
        if self._file:
            await self._file.write(_upgrade, rebuilding=True)
        else:
            await self.rework(_upgrade)

    async def _connect(self) -> None:
        """See that a connection can be had."""
        if self._file:
            await self._file.connect()
        else:
            async with self._engine.connect():
                pass

    async def close(self) -> None:
        if self._file:
            await self._file.close()
        else:
            await self._engine.dispose()
            await self._patient_engine.dispose()

    # --- transactions -------------------------------------------------------------------------

    async def read(
        self,
        work: Callable[[Connection], T],
        *,
        costly: bool = False,
        seconds: float = READ_SECONDS,
    ) -> T:
        """What `work` makes of one snapshot: all its statements see the same state.

        It is an ordinary function that changes nothing. On SQLite it runs in a reader's thread.
        `costly` ones, whose cost grows with the table or with what is asked, are few at a time and
        leave readers free for the others. After `seconds`, waiting for a reader included, it is
        stopped and Unavailable is raised; it is also stopped where the calling task is cancelled.
        """
        if self._file:
            return await self._file.read(work, costly=costly, seconds=seconds)
        turn = self._costly_reads if costly else nullcontext()
        try:
            async with (
                asyncio.timeout(seconds),
                turn,
                self._transaction(self._snapshots) as connection,
            ):
                return await connection.run_sync(work)
        except TimeoutError:
            raise Unavailable(TOOK_TOO_LONG) from None

    async def write(self, work: Callable[[Connection], T], *, urgent: bool = False) -> T:
        """Run `work` in one transaction and give what it gives: then what it did is on disk.

        After an exception nothing is. Where writes wait for each other, `urgent` ones are in a line
        of their own, which has every second turn.
        `work` is an ordinary function: on SQLite it runs in the writer's thread, on PostgreSQL in
        this one, under SQLAlchemy's asyncio bridge.
        """
        if self._file:
            return await self._file.write(work, urgent=urgent)
        async with self._transaction(self._engine) as connection:
            return await connection.run_sync(work)

    async def yield_to_urgent_write(self) -> None:
        """Let others have their turn, before and amid what keeps the interpreter busy."""
        if self._file:
            await self._file.yield_to_urgent_write()
        else:
            await asyncio.sleep(0)

    async def rework(self, work: Callable[[Connection], T]) -> T:
        """A write that goes through all rows, and may take as long as that takes."""
        if self._file:
            return await self._file.write(work)
        async with self._transaction(self._patient_engine) as connection:
            return await connection.run_sync(work)

    @asynccontextmanager
    async def _transaction(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        with translated_errors():
            async with engine.connect() as connection:
                try:
                    async with connection.begin():
                        yield connection
                except (DBAPIError, OSError, asyncio.CancelledError):
                    # One that met trouble, or whose user was cancelled, is not used again.
                    if not connection.invalidated:
                        await connection.invalidate()
                    raise

    async def check_writable(self) -> None:
        """Really write, since a lock taken tells nothing of a full disk. Raises Unavailable."""
        await self.write(lambda connection: connection.execute(_PROBE).rowcount)

    async def checkpoint_truncate(self) -> None:
        """See that no log keeps a copy of what was erased. PostgreSQL sees to it by itself."""
        if self._file:
            await self._file.checkpoint_truncate()

    def acquire_worker_lock(self) -> bool:
        """Whether this process may analyse: on SQLite one at a time may, on PostgreSQL all.

        A second one on the same file would call Grok with a second budget.
        """
        return self._file is None or self._file.acquire_worker_lock()


def _postgres_engine(url: URL, *, connections: int, statement_seconds: float | None) -> AsyncEngine:
    """Connects when it is first used. `statement_seconds` None is without end."""
    statement_ms = int((statement_seconds or 0) * 1000)
    return create_async_engine(
        url,
        hide_parameters=True,  # errors are logged, texts are not
        pool_size=connections,
        max_overflow=0,
        pool_pre_ping=True,
        pool_timeout=_POSTGRES_CONNECT_SECONDS,
        connect_args={
            "timeout": _POSTGRES_CONNECT_SECONDS,
            "command_timeout": statement_seconds,
            # Every statement has an index. Where few rows are expected to match many that lie
            # close together, going through the table would be chosen now and then. None takes as
            # long as it takes to start a helper.
            "server_settings": {
                "enable_seqscan": "off",
                # The server's own end of a statement, also where this process has died.
                "statement_timeout": str(statement_ms),
                "jit": "off",
                "max_parallel_workers_per_gather": "0",
            },
        },
    )


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # SQLite's write transaction is the lock
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
    current = None
    if inspect(connection).has_table("alembic_version"):
        current = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if current == SCHEMA_REVISION:
        return
    # Alembic costs 60 ms and 6 MB, and most starts do not need it.
    from migrations.upgrade import upgrade

    upgrade(connection, current)
    log.info("database_upgraded", before=current, after=SCHEMA_REVISION)
