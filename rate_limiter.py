"""How many may pass in how long. Knows nothing of what passes.

Windows slide: in any stretch of `per` seconds, wherever it begins, at most `calls` pass. Token
buckets and fixed windows let up to twice as many through at an unlucky moment.
"""

import asyncio
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

log = structlog.get_logger(__name__)

JITTER_MARGIN_SECONDS = 0.022
"""By how much the travel times of two calls may differ: the window is longer by that. See
docs/decisions/0009-the-window-of-calls.md for the figures."""
_MOST_MARGIN_SECONDS = 0.5
_SPREAD = 0.9
"""Of the interval at which calls may leave in the long run: so far from a call that had to wait is
the next one. What is left of the interval makes up for one that comes late."""
_PROBE_SECONDS = 60.0
_MOST_PROBE_SECONDS = 3600.0


class Window(Protocol):
    @property
    def counts_all(self) -> bool:
        """Whether everybody who passes is counted, so that a refusal tells something."""
        ...

    async def try_pass(self, count: int = 1) -> float:
        """0.0 where `count` may pass together, and are counted; else the seconds until they may
        ask. `count` is at most what passes in a whole window; with 0 nobody is counted."""
        ...

    def put_off(self, passed_at: float) -> None:
        """Who passed at that moment of this process's clock counts from now instead, where passes
        are counted by that clock."""
        ...

    def limit(self, calls: int, per: float) -> None:
        """From now on, let `calls` pass in `per` seconds."""
        ...

    def fill(self) -> None:
        """Count as many passes as there may be, at this moment."""
        ...


