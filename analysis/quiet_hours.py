"""Quiet hours: from when to when, on the clocks of a place, nobody is to be told anything. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `start` up to, but without, `stop`, in the zone; over midnight where `stop` is not
    later. The two differ."""

    start: time
    stop: time
    zone: ZoneInfo

    def end_of(self, moment: datetime) -> datetime | None:
        """When the quiet hours end that the moment, which is aware, is in; in UTC. None outside."""
        local = moment.astimezone(self.zone)
        now = local.time()
        over_midnight = self.stop <= self.start
        if over_midnight:
            inside = now >= self.start or now < self.stop
        else:
            inside = self.start <= now < self.stop
        if not inside:
            return None
        day = local.date()
        if over_midnight and now >= self.start:
            day += timedelta(days=1)
        # In an hour that comes twice, the end is in the same one of them as the moment.
        return datetime.combine(day, self.stop, self.zone).replace(fold=local.fold).astimezone(UTC)
