"""Reads that take too long, or that nobody waits for any more, are stopped and keep nobody out."""

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from threading import Barrier, Event
from typing import Any

import pytest
from sqlalchemy import Connection, Executable, delete, func, literal, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.util import await_only

from database import Database
from errors import Unavailable
from models import conversations
from tests.support.factories import scalar
from tests.support.http_helpers import eventually

_LONG = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)"
    " SELECT max(i) FROM n"
)
_ENDLESS = text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
)
_UNSTOPPED_SECONDS = 8.0
"""After which a read ends by itself, so that a test in which nobody stops it fails."""


def endless(connection: Connection) -> Any:
    if connection.dialect.name == "postgresql":
        return connection.scalar(select(func.pg_sleep(_UNSTOPPED_SECONDS)))
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, sqlite3.Connection)
    until = time.monotonic() + _UNSTOPPED_SECONDS
    driver.set_progress_handler(lambda: time.monotonic() > until, 1_000_000)
    return connection.scalar(_ENDLESS)


def many_short_ones(connection: Connection) -> None:
    long = text("SELECT count(*) FROM (VALUES (1), (2)) a, (VALUES (1), (2)) b")
    until = time.monotonic() + _UNSTOPPED_SECONDS
    while time.monotonic() < until:
        connection.execute(long).all()


@asynccontextmanager
async def endless_reads(
    database: Database, count: int, *, costly: bool
) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Under way; cancelled in the end."""
    reads = [asyncio.create_task(database.read(endless, costly=costly)) for _ in range(count)]
    await asyncio.sleep(0.1)
    try:
        yield reads
    finally:
        for read in reads:
            read.cancel()
        await asyncio.wait(reads)


async def expect_idle_readers(database: Database) -> None:
    """Soon every reader has nothing to do."""
    if not database.is_sqlite:
        busy = text(
            "SELECT count(*) = 0 FROM pg_stat_activity WHERE state = 'active'"
            " AND query ~ 'pg_sleep|VALUES' AND pid <> pg_backend_pid()"
            " AND datname = current_database()"
        )
        await eventually(lambda: scalar(database, busy))
        return
    for costly, threads in ((False, 4), (True, 2)):
        meeting = Barrier(threads)

        def meet(_connection: Connection, meeting: Barrier = meeting) -> int:
            return meeting.wait(5)

        # Each needs a thread of its own, at the same time as the others.
        await asyncio.gather(*(database.read(meet, costly=costly) for _ in range(threads)))


ANSWER: Executable = select(literal(1))


@pytest.mark.parametrize("work", [endless, many_short_ones])
async def test_a_read_that_takes_too_long_is_stopped(
    database: Database, work: Callable[[Connection], Any]
) -> None:
    reads = [database.read(work, seconds=0.2) for _ in range(8)]
    async with asyncio.timeout(_UNSTOPPED_SECONDS + 1):
        answers = await asyncio.gather(*reads, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 8
    await expect_idle_readers(database)
    assert await scalar(database, ANSWER) == 1


async def test_a_read_that_nobody_waits_for_is_stopped(database: Database) -> None:
    for costly in (True, False):
        async with endless_reads(database, 6, costly=costly) as reads:
            pass
        assert all(read.cancelled() for read in reads)
        await expect_idle_readers(database)
    assert await scalar(database, ANSWER) == 1


async def test_costly_reads_leave_readers_free(database: Database) -> None:
    async with endless_reads(database, 20, costly=True) as reads:
        for _ in range(20):
            assert await scalar(database, ANSWER) == 1
        assert not any(read.done() for read in reads)
    assert await database.read(lambda connection: connection.scalar(ANSWER), costly=True) == 1


async def test_a_costly_read_does_not_wait_for_its_turn_for_ever(database: Database) -> None:
    reads = [database.read(endless, costly=True, seconds=0.3) for _ in range(12)]
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*reads, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 12
    assert all(answer.retry_after for answer in answers if isinstance(answer, Unavailable))
    assert await database.read(lambda connection: connection.scalar(ANSWER), costly=True) == 1


async def test_stopping_one_read_stops_no_other_on_the_same_connection(database: Database) -> None:
    """Each is cancelled about when it ends, and the next one takes over its connection."""

    def some(connection: Connection) -> int:
        counted = text(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)"
            " SELECT max(i) FROM n"
        )
        return int(connection.scalar(counted) or 0)

    async def read(number: int) -> int:
        try:
            return await database.read(some, seconds=0.001 * (number % 4) or 30)
        except Unavailable:
            return 0

    answers = await asyncio.gather(*(read(number) for number in range(200)))
    assert answers[::4] == [3000] * 50


async def test_a_read_that_has_ended_is_not_stopped_any_more(sqlite_url: str) -> None:
    """Its connection may be another's before its caller has the answer."""
    database = Database(sqlite_url)
    await database.open()
    given_up, interrupted = Event(), list[sqlite3.Error]()

    class Readers(deque[Connection]):
        def append(self, connection: Connection) -> None:
            given_up.wait(5)
            driver = connection.connection.dbapi_connection
            assert isinstance(driver, sqlite3.Connection)
            try:
                driver.execute(_LONG)
            except sqlite3.OperationalError as error:
                interrupted.append(error)
            super().append(connection)

    backend: Any = database._backend
    backend._idle_readers = Readers(backend._idle_readers)
    with pytest.raises(Unavailable):
        await database.read(lambda connection: connection.scalar(ANSWER), seconds=0.05)
    given_up.set()
    await database.close()  # waits for it

    assert not interrupted


