"""How many heaps the C library keeps for the threads of this process."""

import ctypes
import os
from contextlib import suppress

_M_ARENA_MAX = -8
"""As `malloc.h` of glibc has it."""
_HEAPS = 2


def share_heaps() -> None:
    """Let threads that begin from now on share two heaps. With one each, as is glibc's habit, much
    stays in each that no other can use: under many kinds of load at once 60 MB.

    The environment's `MALLOC_ARENA_MAX` has the last word. Other C libraries know no such thing.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(AttributeError, OSError, TypeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _HEAPS)
