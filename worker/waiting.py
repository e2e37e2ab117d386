"""Waiting for something to happen, but not for ever."""

import asyncio
from contextlib import suppress


async def until_set(event: asyncio.Event, seconds: float) -> bool:
    """Until the event is set, or for so many seconds; whether it was set.

    Not by `asyncio.wait_for`: before Python 3.12 that swallows a cancellation which comes just as
    the event is set (python/cpython#86296), so that a task which is to end goes on.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False
