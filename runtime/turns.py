"""Whose turn it is with the interpreter, which one thread has at a time."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TURN_SECONDS = 0.0002

_wanted = 0
_usual_turn = 0.0


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
