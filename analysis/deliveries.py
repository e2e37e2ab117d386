"""What comes of a try to deliver a message: the one place that decides it. Pure.

The times between tries are those of the Standard Webhooks specification.
"""

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

DAY = 86_400.0
LADDER_SECONDS = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, DAY)
"""From one try to the next; after one more the message has failed for good."""
MOST_JITTER = 0.1
"""A wait is longer by up to so much of itself, so that many that failed together come apart."""
MAX_RETRY_AFTER_SECONDS = 3600.0
DISABLED_AFTER_SECONDS = 5 * DAY
KEPT_CHARACTERS = 200
"""Of what a receiver said."""
ALONE_AFTER = 2
"""Tries that fail: then each goes by itself, in case one of them is what the receiver refuses."""

_WAIT = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"  # for good, unless somebody asks for it again
    DROPPED = "dropped"  # told by a later message, or wanted no more


@dataclass(frozen=True, slots=True)
class Answered:
    """`said` is the beginning of the body; `retry_after` is in seconds from now, None where the
    receiver named none."""

    status: int
    said: str = ""
    retry_after: float | None = None

    @property
    def reason(self) -> str:
        return f"answered {self.status}{f': {self.said}' if self.said else ''}"


@dataclass(frozen=True, slots=True)
class NotAnswered:
    """No connection, none that was allowed, or no whole answer in time."""

    reason: str


Attempt = Answered | NotAnswered


@dataclass(frozen=True, slots=True)
class Tried:
    """A delivery as it stands after a try that is over. `attempts` counts this one, `waits` those
    before it that were answered with a time to wait. `failing_seconds` is for how long nothing
    arrived at the endpoint, 0.0 where the try before succeeded."""

    attempts: int
    waits: int
    retries: bool
    failing_seconds: float


@dataclass(frozen=True, slots=True)
class Delivered:
    status: int


@dataclass(frozen=True, slots=True)
class TryAgain:
    """In `delay` seconds. With `waits` the receiver asked for it: the endpoint's other messages
    wait as well, and the ladder is not climbed."""

    delay: float
    reason: str
    status: int | None
    waits: bool = False


@dataclass(frozen=True, slots=True)
class GivenUp:
    reason: str
    status: int | None


@dataclass(frozen=True, slots=True)
class Disabled:
    """The endpoint takes nothing any more: this and all else that waits for it has failed.
    `why` is for people."""

    reason: str
    status: int | None
    why: str


DeliveryOutcome = Delivered | TryAgain | GivenUp | Disabled


def decide(attempt: Attempt, tried: Tried, *, jitter: float) -> DeliveryOutcome:
    """`jitter` is 0..1."""
    status = attempt.status if isinstance(attempt, Answered) else None
    if status is not None and 200 <= status < 300:
        return Delivered(status)
    reason = attempt.reason
    if status == HTTPStatus.GONE:
        return Disabled(reason, status, "it answered 410, which says that it is gone")
    if tried.failing_seconds >= DISABLED_AFTER_SECONDS and tried.attempts > 1:
        # After days without a message a first failure tells nothing yet.
        return Disabled(reason, status, f"nothing has arrived there for five days ({reason})")
    if not tried.retries:
        return GivenUp(reason, status)
    if (
        isinstance(attempt, Answered)
        and attempt.status in _WAIT
        and attempt.retry_after is not None
    ):
        # One that always says "in a second" is asked as seldom as one that says nothing.
        least = LADDER_SECONDS[min(tried.waits, len(LADDER_SECONDS)) - 1] if tried.waits else 0.0
        delay = min(max(attempt.retry_after, least, 1.0), MAX_RETRY_AFTER_SECONDS)
        return TryAgain(delay, reason, status, waits=True)
    step = tried.attempts - tried.waits - 1
    if step >= len(LADDER_SECONDS):
        return GivenUp(reason, status)
    return TryAgain(LADDER_SECONDS[step] * (1 + MOST_JITTER * jitter), reason, status)