class SlidingWindow:
    """A log of the moments at which somebody passed; exact, in this process."""

    def __init__(
        self, calls: int, per: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._calls = calls
        self._per = per
        self._clock = clock
        self._passed: deque[float] = deque()

    @property
    def counts_all(self) -> bool:
        return True

    def limit(self, calls: int, per: float) -> None:
        self._calls = calls
        self._per = per

    def fill(self) -> None:
        self._passed.extend([self._clock()] * self._calls)

    async def try_pass(self, count: int = 1) -> float:
        now = self._clock()
        while self._passed and self._passed[0] + self._per <= now:
            self._passed.popleft()
        too_many = len(self._passed) + count - self._calls
        if too_many > 0:
            return self._passed[too_many - 1] + self._per - now
        self._passed.extend([now] * count)
        return 0.0

    def put_off(self, passed_at: float) -> None:
        if at := bisect_right(self._passed, passed_at):  # 0 where its window is over by now
            del self._passed[at - 1]
        self._passed.append(self._clock())


class LearnedRate:
    """The rate that the other side bears: what was asked for, or less where it said so.

    A limit that a refusal names is kept to and later probed upward; each refused probe doubles the
    time to the next. A limit that a good answer names holds until one names another.
    """

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`most` is in calls a second, as all rates here."""
        self._most = float(most)
        self._clock = clock
        self._told: float | None = None
        self._refused: float | None = None
        self._margin = JITTER_MARGIN_SECONDS
        self._probe_at = 0.0
        self._probe_after = _PROBE_SECONDS

    @property
    def rate(self) -> float:
        return min(self._most, self._told or self._most, self._refused or self._most)

    def window(self) -> tuple[int, float]:
        """Calls, and the seconds in which they may pass."""
        rate = self.rate
        calls = max(1, int(rate))
        return calls, calls / rate * (1 + self._margin)

    def told(self, rate: float) -> None:
        """A good answer named the limit."""
        if rate != self._told and rate < self._most:
            log.warning("call_limit_told", calls_per_second=round(rate, 3))
        self._told = rate

    def refused(self, rate: float | None) -> None:
        """A call was refused for its rate, by a limit of `rate` where that was named."""
        if rate is None:
            return
        if rate >= self.rate:
            # We kept to that limit, and yet: travel times differ by more than the margin.
            self._margin = min(2 * self._margin, _MOST_MARGIN_SECONDS)
        else:
            self._refused = rate
        self._probe_at = self._clock() + self._probe_after
        self._probe_after = min(2 * self._probe_after, _MOST_PROBE_SECONDS)
        log.warning(
            "call_limit_lowered",
            calls_per_second=round(self.rate, 3),
            margin_seconds=self._margin,
            next_probe_seconds=round(self._probe_at - self._clock()),
        )

    def probe(self) -> None:
        """Raise a lowered rate a little, if its time has come."""
        if self._clock() < self._probe_at:
            return
        if not self._is_lowered():
            self._probe_after = _PROBE_SECONDS  # all has been well for as long as the last wait
            return
        self._margin = max(JITTER_MARGIN_SECONDS, self._margin / 2)
        if self._refused is not None:
            raised = max(self._refused * 1.25, min(self._refused + 1, 2 * self._refused))
            self._refused = raised if raised < self._most else None
        wait = _PROBE_SECONDS if self._is_lowered() else self._probe_after
        self._probe_at = self._clock() + wait
        log.info("call_limit_raised", calls_per_second=round(self.rate, 3))

    def _is_lowered(self) -> bool:
        return self._refused is not None or self._margin > JITTER_MARGIN_SECONDS


class CallLimiter:
    """Makes callers wait for their turn, first come first served, and holds all of them back
    while the other side wants no calls."""

    def __init__(
        self,
        window: Window,
        learned: LearnedRate,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._window = window
        self._learned = learned
        self._clock = clock
        self._sleep = sleep
        self._paused_until = 0.0
        self._earliest = 0.0  # of the next turn, if the window lets it
        self.is_crowded = False
        """Whether a call waits for its turn at this moment, with no pause on."""
        self._turn = asyncio.Lock()  # fair: wakes its waiters in order
        window.limit(*learned.window())

    @property
    def rate(self) -> float:
        """Calls a second that are allowed now."""
        return self._learned.rate

    @property
    def calls(self) -> int:
        """Calls that may follow each other at once, after a rest."""
        return self._learned.window()[0]

    @property
    def interval(self) -> float:
        """Seconds between calls, when as many are made as may be."""
        calls, per = self._learned.window()
        return per / calls

    def pause(self, seconds: float) -> None:
        """Nobody passes for the next `seconds`; a longer pause that is running stays."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def pause_left(self) -> float:
        """Seconds; 0.0 when not paused."""
        return max(0.0, self._paused_until - self._clock())

    def told(self, rate: float) -> None:
        """A good answer named a limit, in calls a second."""
        self._learned.told(rate)
        self._window.limit(*self._learned.window())

    def refused(self, rate: float | None) -> None:
        """A call was refused for its rate; `rate` is the limit that was named, if one was."""
        if not self._window.counts_all:
            return
        self._learned.refused(rate)
        self._window.limit(*self._learned.window())

    def assume_window_used(self) -> None:
        """Count the window as used up: another process has made calls."""
        self._window.fill()

    async def wait_turn(self) -> float | None:
        """Wait until a call may be made, and return the moment: make it at once. Returns None if a
        pause is on or begins while waiting.

        After a call that had to wait the next one keeps its distance: a burst would stay one for
        ever, since the window lets it pass again in each period as it passed before.
        """
        async with self._turn:
            self._learned.probe()
            self._window.limit(*self._learned.window())
            distance = 0.0
            while not self.pause_left():
                wait = self._earliest - self._clock()
                if wait <= 0 and not (wait := await self._window.try_pass()):
                    turn = self._clock()
                    self._earliest = turn + distance
                    return turn
                distance = _SPREAD * self.interval
                self.is_crowded = True
                try:
                    await self._sleep(wait)
                finally:
                    self.is_crowded = False
            return None

    def left(self, turn: float) -> None:
        """The call whose turn came at that moment is on its way only now. What keeps this process
        busy in between makes no two calls come closer to each other."""
        self._window.put_off(turn)
