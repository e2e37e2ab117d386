"""The time that the loaded conversations are from, and the page that shows it."""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from importing.dates import to_iso

MAX_DAYS = 1999
"""The API gives at most 2,000 buckets of a day, and the page takes no longer period."""
_MINUTE = timedelta(minutes=1)
_LAST_MINUTE = datetime(9999, 12, 31, 23, 59, tzinfo=UTC)


class Period:
    """From `start` to `end` in whole minutes of UTC, both inclusive; the last MAX_DAYS where it is
    longer. `str()` names its days."""

    def __init__(self, start: datetime, end: datetime) -> None:
        """Both have an offset; what happened at `start` and at `end` is within."""
        self.start, self.end = _minute_of(start), _minute_of(end)
        if self.end < _LAST_MINUTE:
            self.end += _MINUTE
        if self.end - self.start > timedelta(days=MAX_DAYS):
            self.start = self.end - timedelta(days=MAX_DAYS)

    @property
    def query(self) -> dict[str, str]:
        """As the API's parameters have it."""
        return {"start_time": to_iso(self.start), "end_time": to_iso(self.end)}

    def __str__(self) -> str:
        return f"from {self.start.date()} to {(self.end - datetime.resolution).date()}"

    def page(self, address: str) -> str:
        """Where the service at `address`, without a slash at its end, shows it to people."""
        return f"{address}/dashboard?{urlencode(self.query, safe=':')}"


def _minute_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(second=0, microsecond=0)
