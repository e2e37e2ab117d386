"""Where a storm's service keeps everything, as it is looked at and changed from outside."""

import asyncio
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import asyncpg

from database import sqlite_url
from tests.support.own_postgres import OwnPostgres, own_postgres
from tests.support.servers import free_port, own_redis, postgres_programs
from tests.support.service_process import query

T = TypeVar("T")
Connection = Any
"""Of asyncpg, which has no types."""
_NO_WRITE_SECONDS = 5.0


class Store(Protocol):
    """Blocking: call its methods in a thread."""

    url: str
    """As DATABASE_URL has it."""
    stuck_seconds: float
    """What ends after the last fault ends sooner than so long after another."""

    def ask(self, statement: str) -> list[tuple[Any, ...]]: ...
    def change(self, statement: str) -> None: ...

    def hold_a_lock(self, seconds: float) -> None:
        """As another program that writes, and takes its time."""

    def await_a_write(self) -> None:
        """Until the service is in the middle of one, or right behind it; five seconds at most."""

    def damage(self) -> list[str]:
        """What the database's own check finds wrong."""
        ...


class File:
    """The service is on SQLite."""

    stuck_seconds = 25.0  # less than a lease, which nobody has to wait for

    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = sqlite_url(path)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        return query(self._path, statement)

    def change(self, statement: str) -> None:
        with closing(sqlite3.connect(self._path, timeout=10)) as connection, connection:
            connection.execute(statement)

    def hold_a_lock(self, seconds: float) -> None:
        with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")

    def await_a_write(self) -> None:
        log = self._path.with_name(f"{self._path.name}-wal")
        before = log.stat().st_mtime_ns if log.exists() else 0
        deadline = time.monotonic() + _NO_WRITE_SECONDS
        while time.monotonic() < deadline and (
            not log.exists() or log.stat().st_mtime_ns == before
        ):
            time.sleep(0.0002)

    def damage(self) -> list[str]:
        return [problem for (problem,) in self.ask("PRAGMA integrity_check") if problem != "ok"]


class Servers:
    """Replicas are on a PostgreSQL and a Redis of their own."""

    stuck_seconds = 90.0  # more than the lease of a dead replica, and the longest call

    def __init__(self, postgres: OwnPostgres) -> None:
        self.postgres = postgres
        self.url = postgres.url
        self._redis_port = free_port()
        self.redis_url = f"redis://127.0.0.1:{self._redis_port}/0"
        self._redis = ExitStack()

    def start_redis(self) -> None:
        self._redis.enter_context(own_redis(self._redis_port))

    def stop_redis(self) -> None:
        self._redis.close()

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        async def fetch(connection: Connection) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in await connection.fetch(statement)]

        return self._connected(fetch)

    def change(self, statement: str) -> None:
        self._connected(lambda connection: connection.execute(statement))

    def hold_a_lock(self, seconds: float) -> None:
        async def hold(connection: Connection) -> None:
            async with connection.transaction():
                await connection.execute("LOCK TABLE conversations IN EXCLUSIVE MODE")
                await asyncio.sleep(seconds)

        self._connected(hold)

    def await_a_write(self) -> None:
        async def look(connection: Connection) -> None:
            deadline = time.monotonic() + _NO_WRITE_SECONDS
            while time.monotonic() < deadline and not await connection.fetchval(_WRITING):
                pass

        self._connected(look)

    def damage(self) -> list[str]:
        try:
            server = (
                "-h",
                "127.0.0.1",
                "-p",
                f"{self.postgres.port}",
                "-U",
                "postgres",
                "postgres",
            )
            self.postgres.run("pg_amcheck", "--install-missing", "--heapallindexed", *server)
        except subprocess.CalledProcessError as error:
            return [f"pg_amcheck ended with status {error.returncode}"]
        return []

    def _connected(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async def connect_and_work() -> T:
            connection = await asyncpg.connect(self.url.replace("+asyncpg", ""))
            try:
                return await work(connection)
            finally:
                await connection.close()

        return asyncio.run(connect_and_work())


_WRITING = "SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL"


def missing_program() -> str | None:
    """Of those that `servers` needs; None where all are there."""
    if postgres_programs() is None:
        return "PostgreSQL"
    return None if shutil.which("redis-server") else "redis-server"


@contextmanager
def servers() -> Iterator[Servers]:
    """Both started, and gone at the end of the block."""
    with own_postgres() as postgres:
        started = Servers(postgres)
        started.start_redis()
        try:
            yield started
        finally:
            started.stop_redis()
