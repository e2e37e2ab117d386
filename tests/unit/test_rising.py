"""What is called rising and what is not; words that stand out; when reports are due."""

import math
from datetime import UTC, date, datetime, timedelta

import pytest

from analysis.micros import HOUR
from analysis.report_times import Period, ReportTime
from analysis.rising import HourCounts, standing
from analysis.standing_out import words_that_stand_out
from analysis.trend_score import judge

WEEKS = 5
HOURS = WEEKS * 7 * 24
STOP = HOURS * HOUR
ABOVE = 3.7


def by_day(hour: int) -> int:
    """Few at night, many at noon."""
    return round(12 - 10 * math.cos(2 * math.pi * (hour % 24) / 24))


def score(
    count: int,
    topic: list[int],
    *,
    everything: list[int] | None = None,
    now: int | None = None,
) -> float:
    """Of the hour after the last one; everything else is ten times as much, also now."""
    whole = everything or [11 * each for each in topic]
    now = count + 10 * topic[-24] if now is None else now
    hours = HourCounts(topic, STOP), HourCounts(whole, STOP)
    return standing(count, hours[0], now, hours[1], (STOP, STOP + HOUR)).score


@pytest.mark.parametrize("weeks", [1, WEEKS])
def test_a_threefold_rise_is_called_with_little_data_and_with_much(weeks: int) -> None:
    topic = [0] * (HOURS - weeks * 168) + [10] * (weeks * 168)
    assert score(30, topic) >= ABOVE
    assert score(14, topic) < ABOVE


def test_a_busy_hour_that_is_busy_each_week_is_no_rise() -> None:
    topic = [by_day(hour) for hour in range(HOURS)]
    assert score(by_day(12), topic[-12:] and topic[:-12] + topic[-12:], now=220) < ABOVE
    monday = [40 if hour % 168 == 0 else 2 for hour in range(HOURS)]
    assert score(40, monday) < 1
    assert score(40, [2] * HOURS) >= ABOVE


def test_a_busy_hour_of_each_day_is_no_rise_with_a_week_of_data_either() -> None:
    noon = [30 if hour % 24 == 0 else 3 for hour in range(7 * 24)]
    topic = [0] * (HOURS - len(noon)) + noon
    assert score(30, topic, now=130) < 1
    assert score(90, topic, now=190) >= ABOVE


def test_an_hour_that_is_busy_for_all_topics_is_no_rise() -> None:
    topic = [10] * HOURS
    assert score(30, topic, now=330) < 2
    assert score(30, topic, now=130) >= ABOVE


def test_a_topic_alone_in_the_world_is_held_against_itself() -> None:
    topic = [10] * HOURS
    assert score(30, topic, everything=topic, now=30) >= ABOVE
    assert score(12, topic, everything=topic, now=12) < ABOVE


def test_a_topic_that_has_become_livelier_is_no_rise_for_ever() -> None:
    topic = [10] * (HOURS - 30) + [30] * 30
    assert score(30, topic, now=130) < ABOVE


def test_an_incident_of_the_past_makes_nobody_deaf() -> None:
    topic = [10] * HOURS
    topic[HOURS - 10 * 24] = 500
    assert score(33, topic) >= ABOVE


def test_a_lively_topic_has_to_do_more() -> None:
    lively = [30 if hour * 7919 % 11 < 3 else 3 for hour in range(HOURS)]
    assert 0 < score(34, lively) < score(34, [10] * HOURS)


@pytest.mark.parametrize("minute", [0, 1, 10, 30, 59])
@pytest.mark.parametrize("days", [2, 7 * WEEKS])
def test_a_topic_that_was_never_there_rises_wherever_an_hour_begins(days: int, minute: int) -> None:
    """Of its forty posts in the last hour, as many are in the full hour before as may be."""
    in_the_full_hour = 40 * (60 - minute) // 60
    others = [30] * (days * 24)
    topic = [0] * (len(others) - 1) + [in_the_full_hour]
    everything = [*others[:-1], others[-1] + in_the_full_hour]
    hours = HourCounts(topic, STOP), HourCounts(everything, STOP)
    stop = STOP + minute * HOUR // 60
    assert standing(40, hours[0], 70, hours[1], (stop - HOUR, stop)).score >= ABOVE


@pytest.mark.parametrize("hours", [26, 72])
def test_a_topic_that_is_there_for_a_day_is_held_against_its_share_since_then(hours: int) -> None:
    """As all are whose names are new: an hour that is lively for everything is no rise."""
    others, topic = [30] * HOURS, [0] * (HOURS - hours) + [10] * hours
    everything = [other + own for other, own in zip(others, topic, strict=True)]
    assert score(30, topic, everything=everything, now=120) < ABOVE
    assert score(30, topic, everything=everything, now=60) >= ABOVE


