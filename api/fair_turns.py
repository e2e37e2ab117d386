"""Turns at what few can do at once, shared among those who ask and not among what they ask."""

import asyncio
from collections import OrderedDict, deque


class FairTurns:
    """`async with turns.hold(holder):` waits until one is free. The holders that wait are served
    one after the other, each with what it asked for first: whoever asks for a hundred things at
    once waits behind itself, and nobody else does."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        """By holder, whose turn is next at the front."""

    def hold(self, holder: str) -> "_Turn":
        return _Turn(self, holder)

    async def take(self, holder: str) -> None:
        if self._free:  # then nobody waits
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(holder, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it came at the same moment
                self.give_back()
            raise

    def give_back(self) -> None:
        """To the next one that waits still."""
        while self._waiting:
            holder, turns = next(iter(self._waiting.items()))
            while turns and turns[0].done():  # given up, which is nobody's turn
                turns.popleft()
            turn = turns.popleft() if turns else None
            if turns:
                self._waiting.move_to_end(holder)
            else:
                del self._waiting[holder]
            if turn is not None:
                turn.set_result(None)
                return
        self._free += 1


class _Turn:
    __slots__ = ("_holder", "_turns")

    def __init__(self, turns: FairTurns, holder: str) -> None:
        self._turns = turns
        self._holder = holder

    async def __aenter__(self) -> None:
        await self._turns.take(self._holder)

    async def __aexit__(self, *_error: object) -> None:
        self._turns.give_back()
