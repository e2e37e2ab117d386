"""Waiting for an event for so long at most, and being stopped meanwhile."""

import asyncio

import pytest

from worker.waiting import until_set

FOR_EVER = 1000.0


async def test_it_ends_when_the_event_is_set_and_when_the_time_is_over() -> None:
    event = asyncio.Event()
    waiting = asyncio.create_task(until_set(event, FOR_EVER))
    await asyncio.sleep(0)
    event.set()
    await waiting

    await until_set(asyncio.Event(), 0.001)
    await until_set(asyncio.Event(), 0)


@pytest.mark.parametrize("turns", [0, 1, 2])
async def test_who_is_stopped_just_as_the_event_is_set_is_stopped(turns: int) -> None:
    event = asyncio.Event()
    waiting = asyncio.create_task(until_set(event, FOR_EVER))
    await asyncio.sleep(0.01)
    event.set()
    for _ in range(turns):
        await asyncio.sleep(0)

    if waiting.cancel():  # else it has ended before
        with pytest.raises(asyncio.CancelledError):
            await waiting
