"""Turns go from one holder to the next, however many one of them waits for."""

import asyncio

from api.fair_turns import FairTurns


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_holders_that_wait_are_served_one_after_the_other() -> None:
    turns = FairTurns(1)
    served: list[str] = []

    async def ask(holder: str, number: int) -> None:
        async with turns.hold(holder):
            served.append(f"{holder}{number}")
            await asyncio.sleep(0)

    asked = [("greedy", number) for number in range(5)]
    asked += [("fair", 0), ("late", 0), ("fair", 1)]
    async with turns.hold("greedy"):
        tasks = [asyncio.create_task(ask(*each)) for each in asked]
        await settle()
        assert served == []
    await asyncio.gather(*tasks)

    assert served[:5] == ["greedy0", "fair0", "late0", "greedy1", "fair1"]
    assert served[5:] == ["greedy2", "greedy3", "greedy4"]


async def test_who_gives_up_waiting_takes_no_turn_along() -> None:
    """Neither while it waits, nor at the moment at which the turn comes to it."""
    turns = FairTurns(1)
    await turns.take("first")
    waiting = [asyncio.create_task(turns.take(holder)) for holder in "aabc"]
    await settle()
    waiting[0].cancel()
    waiting[2].cancel()
    turns.give_back()
    waiting[1].cancel()  # it has its turn, and does not know yet
    await settle()

    assert [each.done() and not each.cancelled() for each in waiting] == [False, False, False, True]
    turns.give_back()
    async with asyncio.timeout(1), turns.hold("last"):
        pass


async def test_as_many_at_once_as_there_are_turns() -> None:
    turns = FairTurns(2)
    await turns.take("a")
    await turns.take("a")
    third = asyncio.create_task(turns.take("b"))
    await settle()
    assert not third.done()
    turns.give_back()
    await third
