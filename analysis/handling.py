"""What people do about a conversation: who is at it until when, and whether it is done. Pure.

Times are in microseconds since 1970-01-01 UTC.
"""

from enum import StrEnum
from typing import NamedTuple


class HandlingState(StrEnum):
    OPEN = "open"
    CLAIMED = "claimed"  # by one who is at it, until a time
    ANSWERED = "answered"
    SNOOZED = "snoozed"  # until a time, or until its author writes again
    IGNORED = "ignored"


WAITING = frozenset({HandlingState.OPEN, HandlingState.CLAIMED, HandlingState.SNOOZED})
"""Of what somebody is still to answer."""


class Handling(NamedTuple):
    """`by` and `at` tell who set the state and when; `until` is of claims and snoozes alone.
    Nothing is recorded of what is open."""

    state: HandlingState = HandlingState.OPEN
    by: str | None = None
    at: int | None = None
    until: int | None = None

    def effective(self, now: int) -> "Handling":
        """A claim or snooze that has run out is open, without anybody doing anything."""
        return OPEN if self.until is not None and self.until <= now else self


OPEN = Handling()


class HandlingChange(NamedTuple):
    """What somebody asks for. `until` is there for claims and snoozes alone; `take_over` is for
    what another one has claimed; `note` is for the history."""

    state: HandlingState
    by: str
    until: int | None = None
    take_over: bool = False
    note: str | None = None

    def held_by_another(self, current: Handling, now: int) -> bool:
        """Whether this would claim what another one has claimed, without saying so."""
        return self.state is HandlingState.CLAIMED and self.is_anothers(current, now)

    def is_anothers(self, current: Handling, now: int) -> bool:
        """Whether another one has claimed it, and this does not say that it takes that over."""
        held = current.effective(now)
        return held.state is HandlingState.CLAIMED and held.by != self.by and not self.take_over

    def handling(self, now: int) -> Handling:
        """What is recorded."""
        if self.state is HandlingState.OPEN:
            return OPEN
        return Handling(self.state, self.by, now, self.until)
