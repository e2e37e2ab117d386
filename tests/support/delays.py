"""How late a busy machine lets a process do what it was to do by now."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Delays:
    worst = 0.0
    """Seconds."""

    async def _watch(self) -> None:
        while True:
            due = time.monotonic() + 0.01
            await asyncio.sleep(0.01)
            self.worst = max(self.worst, time.monotonic() - due)


@asynccontextmanager
async def delays_seen() -> AsyncIterator[Delays]:
    """By this process, for as long as the context lasts."""
    delays = Delays()
    watching = asyncio.create_task(delays._watch())
    try:
        yield delays
    finally:
        watching.cancel()
