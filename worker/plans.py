"""Walking through plans, one at a time, beside the work.

A step changes some rows in one transaction, and the more of them the less each costs. On SQLite a
live post would have to wait for it: so a large step gives way to one, and is tried again smaller.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from itertools import islice

import structlog

from backends.errors import GaveWay
from errors import Unavailable
from runtime.turns import short_turns
from store.plans.plan import Plan, PlanState
from store.plans.selections import Candidate
from store.plans.walks import MOST_ROWS, Step, WalkedElsewhere, WalkStore
from worker.background import Background
from worker.waiting import until_set

log = structlog.get_logger(__name__)

STEP_SECONDS = 0.03
"""What a step takes at most, its commit aside."""
_LEAST_ROWS = 40
"""So few are no burden, and give way to nobody: a plan comes to its end whatever is posted."""
_LESS = 0.6
_MORE = 1.25
"""The next step's rows, after one that gave way and after one that did not."""
_POLL_SECONDS = 5.0
_TROUBLE_SECONDS = 1.0
_TRIES = 3
"""Of a plan whose steps raise what they should not."""
_RATE_SECONDS = 5.0
"""The rate that is shown is that of about so long."""


class Pace:
    """How many rows a step takes, and how many are passed a second."""

    def __init__(self, *, yields: bool) -> None:
        """With `yields` others wait for a step: it takes so many that it ends in `STEP_SECONDS`,
        and less where it has to give way."""
        self.rows = _LEAST_ROWS if yields else MOST_ROWS
        self.per_second: float | None = None
        self._yields = yields
        self._last = time.monotonic()

    @property
    def gives_way(self) -> bool:
        return self._yields and self.rows > _LEAST_ROWS

    def gave_way(self) -> None:
        self.rows = max(_LEAST_ROWS, round(self.rows * _LESS))

    def stepped(self, rows: int, seconds: float) -> None:
        """A step of `rows` took `seconds`."""
        if self._yields:
            fitting = rows * STEP_SECONDS / max(seconds, 1e-6)
            # It grows slowly, since the next rows may cost more.
            self.rows = round(max(_LEAST_ROWS, min(fitting, self.rows * _MORE + 1, MOST_ROWS)))
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
        ahead: deque[Candidate] = deque()
        while plan.state is PlanState.APPLYING:
            if not ahead:
                ahead.extend(await self._walks.candidates(plan))
            some = list(islice(ahead, pace.rows))
            apply = partial(self._walks.apply, plan, some, pace.per_second)
            if (step := await self._step(pace, apply)) is not None:
                plan, seconds = step
                for _ in some:
                    ahead.popleft()
                pace.stepped(len(some), seconds)
        return plan

    async def _steps_back(self, plan: Plan) -> Plan:
        pace = Pace(yields=self._yields)
        while plan.state is PlanState.UNDOING:
            undo = partial(self._walks.undo, plan, pace.rows, pace.per_second)
            if (step := await self._step(pace, undo)) is not None:
                pace.stepped(step.plan.done - plan.done, step.seconds)
                plan = step.plan
        return plan

    async def _step(self, pace: Pace, step: Callable[..., Awaitable[Step]]) -> Step | None:
        """None where it has given way."""
        try:
            with short_turns():
                found = await step(gives_way=pace.gives_way)
        except GaveWay:
            pace.gave_way()
            return None
        self._on_step()
        return found
