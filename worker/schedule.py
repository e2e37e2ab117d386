"""Which lane is next, how many conversations a call carries, and how soon it may follow the last.

Pure bookkeeping: the worker tells what it sees and does what comes out.
"""

import time
from collections.abc import Callable

from models import Lane

BULK_SHARE = 0.2
"""The part of the calls that the bulk lane gets while it has work, however busy the live lane."""
CALLS_IN_LINE = 2
"""Calls that may wait for their turn while there is a backlog: enough for one to leave the moment
that the limiter lets it, few enough for what arrives meanwhile to be among the next."""
_PACE = 0.9
"""Of the interval at which calls may leave: the limiter has the last word, this only spreads."""


class LaneShare:
    """Sees to it that bulk work gets its share of the calls."""

    def __init__(self, share: float = BULK_SHARE) -> None:
        self._share = share
        self._owed = 0.0  # calls

    def order(self) -> tuple[Lane, Lane]:
        """Where the next call's conversations are looked for, first and then. Of any number of
        calls, counted from any moment at which both lanes were full, a fifth at least is bulk's."""
        if self._owed + self._share >= 1 - 1e-9:
            return Lane.BULK, Lane.LIVE
        return Lane.LIVE, Lane.BULK

    def record(self, lane: Lane, *, bulk_is_empty: bool) -> None:
        """A call for this lane. An empty bulk lane saves nothing up for later."""
        self._owed += self._share - (lane is Lane.BULK)
        if bulk_is_empty or self._owed < 0:
            self._owed = 0.0


def pack_size(waiting: int, *, calls: int, most: int) -> int:
    """How many of the `waiting` conversations the next call takes, 1 to `most`: as few as will do
    for all of them to be gone with the `calls` that can be made now."""
    return max(1, min(most, -(-waiting // max(1, calls))))


class CallSpacing:
    """Spreads calls evenly while live conversations come in beside a backlog, so that they need not
    wait until a burst has left the limiter's window. It costs a second, once."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = 0.0

    def left(self) -> float:
        """Seconds until the next call's turn to begin."""
        return max(0.0, self._next - self._clock())

    def record(self, interval: float) -> None:
        """A call begins, where one may leave every `interval` seconds."""
        self._next = max(self._next, self._clock() - interval) + _PACE * interval
