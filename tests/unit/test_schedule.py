"""When to claim, from which lane, how many conversations a call carries, how soon it may follow."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import Lane
from worker.schedule import (
    CALLS_IN_LINE,
    CallSpacing,
    CallState,
    LaneShare,
    Schedule,
    WorkerTimings,
)

POLL = 5.0
IDLE = CallState(free=10, unsent=0, at_once=10, interval=0.0, pack_size=10)
"""Ten calls may begin, and none has."""


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
    schedule = Schedule(batch_size=10, poll_interval=POLL)
    assert schedule.pack_size(waiting, IDLE._replace(free=calls, pack_size=50)) == size


@given(st.integers(0, 10_000), st.integers(0, 50), st.integers(1, 20))
def test_the_calls_that_can_be_made_clear_the_queue_or_are_full(
    waiting: int, calls: int, most: int
) -> None:
    schedule = Schedule(batch_size=20, poll_interval=POLL)
    state = IDLE._replace(free=calls, at_once=50, pack_size=most)
    size = schedule.pack_size(waiting, state)
    assert 1 <= size <= most
    assert size == most or size * max(1, calls) >= waiting
    assert size == 1 or (size - 1) * max(1, calls) < waiting


# --- how soon -------------------------------------------------------------------------------------


def begun(spacing: CallSpacing, now: float, *, calls: int, interval: float) -> list[float]:
    """The moments at which calls begin that are made as soon as they may, counted from `now`."""
    start, moments = now, []
    for _ in range(calls):
        now += spacing.left(now)
        moments.append(now - start)
        spacing.record(interval, now)
    return moments


def test_the_first_call_need_not_wait() -> None:
    assert CallSpacing().left(1000.0) == 0.0


def test_calls_are_spread_a_little_closer_than_the_limit_would_have_them() -> None:
    moments = begun(CallSpacing(), 1000.0, calls=12, interval=0.1)
    gaps = [after - before for before, after in pairwise(moments)]
    assert gaps[2:] == [pytest.approx(0.09)] * 9
    assert max(gaps[:2]) <= 0.0901, "the first may make up for time that nobody used"


def test_without_a_limit_nobody_waits() -> None:
    assert begun(CallSpacing(), 1000.0, calls=50, interval=0.0) == [0.0] * 50


def test_a_rest_saves_up_one_call_at_most() -> None:
    spacing = CallSpacing()
    begun(spacing, 1000.0, calls=5, interval=0.1)
    moments = begun(spacing, 4600.0, calls=10, interval=0.1)
    assert sum(moment < 0.05 for moment in moments) == 2
    assert moments[-1] >= 0.09 * 7


@given(
    st.lists(
        st.tuples(st.floats(0, 2), st.sampled_from([0.0, 0.05, 0.1, 1.0]), st.booleans()),
        max_size=50,
    )
)
def test_nobody_waits_longer_than_an_interval_whether_others_waited_or_not(
    steps: list[tuple[float, float, bool]],
) -> None:
    spacing, now, longest = CallSpacing(), 1000.0, 0.0
    for passes, interval, waits in steps:
        now += passes
        if waits:
            now += spacing.left(now)
        spacing.record(interval, now)
        longest = max(longest, interval)
        assert spacing.left(now) <= longest + 1e-6


# --- when to claim --------------------------------------------------------------------------------

T = WorkerTimings()


def scheduled(**options: Any) -> Schedule:
    return Schedule(batch_size=10, poll_interval=POLL, timings=replace(T, **options))


def claim(
    schedule: Schedule,
    now: float,
    lane: Lane | None = None,
    taken: int = 0,
    *,
    live: int = 0,
    bulk: int = 0,
    calls: CallState | None = None,
) -> None:
    """A claim that finds so many waiting in each lane."""
    schedule.claiming(now)
    waiting = {Lane.LIVE: live, Lane.BULK: bulk}
    schedule.claimed(lane, taken, waiting, calls or IDLE, now)


def test_a_new_worker_looks_at_once_and_then_a_poll_after_it_found_nothing() -> None:
    schedule = scheduled()
    assert schedule.is_due(0.0)
    claim(schedule, 100.0)
    assert not schedule.is_due(100.0 + POLL - 0.01)
    assert schedule.is_due(100.0 + POLL)
    assert schedule.sleep_left(101.0, IDLE) == POLL - 1


def test_it_looks_on_while_anything_is_left() -> None:
    schedule = scheduled()
    claim(schedule, 100.0, Lane.LIVE, 1, live=2)
    assert schedule.is_due(100.0)
    claim(schedule, 100.0, Lane.LIVE, 1, live=1)
    assert not schedule.is_due(100.0)
    claim(schedule, 200.0, Lane.LIVE, 1, live=1, bulk=1)
    assert schedule.is_due(200.0)


def test_an_arrival_during_a_claim_that_finds_nothing_is_not_slept_through() -> None:
    schedule = scheduled()
    schedule.claiming(100.0)
    schedule.arrived()
    schedule.claimed(None, 0, {Lane.LIVE: 0, Lane.BULK: 0}, IDLE, 100.0)
    assert schedule.is_due(100.0)


def test_after_a_failed_claim_it_waits_out_the_trouble_and_looks_again() -> None:
    schedule = scheduled(trouble=1.0)
    schedule.claiming(100.0)
    schedule.failed(100.0)
    assert schedule.is_due(100.0)
    assert schedule.wait_left(100.25, IDLE) == 0.75
    assert schedule.wait_left(101.0, IDLE) == 0.0


@pytest.mark.parametrize(
    ("change", "wait"),
    [
        ({}, 0.0),
        ({"free": 0}, POLL),
        ({"unsent": 10}, POLL),
        ({"unsent": 9}, 0.0),
        ({"wait": 0.4}, 0.4),
        ({"wait": 70.0}, 70.0),
    ],
)
def test_a_call_waits_for_a_slot_a_turn_and_the_end_of_a_pause(
    change: dict[str, Any], wait: float
) -> None:
    schedule = scheduled()
    claim(schedule, 100.0, Lane.LIVE, 1, live=1)
    assert schedule.wait_left(100.0, IDLE._replace(**change)) == wait


def test_where_calls_wait_for_their_turn_few_do() -> None:
    schedule = scheduled()
    claim(schedule, 100.0, Lane.LIVE, 1, live=1)
    assert schedule.wait_left(100.0, IDLE._replace(unsent=9)) == 0.0
    crowded = IDLE._replace(crowded=True)
    assert schedule.wait_left(100.0, crowded._replace(unsent=CALLS_IN_LINE - 1)) == 0.0
    assert schedule.wait_left(100.0, crowded._replace(unsent=CALLS_IN_LINE)) == POLL


@pytest.mark.parametrize(("waiting", "size"), [(0, 1), (1, 1), (7, 7), (10, 10), (11, 10)])
def test_where_calls_wait_for_their_turn_the_next_one_carries_as_many_as_it_may(
    waiting: int, size: int
) -> None:
    assert scheduled().pack_size(waiting, IDLE._replace(crowded=True)) == size


def test_beside_a_backlog_few_calls_wait_in_line() -> None:
    schedule = scheduled()
    claim(schedule, 100.0, Lane.BULK, 10, bulk=101)
    assert schedule.wait_left(100.0, IDLE._replace(unsent=CALLS_IN_LINE - 1)) == 0.0
    assert schedule.wait_left(100.0, IDLE._replace(unsent=CALLS_IN_LINE)) == POLL


def test_beside_a_backlog_calls_are_spread_while_the_live_lane_is_busy_and_only_then() -> None:
    schedule = scheduled(live=30.0)
    calls = IDLE._replace(interval=0.1)
    claim(schedule, 100.0, Lane.BULK, 10, bulk=101)
    for _ in range(5):
        schedule.calling(Lane.BULK, calls, 100.0)
    assert schedule.wait_left(100.0, calls) == 0.0
    claim(schedule, 100.0, Lane.LIVE, 1, live=1, bulk=101)
    assert 0.0 < schedule.wait_left(100.0, calls) <= 0.1
    schedule.calling(Lane.BULK, calls, 129.95)
    assert schedule.wait_left(130.0, calls) == 0.0


def test_where_few_wait_a_call_waits_for_more_to_share_it_and_beside_a_backlog_for_none() -> None:
    schedule = scheduled()
    calls = IDLE._replace(gather=0.04)
    claim(schedule, 100.0, Lane.LIVE, 1, live=1)
    assert schedule.wait_left(100.0, calls) == 0.0, "after a rest it goes at once"
    schedule.calling(Lane.LIVE, calls, 100.0)
    assert schedule.wait_left(100.01, calls) == pytest.approx(0.03)
    assert schedule.wait_left(100.04, calls) == 0.0
    claim(schedule, 100.01, Lane.BULK, 10, bulk=101)
    assert schedule.wait_left(100.01, calls) == 0.0


def test_a_live_post_after_a_long_backlog_of_unspaced_calls_is_not_made_to_wait_for_them() -> None:
    schedule = scheduled()
    calls = IDLE._replace(interval=0.02)
    claim(schedule, 100.0, Lane.BULK, 10, bulk=101)
    now = 100.0
    for _ in range(10_000):  # one every hundredth of a second, with nobody posting
        schedule.calling(Lane.BULK, calls, now)
        now += 0.01
    claim(schedule, now, Lane.LIVE, 1, live=1, bulk=101)
    assert schedule.wait_left(now, calls) <= 0.02


def test_claimed_conversations_go_back_where_no_call_is_near_or_packs_are_not_sent() -> None:
    schedule = scheduled(hold=1.0)
    assert not schedule.releases_claims(100.0, IDLE._replace(wait=1.0))
    assert schedule.releases_claims(100.0, IDLE._replace(wait=1.1))
    assert schedule.releases_claims(100.0, IDLE._replace(held_by="breaker"))
    assert schedule.releases_claims(100.0, IDLE._replace(held_by="budget"))
    assert not schedule.releases_claims(100.0, IDLE._replace(held_by="rate"))


def test_probes_and_what_the_budget_leaves_are_single_texts() -> None:
    schedule = scheduled()
    probing = IDLE._replace(held_by="breaker")
    assert (schedule.pack_size(500, probing), schedule.to_count(probing)) == (1, 11)
    assert (schedule.pack_size(500, IDLE), schedule.to_count(IDLE)) == (10, 101)


def test_what_bounds_the_throughput_is_named() -> None:
    schedule = scheduled()
    claim(schedule, 100.0, Lane.LIVE, 1, live=1)
    assert schedule.bound_by(100.0, IDLE) == "queue"
    assert schedule.bound_by(100.0, IDLE._replace(free=0)) == "queue"
    assert schedule.bound_by(100.0, IDLE._replace(unsent=1)) == "rate"
    assert schedule.bound_by(100.0, IDLE._replace(held_by="budget", unsent=1)) == "budget"
    schedule.arrived()
    assert schedule.bound_by(100.0, IDLE._replace(free=0)) == "concurrency"
    claim(schedule, 100.0, Lane.LIVE, 10, live=101)
    assert schedule.bound_by(100.0, IDLE) == "rate"


def test_a_lane_that_was_not_counted_keeps_its_backlog_until_it_is_seen_empty() -> None:
    schedule = scheduled()
    claim(schedule, 100.0, Lane.BULK, 10, bulk=101)
    claim(schedule, 100.0, Lane.LIVE, 1, live=1, bulk=1)  # only looked at for being empty
    assert schedule.bound_by(100.0, IDLE) == "rate"
    claim(schedule, 100.0, Lane.LIVE, 1, live=1, bulk=0)
    assert schedule.bound_by(100.0, IDLE) == "queue"
