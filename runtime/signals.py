"""Signals, as commands take them."""

import signal
import sys
from collections.abc import Callable

ENDED = 128 + signal.SIGTERM
"""The exit status of a command that a signal has ended, as shells have it for SIGTERM."""


def tidy_when_ended() -> Callable[[], bool]:
    """SIGTERM and Ctrl-C end the command as an exception does, so that what it has begun is
    removed, and without a word. What was under way may make an error of its own of that: the
    function that comes back tells whether it was a signal."""
    told = False

    def end(*_signal: object) -> None:
        nonlocal told
        told = True
        sys.exit(ENDED)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, end)
    return lambda: told
