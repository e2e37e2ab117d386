"""Reads and writes of both databases: turns, cancelling, reworking all."""

import asyncio
import threading
import time
from functools import partial

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only

from database import Database
from errors import Unavailable
from runtime import turns
from tests.storage.conftest import Locks
from tests.support.factories import accept, open_read, run_sql
from tests.support.stored import count

# --- transactions ---------------------------------------------------------------------------------


async def test_a_write_that_raises_leaves_nothing(database: Database) -> None:
    def work(connection: Connection) -> None:
        connection.execute(INSERT)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.write(work)
    assert await count(database) == 0


INSERT = text(
    "INSERT INTO conversations (id, text, timestamp, status, created_at, lane)"
    " VALUES ('conv_00000001', 'x', 0, 'pending', 0, 'live')"
)


async def test_what_is_written_is_seen_by_the_next_read(database: Database) -> None:
    await run_sql(database, INSERT)
    assert await count(database) == 1


async def test_a_read_sees_one_moment(database: Database) -> None:
    async with open_read(database, text("SELECT count(*) FROM conversations")) as read:
        await accept(database)
    assert (await read, await count(database)) == ([0, 0], 1)


async def test_a_read_cannot_change_anything(database: Database) -> None:
    with pytest.raises((Unavailable, DBAPIError), match=r"(?i)read-?only"):
        await database.read(lambda connection: connection.execute(INSERT).rowcount)
    assert await count(database) == 0


async def test_many_writes_at_once_all_come_through(database: Database) -> None:
    async def write(number: int) -> None:
        await run_sql(database, text(INSERT.text.replace("'conv_00000001'", f"'conv_{number:08}'")))

    async with asyncio.timeout(60):
        await asyncio.gather(*(write(number) for number in range(60)))
    assert await count(database) == 60


@pytest.mark.parametrize("preemptible", [False, True])
async def test_a_write_waits_for_the_disk_but_where_it_need_not(
    opened: Database, preemptible: bool
) -> None:
    def synchronous(connection: Connection) -> object:
        return connection.exec_driver_sql("PRAGMA synchronous").scalar_one()

    normal, full = 1, 2
    for _ in range(2):
        write = partial(opened.write, synchronous, preemptible=preemptible)
        assert await write(durable=False) == normal
        assert await write() == full
        assert await opened.write(synchronous, urgent=True) == full


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_on_postgresql_every_write_waits_for_the_disk(database: Database) -> None:
    """Where the server dies, this process lives on."""
    await run_sql(database, text("SET synchronous_commit TO on"))  # the tests' server is off
    asked = text("SHOW synchronous_commit")
    assert await database.write(lambda one: one.scalar(asked), durable=False) == "on"


async def test_a_read_gives_way(opened: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_RIGHT_OF_WAY_SECONDS", 10.0)
    turns.take_right_of_way()
    reading = asyncio.create_task(count(opened))
    await asyncio.wait([reading], timeout=0.1)
    assert not reading.done()
    turns.give_back_right_of_way()
    async with asyncio.timeout(5):
        await reading


async def test_urgent_writes_and_others_take_turns_where_both_wait(opened: Database) -> None:
    begun, gate = threading.Event(), threading.Event()
    done: list[str] = []

    def hold_up(_connection: Connection) -> None:
        begun.set()
        assert gate.wait(10)

    def write(name: str) -> asyncio.Task[None]:
        work = opened.write(lambda _connection: done.append(name), urgent=name.isupper())
        return asyncio.create_task(work)

    waiting = [asyncio.create_task(opened.write(hold_up))]
    assert await asyncio.to_thread(begun.wait, 10)
    waiting += [write(name) for name in "abAcB"]
    gone = write("C")
    await asyncio.sleep(0)  # let them line up
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    gate.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting)
    assert done == ["A", "a", "B", "b", "c"]


async def test_the_caller_of_an_urgent_write_has_his_answer_before_others_begin(
    opened: Database,
) -> None:
    begun, gate = threading.Event(), threading.Event()
    order: list[str] = []

    def hold_up(_connection: Connection) -> None:
        begun.set()
        assert gate.wait(10)

    async def write_urgently() -> None:
        await opened.write(hold_up, urgent=True)
        order.append("answered")

    async def yield_to_urgent_write() -> None:
        await opened.yield_to_urgent_write()
        order.append("gave way")

    waiting = [asyncio.create_task(write_urgently())]
    assert await asyncio.to_thread(begun.wait, 10)
    waiting.append(asyncio.create_task(yield_to_urgent_write()))
    waiting.append(asyncio.create_task(opened.write(lambda _connection: order.append("other"))))
    await asyncio.sleep(0.05)
    assert order == []
    gate.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting)
    assert order[0] == "answered"
    assert sorted(order[1:]) == ["gave way", "other"]


