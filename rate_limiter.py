"""How many may pass in how long. Knows nothing of what passes.

Windows slide: in any stretch of `per` seconds, wherever it begins, at most `calls` pass. Token
buckets and fixed windows let up to twice as many through at an unlucky moment.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol


class Window(Protocol):
    async def try_pass(self) -> float:
        """0.0 where the caller may pass, and is counted; else the seconds until it may ask."""
        ...


class SlidingWindow:
    """A log of the moments at which somebody passed; exact, in this process."""

    def __init__(
        self, calls: int, per: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per = per
        self._clock = clock
        self._passed: deque[float] = deque(maxlen=calls)  # a newer entry pushes the oldest out

    async def try_pass(self) -> float:
        now = self._clock()
        if len(self._passed) == self._passed.maxlen:
            wait = self._passed[0] + self._per - now
            if wait > 0:
                return wait
        self._passed.append(now)
        return 0.0


class CallLimiter:
    """Makes callers wait for their turn, first come first served, and holds all of them back
    while the other side wants no calls."""

    def __init__(
        self,
        window: Window,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._window = window
        self._clock = clock
        self._sleep = sleep
        self._paused_until = 0.0
        self._turn = asyncio.Lock()  # fair: wakes its waiters in order

    def pause(self, seconds: float) -> None:
        """Nobody passes for the next `seconds`; a longer pause that is running stays."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def pause_left(self) -> float:
        """Seconds; 0.0 when not paused."""
        return max(0.0, self._paused_until - self._clock())

    async def wait_turn(self) -> None:
        """Returns at the moment when the call may be made: make it at once."""
        async with self._turn:
            while wait := self.pause_left() or await self._window.try_pass():
                await self._sleep(wait)