async def test_a_read_can_write_nothing(database: Database) -> None:
    with pytest.raises(Unavailable, match="read-only"):
        await database.read(lambda connection: connection.execute(delete(conversations)))


async def test_a_reader_of_sqlite_that_met_an_error_is_not_used_again(sqlite_url: str) -> None:
    """What is wrong with the disk may stay with it."""
    database = Database(sqlite_url)
    await database.open()
    met: list[Any] = []

    def meet_it(connection: Connection) -> None:
        met.append(connection.connection.dbapi_connection)
        connection.execute(text("SELECT nothing"))

    with pytest.raises(OperationalError):
        await database.read(meet_it)
    there = await database.read(lambda connection: connection.connection.dbapi_connection)
    await database.close()
    assert there is not met[0]


@pytest.mark.parametrize("trouble", ["cancelled", "error"])
async def test_a_connection_that_met_trouble_is_not_used_again(
    postgres_url: str, trouble: str
) -> None:
    database = Database(postgres_url)
    await database.open()
    met: list[int] = []
    here, everybody = text("SELECT pg_backend_pid()"), asyncio.Barrier(10)

    def meet_it(connection: Connection) -> None:
        met.append(connection.scalar(here) or 0)
        if trouble == "error":
            connection.scalar(text("SELECT 1 / (count(*) - count(*)) FROM conversations"))
        endless(connection)

    def together(connection: Connection) -> Any:
        await_only(everybody.wait())  # so that each has a connection of its own
        return connection.scalar(here)

    reads = [asyncio.create_task(database.read(meet_it)) for _ in range(3)]
    await eventually(lambda: len(met) == 3)
    for read in reads:
        if trouble == "cancelled":
            read.cancel()
    await asyncio.wait(reads)
    others = await asyncio.gather(*(database.read(together) for _ in range(10)))
    await database.close()

    assert not set(met) & set(others)


async def test_the_server_of_postgresql_ends_statements_by_itself(postgres_url: str) -> None:
    """Also those of a process that has died and can cancel nothing; not those of an upgrade."""

    def limit(connection: Connection) -> Any:
        return connection.scalar(text("SELECT current_setting('statement_timeout')"))

    database = Database(postgres_url)
    await database.open()
    limits = [await do(limit) for do in (database.read, database.write, database.rework)]
    await database.close()

    assert limits == ["15s", "15s", "0"]
