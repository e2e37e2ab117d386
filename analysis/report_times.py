"""When reports are sent, and about which period. Pure."""

import re
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LATE = timedelta(hours=12)
"""After the time a report is still sent for so long, by a service that was down then."""


class Period(StrEnum):
    """`days` is its length."""

    DAY = "day", 1
    WEEK = "week", 7

    days: int

    def __new__(cls, value: str, days: int) -> "Period":
        period = str.__new__(cls, value)
        period._value_, period.days = value, days
        return period


class ReportTime(NamedTuple):
    """Each day, or each week on `weekday` (0 is Monday), at a time on the clocks of a zone."""

    weekday: int | None
    clock: time
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str) -> "ReportTime":
        """`mon 08:00 Europe/Berlin`, `08:00 Europe/Berlin` or `08:00`, which is UTC. Raises
        ValueError."""
        found = re.fullmatch(r"(?:([a-z]{3}) +)?([012]?\d:[0-5]\d)(?: +(\S+))?", text.strip())
        day, clock, zone = found.groups() if found else (None, "", None)
        if not found or (day is not None and day not in DAYS) or int(clock.split(":")[0]) > 23:
            raise ValueError("is not a time such as mon 08:00 Europe/Berlin")
        if zone is not None and zone not in available_timezones():
            raise ValueError(f"names no time zone: {zone}")
        hour, minute = map(int, clock.split(":"))
        weekday = None if day is None else DAYS.index(day)
        return cls(weekday, time(hour, minute), ZoneInfo(zone or "UTC"))

    @property
    def period(self) -> Period:
        return Period.DAY if self.weekday is None else Period.WEEK

    def due(self, now: datetime) -> date | None:
        """The last day of the report whose time has come, in UTC; None where that is too long
        ago."""
        local = now.astimezone(self.zone)
        for back in range(8):
            day = local.date() - timedelta(days=back)
            at = datetime.combine(day, self.clock, self.zone).astimezone(UTC)
            if at > now or self.weekday not in (None, day.weekday()):
                continue
            return self._ending(day) if now - at <= LATE else None
        return None

    def _ending(self, day: date) -> date:
        """The last day that is over when it is sent on `day`, whether or not it is summer then: so
        that each day has its report also where the clocks change."""
        seasons = [datetime(day.year, month, 1, tzinfo=self.zone) for month in (1, 7)]
        offset = max(season.utcoffset() or timedelta() for season in seasons)
        earliest = datetime.combine(day, self.clock) - offset
        return earliest.date() - timedelta(days=1)
