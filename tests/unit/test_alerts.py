"""What becomes of an alert with each judgement, and what is told of it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from analysis.alerts import Alert, AlertState, Judgement, Notice, Policy, crowd_gate, judged
from analysis.micros import SECOND
from analysis.quiet_hours import QuietHours

MINUTE = 60 * SECOND
MIDNIGHT = round(datetime(2025, 1, 20, tzinfo=UTC).timestamp()) * SECOND
"""In Berlin it is one o'clock."""
NIGHT = QuietHours(time(22), time(7), ZoneInfo("Europe/Berlin"))
BREAK = QuietHours(time(1, 10), time(1, 40), NIGHT.zone)


def follow(
    values: Sequence[float], policy: Policy, *, above: float = 10.0, start: int = MIDNIGHT
) -> tuple[list[Alert], list[tuple[int, Notice]]]:
    """The alerts that a value a minute makes, as the last judgement left each, and what is told of
    them, by the minute."""
    alert: Alert | None = None
    alerts: list[Alert] = []
    notices = []
    for minute, value in enumerate(values):
        now = start + minute * MINUTE
        change = judged(alert, Judgement("", value, value >= above), now, policy)
        if change.notice is not None:
            notices.append((minute, change.notice))
        if change.alert is None:
            if alert is not None:
                alerts.pop()
        elif change.alert.id:
            alerts[-1] = change.alert
        else:
            alerts.append(replace(change.alert, id=str(len(alerts))))
        alert = None if change.alert is None else alerts[-1]
    return alerts, notices


def test_it_opens_after_some_breaches_in_a_row_and_closes_after_some_calm_ones() -> None:
    values = [20, 0, 20, 20, 20, 0, 0, 20, 0, 0, 0, 0]
    alerts, notices = follow(values, Policy(hold=3, clear=3))
    assert notices == [(4, Notice.OPENED), (10, Notice.CLOSED)]
    (alert,) = alerts
    assert alert.opened_at == MIDNIGHT + 4 * MINUTE
    assert alert.closed_at == MIDNIGHT + 10 * MINUTE


def test_within_the_cooldown_the_same_alert_opens_again_and_nothing_is_told() -> None:
    values = [20, 0, 20, 0, 20, 0]
    alerts, notices = follow(values, Policy(clear=1, cooldown=10 * MINUTE))
    assert notices == [(0, Notice.OPENED), (1, Notice.CLOSED)]
    assert len(alerts) == 1
    assert alerts[0].closed_at == MIDNIGHT + 5 * MINUTE


def test_one_that_has_become_twice_as_bad_is_told_again_within_the_cooldown() -> None:
    values = [20, 30, 0, 59, 0, 60, 0]
    _, notices = follow(values, Policy(clear=1, cooldown=10 * MINUTE))
    assert notices == [
        (0, Notice.OPENED),
        (2, Notice.CLOSED),
        (5, Notice.OPENED),
        (6, Notice.CLOSED),
    ]


def test_after_the_cooldown_it_is_another_alert() -> None:
    values = [20, 0, 0, 0, 20, 0]
    alerts, notices = follow(values, Policy(clear=1, cooldown=3 * MINUTE))
    assert len(alerts) == 2
    assert [minute for minute, _ in notices] == [0, 1, 4, 5]


def test_quiet_hours_put_a_notice_off_until_they_end() -> None:
    """At seven in Berlin it is six in UTC."""
    _, notices = follow([20] * 400, Policy(quiet=NIGHT))
    assert notices == [(6 * 60, Notice.OPENED)]


def test_what_is_over_when_quiet_hours_end_is_not_told() -> None:
    _, notices = follow([20] * 100 + [0] * 400, Policy(quiet=NIGHT))
    assert notices == []


def test_what_was_told_before_quiet_hours_is_told_to_be_over_after_them() -> None:
    start = MIDNIGHT - 4 * 60 * MINUTE
    _, notices = follow([20] * 200 + [0] * 500, Policy(quiet=NIGHT), start=start)
    assert notices == [(0, Notice.OPENED), (10 * 60, Notice.CLOSED)]


def test_one_that_opens_again_before_it_was_told_to_be_over_was_open_all_along() -> None:
    start = MIDNIGHT - 4 * 60 * MINUTE
    values = [20] * 200 + [0] * 10 + [20] * 400 + [0] * 10
    alerts, notices = follow(values, Policy(quiet=NIGHT, cooldown=60 * MINUTE), start=start)
    assert notices == [(0, Notice.OPENED), (612, Notice.CLOSED)]
    assert len(alerts) == 1


def test_quiet_hours_longer_than_the_cooldown_keep_it_the_same_alert() -> None:
    start = MIDNIGHT - 4 * 60 * MINUTE
    values = [20] * 200 + [0] * 100 + [20] * 400 + [0] * 10
    alerts, notices = follow(values, Policy(quiet=NIGHT, cooldown=60 * MINUTE), start=start)
    assert notices == [(0, Notice.OPENED), (702, Notice.CLOSED)]
    assert len(alerts) == 1


