"""When conversations that were in flight at two deaths of a worker are tried again.

One at a time and with nothing else in flight, so that a third death is the fault of that one. Pure:
every moment `now` is in seconds on one monotonic clock of the caller's.
"""

import math


class SuspectTrials:
    """Others come first, for some time: a worker that is killed for other reasons is often killed
    again soon, and then nobody is on trial."""

    def __init__(self, *, rest: float, patience: float) -> None:
        """A worker makes no trial in its first `rest` seconds, nor again so soon after it found
        none to try. While other work waits it makes one in `patience` seconds."""
        self._rest = rest
        self._patience = patience
        self._waiting = False
        self._not_before = -math.inf
        self._not_later = -math.inf

    def started(self, now: float) -> None:
        """The worker begins its work."""
        self._not_before = now + self._rest
        self._not_later = now + self._patience

    def found(self, waiting: bool) -> None:
        """Whether any wait was looked up."""
        self._waiting = waiting

    def tried(self, waiting: bool, now: float) -> None:
        """A trial has ended. `waiting`: there are more."""
        self._waiting = waiting
        self._not_later = now + self._patience

    def none_due(self, waiting: bool, now: float) -> None:
        """There was none that could be tried now. `waiting`: there are some for later."""
        self._waiting = waiting
        self._not_before = now + self._rest

    def is_due(self, now: float, *, idle: bool) -> bool:
        """Whether to make a trial; `idle`: nothing else can be claimed and nothing is in flight."""
        if not self._waiting or now < self._not_before:
            return False
        return idle or now >= self._not_later

    def due_in(self, now: float, *, idle: bool) -> float:
        """Seconds until one is due, if nothing changes; infinite where none waits."""
        if not self._waiting:
            return math.inf
        return max(0.0, (self._not_before if idle else self._not_later) - now)
