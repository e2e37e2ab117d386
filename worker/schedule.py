"""When the worker claims, from which lane, and how many conversations a call carries.

Pure: no task, no clock, no I/O. The worker tells `Schedule` what happens and asks it what to do;
every moment `now` is in seconds on one monotonic clock of the caller's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from models import Lane

BULK_SHARE = 0.2
"""The part of the calls that the bulk lane gets while it has work, however busy the live lane."""
CALLS_IN_LINE = 2
"""Calls that may wait for their turn where they have to: enough for one to leave the moment that
the limiter lets it, few enough for a later arrival to be among the next."""
_SPACING = 0.9
"""Of the interval at which calls may leave: the limiter has the last word, this only spreads."""

Bound = Literal["queue", "rate", "concurrency", "budget", "breaker"]


@dataclass(frozen=True, slots=True)
class WorkerTimings:
    """In seconds, all of them."""

    lease: float = 30.0
    """How long a claim holds, unless it is renewed."""
    renew: float = 10.0
    """How often leases are renewed and orphans looked for: well within a lease."""
    settle: float = 1.0
    """How long the last results, and requeued rows may take to be written after the grace."""
    hold: float = 1.0
    """How long claimed conversations may wait for a call to begin."""
    live: float = 30.0
    """How long after its last claim the live lane counts as busy."""
    trouble: float = 1.0
    """How long to leave a database alone that was not there."""
    trial_rest: float = 2.0
    """How long a worker lives before it tries a suspect, which another death would fail."""
    trial_patience: float = 10.0
    """How long suspects wait for other work, before one of them is tried."""
    probes: tuple[float, ...] = (1.0, 2.0, 3.0)
    """The first gaps between the breaker's probes."""


class CallState(NamedTuple):
    """What the schedule needs to know of the calls at one moment.

    `free` more calls may begin; `unsent` have begun and wait for their turn to leave; `at_once` may
    leave together after a rest, and one every `interval` seconds. For `gather` seconds after one
    the next waits for more conversations, where few wait. `crowded`: as many have left as may, and
    the next one waits. `wait` is in seconds until a call may begin. `held_by` names what holds all
    calls back, None if nothing does.
    """

    free: int
    unsent: int
    at_once: int
    interval: float
    pack_size: int
    gather: float = 0.0
    crowded: bool = False
    wait: float = 0.0
    held_by: Bound | None = None

    @property
    def one_by_one(self) -> bool:
        """Only calls with a single text make sense: a probe, or what the budget leaves."""
        return self.held_by in ("breaker", "budget")

    @property
    def beginnable(self) -> int:
        """Calls that can begin now, at least 1."""
        return max(1, min(self.free, self.at_once))