def test_too_few_breaches_in_quiet_hours_put_its_end_off_no_further() -> None:
    start = MIDNIGHT - 4 * 60 * MINUTE
    values = [20] * 200 + [0] * 10 + [20] + [0] * 400
    alerts, notices = follow(values, Policy(hold=2, cooldown=60 * MINUTE, quiet=NIGHT), start=start)
    assert notices == [(1, Notice.OPENED), (10 * 60, Notice.CLOSED)]
    assert alerts[0].closed_at == start + 202 * MINUTE


AT_NIGHT = MIDNIGHT + 5 * 60 * MINUTE
PUT_OFF = Alert(
    "",
    id="1",
    state=AlertState.CLOSED,
    opened_at=0,
    closed_at=MIDNIGHT,
    told_at=1,
    peak=20.0,
    told_peak=20.0,
    put_off_until=AT_NIGHT + 60 * MINUTE,
)
CALM = Judgement("", 0, False)


@pytest.mark.parametrize(
    ("quiet", "minutes", "is_told"),
    [
        (NIGHT, 0, False),
        (NIGHT, 60, True),
        (None, 0, True),  # somebody has ended them
        (replace(NIGHT, stop=time(9)), 60, False),  # or made them longer
        (replace(NIGHT, stop=time(9)), 180, True),
    ],
)
def test_that_it_is_over_is_told_when_the_quiet_hours_of_now_end(
    quiet: QuietHours | None, minutes: int, is_told: bool
) -> None:
    change = judged(PUT_OFF, CALM, AT_NIGHT + minutes * MINUTE, Policy(quiet=quiet))
    assert (change.notice is Notice.CLOSED) is is_told
    assert change.alert is not None
    assert (change.alert.put_off_until is None) is is_told


def test_an_end_that_waits_for_the_morning_is_not_told_of_what_was_muted_since() -> None:
    muted = replace(PUT_OFF, muted_until=AT_NIGHT + 120 * MINUTE)
    change = judged(muted, CALM, AT_NIGHT + 60 * MINUTE, Policy(quiet=NIGHT))
    assert change.alert is not None
    assert (change.notice, change.alert.put_off_until) == (None, None)


def test_a_muted_alert_tells_nothing_and_neither_does_the_next_one_of_its_key() -> None:
    policy = Policy(clear=1, cooldown=MINUTE)
    muted = Alert("", state=AlertState.CLOSED, opened_at=0, closed_at=0, muted_until=100 * MINUTE)
    change = judged(muted, Judgement("", 20, True), 50 * MINUTE, policy)
    assert change.alert is not None
    assert (change.alert.state, change.notice) == (AlertState.OPEN, None)
    later = judged(change.alert, Judgement("", 20, True), 100 * MINUTE, policy)
    assert later.notice is Notice.OPENED


def test_what_is_held_back_is_shown_and_told_once_nothing_holds_it_back() -> None:
    few = judged(None, Judgement("", 20, True, "fewer than 3 authors"), MIDNIGHT, Policy())
    assert few.alert is not None
    assert (few.alert.state, few.notice) == (AlertState.OPEN, None)
    many = judged(few.alert, Judgement("", 20, True), MIDNIGHT + MINUTE, Policy())
    assert many.notice is Notice.OPENED


@pytest.mark.parametrize(
    ("authors", "copies", "held_back"),
    [(3, 0.5, False), (2, 0.0, True), (30, 0.51, True), (1, 0.9, True)],
)
def test_few_authors_and_many_copies_are_no_crowd(
    authors: int, copies: float, held_back: bool
) -> None:
    assert (crowd_gate(authors, copies) is not None) is held_back


# --- whatever comes -------------------------------------------------------------------------------

values = st.lists(st.sampled_from([0.0, 10.0, 15.0, 20.0, 45.0]), max_size=120)
policies = st.builds(
    Policy,
    hold=st.integers(1, 4),
    clear=st.integers(1, 4),
    cooldown=st.sampled_from([0, 5 * MINUTE, 60 * MINUTE]),
    quiet=st.sampled_from([None, BREAK]),
)


@given(values, policies)
def test_openings_and_endings_that_are_told_take_turns(series: list[float], policy: Policy) -> None:
    _, notices = follow(series, policy)
    kinds = [kind for _, kind in notices]
    assert kinds[::2] == [Notice.OPENED] * len(kinds[::2])
    assert kinds[1::2] == [Notice.CLOSED] * len(kinds[1::2])


@given(values, policies)
def test_nothing_is_told_in_quiet_hours(series: list[float], policy: Policy) -> None:
    _, notices = follow(series, policy)
    if policy.quiet is not None:
        assert not any(10 <= minute < 40 for minute, _ in notices)


