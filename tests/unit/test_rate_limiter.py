"""Windows and turns, on a clock that only moves when told to."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rate_limiter import JITTER_MARGIN_SECONDS, CallLimiter, LearnedRate, SlidingWindow
from tests.support.clock import Clock

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


async def passes(window: SlidingWindow, tries: int = 20) -> int:
    """How many of so many may pass at this moment."""
    return [await window.try_pass() for _ in range(tries)].count(0.0)


async def test_a_limit_that_is_lowered_counts_those_that_passed_before(clock: Clock) -> None:
    window = SlidingWindow(5, 1.0, clock=clock)
    assert await passes(window, 3) == 3
    clock.now += 0.25
    assert await passes(window, 1) == 1

    window.limit(2, 1.0)

    assert await window.try_pass() == 0.75
    clock.now += 0.75
    assert await passes(window) == 1


async def test_a_limit_that_is_raised_lets_so_many_more_pass(clock: Clock) -> None:
    window = SlidingWindow(2, 1.0, clock=clock)
    assert await passes(window) == 2
    window.limit(5, 1.0)
    assert await passes(window) == 3


async def test_a_limit_may_change_its_period_too(clock: Clock) -> None:
    window = SlidingWindow(1, 1.0, clock=clock)
    await window.try_pass()
    window.limit(1, 4.0)
    assert await window.try_pass() == 4.0
    window.limit(1, 0.5)
    assert await window.try_pass() == 0.5


async def test_the_same_limit_again_changes_nothing(clock: Clock) -> None:
    window = SlidingWindow(2, 1.0, clock=clock)
    await window.try_pass()
    window.limit(2, 1.0)
    assert await passes(window) == 1


async def test_one_that_is_filled_lets_nobody_pass_for_its_period(clock: Clock) -> None:
    window = SlidingWindow(3, 1.0, clock=clock)
    await window.try_pass()
    clock.now += 0.5
    window.fill()
    assert await window.try_pass() == 1.0
    clock.now += 1.0
    assert await passes(window) == 3


# --- turns ----------------------------------------------------------------------------------------


def limiter(clock: Clock, calls: int = 2) -> CallLimiter:
    window = SlidingWindow(calls, 1.0, clock=clock)
    return CallLimiter(window, LearnedRate(calls, clock=clock), clock=clock, sleep=clock.sleep)


async def test_turns_come_in_order(clock: Clock) -> None:
    turns = limiter(clock)
    went: list[int] = []

    async def call(number: int) -> None:
        assert await turns.wait_turn()
        went.append(number)

    await asyncio.gather(*(call(number) for number in range(6)))
    assert went == list(range(6))


async def test_a_burst_is_followed_by_calls_at_even_distances(clock: Clock) -> None:
    turns = limiter(clock, calls=10)
    went: list[float] = []

    async def call() -> None:
        assert await turns.wait_turn()
        went.append(clock.now - 1000.0)

    await asyncio.gather(*(call() for _ in range(40)))
    window = 1 + JITTER_MARGIN_SECONDS
    assert went[:10] == [0.0] * 10
    assert went[10::10] == pytest.approx([window, 2 * window, 3 * window])
    gaps = [after - before for before, after in pairwise(went[10:])]
    assert min(gaps) == pytest.approx(0.9 * window / 10)
    assert max(gaps) <= 0.2 * window


async def test_after_a_rest_calls_go_at_once_again(clock: Clock) -> None:
    turns = limiter(clock, calls=10)
    await asyncio.gather(*(turns.wait_turn() for _ in range(15)))
    clock.now += 5.0
    rested = clock.now
    assert await asyncio.gather(*(turns.wait_turn() for _ in range(10))) == [rested] * 10


async def test_it_is_crowded_while_a_call_waits_and_no_longer() -> None:
    clock = Clock()
    seen: list[bool] = []

    async def sleep(seconds: float) -> None:
        seen.append(turns.is_crowded)
        await clock.sleep(seconds)

    window = SlidingWindow(1, 1.0, clock=clock)
    turns = CallLimiter(window, LearnedRate(1, clock=clock), clock=clock, sleep=sleep)
    await turns.wait_turn()
    assert not turns.is_crowded
    await turns.wait_turn()
    assert (seen, turns.is_crowded) == ([True], False)


async def test_nobody_sleeps_while_there_is_room(clock: Clock) -> None:
    turns = limiter(clock)
    await turns.wait_turn()
    await turns.wait_turn()
    assert clock.slept == []


async def test_during_a_pause_nobody_gets_a_turn_nor_waits_for_one(clock: Clock) -> None:
    turns = limiter(clock)
    turns.pause(20.0)
    assert turns.pause_left() == 20.0
    assert [await turns.wait_turn() for _ in range(3)] == [None] * 3
    assert clock.slept == []


async def test_who_got_no_turn_in_a_pause_is_not_counted(clock: Clock) -> None:
    turns = limiter(clock)
    turns.pause(20.0)
    await turns.wait_turn()
    clock.now += 20.0
    assert turns.pause_left() == 0.0
    assert [await turns.wait_turn() for _ in range(2)] == [1020.0] * 2
    assert clock.slept == []


async def test_a_shorter_pause_does_not_cut_a_longer_one(clock: Clock) -> None:
    turns = limiter(clock)
    turns.pause(20.0)
    turns.pause(5.0)
    assert turns.pause_left() == 20.0
    turns.pause(30.0)
    assert turns.pause_left() == 30.0


async def test_a_pause_that_begins_during_a_wait_sends_all_who_wait_away() -> None:
    clock = Clock()

    async def sleep(seconds: float) -> None:
        turns.pause(10.0)
        await clock.sleep(seconds)

    window = SlidingWindow(1, 1.0, clock=clock)
    turns = CallLimiter(window, LearnedRate(1, clock=clock), clock=clock, sleep=sleep)
    assert await turns.wait_turn()

    assert await asyncio.gather(*(turns.wait_turn() for _ in range(3))) == [None] * 3

    assert len(clock.slept) == 1
    clock.now += 10.0
    assert await turns.wait_turn()


async def test_a_limit_that_is_learned_while_one_waits_holds_for_the_next() -> None:
    clock = Clock()
    went: list[float] = []

    async def sleep(seconds: float) -> None:
        turns.told(0.5)
        await clock.sleep(seconds)

    window = SlidingWindow(2, 1.0, clock=clock)
    turns = CallLimiter(window, LearnedRate(2, clock=clock), clock=clock, sleep=sleep)
    for _ in range(5):
        await turns.wait_turn()
        went.append(round(clock.now - 1000.0, 6))

    assert went[:2] == [0.0, 0.0]
    gaps = [after - before for before, after in pairwise(went[1:])]
    assert all(gap >= 2.0 for gap in gaps)


async def test_what_is_kept_to_is_shown(clock: Clock) -> None:
    turns = limiter(clock, calls=10)
    assert (turns.rate, turns.calls) == (10.0, 10)
    assert turns.interval == pytest.approx(0.1 * (1 + JITTER_MARGIN_SECONDS))
    turns.told(2.5)
    assert (turns.rate, turns.calls) == (2.5, 2)
    assert turns.interval == pytest.approx(0.4 * (1 + JITTER_MARGIN_SECONDS))
    turns.refused(0.5)
    assert (turns.rate, turns.calls) == (0.5, 1)
    assert turns.interval == pytest.approx(2 * (1 + JITTER_MARGIN_SECONDS))


async def test_a_lowered_limit_is_tried_again_by_those_who_call(clock: Clock) -> None:
    turns = limiter(clock, calls=10)
    turns.refused(2.0)
    clock.now += 59.0
    await turns.wait_turn()
    assert turns.rate == 2.0
    clock.now += 1.0
    await turns.wait_turn()
    assert turns.rate == 3.0


async def test_what_another_process_called_before_counts(clock: Clock) -> None:
    turns = limiter(clock, calls=10)
    turns.assume_window_used()
    assert await turns.wait_turn()
    assert clock.now == pytest.approx(1001 + JITTER_MARGIN_SECONDS)


async def test_a_caller_who_gives_up_takes_no_turn_and_blocks_nobody() -> None:
    clock = Clock()
    asleep, wake = asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        asleep.set()
        await wake.wait()
        clock.now += seconds

    window = SlidingWindow(1, 1.0, clock=clock)
    turns = CallLimiter(window, LearnedRate(1, clock=clock), clock=clock, sleep=sleep)
    await turns.wait_turn()
    gives_up = asyncio.create_task(turns.wait_turn())
    patient = asyncio.create_task(turns.wait_turn())
    await asleep.wait()
    gives_up.cancel()
    wake.set()
    await asyncio.wait_for(patient, 5)
    assert gives_up.cancelled()
    assert clock.now == pytest.approx(1001 + JITTER_MARGIN_SECONDS)


async def test_a_call_that_leaves_late_counts_from_then(clock: Clock) -> None:
    turns = limiter(clock)
    first, second = await turns.wait_turn(), await turns.wait_turn()
    assert first is not None
    assert second is not None
    clock.now += 0.25
    turns.left(second)
    clock.now += 0.25
    turns.left(first)
    window = 1 + JITTER_MARGIN_SECONDS
    assert await turns.wait_turn() == pytest.approx(1000.25 + window)
    clock.now += 0.9 * window / 2  # at such a distance the one after it may leave
    assert await turns.wait_turn() == pytest.approx(max(clock.now, 1000.5 + window))


async def test_a_call_that_leaves_when_its_window_is_over_counts_all_the_same(
    clock: Clock,
) -> None:
    turns = limiter(clock)
    late = await turns.wait_turn()
    assert late is not None
    clock.now += 5.0
    assert await turns.wait_turn() == 1005.0
    turns.left(late)
    assert await turns.wait_turn() == pytest.approx(1006 + JITTER_MARGIN_SECONDS)


async def test_on_the_real_clock_a_full_window_opens_again() -> None:
    turns = CallLimiter(SlidingWindow(40, 1.0), LearnedRate(40))
    clock = asyncio.get_running_loop().time
    started = clock()
    for _ in range(41):
        assert await turns.wait_turn()
    assert clock() - started >= 1.0


# --- as the other side sees it --------------------------------------------------------------------


@given(
    calls=st.integers(1, 12),
    steps=st.lists(
        st.tuples(
            st.floats(0, 0.3), st.floats(0, 0.2), st.floats(0, JITTER_MARGIN_SECONDS * 0.999)
        ),
        min_size=1,
        max_size=80,
    ),
)
def test_however_long_the_ways_are_no_more_arrive_in_any_second_than_are_allowed(
    calls: int, steps: list[tuple[float, float, float]]
) -> None:
    """`steps`: the seconds before each call is made, those until it has left, and those that it is
    on its way."""
    clock = Clock()
    turns = limiter(clock, calls)

    async def arrive() -> list[float]:
        arrivals = []
        for idle, stall, way in steps:
            clock.now += idle
            turn = await turns.wait_turn()
            assert turn is not None
            clock.now += stall
            turns.left(turn)
            arrivals.append(clock.now + way)
        return sorted(arrivals)

    arrivals = asyncio.run(arrive())
    for first, one_too_many in zip(arrivals, arrivals[calls:], strict=False):
        assert one_too_many - first > 1.0


@given(calls=st.integers(1, 12), waiting=st.integers(1, 60))
def test_a_backlog_uses_what_is_allowed(calls: int, waiting: int) -> None:
    clock = Clock()
    turns = limiter(clock, calls)

    async def clear() -> None:
        for _ in range(waiting):
            assert await turns.wait_turn()

    asyncio.run(clear())
    full_windows, rest = divmod(waiting - 1, calls)
    spread = 0.9 * rest / calls if full_windows else 0.0
    used = (full_windows + spread) * (1 + JITTER_MARGIN_SECONDS)
    assert clock.now - 1000.0 == pytest.approx(used)


class _SharedInPart(SlidingWindow):
    """As one that others pass too while what they share is away."""

    counts_all = False


def test_a_refusal_teaches_nothing_while_others_pass_uncounted(clock: Clock) -> None:
    for window, learned in (
        (_SharedInPart(10, 1.0, clock=clock), 10.0),
        (SlidingWindow(10, 1.0, clock=clock), 2.0),
    ):
        limiter = CallLimiter(window, LearnedRate(10, clock=clock), clock=clock, sleep=clock.sleep)
        limiter.refused(2.0)
        assert limiter.rate == learned
