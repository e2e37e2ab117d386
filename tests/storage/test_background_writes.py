"""Writes in the background: others wait for them no longer than they must."""

import asyncio
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, text

from database import Database
from tests.support.factories import run_sql, scalar

OthersWait = Callable[[], bool]
INSERT = text("INSERT INTO insight_days (day, changes) VALUES (1, 1)")
COUNT = text("SELECT count(*) FROM insight_days")


async def test_what_the_background_writes_is_stored(database: Database) -> None:
    def work(connection: Connection, others_wait: OthersWait) -> bool:
        connection.execute(INSERT)
        return others_wait()

    assert await database.write_in_background(work) is False
    assert await scalar(database, COUNT) == 1


async def test_what_raises_in_the_background_leaves_nothing(database: Database) -> None:
    def work(connection: Connection, _others_wait: OthersWait) -> None:
        connection.execute(INSERT)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.write_in_background(work)
    assert await scalar(database, COUNT) == 0


@pytest.mark.parametrize("urgent", [True, False])
async def test_it_is_told_that_another_write_waits(opened: Database, urgent: bool) -> None:
    """One that is not urgent may wait a little."""
    begun = threading.Event()
    done: list[str] = []

    def work(_connection: Connection, others_wait: OthersWait) -> None:
        alone = others_wait()
        begun.set()
        while not others_wait():
            pass
        done.append(f"background, {alone=}")

    async with asyncio.timeout(30):
        background = asyncio.create_task(opened.write_in_background(work))
        assert await asyncio.to_thread(begun.wait, 10)
        await opened.write(lambda _connection: done.append("other"), urgent=urgent)
        await background
    assert done == ["background, alone=False", "other"]


async def test_its_commit_is_not_forced_to_disk_but_that_of_the_next_write_is(
    opened: Database,
) -> None:
    def how(connection: Connection, *_: OthersWait) -> int:
        number: int = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
        return number

    normal, full = 1, 2
    assert await opened.write(how) == full
    assert await opened.write_in_background(how) == normal
    assert await opened.write_in_background(how) == normal
    assert await opened.write(how, urgent=True) == full


async def test_the_next_write_is_forced_to_disk_also_after_trouble_in_the_background(
    opened: Database,
) -> None:
    """Which is met on a new connection."""

    def work(connection: Connection, _others_wait: OthersWait) -> None:
        connection.exec_driver_sql("SELECT * FROM no_such_table")

    with pytest.raises(Exception, match="no_such_table"):
        await opened.write_in_background(work)
    await run_sql(opened, INSERT)
    found = await opened.write(
        lambda connection: connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
    )
    assert found == 2
