"""The time that the loaded conversations are from."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from importing.period import MAX_DAYS, Period

NOON = datetime(2020, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("seconds", [0, 0.5, 59.999999, 60])
def test_a_period_holds_both_of_its_ends_in_whole_minutes(seconds: float) -> None:
    end = NOON + timedelta(seconds=seconds)
    period = Period(NOON, end)
    assert period.start <= NOON
    assert end <= period.end <= end + timedelta(minutes=1)
    assert period.end.second == period.end.microsecond == 0


def test_a_period_is_in_utc() -> None:
    moment = datetime(2020, 5, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    period = Period(moment, moment)
    assert period.query["start_time"] == "2020-04-30T23:00:00Z"
    assert str(period) == "from 2020-04-30 to 2020-04-30"


def test_a_period_is_cut_to_its_last_days() -> None:
    period = Period(NOON - timedelta(days=9999), NOON)
    assert period.end - period.start == timedelta(days=MAX_DAYS)


@pytest.mark.parametrize(
    "moment", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)]
)
def test_a_period_may_be_at_the_end_of_all_time(moment: datetime) -> None:
    assert len(Period(moment, moment).query["end_time"]) == len("2020-05-01T12:00:00Z")
