"""The worker: claim, analyse, settle, until told to stop.

The row is the truth: a wake-up only says "look", and the next poll finds what a wake-up missed. No
transaction is open during a call, and a slow answer keeps one slot, not the others. When to claim
and what is `worker/schedule.py`; a call is `worker/calls.py`.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import structlog

from analysis.analyser import Analyser
from analysis.outcomes import Complete, Fail, Outcome, Requeue
from errors import Unavailable
from store.ledger import CallReceipt, Ledger
from store.queue import NOT_STORED, Claimed, Results, Settled, WorkQueue
from worker.background import notice_death
from worker.breaker import BreakerToken
from worker.calls import CallRunner
from worker.opening import Opener, Opening
from worker.prepared import Pack
from worker.schedule import Bound, Schedule, WorkerTimings
from worker.suspects import SuspectTrials
from worker.waiting import until_set

log = structlog.get_logger(__name__)

_TRIES = 20
"""Of storing results where the database raises what nobody foresaw."""
RECENT_ANALYSES = 2000
"""The newest ones, whose topics are learned again after a restart."""


class Worker:
    """Analyses what is pending, from `start()` until `stop()` has returned."""

    def __init__(
        self,
        queue: WorkQueue,
        ledger: Ledger,
        analyser: Analyser,
        call_runner: CallRunner,
        *,
        batch_size: int,
        poll_interval: float,
        reuse_window: timedelta = timedelta(0),
        call_seconds: float = 60.0,
        alone: bool = False,
        on_settled: Callable[[Claimed, Outcome], None] = lambda _claimed, _outcome: None,
        timings: WorkerTimings | None = None,
    ) -> None:
        """`poll_interval` and `call_seconds` are in seconds; no call takes longer than the latter.
        `batch_size` is the most conversations of a claim. Equal texts are answered from an analysis
        that is not older than `reuse_window`; 0 turns that off. With `alone` no other worker can
        exist, so rows that are in `processing` at start are orphaned. `on_settled` is called for
        each outcome once it is stored.
        """
        self._queue = queue
        self._ledger = ledger
        self._analyser = analyser
        self._call_runner = call_runner
        self._opener = Opener(queue, analyser, call_runner, reuse_window=reuse_window)
        self._call_seconds = call_seconds
        self._alone = alone
        self._on_settled = on_settled
        self._timings = timings or WorkerTimings()
        self._lease = timedelta(seconds=self._timings.lease)
        self._schedule = Schedule(
            batch_size=batch_size, poll_interval=poll_interval, timings=self._timings
        )
        self._trials = SuspectTrials(
            rest=self._timings.trial_rest, patience=self._timings.trial_patience
        )
        self._wake = asyncio.Event()
        self._stopping = False
        self._trouble: str | None = None
        self._ready: deque[Pack] = deque()  # claimed and not yet begun
        # Until all that waits is claimed, at the start and after a failure: where judging a text
        # ends the process, the text has to be claimed by then, or its deaths are not counted.
        self._claims_alone = True
        self._in_hand: dict[asyncio.Task[None], list[Claimed]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._last_progress = time.monotonic()

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._run(), name="worker"),
            asyncio.create_task(self._renew_leases(), name="worker-leases"),
        ]
        for task in self._tasks:
            task.add_done_callback(notice_death)

    def wake(self) -> None:
        """Look for work now instead of at the next poll: a conversation may be claimable."""
        self._schedule.arrived()
        self._wake.set()

    def stop_claiming(self) -> None:
        self._stopping = True
        self._wake.set()

    async def stop(self, grace: float) -> None:
        """Stop claiming, let calls in flight finish for `grace` seconds, requeue the rest."""
        self.stop_claiming()
        if not self._tasks:
            return
        await self._finished(within=grace)
        self._call_runner.give_up()
        await self._finished(within=self._timings.settle)
        # What is left waits for a database that does not answer: the next start finds its rows.
        remaining = [*self._in_hand, *self._tasks]
        for task in remaining:
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)

    async def _finished(self, *, within: float) -> None:
        """Wait, `within` seconds at most, for the loop to end and all packs to be settled."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await asyncio.wait(self._tasks[:1])
                await self._all_settled()

    @property
    def alive(self) -> bool:
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    @property
    def trouble(self) -> str | None:
        """Why it has not begun its work."""
        return self._trouble

    @property
    def seconds_since_progress(self) -> float:
        """Since a conversation last completed or failed, or none was waiting."""
        return time.monotonic() - self._last_progress

    @property
    def bound_by(self) -> Bound:
        """What keeps the throughput from being higher at this moment."""
        return self._schedule.bound_by(time.monotonic(), self._call_runner.state())

    # --- claiming -----------------------------------------------------------------------------

    async def _run(self) -> None:
        await self._take_over()
        self._trials.started(time.monotonic())
        while not self._stopping:
            self._wake.clear()  # before looking, so that an arrival meanwhile is not slept through
            now, calls = time.monotonic(), self._call_runner.state()
            if self._schedule.releases_claims(now, calls):
                self._requeue_ready()
            if self._trials.is_due(now, idle=self._is_idle()) and await self._try():
                continue
            if not self._wait_left() and (pack := await self._next_pack()):
                if self._wait_left():  # things changed while the database was asked
                    self._ready.appendleft(pack)
                else:
                    self._begin(pack)
                continue
            # Whatever else brings us on also wakes us: an arrival, a call that leaves or ends.
            now, calls = time.monotonic(), self._call_runner.state()
            sleep = self._schedule.sleep_left(now, calls)
            if not self._schedule.wait_left(now, calls):
                sleep = min(sleep, max(0.001, self._trials.due_in(now, idle=self._is_idle())))
            await until_set(self._wake, sleep)
        self._requeue_ready()

    def _is_idle(self) -> bool:
        """Nothing is in flight, and the last look found nothing more."""
        return not (self._in_hand or self._ready or self._schedule.is_due(time.monotonic()))

    async def _try(self) -> bool:
        """Try one suspect with nothing else in flight; False where none can be called for now."""
        self._requeue_ready()
        await self._all_settled()
        if self._wait_left() or self._stopping:
            return False
        try:
            suspect, more = await self._queue.claim_suspect(lease=self._lease)
        except Exception as error:
            if not isinstance(error, Unavailable):
                log.exception("worker_claim_failed")
            self._schedule.failed(time.monotonic())
            return False
        if suspect is None:
            self._trials.none_due(more, time.monotonic())
            return False
        log.warning("suspect_tried", id=suspect.id)
        opening = await self._opener.after([suspect])
        self._settle_answered(opening)
        for pack in opening.packs:
            self._begin(pack)
        await self._all_settled()
        self._trials.tried(more, time.monotonic())
        return True

    async def _all_settled(self) -> None:
        while self._in_hand:
            await asyncio.wait(self._in_hand)

    def _requeue_ready(self) -> None:
        """Requeue what is claimed and not begun: it must not wait for long, nor in packs where only
        single texts are sent."""
        for pack in self._ready:
            requeued = [(claimed, Requeue()) for claimed in pack.claimed]
            receipt = pack.reservation and pack.reservation.receipt(None)
            self._take_in_hand(pack.claimed, self._settle(requeued, receipt))
        self._ready.clear()

    def _wait_left(self) -> float:
        return self._schedule.wait_left(time.monotonic(), self._call_runner.state())

    async def _next_pack(self) -> Pack | None:
        """The conversations of the next call; None if none wait or the database cannot tell."""
        while not self._ready and self._schedule.is_due(time.monotonic()) and not self._stopping:
            try:
                claimed, opening = await self._claim()
            except Exception as error:
                opened, self._claims_alone = not self._claims_alone, True
                if opened and not isinstance(error, Unavailable):
                    log.warning("claim_not_opened", exc_info=error)
                    self._schedule.arrived()
                    continue
                if not isinstance(error, Unavailable):
                    log.exception("worker_claim_failed")
                self._schedule.failed(time.monotonic())
                return None
            if not claimed:
                return None
            opening = opening or await self._opener.after(claimed)
            self._settle_answered(opening)
            self._ready.extend(opening.packs)
        return self._ready.popleft() if self._ready else None

    async def _take_over(self) -> None:
        """Requeue what the previous worker left in `processing`, and learn what it knew."""
        while not self._stopping:
            try:
                await self._rescue(all_orphaned=self._alone)
                await self._warm_up()
                self._trouble = None
                return
            except Unavailable as error:
                self._trouble = error.details
            except Exception as error:
                cause = f"The worker cannot begin: {type(error).__name__}; the log says more."
                before, self._trouble = self._trouble, cause
                if cause != before:
                    log.exception("worker_start_failed")
            await until_set(self._wake, self._timings.trouble)
            self._wake.clear()

    async def _warm_up(self) -> None:
        """Learn from the database the calls and topics of the workers before this one."""
        if await self._ledger.called_lately():
            throttle = self._analyser.throttle
            throttle.assume_window_used()
            window = throttle.calls_at_once * throttle.call_interval
            self._schedule.rest(time.monotonic() + window)
        self._call_runner.learn(await self._queue.recent_sightings(RECENT_ANALYSES))

    async def _claim(self) -> tuple[list[Claimed], Opening | None]:
        schedule, calls = self._schedule, self._call_runner.state()
        schedule.claiming(time.monotonic())
        items, waiting, opening = await self._queue.claim(
            schedule.order(),
            look=schedule.to_count(calls),
            take=lambda count: schedule.pack_size(count, calls),
            lease=self._lease,
            then=None if self._claims_alone else self._opener.within,
            durable=self._call_runner.pays and not self._claims_alone,
        )
        now = time.monotonic()
        schedule.claimed(items[0].lane if items else None, len(items), waiting, calls, now)
        self._claims_alone = self._claims_alone and schedule.left_some
        if not any(waiting.values()):
            self._last_progress = now  # nothing waits for any
        return items, opening

    def _settle_answered(self, opening: Opening) -> None:
        if answered := opening.answered:
            self._take_in_hand([item for item, _ in answered], self._settle(answered))

    # --- analysing ----------------------------------------------------------------------------

    def _begin(self, pack: Pack) -> None:
        claimed = pack.claimed
        self._schedule.calling(claimed[0].lane, self._call_runner.state(), time.monotonic())
        token = self._call_runner.begin()
        self._take_in_hand(claimed, self._work(token, pack))

    async def _work(self, token: BreakerToken, pack: Pack) -> None:
        await self._settle(*await self._call_runner.call(token, pack, on_sent=self._wake.set))

    def _take_in_hand(self, items: list[Claimed], work: Coroutine[Any, Any, None]) -> None:
        """Run `work`, which settles `items`. Until it ends their leases are renewed, and `stop`
        waits for it."""
        task = asyncio.create_task(work)
        self._in_hand[task] = items
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._in_hand[task]
        self._wake.set()  # nothing may be in flight any more, which suspects wait for
        if not task.cancelled() and (error := task.exception()):
            log.error("worker_task_failed", exc_info=error)

    # --- settling -----------------------------------------------------------------------------

    async def _settle(
        self,
        results: Results,
        receipt: CallReceipt | None = None,
        not_theirs: Sequence[str] = (),
    ) -> None:
        # A slot is free; but first the results are to be on their way to the disk.
        asyncio.get_running_loop().call_soon(self._wake.set)
        settled = await self._write(results, receipt, not_theirs)
        if settled.receipt_error:
            log.error("call_cannot_be_recorded", exc_info=settled.receipt_error)
        if not_theirs:
            log.warning("refusals_taken_back", ids=not_theirs[:10], count=len(not_theirs))
        if any(isinstance(outcome, Complete | Fail) for _, outcome in results):
            self._last_progress = time.monotonic()
        for item, outcome in results:
            if item in settled.done:
                self._report(item, outcome)
            elif error := settled.rejected.get(item):
                log.error("result_cannot_be_stored", id=item.id, exc_info=error)
                self._report(item, Fail(NOT_STORED))
            else:
                log.info("result_dropped", id=item.id, attempts=item.attempts)

    async def _write(
        self, results: Results, receipt: CallReceipt | None, not_theirs: Sequence[str]
    ) -> Settled:
        """Store results, trying until the database is there: the results were paid for."""
        tries = _TRIES
        while True:
            try:
                return await self._queue.settle(results, receipt, not_theirs)
            except Unavailable:
                pass
            except Exception:  # what one result is to blame for has failed that one alone
                if not (tries := tries - 1):
                    raise
                log.exception("results_not_stored", conversations=len(results))
            await asyncio.sleep(self._timings.trouble / 2)

    def _report(self, item: Claimed, outcome: Outcome) -> None:
        self._on_settled(item, outcome)
        match outcome:
            case Complete(analysis, notes=notes):
                log.info(
                    "conversation_completed",
                    id=item.id,
                    attempts=item.attempts,
                    confidence=analysis.confidence,
                    fallback=bool(analysis.details.get("fallback")),
                    **notes,
                )
            case Fail(error):
                log.warning("conversation_failed", id=item.id, attempts=item.attempts, error=error)
            case Requeue(delay):
                log.debug("conversation_requeued", id=item.id, delay=round(delay, 2))
                self._wake_in(delay)
            case _:
                log.info(
                    "conversation_to_retry",
                    id=item.id,
                    attempts=item.attempts,
                    error=outcome.error,
                    delay=round(outcome.delay, 2),
                )
                self._wake_in(outcome.delay)

    def _wake_in(self, delay: float) -> None:
        """Look when what was requeued may be claimed again."""
        if delay:
            asyncio.get_running_loop().call_later(delay + 0.001, self.wake)
        else:
            self.wake()

    # --- leases -------------------------------------------------------------------------------

    async def _renew_leases(self) -> None:
        """Extend this worker's leases, then rescue those of dead workers. In that order: its own
        may have run out while the database was away, and no other worker took them."""
        while True:
            await asyncio.sleep(self._timings.renew)
            try:
                tokens = {item.token for items in self._in_hand.values() for item in items}
                tokens |= {claimed.token for pack in self._ready for claimed in pack.claimed}
                if tokens:
                    await self._queue.extend(tokens, lease=self._lease)
                await self._rescue()
            except Unavailable:
                pass
            except Exception:
                log.exception("lease_renewal_failed")

    async def _rescue(self, *, all_orphaned: bool = False) -> None:
        age = None if all_orphaned else 2 * self._call_seconds + self._timings.lease
        if cut_off := await self._ledger.close_orphans(older_than_seconds=age):
            log.warning("calls_cut_off", calls=cut_off)
        rescued = await self._queue.rescue(all_orphaned=all_orphaned)
        self._trials.found(rescued.suspects)
        if rescued.back_to_pending or rescued.failed:
            log.warning(
                "orphans_rescued", back_to_pending=rescued.back_to_pending, failed=rescued.failed
            )
            self.wake()
