"""Runs one call: reserves its cost, calls the analyser, and decides what its answers lead to.

The worker knows conversations and the queue, the analyser knows texts; this stands between them.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from uuid import uuid4

import structlog
from sqlalchemy import Connection

from analysis.analyser import Analyser
from analysis.micros import DAY
from analysis.outcomes import (
    Analysis,
    Answer,
    Blocked,
    Call,
    CallOutcome,
    Complete,
    NotNow,
    Outcome,
    Refused,
    Reply,
    Sighting,
    TransientFailure,
    Unusable,
    decide,
)
from analysis.topics import Topics
from errors import Unavailable
from models import now_micros
from store.ledger import Ledger, PlannedCall, Reservation
from store.queue import Settlement
from worker.breaker import Breaker, BreakerToken
from worker.prepared import Pack, Prepared
from worker.schedule import Bound, CallState, WorkerTimings

log = structlog.get_logger(__name__)

_FIRST_MONEY_PAUSE_SECONDS = 0.25
BUDGET_LOOK_SECONDS = 60.0
"""The longest pause between two attempts to fit a call into the day's budget."""


class CallRunner:
    """Runs calls and keeps their count, the breaker and the budget's pause.

    The caller of `begin` sees to it that no more than `concurrency` calls are begun and not ended.
    """

    def __init__(
        self,
        analyser: Analyser,
        topics: Topics,
        ledger: Ledger,
        *,
        max_attempts: int,
        on_sent: Callable[[], None] = lambda: None,
        on_call: Callable[[Call], None] = lambda _call: None,
        jitter: Callable[[], float] = random.random,
        timings: WorkerTimings | None = None,
    ) -> None:
        """`topics` learn the names that analyses use. `on_sent` is called when a call leaves,
        `on_call` when it ended; `jitter` gives 0..1."""
        self._timings = timings or WorkerTimings()
        self.breaker = Breaker(first_gaps=self._timings.probes)
        self._analyser = analyser
        self.pays = analyser.throttle.highest_cost(()) is not None
        """Whether calls cost anything."""
        # The model that answered last, None before the first answer. An analyser that costs nothing
        # has no calls to tell it: its model is the one that answers.
        self.answering_model = None if self.pays else analyser.model
        self._topics = topics
        self._ledger = ledger
        self._max_attempts = max_attempts
        self._on_sent = on_sent
        self._on_call = on_call
        self._jitter = jitter
        self._begun = 0
        self._left = 0  # of those begun
        self._no_calls_until = 0.0  # monotonic: the budget is spent, or the ledger is away
        self._spent_day = -1  # since 1970, UTC
        self._told_day = -1
        self._money_pause = _FIRST_MONEY_PAUSE_SECONDS
        self._given_up = False
        self._deadlines: set[asyncio.Timeout] = set()  # of the calls under way: none until then

    def learn(self, recent: Iterable[Sighting]) -> None:
        """Take up the names of topics that the analyses before this process used."""
        for sighting in recent:
            self._topics.learn(sighting)

    # --- may one begin ------------------------------------------------------------------------

    @property
    def under_way(self) -> int:
        """Calls that have left and not ended."""
        return self._left

    @property
    def out_of_money(self) -> bool:
        """The last call did not fit into what was left of today's budget."""
        return self._spent_day == _today()

    def wait_left(self) -> float:
        """Seconds until a call may begin, as far as is known; 0.0 when one may now."""
        return max(
            self._analyser.throttle.pause_left(),
            self.breaker.wait_left(),
            self._no_calls_until - time.monotonic(),
            0.0,
        )

    def state(self) -> CallState:
        """What a schedule needs to know of the calls at this moment."""
        throttle = self._analyser.throttle
        held_by: Bound | None = None
        if self.breaker.reason is not None:
            held_by = "breaker"
        elif self.out_of_money:
            held_by = "budget"
        elif throttle.pause_left():
            held_by = "rate"
        return CallState(
            free=throttle.concurrency - self._begun,
            unsent=self._begun - self._left,
            at_once=throttle.calls_at_once,
            interval=throttle.call_interval,
            pack_size=throttle.pack_size,
            gather=throttle.gather_seconds,
            crowded=throttle.is_crowded,
            wait=self.wait_left(),
            held_by=held_by,
        )

    # --- a call -------------------------------------------------------------------------------

    def begin(self) -> BreakerToken:
        """Take a slot; `call` gives it back. Returns the token to pass to `call`."""
        self._begun += 1
        return self.breaker.begin()

    async def call(
        self, token: BreakerToken, pack: Pack, *, on_sent: Callable[[], None]
    ) -> Settlement:
        """Call for a pack. Returns the outcome of each, the receipt of the call if it was reserved,
        and the ids of conversations that failed before for no fault of theirs."""
        left = False

        def leaves() -> None:
            nonlocal left
            left = True
            self._left += 1
            self._on_sent()
            on_sent()

        try:
            reserved = await self._reserved(pack)
            if reserved is None or not reserved.fits or self.breaker.opened_after(token):
                reply = Reply([NotNow("no call can be made now")] * len(pack.items))
            else:
                reply = await self._analyse(pack.texts, reserved.request_id, leaves)
        except BaseException:
            self.breaker.not_tried(token)
            raise
        finally:
            self._begun -= 1
            self._left -= left
        call = reply.call
        if call is None and left:
            call = Call(CallOutcome.CUT_OFF, cost_usd_ticks=None)
        if call is not None:
            self._on_call(call)
            self.answering_model = call.model or self.answering_model
        not_theirs = self._judge(token, reply, pack.items)
        results = [
            (item.claimed, self._outcome(token, item, answer, packed=len(pack.items) > 1))
            for item, answer in zip(pack.items, reply.answers, strict=True)
        ]
        return Settlement(results, reserved and reserved.receipt(call), not_theirs)

    # --- the money ----------------------------------------------------------------------------

    def reserve_within(self, texts: Sequence[str], connection: Connection) -> Reservation:
        """Reserve a call with these at the end of the caller's transaction, in whichever thread
        that is."""
        return self._ledger.reserve_within(self._plan(texts), connection)

    async def _reserved(self, pack: Pack) -> Reservation | None:
        """The pack's own reservation, or a new one; None where the ledger is away."""
        reserved = pack.reservation
        if reserved is None:
            try:
                reserved = await self._ledger.reserve(self._plan(pack.texts))
            except Exception as error:
                if not isinstance(error, Unavailable):
                    log.exception("call_cannot_be_reserved")
                self._no_calls_until = time.monotonic() + self._timings.trouble
                return None
        if reserved.fits:
            self._money_pause = _FIRST_MONEY_PAUSE_SECONDS
            self._spent_day = -1  # what was held has been set free
        else:
            self._run_out_of_money()
        return reserved

    def _plan(self, texts: Sequence[str]) -> PlannedCall:
        return PlannedCall(
            str(uuid4()),
            self._analyser.model,
            len(texts),
            self._analyser.throttle.highest_cost(texts),
        )

    def _run_out_of_money(self) -> None:
        """Pause calls. With others under way, what they hold may be free again soon. With none, the
        budget is spent but for what a single text may still fit into, until midnight."""
        if self._begun == 1:
            self._spent_day = _today()
            if self._told_day != self._spent_day:
                log.warning("budget_spent", reason="what does not fit waits for midnight UTC")
                self._told_day = self._spent_day
        self._no_calls_until = time.monotonic() + min(self._money_pause, _until_midnight())
        self._money_pause = min(2 * self._money_pause, BUDGET_LOOK_SECONDS)

    async def _analyse(
        self, texts: Sequence[str], request_id: str, on_sent: Callable[[], None]
    ) -> Reply:
        """The analyser's answers, or why there are none. `give_up` ends the call alone: answers
        that are already there are stored."""
        if self._given_up:
            return Reply([NotNow("shutting down")] * len(texts))
        deadline = asyncio.timeout(None)
        self._deadlines.add(deadline)
        try:
            async with deadline:
                reply = await self._analyser.analyse(texts, request_id=request_id, on_sent=on_sent)
            if len(reply.answers) != len(texts):
                raise ValueError(f"{len(reply.answers)} answers to {len(texts)} texts")
        except Exception:
            if deadline.expired():
                return Reply([NotNow("shutting down")] * len(texts))
            log.exception("analyser_failed")
            return Reply([TransientFailure("internal error in the analyser")] * len(texts))
        finally:
            self._deadlines.discard(deadline)
        return reply

    def give_up(self) -> None:
        """Cancel the calls under way, and make no more."""
        self._given_up = True
        while self._deadlines:
            self._deadlines.pop().reschedule(asyncio.get_running_loop().time())

    # --- what came of it ----------------------------------------------------------------------

    def _judge(self, token: BreakerToken, reply: Reply, pack: Sequence[Prepared]) -> Sequence[str]:
        """Report the call to the breaker. Returns the ids of conversations that failed before for
        no fault of theirs."""
        match reply.answers[0]:  # those of one call tell the same of the other side
            case Refused(reason, doubtful=True) if len(pack) == 1:
                return self.breaker.refused(token, reason, pack[0].claimed.id, pack[0].text)
            case Refused() if reply.call is None or reply.call.outcome is CallOutcome.REFUSED:
                self.breaker.not_tried(token)  # an error, which does not say that all is well
            case Analysis() | Unusable() | Refused():
                self.breaker.succeeded()
            case TransientFailure(reason):
                self.breaker.failed(token, reason, [item.claimed.id for item in pack])
            case Blocked(reason):
                self.breaker.blocked(token, reason)
            case NotNow():
                self.breaker.not_tried(token)
        return ()

    def _outcome(
        self, token: BreakerToken, item: Prepared, answer: Answer, *, packed: bool
    ) -> Outcome:
        breaker = self.breaker
        outcome = decide(
            answer,
            item.claimed.attempts,
            max_attempts=self._max_attempts,
            jitter=self._jitter(),
            packed=packed,
            outage=breaker.reason is not None,
            probe_delay=0.0 if breaker.opened_after(token) else breaker.probe_delay,
        )
        if not isinstance(outcome, Complete):
            return outcome
        key = None
        if isinstance(answer, Analysis):  # a fallback is no answer for others
            key = item.fingerprint_under(self._analyser.reuse_key)
            if not item.suspicions:  # such a text is not to name topics for others either
                author, day = item.claimed.author, item.claimed.timestamp // DAY
                self._topics.learn(Sighting(answer.clusters, author, day))
        return Complete(outcome.analysis, fingerprint=key, notes=item.notes)


def _today() -> int:
    return now_micros() // DAY


def _until_midnight() -> float:
    """Seconds until a moment after the next UTC day has begun."""
    return (DAY - now_micros() % DAY) / 1e6 + 0.1
