"""What goes on beside the work: erasing what is too old, and what erasing leaves to be done.

In small steps with pauses between them, so that nobody waits for it. Of several processes on one
SQLite file only the one that works does it; on PostgreSQL all may, as they pass over each other's
rows.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from errors import Unavailable
from store.erasure import ErasureStore

log = structlog.get_logger(__name__)

ROWS_PER_STEP = 100
PAUSE_SECONDS = 0.05
ROUND_SECONDS = 60.0


def _now() -> datetime:
    return datetime.now(UTC)


class Housekeeper:
    """`retention` None erases nothing. `may_work` tells whether this process is the one."""

    def __init__(
        self,
        erasure: ErasureStore,
        *,
        retention: timedelta | None,
        may_work: Callable[[], bool],
        now: Callable[[], datetime] = _now,
        round_seconds: float = ROUND_SECONDS,
    ) -> None:
        self._erasure = erasure
        self._retention = retention
        self._may_work = may_work
        self._now = now
        self._round_seconds = round_seconds
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="housekeeper")
        self._task.add_done_callback(self._notice_death)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _notice_death(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.critical("housekeeper_died", exc_info=error)

    async def _run(self) -> None:
        while True:
            try:
                if self._may_work():
                    await self.tidy_up()
            except Unavailable as error:
                log.warning("housekeeping_waits", reason=error.details)
            except Exception:
                log.exception("housekeeping_failed")
            await asyncio.sleep(self._round_seconds)

    async def tidy_up(self) -> None:
        """Erase all that is too old now, and sweep up behind that and behind earlier erasing."""
        if self._retention is not None:
            await self._erase_older_than(self._now() - self._retention)
        while await self._erasure.sweep():  # noqa: ASYNC110  a pause, not a wait
            await asyncio.sleep(PAUSE_SECONDS)

    async def _erase_older_than(self, moment: datetime) -> None:
        erased = 0
        try:
            while count := await self._erasure.erase_older_than(moment, limit=ROWS_PER_STEP):
                erased += count
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            if erased:
                log.info("retention_erased", conversations=erased, older_than=moment.isoformat())
