"""Stopping in time, whatever is under way.

uvicorn first waits for open connections, without limit, and only then ends the lifespan. So its
signal handler is wrapped: the same SIGTERM at once stops the claiming, and sees to it that no
request outlasts the grace.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import structlog

from api.middleware import OpenRequests
from batch_processor import Worker
from worker.courier import Courier

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 0.5
"""The end of the grace, kept for telling open requests that it is over."""


class Shutdown:
    """`grace` is in seconds, from the signal to the moment when calls in flight are given up."""

    def __init__(
        self,
        *,
        grace: float,
        worker: Worker | None,
        courier: Courier | None = None,
        open_requests: OpenRequests,
        end_streams: Callable[[], None] = lambda: None,
    ) -> None:
        self._grace = grace
        self._end_streams = end_streams
        self._worker = worker
        self._courier = courier
        self._open_requests = open_requests
        self._deadline: float | None = None
        self._starting: asyncio.Task[None] | None = None

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """While entered, SIGTERM and SIGINT begin the shutdown, then do what they did before."""
        loop = asyncio.get_running_loop()
        with _wrapped_handlers(lambda: loop.call_soon_threadsafe(self._begin)) as before:
            for handler in before.values():
                _limit_waiting(handler, self._grace)
            yield

    async def completes(self, start: Coroutine[Any, Any, None]) -> bool:
        """Await `start`; False where a signal came first, which cancels it."""
        self._starting = asyncio.create_task(start)
        try:
            await self._starting
        except asyncio.CancelledError:
            if self._deadline is None:  # it was no signal that cancelled it
                raise
            return False
        return True

    async def finish(self) -> None:
        """Returns when worker and courier have stopped."""
        self._begin()
        assert self._deadline is not None
        left = max(0.0, self._deadline - time.monotonic())
        stopping = [part.stop(left) for part in (self._worker, self._courier) if part is not None]
        await asyncio.gather(*stopping)

    def _begin(self) -> None:
        if self._deadline is not None:
            return
        self._deadline = time.monotonic() + self._grace
        log.info("service_stopping", grace_seconds=self._grace)
        if self._starting is not None:
            self._starting.cancel()
        if self._worker is not None:
            self._worker.stop_claiming()
        if self._courier is not None:
            self._courier.stop_claiming()
        self._end_streams()
        asyncio.get_running_loop().call_later(
            max(0.0, self._grace - ANSWER_SECONDS), self._open_requests.end
        )


@contextmanager
def _wrapped_handlers(first: Callable[[], object]) -> Iterator[dict[int, Any]]:
    """Gives the handlers that were there before."""
    before: dict[int, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        first()
        if callable(before[number]):
            before[number](number, frame)

    number: int
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.getsignal(number)
            signal.signal(number, handle)
    except ValueError:  # not in the main thread: the signals are somebody else's
        before.clear()
    try:
        yield before
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _limit_waiting(handler: object, grace: float) -> None:
    """Have uvicorn wait no longer than `grace` for connections, unless it was told a time itself.

    A client that does not read its answer keeps its connection open when its request has long
    ended. `handler` is a method of uvicorn's Server, where uvicorn is the server.
    """
    config = getattr(getattr(handler, "__self__", None), "config", None)
    if config is not None and getattr(config, "timeout_graceful_shutdown", grace) is None:
        config.timeout_graceful_shutdown = grace
