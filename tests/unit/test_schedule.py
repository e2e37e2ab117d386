"""Which lane is next, how many conversations a call carries, how soon it may follow the last."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import Lane
from worker.schedule import CallSpacing, LaneShare, pack_size


def call(share: LaneShare, *, live: bool = True, bulk: bool = True) -> Lane:
    """Make a call for the first lane in order that has work, and record it."""
    has_work = {Lane.LIVE: live, Lane.BULK: bulk}
    lane = next(lane for lane in share.order() if has_work[lane])
    share.record(lane, bulk_is_empty=not bulk)
    return lane


# --- the bulk lane's fifth ------------------------------------------------------------------------


@given(st.integers(0, 400))
def test_of_two_busy_lanes_bulk_gets_exactly_a_fifth_of_the_calls(calls: int) -> None:
    share = LaneShare()
    lanes = [call(share) for _ in range(calls)]
    assert lanes.count(Lane.BULK) == calls // 5


def test_bulks_calls_come_evenly_between_the_others() -> None:
    share = LaneShare()
    lanes = [call(share) for _ in range(100)]
    gaps = [lanes[start : start + 5].count(Lane.BULK) for start in range(96)]
    assert gaps == [1] * 96


@given(st.integers(1, 100))
def test_without_live_work_bulk_gets_every_call(calls: int) -> None:
    share = LaneShare()
    assert {call(share, live=False) for _ in range(calls)} == {Lane.BULK}


@given(st.integers(1, 100))
def test_without_bulk_work_live_loses_no_call(calls: int) -> None:
    share = LaneShare()
    assert {call(share, bulk=False) for _ in range(calls)} == {Lane.LIVE}


@given(st.integers(0, 100))
def test_an_empty_bulk_lane_saves_nothing_up(idle: int) -> None:
    share = LaneShare()
    for _ in range(idle):
        call(share, bulk=False)
    assert [call(share) for _ in range(4)] == [Lane.LIVE] * 4


@given(st.integers(0, 100))
def test_calls_that_bulk_got_while_live_was_idle_are_not_held_against_it(idle: int) -> None:
    share = LaneShare()
    for _ in range(idle):
        call(share, live=False)
    assert Lane.BULK in [call(share) for _ in range(6)]


@given(st.lists(st.sampled_from([(True, True), (True, False), (False, True)]), max_size=200))
def test_while_it_has_work_bulk_is_never_two_calls_short_of_its_fifth(
    work: list[tuple[bool, bool]],
) -> None:
    share = LaneShare()
    calls = bulk_calls = 0
    for live, bulk in work:
        lane = call(share, live=live, bulk=bulk)
        if not bulk:
            calls = bulk_calls = 0
            continue
        calls += 1
        bulk_calls += lane is Lane.BULK
        assert bulk_calls > calls / 5 - 2


@pytest.mark.parametrize(("share", "every"), [(0.5, 2), (0.25, 4), (0.1, 10)])
def test_another_share_is_kept_as_well(share: float, every: int) -> None:
    lanes = LaneShare(share)
    assert [call(lanes) for _ in range(10 * every)].count(Lane.BULK) == 10


# --- how many in a call ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("waiting", "calls", "size"),
    [
        (0, 10, 1),
        (1, 10, 1),
        (10, 10, 1),
        (11, 10, 2),
        (20, 10, 2),
        (21, 10, 3),
        (100, 10, 10),
        (101, 10, 10),
        (5000, 10, 10),
        (3, 1, 3),
        (3, 0, 3),
        (3, -1, 3),
    ],
)
def test_a_call_carries_as_few_as_will_do(waiting: int, calls: int, size: int) -> None:
    assert pack_size(waiting, calls=calls, most=10) == size


@given(st.integers(0, 10_000), st.integers(0, 50), st.integers(1, 20))
def test_the_calls_that_can_be_made_clear_the_queue_or_are_full(
    waiting: int, calls: int, most: int
) -> None:
    size = pack_size(waiting, calls=calls, most=most)
    assert 1 <= size <= most
    assert size == most or size * max(1, calls) >= waiting
    assert size == 1 or (size - 1) * max(1, calls) < waiting


# --- how soon -------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def begun(pace: CallSpacing, clock: Clock, *, calls: int, interval: float) -> list[float]:
    """The moments at which calls begin that are made as soon as the pace allows, from 0."""
    start, moments = clock.now, []
    for _ in range(calls):
        clock.now += pace.left()
        moments.append(clock.now - start)
        pace.record(interval)
    return moments


def test_the_first_call_need_not_wait() -> None:
    assert CallSpacing(clock=Clock()).left() == 0.0


def test_calls_are_spread_a_little_closer_than_the_limit_would_have_them() -> None:
    clock = Clock()
    moments = begun(CallSpacing(clock=clock), clock, calls=12, interval=0.1)
    gaps = [after - before for before, after in pairwise(moments)]
    assert gaps[2:] == [pytest.approx(0.09)] * 9
    assert max(gaps[:2]) <= 0.09, "the first may make up for time that nobody used"


def test_without_a_limit_nobody_waits() -> None:
    clock = Clock()
    assert begun(CallSpacing(clock=clock), clock, calls=50, interval=0.0) == [0.0] * 50


def test_a_rest_saves_up_one_call_at_most() -> None:
    clock = Clock()
    pace = CallSpacing(clock=clock)
    begun(pace, clock, calls=5, interval=0.1)
    clock.now += 3600
    moments = begun(pace, clock, calls=10, interval=0.1)
    assert sum(moment < 0.05 for moment in moments) == 2
    assert moments[-1] >= 0.09 * 7


@given(st.lists(st.tuples(st.floats(0, 2), st.sampled_from([0.0, 0.05, 0.1, 1.0])), max_size=50))
def test_nobody_waits_longer_than_an_interval(steps: list[tuple[float, float]]) -> None:
    clock = Clock()
    pace = CallSpacing(clock=clock)
    longest = 0.0
    for passes, interval in steps:
        clock.now += passes
        clock.now += pace.left()
        pace.record(interval)
        longest = max(longest, interval)
        assert pace.left() <= longest + 1e-6
