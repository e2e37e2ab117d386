"""A value that is found out at most once a second, however many ask for it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

SECONDS = 1.0

Value = TypeVar("Value")


class CachedValue(Generic[Value]):
    """One value, cached for a second. Concurrent callers wait for the same call of `find_out`."""

    def __init__(self) -> None:
        self._found: tuple[Value, float] | None = None
        self._finding_out = asyncio.Lock()

    async def get(self, find_out: Callable[[], Awaitable[Value]]) -> Value:
        """The value of `find_out`, at most `SECONDS` old. An exception is raised, never cached."""
        async with self._finding_out:
            if self._found is None or time.monotonic() >= self._found[1] + SECONDS:
                value = await find_out()
                self._found = value, time.monotonic()
            return self._found[0]
