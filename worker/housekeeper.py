"""What is done beside the work: erasing by age, sweeping up behind what was erased, taking up other
settings that stored figures depend on, and ending claims that have run out.

In small steps with pauses between them, so that nobody waits for it. Several processes on one
PostgreSQL pass over each other's rows.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import structlog

from errors import Unavailable
from models import utc_now
from store.erasure import ErasureStore
from store.own_posts import OwnPostStore
from store.plans.walks import WalkStore
from worker.background import Background

log = structlog.get_logger(__name__)

ROWS_PER_STEP = 100
_ROUNDS_UNTIL_LOOKED = 2
"""Within one of them another process with other accounts takes its own up, if it is still there."""


class Housekeeper(Background):
    """Every `round_seconds` it erases what is older than `retention`, nothing if that is None,
    forgets what plans keep for undoing them once that is too late, and sweeps up. Between two steps
    of at most 100 rows it pauses for `pause_seconds`. Before that it marks the posts of one's own
    accounts where these were others before. Each of `steps` does a little more
    of something else, and tells whether more is left."""

    name = "housekeeper"

    def __init__(
        self,
        erasure: ErasureStore,
        walks: WalkStore,
        *,
        own_posts: OwnPostStore,
        steps: Sequence[Callable[[], Awaitable[bool]]] = (),
        retention: timedelta | None,
        now: Callable[[], datetime] = utc_now,
        round_seconds: float = 60.0,
        pause_seconds: float = 0.05,
    ) -> None:
        self._erasure = erasure
        self._walks = walks
        self._own_posts = own_posts
        self._rounds_until_looked: int | None = None
        self._steps = steps
        self._retention = retention
        self._now = now
        self._round_seconds = round_seconds
        self._pause_seconds = pause_seconds

    async def _run(self) -> None:
        while True:
            try:
                await self.tidy_up()
            except Unavailable as error:
                log.warning("housekeeping_waits", reason=error.details)
            except Exception:
                log.exception("housekeeping_failed")
            await asyncio.sleep(self._round_seconds)

    async def tidy_up(self) -> None:
        """Take all steps, erase all that is too old now, and sweep up behind that and behind
        earlier erasing."""
        await self._mark_own_posts()
        for step in self._steps:
            while await step():  # noqa: ASYNC110  as below
                await asyncio.sleep(self._pause_seconds)
        if self._retention is not None:
            await self._erase_older_than(self._now() - self._retention)
        while await self._walks.prune(limit=ROWS_PER_STEP):  # noqa: ASYNC110  as below
            await asyncio.sleep(self._pause_seconds)
        while await self._erasure.sweep():  # noqa: ASYNC110  a pause, not a wait
            await asyncio.sleep(self._pause_seconds)

    async def _mark_own_posts(self) -> None:
        """Where others were taken up last. Some rounds later once more: until it was replaced,
        another process may have gone by others."""
        if not await self._own_posts.is_taken_up():
            log.info("own_authors_have_changed", reason="what is stored is marked by them")
            self._rounds_until_looked = _ROUNDS_UNTIL_LOOKED
        elif self._rounds_until_looked is None:
            return
        elif self._rounds_until_looked > 1:
            self._rounds_until_looked -= 1
            return
        else:
            self._rounds_until_looked = 0
        position: str | None = ""
        while position is not None:
            position = await self._own_posts.step(position)
            await asyncio.sleep(self._pause_seconds)
        if not self._rounds_until_looked:
            self._rounds_until_looked = None
        log.info("own_authors_taken_up")

    async def _erase_older_than(self, moment: datetime) -> None:
        erased = 0
        try:
            while count := await self._erasure.erase_older_than(moment, limit=ROWS_PER_STEP):
                erased += count
                await asyncio.sleep(self._pause_seconds)
        finally:
            if erased:
                log.info("retention_erased", conversations=erased, older_than=moment.isoformat())
