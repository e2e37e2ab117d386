"""The worker: claim, analyse, settle, until told to stop.

The row is the truth. A wake-up only says "look"; whatever is missed, the next poll finds. No
transaction is open while an analyser thinks, and one slow answer keeps one slot, not the others.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta

import structlog

from analysis import (
    Analyser,
    Answer,
    Complete,
    Fail,
    NotNow,
    Outcome,
    PutBack,
    TransientFailure,
    decide,
)
from errors import Unavailable
from models import Lane
from store.work import Claimed, Results, WorkQueue

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=30)
TEND_SECONDS = 10.0
"""How often leases are extended and orphans looked for: well within a lease."""
BULK_SHARE = 0.2
"""The part of the calls that the bulk lane gets while it has work, however busy the live lane."""
TROUBLE_PAUSE_SECONDS = 1.0
SETTLE_SECONDS = 1.0
"""How long the last results, and rows to put back, may take to be written after the grace."""


class LaneShare:
    """Sees to it that bulk work gets its share of the calls. Pure bookkeeping."""

    def __init__(self, share: float = BULK_SHARE) -> None:
        self._share = share
        self._owed = 0.0

    def bulk_first(self, limit: int) -> int:
        """How many of the next `limit` calls are to go to the bulk lane before any live one."""
        return int(self._owed + limit * self._share + 1e-9)

    def record(self, *, limit: int, live: int, bulk: int) -> None:
        """What a claim of up to `limit` brought."""
        reserved = self.bulk_first(limit)
        self._owed += (live + bulk) * self._share - bulk
        if bulk < reserved:
            self._owed = 0.0  # the bulk lane is empty: it saves nothing up for later
        self._owed = max(0.0, self._owed)


class Worker:
    """Analyses what is pending, from `start()` until `stop()` has returned.

    `become_worker` tells whether this process may work: on SQLite one process does, others stand by
    and take over when it dies.
    """

    def __init__(
        self,
        queue: WorkQueue,
        analyser: Analyser,
        *,
        batch_size: int,
        poll_interval: float,
        max_attempts: int,
        become_worker: Callable[[], bool] = lambda: True,
        alone: bool = False,
        on_settled: Callable[[Claimed, Outcome], None] = lambda _claimed, _outcome: None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`alone`: no other worker can exist, so what is in processing at start is orphaned."""
        self._queue = queue
        self._analyser = analyser
        self._batch_size = batch_size
        self._poll_interval = poll_interval
        self._max_attempts = max_attempts
        self._become_worker = become_worker
        self._alone = alone
        self._on_settled = on_settled
        self._jitter = jitter
        self._lanes = LaneShare()
        self._wake = asyncio.Event()
        # When to look for work next, on the monotonic clock: at once, or a poll after the queue was
        # found empty.
        self._look_at = 0.0
        self._stopping = False
        self._grace_over = False
        self._packs: dict[asyncio.Task[None], list[Claimed]] = {}
        self._analyses: set[asyncio.Future[list[Answer]]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self.standing_by = True
        self._last_progress = time.monotonic()

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._run(), name="worker"),
            asyncio.create_task(self._tend(), name="worker-tender"),
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

    def stop_claiming(self) -> None:
        self._stopping = True
        self._wake.set()

    async def stop(self, grace: float) -> None:
        """Stop claiming, let calls in flight finish for `grace` seconds, put the rest back."""
        self.stop_claiming()
        if not self._tasks:
            return
        await self._finished(within=grace)
        self._grace_over = True
        for analysis in self._analyses:
            analysis.cancel()  # `_analyse` turns this into "not now"
        await self._finished(within=SETTLE_SECONDS)
        # What is left waits for a database that does not answer: the next start finds its rows.
        remaining = [*self._packs, *self._tasks]
        for task in remaining:
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)

    async def _finished(self, *, within: float) -> None:
        """Until the loop has ended, so that no claim comes any more, and all packs are settled."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await asyncio.wait(self._tasks[:1])
                while self._packs:
                    await asyncio.wait(self._packs)

    @property
    def alive(self) -> bool:
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    @property
    def seconds_since_progress(self) -> float:
        """Since a result was last written, or since the start."""
        return time.monotonic() - self._last_progress

    @property
    def calls_under_way(self) -> int:
        return len(self._analyses)

    # --- claiming -----------------------------------------------------------------------------

    async def _run(self) -> None:
        await self._take_office()
        while not self._stopping:
            self._wake.clear()  # before looking, so that an arrival meanwhile is not slept through
            claimed: list[Claimed] = []
            pause = self._analyser.pause_left()
            if not pause:
                try:
                    claimed = await self._claim()
                except Unavailable:
                    pause = TROUBLE_PAUSE_SECONDS
                except Exception:
                    log.exception("worker_claim_failed")
                    pause = TROUBLE_PAUSE_SECONDS
            for start in range(0, len(claimed), self._analyser.pack_size):
                self._begin(claimed[start : start + self._analyser.pack_size])
            if not claimed:
                full = len(self._packs) >= self._analyser.concurrency
                # With all slots taken only a call that ends brings us on, and that wakes us.
                idle = self._poll_interval if full else max(0.001, self._look_at - time.monotonic())
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause or idle)

    async def _take_office(self) -> None:
        """Wait until this process is the one that works; then put back what its forerunner left."""
        told = False
        while not self._stopping:
            try:
                if self._become_worker():
                    await self._rescue(all_orphaned=self._alone)
                    self.standing_by = False
                    return
                if not told:
                    log.info("worker_standing_by", reason="another process works on this database")
                    told = True
            except Unavailable:
                pass
            except Exception:
                log.exception("worker_start_failed")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TROUBLE_PAUSE_SECONDS)
            self._wake.clear()

    async def _claim(self) -> list[Claimed]:
        free = (self._analyser.concurrency - len(self._packs)) * self._analyser.pack_size
        limit = min(self._batch_size, free)
        if limit <= 0 or time.monotonic() < self._look_at:
            return []
        # Put off before looking, so that what arrives meanwhile can put it on again.
        self._look_at = time.monotonic() + self._poll_interval
        try:
            claimed = await self._queue.claim(
                limit, bulk_first=self._lanes.bulk_first(limit), lease=LEASE
            )
        except BaseException:
            self._look_at = 0.0
            raise
        if len(claimed) == limit:
            self._look_at = 0.0
        bulk = sum(item.lane is Lane.BULK for item in claimed)
        self._lanes.record(limit=limit, live=len(claimed) - bulk, bulk=bulk)
        return claimed

    # --- analysing ----------------------------------------------------------------------------

    def _begin(self, pack: list[Claimed]) -> None:
        task = asyncio.create_task(self._work(pack))
        self._packs[task] = pack
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._packs[task]
        self._wake.set()  # a slot is free
        if not task.cancelled() and (error := task.exception()):
            log.error("worker_task_failed", exc_info=error)

    async def _work(self, pack: list[Claimed]) -> None:
        answers = await self._analyse([item.text for item in pack])
        outcomes = [
            decide(answer, item.attempts, max_attempts=self._max_attempts, jitter=self._jitter())
            for item, answer in zip(pack, answers, strict=True)
        ]
        await self._settle(list(zip(pack, outcomes, strict=True)))

    async def _analyse(self, texts: Sequence[str]) -> Sequence[Answer]:
        """The analyser's answers, or why there are none. Stopping cancels the call and nothing
        else: once there are answers, they are written."""
        if self._grace_over:
            return [NotNow("shutting down")] * len(texts)
        analysis = asyncio.ensure_future(self._analyser.analyse(texts))
        self._analyses.add(analysis)
        try:
            answers = await analysis
            if len(answers) != len(texts):
                raise ValueError(f"{len(answers)} answers to {len(texts)} texts")
        except asyncio.CancelledError:
            return [NotNow("shutting down")] * len(texts)
        except Exception:
            log.exception("analyser_failed")
            return [TransientFailure("internal error in the analyser")] * len(texts)
        finally:
            self._analyses.discard(analysis)
        return answers

    async def _settle(self, results: Results) -> None:
        settled = await self._write(results)
        self._last_progress = time.monotonic()
        for item, outcome in results:
            if item in settled:
                self._report(item, outcome)
            else:
                log.info("result_dropped", id=item.id, attempts=item.attempts)

    async def _write(self, results: Results) -> set[Claimed]:
        """Also through a spell without a database: the results were paid for.

        A result that the database chokes on fails its own conversation and no other.
        """
        while True:
            try:
                return await self._queue.settle(results)
            except Unavailable:
                await asyncio.sleep(TROUBLE_PAUSE_SECONDS / 2)
            except Exception:
                if len(results) > 1:
                    return set().union(*[await self._write([result]) for result in results])
                ((item, outcome),) = results
                log.exception("result_cannot_be_stored", id=item.id)
                if not isinstance(outcome, Fail):
                    await self._write([(item, Fail("the result could not be stored"))])
                return set()

    def _report(self, item: Claimed, outcome: Outcome) -> None:
        self._on_settled(item, outcome)
        match outcome:
            case Complete(analysis):
                log.info(
                    "conversation_completed",
                    id=item.id,
                    attempts=item.attempts,
                    confidence=analysis.confidence,
                    fallback=bool(analysis.details.get("fallback")),
                )
            case Fail(error):
                log.warning("conversation_failed", id=item.id, attempts=item.attempts, error=error)
            case PutBack():
                log.debug("conversation_put_back", id=item.id)
                self.wake()
            case _:
                log.info(
                    "conversation_to_retry",
                    id=item.id,
                    attempts=item.attempts,
                    error=outcome.error,
                    delay=round(outcome.delay, 2),
                )
                asyncio.get_running_loop().call_later(outcome.delay + 0.001, self.wake)

    # --- tending ------------------------------------------------------------------------------

    async def _tend(self) -> None:
        """Extend our leases, then look for those of dead workers. In that order: ours may have
        run out while the database was away, and they are still ours."""
        while True:
            await asyncio.sleep(TEND_SECONDS)
            if self.standing_by:
                continue
            try:
                tokens = {item.token for pack in self._packs.values() for item in pack}
                if tokens:
                    await self._queue.extend(tokens, lease=LEASE)
                await self._rescue()
            except Unavailable:
                pass
            except Exception:
                log.exception("worker_tending_failed")

    async def _rescue(self, *, all_orphaned: bool = False) -> None:
        rescued = await self._queue.rescue(all_orphaned=all_orphaned)
        if rescued.back_to_pending or rescued.failed:
            log.warning(
                "orphans_rescued", back_to_pending=rescued.back_to_pending, failed=rescued.failed
            )
            self.wake()
