"""What the worker knows of a text before it is asked about."""

import asyncio

from models import Lane
from store.queue import Claimed
from worker.prepared import prepare, prepare_all


async def test_others_have_their_turn_between_the_texts_of_a_pack() -> None:
    """Each may take 20 ms, which posts would wait for."""
    claimed = [Claimed(f"conv_{n:08x}", f"Text {n}", Lane.LIVE, 1, "token") for n in range(5)]
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    prepared = await prepare_all(claimed, reuse_key="key")
    beside.cancel()
    assert turns >= len(claimed) - 1
    assert prepared == [prepare(item, reuse_key="key") for item in claimed]
