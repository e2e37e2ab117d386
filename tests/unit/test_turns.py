"""Who has the right of way in the event loop, and who gives way."""

import asyncio
import time

import pytest

from runtime import turns
from runtime.turns import give_back_right_of_way, give_way, take_right_of_way


@pytest.fixture
def for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_RIGHT_OF_WAY_SECONDS", 10.0)


async def giving_way() -> asyncio.Task[None]:
    """Somebody who has begun to."""
    task = asyncio.create_task(give_way())
    await asyncio.sleep(0.01)
    return task


async def test_nobody_gives_way_where_nobody_has_the_right_of_way() -> None:
    give_back_right_of_way()
    task = asyncio.create_task(give_way())
    await asyncio.sleep(0)
    assert task.done()


@pytest.mark.usefixtures("for_long")
async def test_all_give_way_until_it_is_given_back() -> None:
    take_right_of_way()
    waiting = [await giving_way() for _ in range(2)]
    assert not any(task.done() for task in waiting)
    give_back_right_of_way()
    give_back_right_of_way()
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting)
        await give_way()


@pytest.mark.usefixtures("for_long")
async def test_who_is_let_go_gives_way_to_the_next_who_takes_it_at_once() -> None:
    take_right_of_way()
    waiting = await giving_way()
    give_back_right_of_way()
    take_right_of_way()
    await asyncio.sleep(0.01)
    assert not waiting.done()
    give_back_right_of_way()
    async with asyncio.timeout(5):
        await waiting


@pytest.mark.usefixtures("for_long")
async def test_who_gives_back_his_own_leaves_it_to_who_has_taken_it_since() -> None:
    mine = take_right_of_way()
    await asyncio.sleep(0.001)
    another = take_right_of_way()
    waiting = await giving_way()
    give_back_right_of_way(mine)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    give_back_right_of_way(another)
    async with asyncio.timeout(5):
        await waiting


@pytest.mark.usefixtures("for_long")
async def test_who_goes_away_meanwhile_leaves_nothing() -> None:
    take_right_of_way()
    waiting = await giving_way()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not turns._giving_way
    give_back_right_of_way()


async def test_it_runs_out_for_who_takes_it_and_for_who_gives_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "_RIGHT_OF_WAY_SECONDS", 0.05)
    began = time.monotonic()
    take_right_of_way()
    async with asyncio.timeout(5):
        await give_way()
        assert time.monotonic() - began >= 0.05

    async def take_it_again_and_again() -> None:
        while True:
            take_right_of_way()
            await asyncio.sleep(0.01)

    taking = asyncio.create_task(take_it_again_and_again())
    await asyncio.sleep(0.01)
    try:
        async with asyncio.timeout(5):
            await give_way()
    finally:
        taking.cancel()
        give_back_right_of_way()
