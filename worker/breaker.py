"""When to stop calling, why, and when to try again. A small state machine on events and a clock.

    closed ──five failures in a row, of different conversations──▶ open, probing ever more rarely
    closed ──a reason that only a person can mend───────────────▶ open, probing once a minute
    closed ──the same refusal of three different texts in a row─▶ open, probing once a minute
    open   ──any answer that shows the other side at work───────▶ closed

While it is open, one call at a time may be made, to see. Nothing here knows who is called.
"""

import re
import time
from collections.abc import Callable, Collection, Sequence
from typing import NewType

import structlog

from analysis.outcomes import LONGEST_REQUEUE_SECONDS

log = structlog.get_logger(__name__)

FAILURES_TO_OPEN = 5
REFUSALS_TO_OPEN = 3
REFUSED_AT_MOST = 1000
"""The most conversations that are remembered of the same refusal in a row."""
LONGEST_GAP_SECONDS = 60.0
GAP_OF_OUTAGE = 1 / 20
"""After the first gaps, the next is at most this part of the time that the outage has lasted: so
its end is noticed after a twentieth of its length at most."""

_QUOTED_OR_COUNTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|\d+")
"""Parts in which two refusals may differ and still be the same refusal."""

BreakerToken = NewType("BreakerToken", int)
"""Tells whether a call began before the breaker opened: then its failure says nothing about now."""


class Breaker:
    def __init__(
        self,
        *,
        first_gaps: Sequence[float] = (1.0, 2.0, 3.0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`first_gaps` are the seconds before each of the first probes of an outage."""
        self._first_gaps = first_gaps
        self._clock = clock
        self._failed: set[str] = set()  # conversations since the last answer
        self._failures = 0
        self._refusal = ""  # of the conversations refused since the last answer, with their texts:
        self._refused: dict[str, str] = {}
        self._reason: str | None = None
        self._needs_a_person = False
        self._opened_at = 0.0
        self._next_probe_at = 0.0
        self._probes = 0
        self._probing = False
        self._openings = 0

    @property
    def reason(self) -> str | None:
        """Why it is open; None while it is closed."""
        return self._reason

    def next_probe_seconds(self) -> float | None:
        """None while it is closed; 0.0 while a probe is due or under way."""
        if self._reason is None:
            return None
        return 0.0 if self._probing else max(0.0, self._next_probe_at - self._clock())

    def wait_left(self) -> float:
        """Seconds until a call may begin; 0.0 when it may now. The end of a probe changes it."""
        if self._reason is None:
            return 0.0
        if self._probing:
            return LONGEST_GAP_SECONDS
        return max(0.0, self._next_probe_at - self._clock())

    @property
    def probe_delay(self) -> float:
        """Seconds for which a text that a probe was refused for makes room for others: the longer
        it is open the longer, so that all get their turn."""
        return min(LONGEST_REQUEUE_SECONDS, max(self._gap(), self._outage()) * 1.5)

    def begin(self) -> BreakerToken:
        """Register a call. Pass the returned token to the method that reports its result."""
        self._probing = self._reason is not None
        return BreakerToken(self._openings)

    def opened_after(self, token: BreakerToken) -> bool:
        return self._reason is not None and token != self._openings

    def succeeded(self) -> None:
        """The other side answered a call, with a usable answer or not: closes the breaker."""
        self._failures = 0
        self._failed.clear()
        self._refused.clear()
        self._probing = False
        if self._reason is not None:
            seconds = round(self._clock() - self._opened_at, 1)
            log.info("breaker_closed", reason=self._reason, seconds=seconds)
            self._reason = None

    def failed(self, token: BreakerToken, reason: str, conversations: Collection[str]) -> None:
        """There was no answer, by the fault of the other side or of the network."""
        if self._reason is None:
            if not self._failed.issuperset(conversations):
                self._failures += 1
            self._failed.update(conversations)
            if self._failures >= FAILURES_TO_OPEN:
                self._open(reason, needs_a_person=False)
        elif token == self._openings:
            self._probe_again(reason)

    def blocked(self, token: BreakerToken, reason: str) -> None:
        """No call can succeed until a person acts."""
        if self._reason is None or not self._needs_a_person:
            self._open(reason, needs_a_person=True)
        elif token == self._openings:
            self._probe_again(reason)

    def refused(
        self, token: BreakerToken, reason: str, conversation: str, text: str
    ) -> tuple[str, ...]:
        """A text that was alone in its call was refused, perhaps for no fault of its own. If that
        opens the breaker, returns the ids of the conversations that were refused so before it."""
        if self._reason is not None:
            if token == self._openings:
                self._probe_again(reason)
            return ()
        refusal = _QUOTED_OR_COUNTED.sub("", reason)
        if refusal != self._refusal:
            self._refusal = refusal
            self._refused.clear()
        if len(self._refused) < REFUSED_AT_MOST:
            self._refused[conversation] = text
        if len({*self._refused.values(), text}) < REFUSALS_TO_OPEN:
            return ()
        earlier = tuple(id_ for id_ in self._refused if id_ != conversation)
        self._refused.clear()
        self._open(reason, needs_a_person=True)
        return earlier

    def not_tried(self, token: BreakerToken) -> None:
        """A call told nothing: it was held back before it left, or refused for its rate."""
        if token == self._openings:
            self._probing = False

    def _open(self, reason: str, *, needs_a_person: bool) -> None:
        self._reason = reason
        self._needs_a_person = needs_a_person
        self._opened_at = self._clock()
        self._openings += 1
        self._probes = 0
        self._schedule()
        log.error("breaker_opened", reason=reason, next_probe_seconds=self._gap())

    def _probe_again(self, reason: str) -> None:
        self._reason = reason
        self._probes += 1
        self._schedule()

    def _schedule(self) -> None:
        self._probing = False
        self._next_probe_at = self._clock() + self._gap()

    def _gap(self) -> float:
        if self._needs_a_person:
            return LONGEST_GAP_SECONDS
        if self._probes < len(self._first_gaps):
            return self._first_gaps[self._probes]
        return min(LONGEST_GAP_SECONDS, max(self._first_gaps[-1], self._outage() * GAP_OF_OUTAGE))

    def _outage(self) -> float:
        """Seconds since it opened last."""
        return self._clock() - self._opened_at
