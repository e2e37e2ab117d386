"""Windows and turns, on a clock that only moves when told to."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rate_limiter import CallLimiter, SlidingWindow


class Clock:
    """Stands still; `sleep` moves it and says how long anybody slept."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


# --- the window -----------------------------------------------------------------------------------


async def test_so_many_pass_and_the_next_is_told_how_long_to_wait(clock: Clock) -> None:
    window = SlidingWindow(3, 1.0, clock=clock)
    assert [await window.try_pass() for _ in range(5)] == [0.0, 0.0, 0.0, 1.0, 1.0]


async def test_who_is_refused_is_not_counted(clock: Clock) -> None:
    window = SlidingWindow(1, 1.0, clock=clock)
    await window.try_pass()
    clock.now += 0.75
    assert await window.try_pass() == 0.25
    clock.now += 0.25
    assert await window.try_pass() == 0.0


async def test_the_window_slides_and_does_not_start_anew(clock: Clock) -> None:
    """A fixed window or a token bucket would let three through at 1.0 s."""
    window = SlidingWindow(2, 1.0, clock=clock)
    await window.try_pass()
    clock.now += 0.875
    await window.try_pass()
    clock.now += 0.125
    assert await window.try_pass() == 0.0
    assert await window.try_pass() == 0.875


async def test_after_a_quiet_time_no_more_than_a_window_full_passes(clock: Clock) -> None:
    window = SlidingWindow(2, 1.0, clock=clock)
    clock.now += 3600
    assert [await window.try_pass() > 0 for _ in range(3)] == [False, False, True]


@given(
    calls=st.integers(1, 5),
    gaps=st.lists(st.integers(0, 80).map(lambda sixty_fourths: sixty_fourths / 64), max_size=60),
)
def test_in_any_stretch_of_the_period_at_most_so_many_pass(calls: int, gaps: list[float]) -> None:
    clock = Clock()
    window = SlidingWindow(calls, 1.0, clock=clock)

    async def knock() -> list[float]:
        passed = []
        for gap in gaps:
            clock.now += gap
            if await window.try_pass() == 0.0:
                passed.append(clock.now)
        return passed

    passed = asyncio.run(knock())
    for start in passed:
        assert sum(start <= moment < start + 1.0 for moment in passed) <= calls


@given(
    calls=st.integers(1, 4),
    gaps=st.lists(st.integers(0, 80).map(lambda sixty_fourths: sixty_fourths / 64), max_size=40),
)
def test_who_waits_as_long_as_told_passes(calls: int, gaps: list[float]) -> None:
    clock = Clock()
    window = SlidingWindow(calls, 1.0, clock=clock)

    async def knock() -> None:
        for gap in gaps:
            clock.now += gap
            wait = await window.try_pass()
            if wait:
                clock.now += wait
                assert await window.try_pass() == 0.0

    asyncio.run(knock())


# --- turns ----------------------------------------------------------------------------------------


def limiter(clock: Clock, calls: int = 2) -> CallLimiter:
    window = SlidingWindow(calls, 1.0, clock=clock)
    return CallLimiter(window, clock=clock, sleep=clock.sleep)


async def test_turns_come_in_order_and_as_fast_as_the_window_allows(clock: Clock) -> None:
    turns = limiter(clock)
    went: list[tuple[int, float]] = []

    async def call(number: int) -> None:
        await turns.wait_turn()
        went.append((number, clock.now - 1000.0))

    await asyncio.gather(*(call(number) for number in range(6)))
    assert went == [(0, 0.0), (1, 0.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0)]


async def test_nobody_sleeps_while_there_is_room(clock: Clock) -> None:
    turns = limiter(clock)
    await turns.wait_turn()
    await turns.wait_turn()
    assert clock.slept == []


async def test_a_pause_holds_everybody_back(clock: Clock) -> None:
    turns = limiter(clock)
    turns.pause(20.0)
    assert turns.pause_left() == 20.0
    await turns.wait_turn()
    assert clock.now == 1020.0
    assert turns.pause_left() == 0.0


async def test_a_shorter_pause_does_not_cut_a_longer_one(clock: Clock) -> None:
    turns = limiter(clock)
    turns.pause(20.0)
    turns.pause(5.0)
    assert turns.pause_left() == 20.0
    turns.pause(30.0)
    assert turns.pause_left() == 30.0


async def test_a_pause_that_begins_during_a_wait_is_waited_for_as_well() -> None:
    clock = Clock()
    window = SlidingWindow(1, 1.0, clock=clock)

    async def sleep(seconds: float) -> None:
        if not clock.slept:
            turns.pause(10.0)
        await clock.sleep(seconds)

    turns = CallLimiter(window, clock=clock, sleep=sleep)
    await turns.wait_turn()
    await turns.wait_turn()
    assert clock.now == 1010.0


async def test_a_caller_who_gives_up_takes_no_turn_and_blocks_nobody() -> None:
    clock = Clock()
    asleep, wake = asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        asleep.set()
        await wake.wait()
        clock.now += seconds

    turns = CallLimiter(SlidingWindow(1, 1.0, clock=clock), clock=clock, sleep=sleep)
    await turns.wait_turn()
    gives_up = asyncio.create_task(turns.wait_turn())
    patient = asyncio.create_task(turns.wait_turn())
    await asleep.wait()
    gives_up.cancel()
    wake.set()
    await asyncio.wait_for(patient, 5)
    assert gives_up.cancelled()
    assert clock.now == 1001.0


async def test_on_the_real_clock_a_full_window_opens_again() -> None:
    turns = CallLimiter(SlidingWindow(2, 0.05))
    started = asyncio.get_running_loop().time()
    for _ in range(5):
        await turns.wait_turn()
    assert asyncio.get_running_loop().time() - started >= 0.1
