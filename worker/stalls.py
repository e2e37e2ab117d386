"""Whether conversations wait for nothing that anybody knows of, while none is finished."""

from collections.abc import Callable

from analysis.analyser import Analyser
from errors import Unavailable
from store.figures import FigureStore
from worker.calls import CallRunner


class StallWatch:
    def __init__(
        self,
        figures: FigureStore,
        call_runner: CallRunner,
        analyser: Analyser,
        *,
        seconds_since_progress: Callable[[], float],
    ) -> None:
        """`seconds_since_progress` is of this process."""
        self._figures = figures
        self._call_runner = call_runner
        self._analyser = analyser
        self._seconds_since_progress = seconds_since_progress

    async def is_stalled(self, seconds: float) -> bool:
        """Whether it has been so for that long. What other processes complete counts as well: one
        of several may get nothing to do for hours. False where the database does not answer, which
        is told by others."""
        if self._seconds_since_progress() <= seconds or self._is_meant_to_wait(seconds):
            return False
        try:
            return await self._figures.stalled_seconds() > seconds
        except Unavailable:
            return False

    def _is_meant_to_wait(self, seconds: float) -> bool:
        """No money is left for today, the breaker is open, which is told by itself, or the other
        side asked for a pause or for a rate that lets so little through."""
        runner, throttle = self._call_runner, self._analyser.throttle
        return (
            runner.out_of_money
            or runner.breaker.reason is not None
            or throttle.pause_left() > 0
            or throttle.call_interval > seconds
        )
