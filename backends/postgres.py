"""PostgreSQL: a pool for reading and writing, and a connection that may take its time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import TypeVar

from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from backends.errors import TOOK_TOO_LONG, translated_errors
from errors import Unavailable

T = TypeVar("T")

_CONNECTIONS = 10
_CONNECT_SECONDS = 5.0
_STATEMENT_SECONDS = 15.0
_COSTLY_READS = 3


class PostgresPool:
    """Several processes may work side by side."""

    def __init__(self, url: URL) -> None:
        self.version = ""
        self._engine = _engine(url, connections=_CONNECTIONS, statement_seconds=_STATEMENT_SECONDS)
        self._patient_engine = _engine(url, connections=1, statement_seconds=None)
        self._costly_reads = asyncio.Semaphore(_COSTLY_READS)
        self._snapshots = self._engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    async def connect(self) -> None:
        async with self._engine.connect() as connection:
            self.version = ".".join(map(str, connection.dialect.server_version_info or ()))

    async def close(self) -> None:
        await self._engine.dispose()
        await self._patient_engine.dispose()

    async def read(self, work: Callable[[Connection], T], *, costly: bool, seconds: float) -> T:
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

    async def write(self, work: Callable[[Connection], T], *, urgent: bool) -> T:
        """`urgent` changes nothing: no write waits for another here."""
        async with self._transaction(self._engine) as connection:
            return await connection.run_sync(work)

    async def yield_to_urgent_write(self) -> None:
        await asyncio.sleep(0)

    @asynccontextmanager
    async def reworking(self) -> AsyncIterator[AsyncConnection]:
        async with self._transaction(self._patient_engine) as connection:
            yield connection

    async def checkpoint_truncate(self) -> None:
        """PostgreSQL sees to its log by itself."""

    @asynccontextmanager
    async def _transaction(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        with translated_errors():
            async with engine.connect() as connection:
                try:
                    async with connection.begin():
                        yield connection
                except (DBAPIError, OSError):
                    # One that met trouble is not used again: its server may have been demoted. Of
                    # one whose user was cancelled SQLAlchemy sees to that.
                    if not connection.invalidated:
                        await connection.invalidate()
                    raise


def _engine(url: URL, *, connections: int, statement_seconds: float | None) -> AsyncEngine:
    """Connects when it is first used. With `statement_seconds` None a statement has no limit."""
    statement_ms = int((statement_seconds or 0) * 1000)
    return create_async_engine(
        url,
        hide_parameters=True,  # errors are logged, texts are not
        pool_size=connections,
        max_overflow=0,
        pool_pre_ping=True,
        pool_timeout=_CONNECT_SECONDS,
        connect_args={
            "timeout": _CONNECT_SECONDS,
            "command_timeout": statement_seconds,
            # Every statement has an index. Where few rows are expected to match many that lie
            # close together, the planner would now and then go through the table. No statement
            # takes as long as a parallel worker takes to start.
            "server_settings": {
                "enable_seqscan": "off",
                # The server's own limit, also where this process has died.
                "statement_timeout": str(statement_ms),
                "jit": "off",
                "max_parallel_workers_per_gather": "0",
            },
        },
    )
