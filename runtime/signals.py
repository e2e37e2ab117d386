"""Signals, as commands take them."""

import signal
import sys
from collections.abc import Callable

ENDED = 128 + signal.SIGTERM
"""The exit status of a command that SIGTERM has ended, as shells have it."""


def tidy_when_ended() -> Callable[[], bool]:
    """SIGTERM ends the command as an exception does, so that what it has begun is removed. What was
    under way may make an error of its own of that: the function that comes back tells whether it
    was the signal."""
    told = False

    def end(*_signal: object) -> None:
        nonlocal told
        told = True
        sys.exit(ENDED)

    signal.signal(signal.SIGTERM, end)
    return lambda: told
