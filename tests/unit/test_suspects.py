"""When suspects of a death are tried: after others, one by one, and not in a young worker."""

import math

from worker.schedule import CallState, Schedule
from worker.suspects import SuspectTrials


def trials(*, waiting: bool = True) -> SuspectTrials:
    made = SuspectTrials(rest=2.0, patience=10.0)
    made.started(100.0)
    made.found(waiting)
    return made


def test_where_none_waits_none_is_due() -> None:
    made = trials(waiting=False)

    assert not made.is_due(1000.0, idle=True)
    assert made.due_in(1000.0, idle=True) == math.inf


def test_an_idle_worker_tries_one_once_it_has_lived_for_a_while() -> None:
    made = trials()

    assert not made.is_due(101.9, idle=True)
    assert made.due_in(101.5, idle=True) == 0.5
    assert made.is_due(102.0, idle=True)


def test_a_busy_worker_tries_one_after_a_longer_time_and_then_works_on() -> None:
    made = trials()

    assert not made.is_due(109.9, idle=False)
    assert made.is_due(110.0, idle=False)
    made.tried(True, 111.0)
    assert not made.is_due(120.9, idle=False)
    assert made.due_in(120.5, idle=False) == 0.5
    assert made.is_due(111.0, idle=True)  # an idle one goes on at once


def test_after_the_last_one_none_is_due() -> None:
    made = trials()

    made.tried(False, 110.0)

    assert not made.is_due(1000.0, idle=True)


def test_one_that_is_not_to_be_had_is_looked_for_again_later() -> None:
    made = trials()

    made.none_due(True, 110.0)

    assert not made.is_due(111.9, idle=True)
    assert made.is_due(112.0, idle=True)


def test_a_schedule_rests_until_a_call_can_leave_and_says_that_the_rate_bounds_it() -> None:
    schedule = Schedule(batch_size=10, poll_interval=5.0)
    calls = CallState(free=10, unsent=0, at_once=10, interval=0.1, pack_size=10)

    schedule.rest(until=101.0)

    assert schedule.wait_left(100.0, calls) == 1.0
    assert schedule.bound_by(100.0, calls) == "rate"
    assert schedule.wait_left(101.0, calls) == 0.0
    assert schedule.bound_by(101.0, calls) == "queue"
