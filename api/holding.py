"""Answers that are put off. A client that asks too much and is answered at once asks again at once,
and takes the turns of those for whom the answer was refused."""

import asyncio
from collections import Counter
from contextlib import suppress
from random import uniform

from starlette.requests import ClientDisconnect
from starlette.types import Receive

LEAST_SECONDS = 0.2
MOST_SECONDS = 3.0
MOST_HEALTH_SECONDS = 0.5
"""Of `/health`, which has to answer within a second."""
_SHORTEST = 0.8
_PER_ADDRESS = 150
_IN_ALL = 1000


class HeldRequests:
    """The more requests wait, the longer each of them does: so few of them are answered in a
    second, however many connections they come on."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        self._count = 0

    def seconds(self, address: str, most: float) -> float:
        """How long the next one of this address waits: so long that `_PER_ADDRESS` are answered in
        a second, and `_IN_ALL` of all addresses, where `most` allows it."""
        line = max(self._held[address] / _PER_ADDRESS, self._count / _IN_ALL)
        return min(max(line, LEAST_SECONDS), most)

    def waits(self, address: str) -> bool:
        """Whether an answer to this address is put off at this moment."""
        return address in self._held

    async def hold(self, address: str, receive: Receive, most: float = MOST_SECONDS) -> None:
        """Wait, and let go of a body that comes meanwhile. Each waits a little less than the
        `seconds`, one more and another less: so a crowd that came together does not come back
        together.

        Raises ClientDisconnect where the client goes, and what `receive` raises.
        """
        seconds = self.seconds(address, most) * uniform(_SHORTEST, 1)
        self._held[address] += 1
        self._count += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    raise ClientDisconnect
        finally:
            self._count -= 1
            self._held[address] -= 1
            if not self._held[address]:
                del self._held[address]
