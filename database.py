"""One database, SQLite or PostgreSQL: open, upgrade, and transactions.

Knows nothing of conversations. The two differ in `backends/sqlite.py` and `backends/postgres.py`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

import structlog
from sqlalchemy import URL, Connection, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from backends.backend import Backend, BackgroundWork
from backends.errors import cause_of
from backends.sqlite import SqliteFile
from errors import StartRefused, Unavailable
from migrations import new_file
from models import SCHEMA_REVISION, follow_own_clock

log = structlog.get_logger(__name__)

T = TypeVar("T")

READ_SECONDS = 3.0
"""A read that a client waits for is stopped after so long."""
LONG_READ_SECONDS = 15.0
"""A part of an export, which its client has already begun to receive, has so long."""
UNDER_WAY = "moving"
"""In place of the schema's revision, while everything is moved into a database."""
_UPGRADE_LOCK = 0x1A51_6875  # PostgreSQL advisory lock: any number that nothing else here uses

_PROBE = text("UPDATE alembic_version SET version_num = version_num")
"""Changes nothing, and yet is really written."""


def sqlite_url(path: Path) -> str:
    """Of a SQLite file, whatever letters are in its path: a URL has `%` and `#` mean something."""
    return URL.create("sqlite+aiosqlite", database=str(path)).render_as_string()


