"""Writes in the background: others wait for them no longer than they must."""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, text

from backends import sqlite
from backends.sqlite_driver import execute
from database import Database
from models import insight_days
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


async def test_its_commit_is_forced_to_disk_like_any_other(opened: Database) -> None:
    def how(connection: Connection, *_: OthersWait) -> int:
        number: int = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
        return number

    full = 2
    assert await opened.write_in_background(how) == full
    assert await opened.write(how) == full


@pytest.mark.parametrize("short", [False, True])
async def test_an_urgent_write_comes_before_one_that_is_preemptible(
    opened: Database, short: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is rolled back for it, and begun anew once its caller has the answer."""
    monkeypatch.setattr("backends.sqlite._ANSWER_SECONDS", 10.0)
    begun = threading.Event()
    order: list[str] = []
    tries = 0
    loop = asyncio.get_running_loop()

    def look(connection: Connection) -> Any:
        loop.call_soon_threadsafe(time.sleep, 0.05)  # before the loop gives the answer
        return connection.scalar(COUNT)

    def work(connection: Connection, *_: OthersWait) -> int:
        nonlocal tries
        tries += 1
        order.append("try")
        execute(connection, INSERT.text, ())
        begun.set()
        while tries == 1:
            execute(connection, COUNT.text, ())
        count: int = connection.scalar(COUNT)
        return count

    async with asyncio.timeout(30):
        writing = (
            opened.write(work, preemptible=True) if short else opened.write_in_background(work)
        )
        background = asyncio.create_task(writing)
        assert await asyncio.to_thread(begun.wait, 10)
        seen = await opened.write(look, urgent=True)
        order.append("answered")
        assert (seen, await background, tries) == (0, 1, 2)
    assert order == ["try", "answered", "try"]
    assert await scalar(opened, COUNT) == 1


async def test_what_is_rolled_back_does_not_count_towards_a_checkpoint(opened: Database) -> None:
    """It is not in the log."""
    begun = threading.Event()
    tries = 0

    def work(connection: Connection, _others_wait: OthersWait) -> None:
        nonlocal tries
        tries += 1
        days = ", ".join(f"({tries}{day}, 1)" for day in range(50))
        execute(connection, f"INSERT INTO insight_days (day, changes) VALUES {days}")
        begun.set()
        while tries == 1:
            execute(connection, COUNT.text)

    checkpoints = opened._backend._checkpoints  # type: ignore[attr-defined]
    await opened.write(lambda _connection: None)  # what the start has written
    before = checkpoints._changes
    async with asyncio.timeout(30):
        background = asyncio.create_task(opened.write_in_background(work))
        assert await asyncio.to_thread(begun.wait, 10)
        await opened.write(lambda connection: connection.execute(INSERT), urgent=True)
        await background
    assert (tries, checkpoints._changes - before) == (2, 51)


@pytest.mark.parametrize("preemptible", [False, True])
async def test_one_that_is_preemptible_gives_way_to_an_urgent_one_that_waits_already(
    opened: Database, preemptible: bool
) -> None:
    """After an urgent one it is the turn of others, but a preemptible one gives it back."""
    begun, gate = threading.Event(), threading.Event()
    done: list[str] = []

    def hold_up(_connection: Connection) -> None:
        begun.set()
        assert gate.wait(10)

    def work(connection: Connection) -> None:
        execute(connection, COUNT.text)
        done.append("other")

    def urgent(name: str) -> asyncio.Task[None]:
        writing = opened.write(lambda _connection: done.append(name), urgent=True)
        return asyncio.create_task(writing)

    async with asyncio.timeout(30):
        waiting = [asyncio.create_task(opened.write(hold_up))]
        assert await asyncio.to_thread(begun.wait, 10)
        waiting.append(asyncio.create_task(opened.write(work, preemptible=preemptible)))
        await asyncio.sleep(0)
        waiting += [urgent("first"), urgent("second")]
        await asyncio.sleep(0)  # let them line up
        gate.set()
        await asyncio.gather(*waiting)
    others = ["second", "other"] if preemptible else ["other", "second"]
    assert done == ["first", *others]


async def test_nothing_is_rolled_back_while_the_file_is_copied(
    opened: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which would have to begin anew."""
    is_copying, is_copied, begun = threading.Event(), threading.Event(), threading.Event()
    tries = 0

    def copy(*_: Any) -> bool:
        is_copying.set()
        return is_copied.wait(30)

    def work(connection: Connection, others_wait: OthersWait) -> None:
        nonlocal tries
        tries += 1
        begun.set()
        while tries == 1 and not others_wait():
            time.sleep(0.001)
        time.sleep(0.05)  # the request has come by now
        execute(connection, COUNT.text, ())

    monkeypatch.setattr(sqlite, "copy_beside_writes", copy)
    async with asyncio.timeout(30):
        copying = asyncio.create_task(opened.copy_into(tmp_path / "copy.db"))
        assert await asyncio.to_thread(is_copying.wait, 10)
        background = asyncio.create_task(opened.write_in_background(work))
        assert await asyncio.to_thread(begun.wait, 10)
        await opened.write(lambda connection: connection.scalar(COUNT), urgent=True)
        await background
        is_copied.set()
        assert await copying
    assert tries == 1


@pytest.mark.parametrize("short", [False, True])
async def test_one_that_is_preemptible_comes_to_its_end_beside_urgent_ones_that_never_end(
    opened: Database, short: bool
) -> None:
    """Since only so much may be rolled back, and a turn is given back once. Others have theirs."""
    is_over = False

    async def post() -> None:
        while not is_over:
            await opened.write(lambda connection: connection.scalar(COUNT), urgent=True)

    def work(connection: Connection, *_: OthersWait) -> None:
        for _number in range(20):
            execute(connection, COUNT.text, ())
            time.sleep(0.001)

    async with asyncio.timeout(30):
        posts = [asyncio.create_task(post()) for _ in range(3)]
        for day in range(10):
            await (
                opened.write(work, preemptible=True) if short else opened.write_in_background(work)
            )
            await run_sql(opened, insert(insight_days).values(day=day, changes=1))
        is_over = True
        await asyncio.gather(*posts)


async def test_one_that_is_preemptible_gives_its_turn_back_once(opened: Database) -> None:
    """Giving it back costs nothing of what may be lost, so that it could go on for ever."""
    is_over, tries = False, 0

    async def post() -> None:
        while not is_over:
            await opened.write(lambda connection: connection.scalar(COUNT), urgent=True)

    def work(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        execute(connection, COUNT.text)

    async with asyncio.timeout(30):
        posts = [asyncio.create_task(post()) for _ in range(3)]
        for _ in range(5):
            await opened.write(work, preemptible=True)
        is_over = True
        await asyncio.gather(*posts)
    assert tries < 50  # a post may also come amid it


async def test_a_write_that_is_not_in_the_background_is_not_rolled_back(opened: Database) -> None:
    begun, asked = threading.Event(), threading.Event()
    tries = 0

    def work(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        execute(connection, INSERT.text, ())
        begun.set()
        assert asked.wait(10)
        execute(connection, INSERT.text.replace("(1, 1)", "(2, 1)"), ())

    async with asyncio.timeout(30):
        other = asyncio.create_task(opened.write(work))
        assert await asyncio.to_thread(begun.wait, 10)
        urgent = asyncio.create_task(
            opened.write(lambda connection: connection.scalar(COUNT), urgent=True)
        )
        await asyncio.sleep(0)
        asked.set()
        await other
        assert (await urgent, tries) == (2, 1)
