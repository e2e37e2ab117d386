"""Keeping what PostgreSQL's planner knows abreast of what comes in."""

import asyncio

import structlog

from errors import Unavailable
from store.planner_statistics import PlannerStatistics
from worker.background import Background

log = structlog.get_logger(__name__)

_ROUND_SECONDS = 2.0
"""In which a big import brings some thousand rows."""


class StatisticsKeeper(Background):
    """Looks every two seconds, and has a table looked at each time that it has doubled."""

    name = "statistics"

    def __init__(
        self, statistics: PlannerStatistics, *, round_seconds: float = _ROUND_SECONDS
    ) -> None:
        self._statistics = statistics
        self._round_seconds = round_seconds

    async def _run(self) -> None:
        while True:
            try:
                if names := await self._statistics.refresh():
                    log.debug("planner_statistics_refreshed", tables=names)
            except Unavailable as error:
                log.debug("planner_statistics_wait", reason=error.details)
            except Exception:
                log.exception("planner_statistics_failed")
            await asyncio.sleep(self._round_seconds)
