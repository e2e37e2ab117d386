"""How fast Grok may be called: lowered by what it says, raised again step by step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rate_limiter import JITTER_MARGIN_SECONDS, LearnedRate
from tests.support.clock import Clock
from tests.support.http_helpers import captured_log


@pytest.fixture
def ceiling(clock: Clock) -> LearnedRate:
    return LearnedRate(10, clock=clock)


def test_at_first_it_is_what_was_asked_for_and_a_margin(ceiling: LearnedRate) -> None:
    assert ceiling.rate == 10.0
    assert ceiling.window() == (10, 1.0 + JITTER_MARGIN_SECONDS)


@pytest.mark.parametrize(
    ("told", "rate", "window"),
    [
        (30.0, 10.0, (10, 1.0)),
        (10.0, 10.0, (10, 1.0)),
        (4.0, 4.0, (4, 1.0)),
        (2.5, 2.5, (2, 0.8)),
        (0.5, 0.5, (1, 2.0)),
        (1 / 60, 1 / 60, (1, 60.0)),
    ],
)
def test_a_limit_that_good_answers_name_is_kept_to(
    ceiling: LearnedRate, told: float, rate: float, window: tuple[int, float]
) -> None:
    ceiling.told(told)
    assert ceiling.rate == rate
    calls, per = ceiling.window()
    assert (calls, per / (1 + JITTER_MARGIN_SECONDS)) == pytest.approx(window)


def test_a_limit_that_was_told_holds_until_another_is(ceiling: LearnedRate, clock: Clock) -> None:
    ceiling.told(4.0)
    clock.now += 86_400
    ceiling.probe()
    assert ceiling.rate == 4.0
    ceiling.told(7.0)
    assert ceiling.rate == 7.0
    ceiling.told(50.0)
    assert ceiling.rate == 10.0


def test_a_limit_that_a_refusal_names_is_kept_to(ceiling: LearnedRate) -> None:
    ceiling.refused(2.0)
    assert ceiling.rate == 2.0
    assert ceiling.window() == (2, 1.0 + JITTER_MARGIN_SECONDS)


def test_the_lowest_of_all_limits_holds(ceiling: LearnedRate) -> None:
    ceiling.told(6.0)
    ceiling.refused(3.0)
    assert ceiling.rate == 3.0
    ceiling.told(2.0)
    assert ceiling.rate == 2.0


def test_a_refusal_that_names_no_limit_changes_none(ceiling: LearnedRate) -> None:
    before = ceiling.window()
    ceiling.refused(None)
    assert ceiling.window() == before


@pytest.mark.parametrize("named", [10.0, 37.0])
def test_refused_by_a_limit_that_was_kept_to_the_margin_grows(
    ceiling: LearnedRate, named: float
) -> None:
    margins = []
    for _ in range(6):
        ceiling.refused(named)
        calls, per = ceiling.window()
        assert calls == ceiling.rate == 10
        margins.append(per - 1.0)
    grown = [JITTER_MARGIN_SECONDS * factor for factor in (2, 4, 8, 16)]
    assert margins == [pytest.approx(one) for one in (*grown, 0.5, 0.5)]


def test_a_grown_margin_shrinks_again_step_by_step(ceiling: LearnedRate, clock: Clock) -> None:
    ceiling.refused(10.0)
    ceiling.refused(10.0)
    periods = []
    for _ in range(4):
        clock.now += 3600
        ceiling.probe()
        periods.append(ceiling.window()[1])
    assert periods == [pytest.approx(1 + JITTER_MARGIN_SECONDS * each) for each in (2, 1, 1, 1)]


def probed(ceiling: LearnedRate, clock: Clock, seconds: int) -> list[tuple[int, float]]:
    """Seconds and rate at each change, while it is tried once a second."""
    changes = []
    for second in range(1, seconds + 1):
        clock.now += 1
        before = ceiling.rate
        ceiling.probe()
        if ceiling.rate != before:
            changes.append((second, ceiling.rate))
    return changes


def test_a_limit_that_a_refusal_named_is_raised_again_minute_by_minute(
    ceiling: LearnedRate, clock: Clock
) -> None:
    ceiling.refused(2.0)
    assert probed(ceiling, clock, 3600) == [
        (60, 3.0),
        (120, 4.0),
        (180, 5.0),
        (240, 6.25),
        (300, 7.8125),
        (360, 9.765625),
        (420, 10.0),
    ]


def test_a_limit_below_one_a_second_at_most_doubles(ceiling: LearnedRate, clock: Clock) -> None:
    ceiling.refused(0.25)
    assert [rate for _, rate in probed(ceiling, clock, 240)] == [0.5, 1.0, 2.0, 3.0]


@pytest.mark.parametrize("named", [2.0, 10.0], ids=["a lower limit", "that which was kept to"])
def test_each_probe_that_is_refused_makes_the_next_wait_longer(
    ceiling: LearnedRate, clock: Clock, named: float
) -> None:
    """Also where only the ways differ by more than the margin: in the end once an hour."""
    waits = []
    for _ in range(9):
        ceiling.refused(named)
        lowered = ceiling.window()
        waits.append(0)
        while ceiling.window() == lowered:
            waits[-1] += 1
            clock.now += 1
            ceiling.probe()
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_once_back_at_the_top_for_a_while_the_waits_begin_anew(
    ceiling: LearnedRate, clock: Clock
) -> None:
    for _ in range(3):
        ceiling.refused(2.0)
    clock.now += 3600
    probed(ceiling, clock, 3600)
    assert ceiling.rate == 10.0
    ceiling.refused(2.0)
    assert probed(ceiling, clock, 3600)[0] == (60, 3.0)


def test_nothing_is_probed_that_was_not_lowered(ceiling: LearnedRate, clock: Clock) -> None:
    assert probed(ceiling, clock, 200) == []


def test_each_lowering_and_raising_is_logged(ceiling: LearnedRate, clock: Clock) -> None:
    with captured_log() as log:
        ceiling.told(4.0)
        ceiling.told(4.0)
        ceiling.refused(2.0)
        probed(ceiling, clock, 60)
    assert [one["calls_per_second"] for one in log.named("call_limit_told")] == [4.0]
    (lowered,) = log.named("call_limit_lowered")
    assert (lowered["calls_per_second"], lowered["next_probe_seconds"]) == (2.0, 60)
    assert [one["calls_per_second"] for one in log.named("call_limit_raised")] == [3.0]


RATES = st.one_of(st.integers(1, 10_000).map(lambda per_minute: per_minute / 60), st.none())
EVENTS = st.tuples(st.sampled_from(["told", "refused", "probe"]), RATES, st.floats(0, 4000))


@given(most=st.integers(1, 100), events=st.lists(EVENTS, max_size=40))
def test_whatever_is_said_a_call_passes_now_and_then_and_never_more_than_allowed(
    most: int, events: list[tuple[str, float | None, float]]
) -> None:
    clock = Clock()
    ceiling = LearnedRate(most, clock=clock)
    told = None
    for event, rate, seconds in events:
        clock.now += seconds
        if event == "refused":
            ceiling.refused(rate)
            assert rate is None or ceiling.rate <= rate
        elif event == "told" and rate is not None:
            ceiling.told(rate)
            told = rate
        else:
            ceiling.probe()
        calls, per = ceiling.window()
        assert calls >= 1
        assert 0 < ceiling.rate <= min(most, told or most)
        assert calls / per <= ceiling.rate / (1 + JITTER_MARGIN_SECONDS) + 1e-9
