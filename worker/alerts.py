"""Judging alert rules: at the start and then once a minute, and single posts as soon as they are
analysed."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from errors import Unavailable
from store.alert_singles import SingleStore
from store.alerts import AlertStore
from worker.background import Background
from worker.machine import MachineWatch
from worker.waiting import until_set

log = structlog.get_logger(__name__)

MINUTE = 60.0
_GATHER_SECONDS = 0.02
"""Until a look at what is new: who waits for an insight has it first."""
_REST_SECONDS = 0.2
"""Between two looks at what is new, so that a busy service is not asked for each post."""
_POLL_SECONDS = 0.5
"""For posts that other processes have analysed."""


class AlertWorker(Background):
    """Judges from `start()` until `stop()` has returned."""

    name = "alerts"

    def __init__(
        self,
        alerts: AlertStore,
        singles: SingleStore,
        machine: MachineWatch,
        *,
        polls: bool,
        every_minute: Callable[[], Awaitable[int]],
        on_message: Callable[[], None],
    ) -> None:
        """With `polls` other processes analyse as well. `every_minute` is done beside, and gives
        the number of messages that it has made; `on_message` is called when there are any."""
        self._alerts = alerts
        self._singles = singles
        self._machine = machine
        self._polls = polls
        self._every_minute = every_minute
        self._on_message = on_message
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """A text has been analysed, or a rule has changed."""
        self._wake.set()

    async def _run(self) -> None:
        # Of this minute, unless the process before did: restarts again and again miss none.
        self._tell(await self._do(self._judge_all))
        due = _next_minute()
        while True:
            wait = max(0.0, due - time.time())
            if await until_set(self._wake, min(wait, _POLL_SECONDS) if self._polls else wait):
                await asyncio.sleep(_GATHER_SECONDS)
            self._wake.clear()
            is_due = time.time() >= due
            if is_due:
                due = _next_minute()
            await self._judge(whole=is_due)
            await asyncio.sleep(_REST_SECONDS)

    async def _judge(self, *, whole: bool) -> None:
        messages = await self._do(lambda: self._singles.judge(sum_up=whole))
        if whole:
            messages += await self._do(self._judge_all)
        self._tell(messages)  # together, so that they are sent so
        if whole:
            self._tell(await self._do(self._every_minute))

    async def _judge_all(self) -> int:
        return await self._alerts.judge(await self._machine.troubles())

    async def _do(self, work: Callable[[], Awaitable[int]]) -> int:
        """How many messages that makes. What fails holds up nothing else, and is done again in the
        next minute."""
        try:
            return await work()
        except Unavailable as error:
            log.warning("alerts_not_judged", reason=error.details)
        except Exception:
            log.exception("alerts_not_judged")
        return 0

    def _tell(self, messages: int) -> None:
        if messages:
            self._on_message()


def _next_minute() -> float:
    return (time.time() // MINUTE + 1) * MINUTE
