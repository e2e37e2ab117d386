"""What a process on PostgreSQL tells the others, and learns of them, every few seconds."""

import asyncio
import time
from collections.abc import Callable

import structlog

from errors import Unavailable
from models import SCHEMA_REVISION
from store.replicas import ReplicaStore

log = structlog.get_logger(__name__)

BEAT_SECONDS = 5.0
_COUNTED_SECONDS = BEAT_SECONDS + 1.0
CLOCK_AHEAD_TO_TELL = 2.0
"""Seconds."""


class Heartbeat:
    """From `start()` until `stop()`."""

    def __init__(self, replicas: ReplicaStore) -> None:
        self._replicas = replicas
        self._on_newer_schema: Callable[[], None] = lambda: None
        self._analysing = 1
        self._first_beat: float | None = None
        self._schema_is_newer = False
        self._task: asyncio.Task[None] | None = None

    @property
    def analysing(self) -> int:
        """How many processes analyse, as far as is known; at least 1."""
        return self._analysing

    @property
    def counted(self) -> int | None:
        """As `analysing`, once each of them has counted all others: those that start together do
        not find each other at their first beat. None before that."""
        if self._first_beat is None or time.monotonic() - self._first_beat < _COUNTED_SECONDS:
            return None
        return self._analysing

    @property
    def schema_is_newer(self) -> bool:
        return self._schema_is_newer

    async def start(self, *, on_newer_schema: Callable[[], None]) -> None:
        """Returns after the first beat, or the first try. `on_newer_schema` is called once, when a
        newer version has changed the schema under this process."""
        self._on_newer_schema = on_newer_schema
        clock_ahead = await self._beat()
        if abs(clock_ahead) > CLOCK_AHEAD_TO_TELL:
            log.warning(
                "clock_differs",
                seconds=round(clock_ahead, 1),
                reason="the database's clock is another than this machine's; its own counts",
            )
        self._task = asyncio.create_task(self._run(), name="heartbeat")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        try:
            await self._replicas.leave()
        except Unavailable as error:
            log.info("replica_left_unsaid", reason=error.details)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            await self._beat()

    async def _beat(self) -> float:
        """By how many seconds the database's clock is ahead; 0.0 where it does not answer."""
        try:
            beat = await self._replicas.beat()
        except Unavailable:
            return 0.0
        except Exception:
            log.exception("heartbeat_failed")
            return 0.0
        self._first_beat = self._first_beat or time.monotonic()
        self._analysing = max(1, beat.analysing)
        if beat.revision > SCHEMA_REVISION and not self._schema_is_newer:
            self._schema_is_newer = True
            log.error("schema_is_newer", schema=beat.revision, own=SCHEMA_REVISION)
            self._on_newer_schema()
        return beat.clock_ahead