@pytest.mark.parametrize("everything_now", [50, 90])
def test_in_the_very_first_window_a_topic_is_new_as_it_is_to_trends(everything_now: int) -> None:
    none = HourCounts([], STOP)
    stands = standing(50, none, everything_now, none, (STOP, STOP + HOUR))
    trend = judge(50, [0] * 24)
    assert trend is not None
    assert trend.direction == "new"
    assert stands.score == pytest.approx(trend.score)


def test_a_part_of_an_hour_has_a_part_of_its_count() -> None:
    hours = HourCounts([4, 8], 2 * HOUR)
    assert hours.between(HOUR // 2, 3 * HOUR // 2) == 6
    assert hours.between(-5 * HOUR, 9 * HOUR) == 12


# --- words ----------------------------------------------------------------------------------------


def test_words_stand_out_that_others_do_not_use() -> None:
    texts = [f"the app crashes at login, case {number} @ann https://x.y" for number in range(10)]
    usual = [f"the parcel of {number} is late @bob https://x.y" for number in range(50)]
    assert set(words_that_stand_out(texts, usual)) == {"app", "crashes", "at", "login", "case"}


def test_names_of_entities_are_no_words_that_stand_out() -> None:
    texts = [f"the app &amp; its login crash, &quot;case {number}&quot;" for number in range(10)]
    usual = [f"the parcel of {number} is late" for number in range(50)]
    assert set(words_that_stand_out(texts, usual)) == {"app", "its", "login", "crash", "case"}


def test_no_word_stands_out_where_all_are_used_alike() -> None:
    texts = ["the parcel is late"] * 10
    assert words_that_stand_out(texts, texts) == []
    assert words_that_stand_out([], texts) == []
    assert words_that_stand_out(["one"] * 3, ["one"]) == []


def test_where_nothing_is_usual_the_longest_words_of_most_texts_are_told() -> None:
    texts = [f"no internet since this morning, case {number}" for number in range(10)]
    assert words_that_stand_out([*texts, "another"], []) == [
        "internet",
        "morning",
        "since",
        "case",
        "this",
    ]
    assert words_that_stand_out(["alone"], []) == []


def test_nobody_makes_a_word_stand_out_alone() -> None:
    texts = ["spam " * 100] + ["late parcel"] * 5
    assert "spam" not in words_that_stand_out(texts, ["nothing of that kind"] * 20)


# --- when reports are due -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "now", "due"),
    [
        ("08:00 Europe/Berlin", "2025-01-20T06:59:00Z", None),  # yesterday's is too long ago
        ("08:00 Europe/Berlin", "2025-01-20T07:00:00Z", date(2025, 1, 19)),
        ("08:00 Europe/Berlin", "2025-01-20T19:00:00Z", date(2025, 1, 19)),
        ("08:00 Europe/Berlin", "2025-07-20T06:00:00Z", date(2025, 7, 19)),
        ("00:30 Asia/Tokyo", "2025-01-20T15:31:00Z", date(2025, 1, 19)),
        ("mon 08:00", "2025-01-20T08:00:00Z", date(2025, 1, 19)),
        ("mon 08:00", "2025-01-21T08:00:00Z", None),
        ("sun 23:59", "2025-01-20T03:00:00Z", date(2025, 1, 18)),
    ],
)
def test_a_report_is_due_at_its_time_by_the_clocks_of_its_zone(
    at: str, now: str, due: date | None
) -> None:
    assert ReportTime.parse(at).due(datetime.fromisoformat(now).astimezone(UTC)) == due


@pytest.mark.parametrize("first", ["2025-03-01", "2025-10-15"])
@pytest.mark.parametrize(
    "at",
    [
        "19:00 America/New_York",
        "01:30 Europe/Berlin",
        "02:30 Europe/Berlin",
        "23:30 Atlantic/Azores",
        "08:00",
    ],
)
def test_each_day_has_one_report_where_the_clocks_change(at: str, first: str) -> None:
    time = ReportTime.parse(at)
    begun = date.fromisoformat(first)
    days = [begun + timedelta(days=number) for number in range(40)]
    moments = [datetime.combine(day, time.clock, time.zone).astimezone(UTC) for day in days]
    endings = [time.due(moment) for moment in moments]
    start = endings[0]
    assert start is not None
    assert endings == [start + timedelta(days=number) for number in range(40)]
    assert all(
        ending < moment.date() for ending, moment in zip(endings, moments, strict=True) if ending
    )


def test_a_day_of_the_week_makes_it_weekly() -> None:
    assert ReportTime.parse("fri 9:30 UTC").period is Period.WEEK
    assert ReportTime.parse("9:30").period is Period.DAY


@pytest.mark.parametrize("text", ["", "8", "24:00", "mo 08:00", "08:00 Mars", "mon", "08:61"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="time"):
        ReportTime.parse(text)