@given(values, policies)
def test_nothing_opens_without_enough_breaches_in_a_row(
    series: list[float], policy: Policy
) -> None:
    _, notices = follow(series, replace(policy, quiet=None))
    for minute, kind in notices:
        if kind is Notice.OPENED:
            assert minute + 1 >= policy.hold
        else:
            calm = series[minute + 1 - policy.clear : minute + 1]
            assert len(calm) == policy.clear
            assert not any(value >= 10 for value in calm)


@given(values, policies)
@example([15.0, 10.0, 0.0, 10.0, 20.0], Policy(hold=2, clear=1, cooldown=5 * MINUTE))
def test_a_second_opening_within_the_cooldown_is_twice_as_bad_as_what_was_told(
    series: list[float], policy: Policy
) -> None:
    _, notices = follow(series, replace(policy, quiet=None))
    told = 0.0
    opened = closed = 0
    for minute, kind in notices:
        if kind is Notice.CLOSED:
            closed, told = minute, max(series[opened:minute])
        else:
            if told and (minute - closed) * MINUTE < policy.cooldown:
                assert series[minute] >= 2 * told
            opened = minute


@given(values, policies)
@example([20.0] * 10 + [0.0, 20.0, 0.0], Policy(hold=2, clear=1, cooldown=60 * MINUTE, quiet=BREAK))
def test_what_is_closed_has_closed_at_some_time(series: list[float], policy: Policy) -> None:
    alerts, _ = follow(series, policy)
    closed = [alert for alert in alerts if alert.state is AlertState.CLOSED]
    assert all(alert.closed_at is not None for alert in closed)


@given(values, st.sampled_from([0, 60 * MINUTE]))
def test_a_calm_series_leaves_nothing_open(series: list[float], cooldown: int) -> None:
    policy = Policy(hold=2, clear=2, cooldown=cooldown)
    alerts, notices = follow([*series, 0, 0], policy)
    assert all(alert.state is AlertState.CLOSED for alert in alerts)
    assert len(notices) % 2 == 0


# --- quiet hours ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "end"),
    [
        ("2025-01-20T20:59:00+00:00", None),
        ("2025-01-20T21:00:00+00:00", "2025-01-21T06:00:00+00:00"),
        ("2025-01-21T05:59:00+00:00", "2025-01-21T06:00:00+00:00"),
        ("2025-01-21T06:00:00+00:00", None),
        # In summer, and in the night in which clocks are put forward.
        ("2025-07-20T20:00:00+00:00", "2025-07-21T05:00:00+00:00"),
        ("2025-03-29T22:00:00+00:00", "2025-03-30T05:00:00+00:00"),
    ],
)
def test_quiet_hours_end_by_the_clock_of_their_zone(moment: str, end: str | None) -> None:
    found = NIGHT.end_of(datetime.fromisoformat(moment))
    assert found == (None if end is None else datetime.fromisoformat(end))


def test_quiet_hours_within_a_day_do_not_reach_over_midnight() -> None:
    noon = QuietHours(time(12), time(13), ZoneInfo("UTC"))
    assert noon.end_of(datetime(2025, 1, 20, 12, 30, tzinfo=UTC)) == datetime(
        2025, 1, 20, 13, tzinfo=UTC
    )
    assert noon.end_of(datetime(2025, 1, 20, 11, 59, tzinfo=UTC)) is None


EARLY = QuietHours(time(22), time(2, 30), NIGHT.zone)


@pytest.mark.parametrize(
    ("moment", "end"),
    [
        ("2026-10-24T23:00:00+00:00", "2026-10-25T00:30:00+00:00"),
        ("2026-10-25T00:10:00+00:00", "2026-10-25T00:30:00+00:00"),
        ("2026-10-25T00:40:00+00:00", None),
        ("2026-10-25T01:10:00+00:00", "2026-10-25T01:30:00+00:00"),
        ("2026-10-25T01:30:00+00:00", None),
    ],
)
def test_in_the_hour_that_comes_twice_quiet_hours_end_twice(moment: str, end: str | None) -> None:
    found = EARLY.end_of(datetime.fromisoformat(moment))
    assert found == (None if end is None else datetime.fromisoformat(end))


clocks = st.times().map(lambda clock: clock.replace(second=0, microsecond=0))


@given(clocks, clocks, st.integers(0, 2 * 366 * 24 * 60))
@example(time(22), time(1, 30), 438_130)
def test_quiet_hours_always_end_later(start: time, stop: time, minutes: int) -> None:
    """In two years with all their changes of clocks."""
    assume(start != stop)
    quiet = QuietHours(start, stop, ZoneInfo("America/New_York"))
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    end = quiet.end_of(moment)
    assert end is None or end > moment
