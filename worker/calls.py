"""Making calls: whether one may begin, its place in the ledger, and what its answers lead to.

Between the worker, which knows conversations and the queue, and the analyser, which knows texts.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from uuid import uuid4

import structlog

from analysis.injection import suspicions
from analysis.outcomes import (
    Analyser,
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
    as_analysed,
    decide,
    fingerprint,
)
from errors import Unavailable
from store.ledger import MICROS_PER_DAY, CallReceipt, Ledger
from store.queue import Claimed, Settlement
from worker.breaker import Breaker, BreakerToken

log = structlog.get_logger(__name__)

_FIRST_MONEY_PAUSE_SECONDS = 0.25
BUDGET_LOOK_SECONDS = 60.0
"""How often it is tried in the end whether the day's budget has room again."""
TROUBLE_PAUSE_SECONDS = 1.0


class CallRunner:
    """At most `analyser.concurrency` calls have begun and not ended; `begin` counts on that."""

    def __init__(
        self,
        analyser: Analyser,
        ledger: Ledger,
        *,
        max_attempts: int,
        on_sent: Callable[[], None] = lambda: None,
        on_call: Callable[[Call], None] = lambda _call: None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`on_sent` hears when a call leaves, `on_call` how it ended; `jitter` gives 0..1."""
        self.breaker = Breaker()
        self._analyser = analyser
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
        self._analyses: set[asyncio.Future[Reply]] = set()

    # --- may one begin ------------------------------------------------------------------------

    @property
    def under_way(self) -> int:
        """Calls that have left and not ended."""
        return self._left

    @property
    def unsent(self) -> int:
        """Calls that have begun and wait for their turn to leave."""
        return self._begun - self._left

    @property
    def free(self) -> int:
        return self._analyser.concurrency - self._begun

    @property
    def out_of_money(self) -> bool:
        """The last call did not fit into what was left of today's budget."""
        return self._spent_day == _today()

    @property
    def one_by_one(self) -> bool:
        """Only calls with a single text make sense now: a probe, or what the budget leaves."""
        return self.breaker.reason is not None or self.out_of_money

    def wait_left(self) -> float:
        """Seconds until a call may begin, as far as is known; 0.0 when one may now."""
        return max(
            self._analyser.pause_left(),
            self.breaker.wait_left(),
            self._no_calls_until - time.monotonic(),
            0.0,
        )

    # --- a call -------------------------------------------------------------------------------

    def begin(self) -> BreakerToken:
        """Take up a slot; `call` gives it back."""
        self._begun += 1
        return self.breaker.begin()

    async def call(
        self, begun: BreakerToken, pack: Sequence[Claimed], *, on_sent: Callable[[], None]
    ) -> Settlement:
        """What is to become of each of the `pack`, and what else is to be written with it."""
        left = False
        texts = [as_analysed(item.text) for item in pack]

        def leaves() -> None:
            nonlocal left
            left = True
            self._left += 1
            self._on_sent()
            on_sent()

        try:
            request_id = str(uuid4())
            reserved, may_call = await self._reserve(request_id, texts)
            if may_call and self.breaker.opened_after(begun):
                may_call = False
            reply = (
                await self._analyse(texts, request_id, leaves)
                if may_call
                else Reply([NotNow("no call can be made now")] * len(pack))
            )
        except BaseException:
            self.breaker.not_tried(begun)
            raise
        finally:
            self._begun -= 1
            self._left -= left
        call = reply.call
        if call is None and left:
            call = Call(CallOutcome.CUT_OFF, cost_usd_ticks=None)
        if call is not None:
            self._on_call(call)
        not_theirs = self._judge(begun, reply, pack)
        results = [
            (item, self._outcome(begun, item, answer, packed=len(pack) > 1))
            for item, answer in zip(pack, reply.answers, strict=True)
        ]
        return Settlement(
            results, None if reserved is None else CallReceipt(reserved, call), not_theirs
        )

    async def _reserve(self, request_id: str, texts: Sequence[str]) -> tuple[int | None, bool]:
        """The ledger's id of the call, None where there is nothing to pay; and whether to call."""
        highest_cost = self._analyser.highest_cost(texts)
        if highest_cost is None:
            return None, True
        try:
            reserved = await self._ledger.reserve(
                request_id,
                model=self._analyser.model,
                conversations=len(texts),
                highest_cost=highest_cost,
            )
        except Exception as error:
            if not isinstance(error, Unavailable):
                log.exception("call_cannot_be_reserved")
            self._no_calls_until = time.monotonic() + TROUBLE_PAUSE_SECONDS
            return None, False
        if reserved is None:
            self._run_out_of_money()
        else:
            self._money_pause = _FIRST_MONEY_PAUSE_SECONDS
            self._spent_day = -1  # what was held has been set free
        return reserved, reserved is not None

    def _run_out_of_money(self) -> None:
        """What is held for calls under way may be free again soon; else there is some at midnight.
        Where there are none, the budget is what it is, and single texts may still fit."""
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
        """The analyser's answers, or why there are none. Giving up cancels the call and nothing
        else: once there are answers, they are written."""
        if self._given_up:
            return Reply([NotNow("shutting down")] * len(texts))
        analysis = asyncio.ensure_future(
            self._analyser.analyse(texts, request_id=request_id, on_sent=on_sent)
        )
        self._analyses.add(analysis)
        try:
            reply = await analysis
            if len(reply.answers) != len(texts):
                raise ValueError(f"{len(reply.answers)} answers to {len(texts)} texts")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # not the call was called off, but we were
            return Reply([NotNow("shutting down")] * len(texts))
        except Exception:
            log.exception("analyser_failed")
            return Reply([TransientFailure("internal error in the analyser")] * len(texts))
        finally:
            self._analyses.discard(analysis)
        return reply

    def give_up(self) -> None:
        """Cut off the calls under way, and make no more."""
        self._given_up = True
        for analysis in self._analyses:
            analysis.cancel()

    # --- what came of it ----------------------------------------------------------------------

    def _judge(self, begun: BreakerToken, reply: Reply, pack: Sequence[Claimed]) -> Sequence[str]:
        """Tell the breaker. The conversations that failed before for what was not their fault."""
        match reply.answers[0]:  # those of one call tell the same of the other side
            case Refused(reason, doubtful=True) if len(pack) == 1:
                return self.breaker.refused(begun, reason, pack[0].id, as_analysed(pack[0].text))
            case Refused() if reply.call is None or reply.call.outcome is CallOutcome.REFUSED:
                self.breaker.not_tried(begun)  # an error, which does not say that all is well
            case Analysis() | Unusable() | Refused():
                self.breaker.succeeded()
            case TransientFailure(reason):
                self.breaker.failed(begun, reason, [item.id for item in pack])
            case Blocked(reason):
                self.breaker.blocked(begun, reason)
            case NotNow():
                self.breaker.not_tried(begun)
        return ()

    def _outcome(
        self, begun: BreakerToken, item: Claimed, answer: Answer, *, packed: bool
    ) -> Outcome:
        breaker = self.breaker
        outcome = decide(
            answer,
            item.attempts,
            max_attempts=self._max_attempts,
            jitter=self._jitter(),
            packed=packed,
            outage=breaker.reason is not None,
            probe_delay=0.0 if breaker.opened_after(begun) else breaker.probe_delay,
        )
        if not isinstance(outcome, Complete):
            return outcome
        notes, print_ = notes_on(item.text), None
        if isinstance(answer, Analysis):  # a fallback is no answer for others
            print_ = fingerprint(item.text, self._analyser.reuse_key)
            if not notes:  # such a text is not to name topics for others either
                seen = Sighting(answer.clusters, item.author, item.timestamp // MICROS_PER_DAY)
                self._analyser.remember([seen])
        return Complete(outcome.analysis, fingerprint=print_, notes=notes)


def notes_on(text: str) -> dict[str, object]:
    """What the reader of a text's insight should know besides."""
    found = suspicions(text)
    return {"suspected_injection": list(found)} if found else {}


def _today() -> int:
    return int(time.time() // 86_400)


def _until_midnight() -> float:
    """Seconds until a moment after the next UTC day has begun."""
    return 86_400 - time.time() % 86_400 + 0.1
