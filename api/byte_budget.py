"""A budget of bytes for what is in memory at once."""

import asyncio


class ByteBudget:
    """`async with budget.hold(size):` waits, first come first served, until so many are free.

    A size above the whole budget counts as the whole budget.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    def hold(self, size: int) -> "_Held":
        return _Held(self, min(size, self._size))

    async def take(self, size: int) -> None:
        if size <= self._free and not self._turn.locked():
            self._free -= size
            return
        async with self._turn:
            while size > self._free:
                self._freed.clear()
                await self._freed.wait()
            self._free -= size

    def give_back(self, size: int) -> None:
        self._free += size
        self._freed.set()


class _Held:
    """A class, as a generator takes twice the time and each request has one."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: ByteBudget, size: int) -> None:
        self._budget = budget
        self._size = size

    async def __aenter__(self) -> None:
        await self._budget.take(self._size)

    async def __aexit__(self, *_error: object) -> None:
        self._budget.give_back(self._size)
