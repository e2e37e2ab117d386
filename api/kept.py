"""What was found out a moment ago, so that asking often costs no more than asking once."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

SECONDS = 1.0

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """One answer, kept for a second. Who asks while it is being found out waits for the same."""

    def __init__(self) -> None:
        self._found: tuple[Value, float] | None = None
        self._finding_out = asyncio.Lock()

    async def get(self, find_out: Callable[[], Awaitable[Value]]) -> Value:
        """What `find_out` gives, or gave. What it raises is not kept."""
        async with self._finding_out:
            if self._found is None or time.monotonic() >= self._found[1] + SECONDS:
                value = await find_out()
                self._found = value, time.monotonic()
            return self._found[0]