async def test_a_write_that_had_lined_up_before_a_post_waits_for_its_answer_too(
    opened: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer's thread goes on by itself, and would keep the interpreter from the answer."""
    monkeypatch.setattr("backends.sqlite._ANSWER_SECONDS", 20.0)
    begun, gate = threading.Event(), threading.Event()
    order: list[str] = []

    def hold_up(_connection: Connection) -> None:
        begun.set()
        assert gate.wait(10)

    def write_after_it(_connection: Connection) -> None:
        order.append("other")

    async def post() -> None:
        await accept(opened, "Where is it?")
        order.append("answered")

    waiting = [asyncio.create_task(opened.write(hold_up))]
    assert await asyncio.to_thread(begun.wait, 10)
    waiting.append(asyncio.create_task(opened.write(write_after_it)))
    await asyncio.sleep(0)  # it lines up
    waiting.append(asyncio.create_task(post()))
    await asyncio.sleep(0.01)
    gate.set()
    time.sleep(0.1)  # noqa: ASYNC251  the loop is busy when the post is on the disk
    async with asyncio.timeout(10):  # the writer does not wait for longer than that takes
        await asyncio.gather(*waiting)
    assert order == ["answered", "other"]


async def test_one_urgent_write_is_given_way_to_and_not_all_that_follow(opened: Database) -> None:
    first, gates = threading.Event(), [threading.Event(), threading.Event()]

    def hold_up(gate: threading.Event, _connection: Connection) -> None:
        first.set()
        assert gate.wait(10)

    writing = [
        asyncio.create_task(opened.write(partial(hold_up, gate), urgent=True)) for gate in gates
    ]
    assert await asyncio.to_thread(first.wait, 10)
    giving_way = asyncio.create_task(opened.yield_to_urgent_write())
    await asyncio.sleep(0)  # it begins
    gates[0].set()
    try:
        async with asyncio.timeout(10):
            await giving_way
        assert not writing[1].done()
    finally:
        gates[1].set()
        await asyncio.gather(*writing)


async def test_nobody_gives_way_for_longer_than_an_urgent_write_that_failed(
    opened: Database,
) -> None:
    def fail(_connection: Connection) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await opened.write(fail, urgent=True)
    async with asyncio.timeout(10):
        await opened.yield_to_urgent_write()
        assert await opened.write(lambda _connection: 1) == 1


async def test_many_reads_at_once_all_come_through(database: Database) -> None:
    async with asyncio.timeout(60):
        assert await asyncio.gather(*(count(database) for _ in range(60))) == [0] * 60


@pytest.mark.parametrize("steps", [*range(12), 15, 20, 30])
async def test_a_write_cancelled_at_any_moment_leaves_the_database_usable(
    database: Database, steps: int
) -> None:
    """As when a request's task is cancelled: all of the write is there, or nothing."""
    at_begin = asyncio.Event()

    async def write() -> None:
        at_begin.set()
        await run_sql(database, INSERT, text(INSERT.text.replace("00000001", "00000002")))

    task = asyncio.create_task(write())
    await at_begin.wait()
    for _ in range(steps):
        # Each pass lets a driver's thread or the socket bring things a step further.
        await asyncio.to_thread(lambda: None)
    task.cancel()
    await asyncio.wait([task])
    async with asyncio.timeout(20):
        await accept(database)  # what was begun is finished before this
        before = await count(database)
        assert before in (1, 3)
        for _ in range(3):
            await accept(database)
        assert await count(database) == before + 3


@pytest.mark.parametrize("steps", range(8))
async def test_a_read_cancelled_at_any_moment_leaves_the_database_usable(
    database: Database, steps: int
) -> None:
    for _ in range(6):  # more often than there are connections
        task = asyncio.create_task(count(database))
        for _ in range(steps):
            await asyncio.to_thread(lambda: None)
        task.cancel()
        await asyncio.wait([task])
    async with asyncio.timeout(20):
        assert await asyncio.gather(*(count(database) for _ in range(12))) == [0] * 12
        await accept(database)
        assert await count(database) == 1


# --- reworking ------------------------------------------------------------------------------------


async def test_while_all_is_reworked_no_write_begins(opened: Database) -> None:
    """Two connections that write or checkpoint at one moment could lose what was committed."""
    begun, over = threading.Event(), threading.Event()

    def rework(connection: Connection) -> int:
        begun.set()
        await_only(asyncio.to_thread(over.wait, 20))
        return connection.execute(INSERT).rowcount

    reworking = asyncio.create_task(opened.rework(rework))
    assert await asyncio.to_thread(begun.wait, 20)
    writes = [
        asyncio.create_task(accept(opened)),
        asyncio.create_task(opened.check_writable()),
        asyncio.create_task(opened.checkpoint_truncate()),
    ]
    done, _ = await asyncio.wait(writes, timeout=0.3)
    assert done == set()
    assert await count(opened) == 0  # reads go on
    over.set()
    async with asyncio.timeout(20):
        await asyncio.gather(reworking, *writes)
    assert await count(opened) == 2


async def test_reworking_that_fails_or_is_cancelled_leaves_nothing_and_frees_the_writer(
    database: Database,
) -> None:
    begun = asyncio.Event()

    def fail(connection: Connection) -> None:
        connection.execute(INSERT)
        raise ZeroDivisionError

    def hang(connection: Connection) -> None:
        connection.execute(INSERT)
        begun.set()
        await_only(asyncio.sleep(60))

    with pytest.raises(ZeroDivisionError):
        await database.rework(fail)
    reworking = asyncio.create_task(database.rework(hang))
    await begun.wait()
    reworking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reworking
    async with asyncio.timeout(20):
        assert await count(database) == 0
        await accept(database)
    assert await count(database) == 1


async def test_reworking_a_locked_file_is_unavailable(sqlite_url: str, locked: Locks) -> None:
    async with Database(sqlite_url) as database:
        with locked(), pytest.raises(Unavailable, match="locked by another process"):
            await database.rework(lambda connection: connection.execute(INSERT).rowcount)
        await accept(database)
