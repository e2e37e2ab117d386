"""What goes on beside the requests, from its start until it is told to stop."""

import asyncio
from abc import ABC, abstractmethod
from typing import ClassVar

import structlog

log = structlog.get_logger(__name__)


class Background(ABC):
    """One task, which does `_run` from `start()` until `stop()` has returned."""

    name: ClassVar[str]
    _task: asyncio.Task[None] | None = None

    @abstractmethod
    async def _run(self) -> None: ...

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=self.name)
        self._task.add_done_callback(notice_death)

    def stop_claiming(self) -> None:
        """Begin nothing else. A transaction that is under way is finished."""
        if self._task is not None:
            self._task.cancel()

    async def stop(self) -> None:
        self.stop_claiming()
        if self._task is not None:
            await asyncio.wait([self._task])


def notice_death(task: asyncio.Task[None]) -> None:
    """For tasks that nobody waits for: an error that ends one is logged at once."""
    if not task.cancelled() and (error := task.exception()):
        log.critical("worker_died", task=task.get_name(), exc_info=error)