class Database:
    """Built without I/O; `open()` before use, `close()` after.

    A SQLite file belongs to one process from `open()` to `close()`: a second one waits
    `lock_patience` seconds for it. To PostgreSQL at most `connections` are open. `read()`,
    `write()` and `rework()` raise Unavailable where the database cannot serve now, and then nothing
    has been stored.
    """

    def __init__(self, url: str, *, lock_patience: float = 0.0, connections: int = 10) -> None:
        self.url = make_url(url)
        self.engine = self.url.get_backend_name()
        self._backend = _build_backend(self.url, lock_patience, connections)

    @property
    def is_sqlite(self) -> bool:
        return self.engine == "sqlite"

    @property
    def version(self) -> str:
        """Of SQLite's library or of PostgreSQL's server; empty before `open()`."""
        return self._backend.version

    # --- life ---------------------------------------------------------------------------------

    async def open(self, *, upgrade: bool = True) -> None:
        """Connect, and upgrade the schema where it is older than the code. Without `upgrade` an
        older one is refused, and nothing is written.

        Raises StartRefused where it is newer, another process has the SQLite file, or the database
        cannot be had or written.
        """
        shown = self.url.render_as_string(hide_password=True)
        try:
            await self._backend.connect()
            if (revision := await self.read(_revision)) != SCHEMA_REVISION:
                if revision == UNDER_WAY:
                    raise StartRefused(
                        f"DATABASE_URL {shown}: a move into it has not come to its end: make it"
                        " anew, and move again"
                    )
                if not upgrade:
                    raise StartRefused(
                        f"DATABASE_URL {shown}: its schema is {revision}, not {SCHEMA_REVISION}:"
                        " start the service on it once"
                    )
                if await self.read(new_file.is_empty):
                    await self.write(_make)
                else:
                    await self.rework(_upgrade)
            if upgrade:
                await self.check_writable()  # a disk that cannot be written is told at once
        except Unavailable as error:
            raise StartRefused(f"DATABASE_URL {shown}: {error.details}") from error
        except (DBAPIError, OSError, PoolTimeoutError, TypeError) as error:
            # What no waiting mends: a wrong password, no such database, not a database file, an
            # option that the driver does not know.
            cause = str(cause_of(error)).partition("\n")[0]
            raise StartRefused(f"DATABASE_URL {shown}: {cause}") from error

    async def close(self) -> None:
        await self._backend.close()
        follow_own_clock()

    async def __aenter__(self) -> Self:
        """Opened, and closed at the end of the block, or where opening it fails."""
        try:
            await self.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.close()

    # --- transactions -------------------------------------------------------------------------

    async def read(
        self,
        work: Callable[[Connection], T],
        *,
        costly: bool = False,
        seconds: float = READ_SECONDS,
    ) -> T:
        """Return what `work` returns of one snapshot: all its statements see the same state.

        `work` is an ordinary function that changes nothing. On SQLite it runs in a reader's thread.
        Reads that are `costly`, whose cost grows with the table or with what is asked, are few at a
        time and leave readers free for the others. After `seconds`, waiting for a reader included,
        the read is stopped and Unavailable is raised; it is also stopped where the calling task is
        cancelled. On SQLite it gives way to conversations that are on their way through here.
        """
        return await self._backend.read(work, costly=costly, seconds=seconds)

    async def write(
        self,
        work: Callable[[Connection], T],
        *,
        urgent: bool = False,
        durable: bool = True,
        preemptible: bool = False,
    ) -> T:
        """Run `work` in one transaction and return its result. What it wrote is on disk then, if it
        is `durable`.

        After an exception nothing of it is stored. Where writes wait for each other, `urgent` ones
        are in a queue of their own, which has every second turn. `work` is an ordinary function: on
        SQLite it runs in the writer's thread, on PostgreSQL in this one, under SQLAlchemy's asyncio
        bridge.

        On SQLite one that is not `durable` does not wait for the disk, and a power cut may undo it
        until the next durable one has written something. There, too, an urgent write may have one
        that is `preemptible` rolled back and `work` called anew, so that what `work` does anywhere
        but in the database must bear repeating; it is not to be urgent itself.
        """
        return await self._backend.write(
            work, urgent=urgent, durable=durable, preemptible=preemptible
        )

    async def write_in_background(self, work: BackgroundWork[T]) -> T:
        """As `write`, for a transaction that may be long: `work` is to come to its end soon after
        the function that it is given says that another write waits for it.

        On SQLite an urgent write may have the transaction rolled back and `work` called anew, so
        that what it does anywhere but in the database must bear repeating.
        """
        return await self._backend.write_in_background(work)

    async def rework(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction that may go through all rows or change the schema.

        It may take as long as that takes. On both databases it runs through SQLAlchemy's asyncio
        engine, and on SQLite every `write` waits for it.
        """
        async with self._backend.reworking() as connection:
            return await connection.run_sync(work)

    async def yield_to_urgent_write(self) -> None:
        """Let other tasks have their turn, before and amid what keeps the interpreter busy."""
        await self._backend.yield_to_urgent_write()

    async def check_writable(self) -> None:
        """Really write, since a lock taken tells nothing of a full disk. Raises Unavailable."""
        await self.write(lambda connection: connection.execute(_PROBE).rowcount)

    async def checkpoint_truncate(self) -> None:
        """Empty SQLite's write-ahead log, so that it keeps no copy of erased rows."""
        await self._backend.checkpoint_truncate()

    async def copy_into(self, target: Path) -> bool:
        """Fill the empty file `target` with what is committed when the copying ends, while writes
        go on. False where it came to nothing: on PostgreSQL, and amid many rollbacks. Raises
        sqlite3.Error and OSError."""
        return await self._backend.copy_into(target)

    async def analyze(self) -> None:
        """Have the database's planner know of the many rows that have been written."""
        await self._backend.analyze()


def _build_backend(url: URL, lock_patience: float, connections: int) -> Backend:
    if url.get_backend_name() == "sqlite":
        return SqliteFile(url, lock_patience=lock_patience)
    from backends.postgres import PostgresPool  # its parts of SQLAlchemy are not needed for SQLite

    return PostgresPool(url, connections=connections)


def _revision(connection: Connection) -> str | None:
    """The schema's; None where there is none yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def set_revision(revision: str, connection: Connection) -> None:
    """Write that the schema is at `revision`, or `UNDER_WAY`."""
    connection.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": revision})


def _make(connection: Connection) -> None:
    new_file.make(connection)
    log.info("database_made", schema=SCHEMA_REVISION)


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # of several processes one makes the tables
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
    before = _revision(connection)
    if before == SCHEMA_REVISION:
        return
    # Alembic costs 60 ms and 6 MB, and most starts do not need it.
    from migrations.upgrade import upgrade

    upgrade(connection, before)
    log.info("database_upgraded", before=before, after=SCHEMA_REVISION)
