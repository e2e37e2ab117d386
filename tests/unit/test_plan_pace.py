"""How many rows of a plan are changed at a time."""

from store.plans.walks import MOST_ROWS
from worker.plans import TURN_SECONDS, Pace


def test_so_many_as_fit_a_turn_and_slowly_more() -> None:
    pace = Pace(yields=True)
    first = pace.at_a_time
    pace.stepped(1000, 1000 * TURN_SECONDS / 100)
    assert first < pace.at_a_time <= 1.25 * first + 1
    for _ in range(20):
        pace.stepped(1000, 1000 * TURN_SECONDS / 55)
    assert pace.at_a_time == 55
    for _ in range(20):
        pace.stepped(1000, 1000 * TURN_SECONDS / 1000)
    assert pace.at_a_time == pace.most
    pace.stepped(1000, 1000 * TURN_SECONDS / 50)
    assert pace.at_a_time == 50
    pace.stepped(1000, 1000 * TURN_SECONDS)
    assert pace.at_a_time == first


def test_as_many_as_there_are_where_nobody_waits() -> None:
    pace = Pace(yields=False)
    pace.stepped(500, 10.0)
    assert pace.at_a_time == MOST_ROWS
