"""Checkpoints come where nobody waits for them."""

import asyncio
import threading
import time

import pytest
from sqlalchemy import Connection

from backends.sqlite_driver import driver_of, execute
from database import Database
from tests.support.http_helpers import eventually

CHECKPOINT = "checkpoint"
MANY, VERY_MANY = 500, 12_500
"""Changes after which one is due: usually, and beside writes in the background."""


class Order:
    """What the writer does, in its order: names that are noted, and checkpoints."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def follow(self, database: Database) -> None:
        await database.write(lambda connection: driver_of(connection).set_trace_callback(self._saw))

    def _saw(self, statement: str) -> None:
        if "wal_checkpoint" in statement:
            self.seen.append(CHECKPOINT)

    async def has_a_checkpoint(self) -> None:
        await eventually(lambda: CHECKPOINT in self.seen, what="a checkpoint")


def change(connection: Connection, rows: int) -> None:
    execute(
        connection,
        "WITH RECURSIVE days (day) AS (SELECT 1 UNION ALL SELECT day + 1 FROM days LIMIT ?)"
        " INSERT INTO insight_days (day, changes) SELECT day, 1 FROM days",
        (rows,),
    )


@pytest.fixture
async def order(opened: Database) -> Order:
    order = Order()
    await order.follow(opened)
    return order


@pytest.mark.parametrize("waits", ["urgent", "usual", "background"])
async def test_one_that_is_due_lets_writes_that_wait_pass(
    opened: Database, order: Order, waits: str
) -> None:
    """But not those in the background, whose next step can wait."""
    begun, gate = threading.Event(), threading.Event()

    def first(connection: Connection) -> None:
        change(connection, MANY)
        begun.set()
        assert gate.wait(10)
        order.seen.append("first")

    def second(_connection: Connection, *_: object) -> None:
        order.seen.append(waits)

    async with asyncio.timeout(30):
        writing = [asyncio.create_task(opened.write(first))]
        assert await asyncio.to_thread(begun.wait, 10)
        after = (
            opened.write_in_background(second)
            if waits == "background"
            else opened.write(second, urgent=waits == "urgent")
        )
        writing.append(asyncio.create_task(after))
        await asyncio.sleep(0)  # let it line up
        gate.set()
        await asyncio.gather(*writing)
        await order.has_a_checkpoint()
    later = [CHECKPOINT, waits] if waits == "background" else [waits, CHECKPOINT]
    assert order.seen == ["first", *later]


async def test_a_large_one_lets_a_post_pass_that_follows_at_once(
    opened: Database, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is handed over with the answer to the post before."""
    monkeypatch.setattr("backends.sqlite._ANSWER_SECONDS", 10.0)
    loop = asyncio.get_running_loop()
    following: list[asyncio.Task[None]] = []

    def follow() -> None:
        time.sleep(0.05)  # a checkpoint that does not wait for the answer comes now
        writing = opened.write(lambda _connection: order.seen.append("second"), urgent=True)
        following.append(asyncio.create_task(writing))

    def first(_connection: Connection) -> None:
        order.seen.append("first")
        loop.call_soon_threadsafe(follow)

    async with asyncio.timeout(30):
        await opened.write(lambda _connection: None, urgent=True)  # posts come in
        await opened.write_in_background(lambda connection, _: change(connection, VERY_MANY))
        await opened.write(first, urgent=True)
        await asyncio.gather(*following)
        await order.has_a_checkpoint()
    assert order.seen == ["first", "second", CHECKPOINT]
