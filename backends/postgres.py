"""PostgreSQL: a pool for reading and writing, and a connection that may take its time."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from random import random
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, event, text
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from backends.backend import BackgroundWork
from backends.errors import TOOK_TOO_LONG, is_full, is_of_pooler, translated_errors
from errors import StartRefused, Unavailable

T = TypeVar("T")

_CONNECT_SECONDS = 5.0
_STATEMENT_SECONDS = 15.0
_IDLE_SECONDS = 5
"""The server ends a transaction whose process says nothing for so long: one that is frozen would
else hold its locks, and stop all other processes, until it is thawed."""
_UNHEARD_SECONDS = 10
"""The server gives up a connection whose other end does not acknowledge anything for so long."""

_RESTED_SECONDS = 1.0
"""A connection that has rested for so long is asked whether it lives: three ways there and back."""

_REFUSED = "The database does not let this service in."
_FIRST_PAUSE, _LONGEST_PAUSE = 0.03, 0.5
"""Until a server without a connection left is asked again, in seconds."""

_NOT_UTF8 = (
    "The database's encoding is {}, in which not every text can be stored: use one that was made"
    " with ENCODING 'UTF8'"
)
_ASKED = 5
"""Times, in as many transactions, which session a connection has."""
_POOLED_BY_TRANSACTION = (
    "DATABASE_URL leads through a pooler in transaction mode, which gives one session of the"
    " database to several connections in turn: use its session mode, or none"
)


class PostgresPool:
    """Several processes may work side by side."""

    def __init__(self, url: URL, *, connections: int) -> None:
        """`connections` are the most that are open at once, and one more while the schema is
        changed or figures are made anew."""
        self.version = ""
        self._engine = _engine(url, connections=connections, statement_seconds=_STATEMENT_SECONDS)
        self._patient_engine = _engine(url, connections=1, statement_seconds=None)
        self._costly_reads = asyncio.Semaphore(max(1, connections // 3))
        self._snapshots = self._engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    async def connect(self) -> None:
        """Raises StartRefused where sessions do not belong to connections, or texts cannot be
        stored as they are."""
        try:
            async with self._engine.connect() as connection:
                self.version = ".".join(map(str, connection.dialect.server_version_info or ()))
                encoding = await connection.scalar(_ENCODING)
                if encoding != "UTF8":
                    raise StartRefused(_NOT_UTF8.format(encoding))
                await self._check_sessions(connection)
        except DBAPIError as error:
            if is_of_pooler(error):
                raise StartRefused(_POOLED_BY_TRANSACTION) from None
            raise

    async def _check_sessions(self, connection: AsyncConnection) -> None:
        # With no transaction open, a pooler gives the session to whoever asks next, and another to
        # this connection when its turn comes.
        sessions = set()
        for _ in range(_ASKED):
            sessions.add(await connection.scalar(_SESSION))
            await connection.rollback()
        async with self._patient_engine.connect() as another:
            if len(sessions) > 1 or await another.scalar(_SESSION) in sessions:
                raise StartRefused(_POOLED_BY_TRANSACTION)

    async def close(self) -> None:
        await self._engine.dispose()
        await self._patient_engine.dispose()

    async def read(self, work: Callable[[Connection], T], *, costly: bool, seconds: float) -> T:
        turn = self._costly_reads if costly else nullcontext()
        why = "The database is busy."
        try:
            async with (
                asyncio.timeout(seconds),
                turn,
                self._transaction(self._snapshots) as connection,
            ):
                why = TOOK_TOO_LONG
                return await connection.run_sync(work)
        except TimeoutError:
            raise Unavailable(why) from None

    async def write(
        self,
        work: Callable[[Connection], T],
        *,
        urgent: bool = False,
        durable: bool = True,
        preemptible: bool = False,
    ) -> T:
        """The options change nothing: nobody waits for a write here, and all are durable: this
        process outlives the server, and what that forgot nobody here would know."""
        async with self._transaction(self._engine) as connection:
            return await connection.run_sync(work)

    async def write_in_background(self, work: BackgroundWork[T]) -> T:
        return await self.write(lambda connection: work(connection, lambda: False))

    async def yield_to_urgent_write(self) -> None:
        await asyncio.sleep(0)

    @asynccontextmanager
    async def reworking(self) -> AsyncIterator[AsyncConnection]:
        async with self._transaction(self._patient_engine) as connection:
            yield connection

    async def checkpoint_truncate(self) -> None:
        """PostgreSQL sees to its log by itself."""

    async def copy_into(self, target: Path) -> bool:
        """`pg_dump` does it."""
        return False

    async def analyze(self) -> None:
        """Have the planner know what is there now. By itself it looks a minute or more later, and
        until then a search may take a thousand times as long."""
        async with self.reworking() as connection:
            await connection.execute(_ANALYZE)

    @asynccontextmanager
    async def _transaction(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        with translated_errors():
            async with AsyncExitStack() as stack:
                connection = await _connect(engine, stack)
                try:
                    async with connection.begin():
                        yield connection
                except (DBAPIError, OSError):
                    # One that met trouble is not used again: its server may have been demoted. Of
                    # one whose user was cancelled SQLAlchemy sees to that.
                    if not connection.invalidated:
                        await connection.invalidate()
                    raise


async def _connect(engine: AsyncEngine, stack: AsyncExitStack) -> AsyncConnection:
    """One that is closed with `stack`. Raises Unavailable where the server lets nobody in, whatever
    it says: whom it refuses now, such as while a password is changed, it may let in soon."""
    give_up, pause = time.monotonic() + _CONNECT_SECONDS, _FIRST_PAUSE
    with translated_errors(otherwise=_REFUSED):
        while True:
            try:
                return await stack.enter_async_context(engine.connect())
            except DBAPIError as error:
                if not is_full(error) or time.monotonic() > give_up:
                    raise
            # One of this process's own may be free soon; the server is asked less and less often.
            await asyncio.sleep(pause * (1 + random()))
            pause = min(2 * pause, _LONGEST_PAUSE)


_ANALYZE = text("ANALYZE")
_SESSION = text("SELECT pg_backend_pid()")
_ENCODING = text("SHOW server_encoding")


def _engine(url: URL, *, connections: int, statement_seconds: float | None) -> AsyncEngine:
    """Connects when it is first used. With `statement_seconds` None a statement has no limit."""
    engine = create_async_engine(
        url,
        hide_parameters=True,  # errors are logged, texts are not
        # Whatever the database's default: what has had to wait sees what others wrote meanwhile.
        isolation_level="READ COMMITTED",
        pool_size=connections,
        max_overflow=0,
        pool_timeout=_CONNECT_SECONDS,
        connect_args={"timeout": _CONNECT_SECONDS, "command_timeout": statement_seconds},
    )
    statement_ms = int((statement_seconds or 0) * 1000)
    # Every statement has an index. Where few rows are expected to match many that lie close
    # together, the planner would now and then go through the table. No statement takes as long as a
    # parallel worker takes to start.
    settings = {
        "enable_seqscan": "off",
        "jit": "off",
        "max_parallel_workers_per_gather": "0",
        # The pages of a frequent word's matches in millions of texts: with less PostgreSQL forgets
        # which rows matched and looks at all, and sorts on its disk.
        "work_mem": "16MB",
        # The server's own limits, also where this process has died.
        "statement_timeout": str(statement_ms),
        "idle_in_transaction_session_timeout": str(_IDLE_SECONDS * 1000) if statement_ms else "0",
        "tcp_user_timeout": str(_UNHEARD_SECONDS * 1000),
    }
    chosen = ", ".join(
        f"set_config('{name}', '{value}', false)" for name, value in settings.items()
    )

    # Not while connecting: poolers refuse settings there, or drop them.
    @event.listens_for(engine.sync_engine, "connect")
    def set_up_session(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SELECT {chosen}")
        cursor.close()
        connection.commit()

    _ask_rested_ones(engine)
    return engine


def _ask_rested_ones(engine: AsyncEngine) -> None:
    """Have the pool replace its connections where the next one is known to be closed, or has rested
    and is found dead. Its own `pool_pre_ping` asks each time, for a tenth of what a post takes. One
    that has died unseen within the last second costs one caller an Unavailable."""
    rested_from = "rested from"

    @event.listens_for(engine.sync_engine, "checkin")
    def rests(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info[rested_from] = time.monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def is_taken(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        if (began := record.info.get(rested_from)) is None:  # a new one
            return
        try:
            if time.monotonic() - began >= _RESTED_SECONDS:
                engine.dialect.do_ping(connection)
            is_dead = connection.driver_connection.is_closed()
        except engine.dialect.loaded_dbapi.Error:
            is_dead = True
        if is_dead:
            raise InvalidatePoolError
