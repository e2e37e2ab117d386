"""Whose turn it is with the interpreter, which one thread has at a time.

A claim takes the right of way, and the analyser gives it back when its call has left. The head of
the answer takes it again, until the results are stored. Reads on SQLite give way.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_TURN_SECONDS = 0.0002

_RIGHT_OF_WAY_SECONDS = 0.003

_wanted = 0
_usual_turn = 0.0
_right_of_way_until = 0.0  # monotonic
_giving_way: set[asyncio.Future[None]] = set()


@contextmanager
def short_turns() -> Iterator[None]:
    """While this lasts, a thread that waits for the interpreter's lock has it sooner.

    A post needs it a dozen times from its commit to its answer. For the event loop's thread.
    """
    global _wanted, _usual_turn
    if not _wanted:
        _usual_turn = sys.getswitchinterval()
        sys.setswitchinterval(_TURN_SECONDS)
    _wanted += 1
    try:
        yield
    finally:
        _wanted -= 1
        if not _wanted:
            sys.setswitchinterval(_usual_turn)


def take_right_of_way() -> float:
    """For the way of a conversation through this process: until it is given back, 3 ms at most, who
    gives way waits. For the event loop's thread, as all here. Returns what to give back."""
    global _right_of_way_until
    _right_of_way_until = time.monotonic() + _RIGHT_OF_WAY_SECONDS
    return _right_of_way_until


def give_back_right_of_way(taken: float | None = None) -> None:
    """With `taken`, it stays with whoever has taken it since."""
    global _right_of_way_until
    if taken is not None and taken != _right_of_way_until:
        return
    _right_of_way_until = 0.0
    for waiting in _giving_way:
        _let_go(waiting)


async def give_way() -> None:
    """Wait while somebody has the right of way, 3 ms at most."""
    latest = time.monotonic() + _RIGHT_OF_WAY_SECONDS
    while (seconds := min(_right_of_way_until, latest) - time.monotonic()) > 0:
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _let_go, waiting)
        _giving_way.add(waiting)
        try:
            await waiting
        finally:
            _giving_way.discard(waiting)
            timer.cancel()


def _let_go(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