class Schedule:
    """Decides when to claim and what. Events are told by `arrived`, `claiming`, `claimed`,
    `failed`, `rest` and `calling`; the other methods change nothing."""

    def __init__(
        self, *, batch_size: int, poll_interval: float, timings: WorkerTimings | None = None
    ) -> None:
        """`batch_size` is the most conversations of a claim, `poll_interval` the seconds after
        which an empty queue is looked at again."""
        self._batch_size = batch_size
        self._poll_interval = poll_interval
        self._timings = timings or WorkerTimings()
        self._lanes = LaneShare()
        self._spacing = CallSpacing()
        self._backlog = dict.fromkeys(Lane, False)  # more waits than can be sent in one go
        self._left_some = False
        self._bulk_is_empty = True  # as of the last claim
        self._look_at = -math.inf
        self._trouble_until = -math.inf
        self._rest_until = -math.inf
        self._live_until = -math.inf
        self._last_call = -math.inf

    # --- events -------------------------------------------------------------------------------

    def arrived(self) -> None:
        """Something may be claimable: look at once."""
        self._look_at = -math.inf

    def claiming(self, now: float) -> None:
        """A claim begins. The next look is put off before the answer, so that an arrival in between
        can bring it forward again."""
        self._look_at = now + self._poll_interval

    def claimed(
        self,
        lane: Lane | None,
        taken: int,
        waiting: Mapping[Lane, int],
        calls: CallState,
        now: float,
    ) -> None:
        """`taken` conversations of `lane` were claimed, none if that is None. `waiting` counts
        those that were seen in each lane before; `calls` is what the claim was made with."""
        self._left_some = sum(waiting.values()) > taken
        if self._left_some:
            self._look_at = -math.inf
        for each, count in waiting.items():
            if each is lane or not count:
                self._backlog[each] = count >= self.to_count(calls)
        if lane is Lane.LIVE:
            self._live_until = now + self._timings.live
        if Lane.BULK in waiting:
            self._bulk_is_empty = not waiting[Lane.BULK]

    def failed(self, now: float) -> None:
        """A claim failed: the database is in trouble."""
        self._look_at = -math.inf
        self._trouble_until = now + self._timings.trouble

    def rest(self, until: float) -> None:
        """No call can leave until then: nothing is claimed that would only wait."""
        self._rest_until = until

    def calling(self, lane: Lane, calls: CallState, now: float) -> None:
        """A call for conversations of `lane` begins."""
        self._last_call = now
        self._spacing.record(calls.interval, now)
        self._lanes.record(lane, bulk_is_empty=self._bulk_is_empty)

    # --- questions ----------------------------------------------------------------------------

    @property
    def left_some(self) -> bool:
        """Whether the last claim left conversations waiting."""
        return self._left_some

    def is_due(self, now: float) -> bool:
        """Whether to look for work, if a call can carry it."""
        return now >= self._look_at

    def wait_left(self, now: float, calls: CallState) -> float:
        """Seconds until the next call may begin, as far as is known; 0.0 when it may now. A call
        that leaves or ends may bring that forward, and wakes the worker."""
        if (trouble := self._trouble_left(now, calls)) > 0:
            return trouble
        if calls.free <= 0 or calls.unsent >= calls.at_once:
            return self._poll_interval
        backlog = any(self._backlog.values())
        # Claimed just before it can be sent, so that what arrives last can go first.
        if (backlog or calls.crowded) and calls.unsent >= CALLS_IN_LINE:
            return self._poll_interval
        if not backlog:
            return max(0.0, self._last_call + calls.gather - now)
        return self._spacing.left(now) if now < self._live_until else 0.0

    def sleep_left(self, now: float, calls: CallState) -> float:
        """Seconds to sleep where there is nothing to begin now: until a call may begin, or the
        next look is due. More than 0."""
        return self.wait_left(now, calls) or max(0.001, self._look_at - now)

    def releases_claims(self, now: float, calls: CallState) -> bool:
        """Whether claimed conversations go back: no call for them is near, or none for packs."""
        return calls.one_by_one or self._trouble_left(now, calls) > self._timings.hold

    def order(self) -> tuple[Lane, Lane]:
        """Where the next call's conversations are looked for, first and then."""
        return self._lanes.order()

    def to_count(self, calls: CallState) -> int:
        """How many waiting conversations a claim counts: one more than can be sent in one go."""
        return calls.beginnable * self._pack_limit(calls) + 1

    def pack_size(self, waiting: int, calls: CallState) -> int:
        """How many of the `waiting` conversations the next call takes, 1 and what a call may carry
        being the limits: `ceil(waiting / beginnable calls)`, or all where none would leave at
        once."""
        share = waiting if calls.crowded else -(-waiting // calls.beginnable)
        return max(1, min(self._pack_limit(calls), share))

    def bound_by(self, now: float, calls: CallState) -> Bound:
        """What keeps the throughput from being higher at this moment."""
        if calls.held_by is not None:
            return calls.held_by
        if calls.unsent:
            return "rate"
        if self._rest_until > now:
            return "rate"
        if (self._left_some or self.is_due(now)) and calls.free <= 0:
            return "concurrency"
        return "rate" if any(self._backlog.values()) else "queue"

    def _pack_limit(self, calls: CallState) -> int:
        return 1 if calls.one_by_one else min(calls.pack_size, self._batch_size)

    def _trouble_left(self, now: float, calls: CallState) -> float:
        """Seconds for which no call can be made, whatever happens here."""
        return max(calls.wait, self._trouble_until - now, self._rest_until - now)


class LaneShare:
    """Gives bulk work its share of the calls."""

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


class CallSpacing:
    """Spreads calls evenly while live conversations come in beside a backlog, so that they need not
    wait until a burst has left the limiter's window. It costs a second, once."""

    def __init__(self) -> None:
        self._next = -math.inf

    def left(self, now: float) -> float:
        """Seconds until the next call's turn to begin."""
        return max(0.0, self._next - now)

    def record(self, interval: float, now: float) -> None:
        """A call begins, where one may leave every `interval` seconds. Calls that did not wait for
        their turn leave no debt: the next one's is never further off than an interval."""
        self._next = min(max(self._next, now - interval), now) + _SPACING * interval
