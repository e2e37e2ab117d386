"""Walking through plans, one at a time, beside the work.

A step changes some rows in one transaction: the more of them, the less each costs. On SQLite it is
rolled back where a live post comes, so they are few; and where others wait it ends.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from errors import Unavailable
from runtime.turns import short_turns
from store.plans.plan import Plan, PlanKind, PlanState
from store.plans.selections import Candidate
from store.plans.walks import MOST_ROWS, WalkedElsewhere, WalkStore
from worker.background import Background
from worker.waiting import until_set

log = structlog.get_logger(__name__)

TURN_SECONDS = 0.003
"""Others, and posts for which nothing may be rolled back, wait so long until a step comes to its
commit."""
_ROWS_OF_SHORT_STEP = 60
"""The commit of so many takes 2.7 ms; all that comes before it is lost where a post comes."""
_LEAST_ROWS = 20
_POLL_SECONDS = 5.0
_TROUBLE_SECONDS = 1.0
_TRIES = 3
"""Of a plan whose steps raise what they should not."""
_RATE_SECONDS = 5.0
"""The rate that is shown is that of about so long."""


class Pace:
    """How many rows a step takes at most, how many are changed at a time, and how many are passed a
    second."""

    def __init__(self, *, yields: bool) -> None:
        """With `yields` others wait: so many at a time as take `TURN_SECONDS`."""
        self.most = _ROWS_OF_SHORT_STEP if yields else MOST_ROWS
        self.at_a_time = _LEAST_ROWS if yields else MOST_ROWS
        self.per_second: float | None = None
        self._yields = yields
        self._last = time.monotonic()

    def stepped(self, rows: int, seconds: float) -> None:
        """A step of `rows` took `seconds`."""
        if self._yields:
            fitting = rows * TURN_SECONDS / max(seconds, 1e-6)
            # It grows slowly, since the next rows may cost more.
            fitting = min(fitting, self.at_a_time * 1.25 + 1, self.most)
            self.at_a_time = round(max(_LEAST_ROWS, fitting))
        now = time.monotonic()
        elapsed, self._last = now - self._last, now
        latest = rows / max(elapsed, 1e-6)
        share = min(1.0, elapsed / _RATE_SECONDS)
        before = latest if self.per_second is None else self.per_second
        self.per_second = round(before + share * (latest - before), 1)


class PlanWorker(Background):
    """Walks through plans from `start()` until `stop()` has returned."""

    name = "plans"

    def __init__(
        self,
        walks: WalkStore,
        *,
        yields: bool,
        on_step: Callable[[], None] = lambda: None,
        trouble_seconds: float = _TROUBLE_SECONDS,
    ) -> None:
        """With `yields` others wait for a step, so that it must be short. `on_step` is called after
        each step that may have given the other worker something to do. After trouble the next try
        is `trouble_seconds` later."""
        self._walks = walks
        self._yields = yields
        self._on_step = on_step
        self._trouble_seconds = trouble_seconds
        self._failures: Counter[str] = Counter()
        self._waits_for: str | None = None
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """A plan may be waiting."""
        self._wake.set()

    async def _run(self) -> None:
        with suppress(Unavailable):  # then their leases run out
            await self._walks.take_over()
        while True:
            self._wake.clear()
            try:
                while plan := await self._walks.next(but=self._given_up()):
                    await self._walk(plan)
                self._waits_for, wait = None, _POLL_SECONDS
            except Unavailable as error:
                if self._waits_for != error.details:
                    log.warning("plans_wait", reason=error.details)
                self._waits_for = error.details
                wait = self._trouble_seconds
            except Exception:
                log.exception("plans_failed")
                wait = self._trouble_seconds
            await until_set(self._wake, wait)

    def _given_up(self) -> list[str]:
        """Plans that could not even be marked as failed."""
        return [plan_id for plan_id, count in self._failures.items() if count > _TRIES]

    async def _walk(self, plan: Plan) -> None:
        """Until its end. Where this raises, the plan is where the last step left it, and is to be
        tried again."""
        log.info("plan_is_walked", id=plan.id, state=plan.state, done=plan.done, total=plan.total)
        steps = self._steps_back if plan.state is PlanState.UNDOING else self._steps
        try:
            plan = await steps(plan)
        except Unavailable:
            raise
        except WalkedElsewhere:
            return
        except Exception as error:
            self._failures[plan.id] += 1
            if self._failures[plan.id] < _TRIES:
                raise
            log.exception("plan_failed", id=plan.id)
            await self._fail(plan, f"{type(error).__name__}: see the log")
            return
        self._failures.pop(plan.id, None)
        log.info("plan_is_through", id=plan.id, state=plan.state, changed=plan.changed)

    async def _fail(self, plan: Plan, error: str) -> None:
        try:
            await self._walks.fail(plan, error)
        except Unavailable:
            raise
        except Exception:
            self._failures[plan.id] += 1
            raise
        del self._failures[plan.id]

    async def _steps(self, plan: Plan) -> Plan:
        pace = Pace(yields=self._yields)
        ahead: Sequence[Candidate] = []
        while plan.state is PlanState.APPLYING:
            if not ahead:
                ahead = await self._walks.candidates(plan)
            with short_turns():
                plan, rows, seconds = await self._walks.apply(
                    plan, ahead[: pace.most], pace.per_second, at_a_time=pace.at_a_time
                )
            ahead = ahead[rows:]
            pace.stepped(rows, seconds)
            if plan.kind is PlanKind.RETRY:
                self._on_step()
        return plan

    async def _steps_back(self, plan: Plan) -> Plan:
        pace = Pace(yields=self._yields)
        while plan.state is PlanState.UNDOING:
            with short_turns():
                plan, rows, seconds = await self._walks.undo(
                    plan, pace.most, pace.per_second, at_a_time=pace.at_a_time
                )
            pace.stepped(rows, seconds)
        return plan
