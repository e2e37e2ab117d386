"""Answers that are put off: how long, whose, and until when."""

import asyncio

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from api.holding import LEAST_SECONDS, MOST_HEALTH_SECONDS, MOST_SECONDS, HeldRequests


async def nothing_more() -> Message:
    """What a server's `receive` does while the client waits for its answer."""
    await asyncio.Event().wait()
    raise AssertionError


async def hold(held: HeldRequests, count: int, address: str) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(held.hold(address, nothing_more)) for _ in range(count)]
    await asyncio.sleep(0)  # each begins
    return tasks


async def test_the_more_of_an_address_are_held_the_longer_each_is() -> None:
    held = HeldRequests()
    assert held.seconds("a", MOST_SECONDS) == LEAST_SECONDS
    assert not held.waits("a")

    tasks = await hold(held, 300, "a")
    assert held.waits("a")
    assert not held.waits("b")
    assert held.seconds("a", MOST_SECONDS) == 2.0  # 150 a second
    assert held.seconds("b", MOST_SECONDS) == 0.3  # of all 1,000 a second
    assert held.seconds("a", MOST_HEALTH_SECONDS) == MOST_HEALTH_SECONDS < 1
    tasks += await hold(held, 300, "a")
    assert held.seconds("a", MOST_SECONDS) == MOST_SECONDS

    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert held.seconds("a", MOST_SECONDS) == LEAST_SECONDS
    assert not held._held, "no address is remembered for nothing"


async def test_those_that_came_together_go_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    ranges = []

    def draw(least: float, most: float) -> float:
        ranges.append((least, most))
        return 0.0

    monkeypatch.setattr("api.holding.uniform", draw)
    held = HeldRequests()
    await asyncio.wait(await hold(held, 300, "a"))
    assert not held.waits("a")
    assert len(ranges) == 300
    assert all(0 < least < most == 1 for least, most in ranges)


async def test_it_ends_in_its_time_whatever_comes_of_a_body(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(HeldRequests, "seconds", lambda *_: 0.01)

    async def a_body_without_end() -> Message:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"x", "more_body": True}

    await HeldRequests().hold("a", a_body_without_end)
    await HeldRequests().hold("a", nothing_more)


async def test_a_client_that_goes_is_let_go_of_at_once() -> None:
    held = HeldRequests()
    gone = asyncio.Event()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    await hold(held, 400, "a")
    waiting = asyncio.create_task(held.hold("a", receive))
    await asyncio.sleep(0)
    before = held.seconds("a", MOST_SECONDS)
    gone.set()
    with pytest.raises(ClientDisconnect):
        await waiting
    assert LEAST_SECONDS < held.seconds("a", MOST_SECONDS) < before
