"""The worker: claim, analyse, settle, until told to stop.

The row is the truth. A wake-up only says "look"; whatever is missed, the next poll finds. No
transaction is open while an analyser thinks, and one slow answer keeps one slot, not the others.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Literal

import structlog

from analysis.injection import suspicions
from analysis.outcomes import Analyser, Complete, Fail, Outcome, PutBack, fingerprint
from errors import Unavailable
from models import Lane
from store.ledger import CallReceipt, Ledger
from store.queue import Claimed, Results, WorkQueue
from worker.breaker import Breaker, BreakerToken
from worker.calls import TROUBLE_PAUSE_SECONDS, CallRunner, notes_on
from worker.schedule import CALLS_IN_LINE, CallSpacing, LaneShare, pack_size

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=30)
RENEW_SECONDS = 10.0
"""How often leases are extended and orphans looked for: well within a lease."""
SETTLE_SECONDS = 1.0
"""How long the last results, and rows to put back, may take to be written after the grace."""
HOLD_SECONDS = 1.0
"""How long conversations that are claimed may wait for a call to begin."""
LIVE_SECONDS = 30.0
"""How long after a live conversation more of them are reckoned with."""
IMPORT_SECONDS = 1.0
"""How long after a batch for the bulk lane more of them are reckoned with."""
RECENT_ANALYSES = 2000
"""Whose topics are remembered over a restart."""

Bound = Literal["queue", "rate", "concurrency", "budget", "breaker"]


class Worker:
    """Analyses what is pending, from `start()` until `stop()` has returned.

    `acquire_worker_lock` tells whether this process may work: on SQLite one process does, others
    stand by and take over when it dies.
    """

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
        acquire_worker_lock: Callable[[], bool] = lambda: True,
        alone: bool = False,
        on_settled: Callable[[Claimed, Outcome], None] = lambda _claimed, _outcome: None,
    ) -> None:
        """`alone`: no other worker can exist, so what is in processing at start is orphaned.

        Equal texts are answered from an analysis that is not older than `reuse_window`. No call
        takes longer than `call_seconds`.
        """
        self._queue = queue
        self._ledger = ledger
        self._analyser = analyser
        self._call_runner = call_runner
        self._batch_size = batch_size
        self._poll_interval = poll_interval
        self._reuse_window = reuse_window
        self._call_seconds = call_seconds
        self._acquire_worker_lock = acquire_worker_lock
        self._alone = alone
        self._on_settled = on_settled
        self._lanes = LaneShare()
        self._pace = CallSpacing()
        self._backlog = dict.fromkeys(Lane, False)  # more waits than can be sent in one go
        self._more = False  # something was left when we last looked
        self._bulk_is_empty = True  # when we last looked
        self._live_until = 0.0  # monotonic: live conversations come in, so far as is known
        self._import_until = 0.0  # monotonic: batches come in for the bulk lane, to this process
        self._wake = asyncio.Event()
        # When to look for work next, on the monotonic clock: at once, or a poll after the queue was
        # found empty.
        self._look_at = 0.0
        self._not_before = 0.0  # the same clock: after trouble with the database
        self._stopping = False
        self._ready: deque[list[Claimed]] = deque()  # packs that are claimed and not yet begun
        self._in_hand: dict[asyncio.Task[None], list[Claimed]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.is_standby = True
        self._last_progress = time.monotonic()

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._run(), name="worker"),
            asyncio.create_task(self._renew_leases(), name="worker-leases"),
        ]
        for task in self._tasks:
            task.add_done_callback(self._notice_death)

    def _notice_death(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.critical("worker_died", task=task.get_name(), exc_info=error)

    def wake(self) -> None:
        """Something may have become claimable: look now, not at the next poll."""
        self._look_at = 0.0
        self._wake.set()

    def note_import(self) -> None:
        """A batch for the bulk lane has come in; more of them are reckoned with."""
        self._import_until = time.monotonic() + IMPORT_SECONDS

    @property
    def importing(self) -> bool:
        return time.monotonic() < self._import_until

    def stop_claiming(self) -> None:
        self._stopping = True
        self._wake.set()

    async def stop(self, grace: float) -> None:
        """Stop claiming, let calls in flight finish for `grace` seconds, put the rest back."""
        self.stop_claiming()
        if not self._tasks:
            return
        await self._finished(within=grace)
        self._call_runner.give_up()
        await self._finished(within=SETTLE_SECONDS)
        # What is left waits for a database that does not answer: the next start finds its rows.
        remaining = [*self._in_hand, *self._tasks]
        for task in remaining:
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)

    async def _finished(self, *, within: float) -> None:
        """Until the loop has ended, so that no claim comes any more, and all packs are settled."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await asyncio.wait(self._tasks[:1])
                while self._in_hand:
                    await asyncio.wait(self._in_hand)

    @property
    def alive(self) -> bool:
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    @property
    def seconds_since_progress(self) -> float:
        """Since a conversation last came to its end, or none was waiting."""
        return time.monotonic() - self._last_progress

    @property
    def breaker(self) -> Breaker:
        return self._call_runner.breaker

    @property
    def calls_under_way(self) -> int:
        return self._call_runner.under_way

    @property
    def bound_by(self) -> Bound:
        """What keeps the throughput from being higher at this moment."""
        call_runner = self._call_runner
        if call_runner.breaker.reason is not None:
            return "breaker"
        if call_runner.out_of_money:
            return "budget"
        if call_runner.unsent or self._analyser.pause_left():
            return "rate"
        more = self._more or time.monotonic() >= self._look_at
        if more and call_runner.free <= 0:
            return "concurrency"
        return "rate" if any(self._backlog.values()) else "queue"

    # --- claiming -----------------------------------------------------------------------------

    async def _run(self) -> None:
        await self._acquire_leadership()
        while not self._stopping:
            self._wake.clear()  # before looking, so that an arrival meanwhile is not slept through
            pause = self._wait_left()
            if self._trouble_left() > HOLD_SECONDS or self._call_runner.one_by_one:
                self._put_back_ready()
            if not pause and (pack := await self._next_pack()):
                if self._wait_left():  # things changed while the database was asked
                    self._ready.appendleft(pack)
                else:
                    self._begin(pack)
                continue
            # Whatever else brings us on also wakes us: an arrival, a call that leaves or ends.
            idle = max(0.001, self._look_at - time.monotonic())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._wait_left() or idle)
        self._put_back_ready()

    def _put_back_ready(self) -> None:
        """What is claimed is not to wait for long, nor in packs where only single texts go."""
        put_back = [(item, PutBack()) for pack in self._ready for item in pack]
        self._ready.clear()
        if put_back:
            self._take_in_hand([item for item, _ in put_back], self._settle(put_back))

    def _wait_left(self) -> float:
        """Seconds until the next call may begin, as far as is known; 0.0 when it may now.

        What has to happen before that wakes us: a call that leaves or ends.
        """
        if (trouble := self._trouble_left()) > 0:
            return trouble
        if self._call_runner.free <= 0 or self._call_runner.unsent >= self._analyser.calls_at_once:
            return self._poll_interval
        if any(self._backlog.values()):
            # Claimed just before it can be sent, so that what arrives last can go first.
            if self._call_runner.unsent >= CALLS_IN_LINE:
                return self._poll_interval
            if time.monotonic() < self._live_until:
                return self._pace.left()
        return 0.0

    def _trouble_left(self) -> float:
        """Seconds for which no call can be made, whatever happens here."""
        return max(self._call_runner.wait_left(), self._not_before - time.monotonic())

    async def _next_pack(self) -> list[Claimed] | None:
        """What the next call carries; None when there is nothing to do, or no way to know."""
        while not self._ready and time.monotonic() >= self._look_at and not self._stopping:
            try:
                claimed = await self._claim()
            except Unavailable:
                self._not_before = time.monotonic() + TROUBLE_PAUSE_SECONDS
                return None
            except Exception:
                log.exception("worker_claim_failed")
                self._not_before = time.monotonic() + TROUBLE_PAUSE_SECONDS
                return None
            if not claimed:
                return None
            self._ready.extend(self._packs(await self._answer_again(claimed)))
        return self._ready.popleft() if self._ready else None

    async def _acquire_leadership(self) -> None:
        """Wait until this process is the one that works; then put back what its forerunner left."""
        told = False
        while not self._stopping:
            try:
                if self._acquire_worker_lock():
                    await self._rescue(all_orphaned=self._alone)
                    await self._warm_up()
                    self.is_standby = False
                    return
                if not told:
                    log.info("worker_is_standby", reason="another process works on this database")
                    told = True
            except Unavailable:
                pass
            except Exception:
                log.exception("worker_start_failed")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TROUBLE_PAUSE_SECONDS)
            self._wake.clear()

    async def _warm_up(self) -> None:
        """What there is to know of those who worked before us."""
        if await self._ledger.called_lately():
            self._analyser.assume_window_used()
        self._analyser.remember(await self._queue.recent_sightings(RECENT_ANALYSES))

    async def _claim(self) -> list[Claimed]:
        calls = max(1, min(self._call_runner.free, self._analyser.calls_at_once))
        most = min(self._analyser.pack_size, self._batch_size)
        if self._call_runner.one_by_one:
            most = 1
        # Put off before looking, so that what arrives meanwhile can put it on again.
        self._look_at = time.monotonic() + self._poll_interval
        try:
            claim = await self._queue.claim(
                self._lanes.order(),
                look=calls * most + 1,
                take=lambda waiting: pack_size(waiting, calls=calls, most=most),
                lease=LEASE,
            )
        except BaseException:
            self._look_at = 0.0
            raise
        self._more = sum(claim.waiting.values()) > len(claim.items)
        if self._more:
            self._look_at = 0.0
        lane = claim.items[0].lane if claim.items else None
        for each, waiting in claim.waiting.items():
            if each is lane or not waiting:
                self._backlog[each] = waiting > calls * most
        if lane is Lane.LIVE:
            self._live_until = time.monotonic() + LIVE_SECONDS
        if Lane.BULK in claim.waiting:
            self._bulk_is_empty = not claim.waiting[Lane.BULK]
        if not any(claim.waiting.values()):
            self._last_progress = time.monotonic()  # nothing waits for any
        return claim.items

    async def _answer_again(self, claimed: Sequence[Claimed]) -> list[Claimed]:
        """Answer from an earlier analysis what can be; give the rest."""
        if not self._reuse_window:
            return list(claimed)
        key = self._analyser.reuse_key
        prints = {item: fingerprint(item.text, key) for item in claimed}
        try:
            earlier = await self._queue.analysed_before(
                set(prints.values()), within=self._reuse_window
            )
        except Exception as error:
            # Calls cost money, but they are what we are here for.
            log.warning("reuse_not_looked_up", cause=repr(error))
            return list(claimed)
        again: list[tuple[Claimed, Outcome]] = []
        for item in claimed:
            if (found := earlier.get(prints[item])) is not None:
                notes = notes_on(item.text) | {"reused_from": found.conversation_id}
                again.append((item, Complete(found.analysis, notes=notes)))
        if again:
            self._take_in_hand([item for item, _ in again], self._settle(again))
        return [item for item in claimed if prints[item] not in earlier]

    def _packs(self, claimed: Sequence[Claimed]) -> list[list[Claimed]]:
        """What can share a call, and by itself each that could spoil it for the others."""
        together = [item for item in claimed if not item.alone and not suspicions(item.text)]
        apart = [[item] for item in claimed if item not in together]
        return [together, *apart] if together else apart

    # --- analysing ----------------------------------------------------------------------------

    def _begin(self, pack: list[Claimed]) -> None:
        lane = pack[0].lane
        interval = self._analyser.call_interval
        if lane is Lane.BULK and self.importing:
            interval += self._analyser.import_rest
        self._pace.record(interval)
        self._lanes.record(lane, bulk_is_empty=self._bulk_is_empty)
        begun = self._call_runner.begin()
        self._take_in_hand(pack, self._work(begun, pack))

    async def _work(self, begun: BreakerToken, pack: list[Claimed]) -> None:
        await self._settle(*await self._call_runner.call(begun, pack, on_sent=self._wake.set))

    def _take_in_hand(self, items: list[Claimed], work: Coroutine[Any, Any, None]) -> None:
        """Do this about these: until it is done their leases are extended, and stopping waits."""
        task = asyncio.create_task(work)
        self._in_hand[task] = items
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._in_hand[task]
        if not task.cancelled() and (error := task.exception()):
            log.error("worker_task_failed", exc_info=error)

    # --- settling -----------------------------------------------------------------------------

    async def _settle(
        self,
        results: Results,
        ended: CallReceipt | None = None,
        not_theirs: Sequence[str] = (),
    ) -> None:
        self._wake.set()  # a slot is free
        settled = await self._write(results, ended, not_theirs)
        if not_theirs:
            log.warning("refusals_taken_back", ids=not_theirs[:10], count=len(not_theirs))
        if any(isinstance(outcome, Complete | Fail) for _, outcome in results):
            self._last_progress = time.monotonic()
        for item, outcome in results:
            if item in settled:
                self._report(item, outcome)
            else:
                log.info("result_dropped", id=item.id, attempts=item.attempts)

    async def _write(
        self,
        results: Results,
        ended: CallReceipt | None = None,
        not_theirs: Sequence[str] = (),
    ) -> set[Claimed]:
        """Also through a spell without a database: the results were paid for.

        A result that the database chokes on fails its own conversation and no other.
        """
        while True:
            try:
                return await self._queue.settle(results, ended, not_theirs)
            except Unavailable:
                await asyncio.sleep(TROUBLE_PAUSE_SECONDS / 2)
            except Exception:
                if (ended is not None or not_theirs) and results:
                    await self._write([], ended, not_theirs)
                    ended, not_theirs = None, ()
                    continue
                if len(results) > 1:
                    return set().union(*[await self._write([result]) for result in results])
                if not results:
                    log.exception("call_cannot_be_entered")
                    return set()
                ((item, outcome),) = results
                log.exception("result_cannot_be_stored", id=item.id)
                if not isinstance(outcome, Fail):
                    await self._write([(item, Fail("the result could not be stored"))])
                return set()

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
            case PutBack(delay):
                log.debug("conversation_put_back", id=item.id, delay=round(delay, 2))
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
        """When what is put back may be claimed again."""
        if delay:
            asyncio.get_running_loop().call_later(delay + 0.001, self.wake)
        else:
            self.wake()

    # --- tending ------------------------------------------------------------------------------

    async def _renew_leases(self) -> None:
        """Extend our leases, then look for those of dead workers. In that order: ours may have
        run out while the database was away, and they are still ours."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            if self.is_standby:
                continue
            try:
                in_hand = [*self._in_hand.values(), *self._ready]
                tokens = {item.token for items in in_hand for item in items}
                if tokens:
                    await self._queue.extend(tokens, lease=LEASE)
                await self._rescue()
            except Unavailable:
                pass
            except Exception:
                log.exception("lease_renewal_failed")

    async def _rescue(self, *, all_orphaned: bool = False) -> None:
        age = 0.0 if all_orphaned else 2 * self._call_seconds + LEASE.total_seconds()
        if cut_off := await self._ledger.close_orphans(older_than_seconds=age):
            log.warning("calls_cut_off", calls=cut_off)
        rescued = await self._queue.rescue(all_orphaned=all_orphaned)
        if rescued.back_to_pending or rescued.failed:
            log.warning(
                "orphans_rescued", back_to_pending=rescued.back_to_pending, failed=rescued.failed
            )
            self.wake()
