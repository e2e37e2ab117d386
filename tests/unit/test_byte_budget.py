"""What waits for bytes gets them in its turn."""

import asyncio

from api.byte_budget import ByteBudget


async def test_what_does_not_fit_waits_and_nobody_overtakes() -> None:
    budget = ByteBudget(10)
    order: list[str] = []
    let_go = {name: asyncio.Event() for name in "abcd"}

    async def hold(name: str, size: int) -> None:
        async with budget.hold(size):
            order.append(name)
            await let_go[name].wait()

    async def settle() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    tasks = [
        asyncio.create_task(hold(name, size))
        for name, size in (("a", 6), ("b", 99), ("c", 1), ("d", 1))
    ]
    await settle()
    assert order == ["a"]  # "b" wants all there is, and the small ones wait behind it
    tasks[2].cancel()
    let_go["a"].set()
    await settle()
    assert order == ["a", "b"]
    let_go["b"].set()
    await settle()
    assert order == ["a", "b", "d"]
    let_go["d"].set()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with budget.hold(10):
        pass
