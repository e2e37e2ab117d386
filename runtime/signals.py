"""Signals, as commands take them."""

import signal
import sys


def tidy_when_ended() -> None:
    """SIGTERM ends the command as an exception does, so that what it has begun is removed. Its exit
    status is then that of a shell: 128 and the signal's number."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
