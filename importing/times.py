"""Dates as people's files have them, read only where there is one way to read them.

What has no zone is UTC. `3/4/2015` is two days: which one, the other rows of the file tell (one
with 13 or more in one of the places), or the user does.
"""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Literal

from importing.stops import Unfit

Order = Literal["dmy", "mdy"]

MISSING = frozenset(("", "nat", "nan", "nil", "none", "null", "n/a", "na", "-", "\\n"))
_MONTHS = {
    name: number
    for number, name in enumerate(
        "jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1
    )
}
_ZONES = {  # by name in RFC 2822, in hours
    "utc": 0, "gmt": 0, "z": 0, "ut": 0,
    "est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8, "pdt": -7,
}  # fmt: skip
_CLOCK = r"(\d\d?):(\d\d)(?::(\d\d))?"
_ZONE = r"([+-]\d\d:?\d\d|[A-Za-z]{1,3})"
_TWITTER = re.compile(rf"(?:[A-Za-z]{{3}} )?([A-Za-z]{{3}}) +(\d\d?) {_CLOCK} {_ZONE} (\d{{4}})")
_MAIL = re.compile(rf"(?:[A-Za-z]{{3}}, )?(\d\d?) ([A-Za-z]{{3}}) (\d{{4}}) {_CLOCK}(?: {_ZONE})?")
_NUMBERS = re.compile(
    r"(\d\d?)([/.-])(\d\d?)\2(\d{4})"
    r"(?:,? +(\d\d?)[:.](\d\d)(?:[:.](\d\d))?(?: ?([AaPp])\.?[Mm]\.?)?)?"
)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_LEAP_SECOND = re.compile(r"(T| )(\d\d:\d\d):60")
_MIDNIGHT = re.compile(r"(T| )24:00(:00(?:\.0+)?)?")
_SPACED_ZONE = re.compile(r" (?=[+-]\d\d:?\d\d$)")
_SPREADSHEET_DAY_0 = datetime(1899, 12, 30, tzinfo=UTC)


class Dates:
    """Reads the dates of one file."""

    def __init__(self, order: Order | None = None) -> None:
        self._given = order
        self._orders: dict[str, set[Order]] = {}

    def learn(self, value: str) -> None:
        """See whether this date tells in which order this file has day and month."""
        found = _NUMBERS.fullmatch(value.strip())
        if found:
            known = self._orders.setdefault(found[2], set())
            first, second = int(found[1]), int(found[3])
            if (first > 12) != (second > 12):
                known.add("dmy" if first > 12 else "mdy")

    def undecided(self, value: str) -> bool:
        """Whether it is two days, and nothing tells which."""
        found = _NUMBERS.fullmatch(value.strip())
        if not found or self._order(found[2]):
            return False
        return int(found[1]) <= 12 and int(found[3]) <= 12 and found[1] != found[3]

    def _order(self, separator: str) -> Order | None:
        seen = self._orders.get(separator, set())
        return self._given or (next(iter(seen)) if len(seen) == 1 else None)

    def describe(self) -> str:
        orders = {self._order(separator) for separator in self._orders} - {None}
        names = {"dmy": "day first", "mdy": "month first"}
        return " and ".join(sorted(names[order] for order in orders if order))

    def read(self, value: str) -> str | None:
        """ISO 8601 in UTC; None where there is none. Raises Unfit."""
        value = value.strip()
        if value.lower() in MISSING:
            return None
        try:
            moment = self._parse(value)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
        except (ValueError, OverflowError, KeyError):
            raise Unfit(f"not a time that can be read for sure: {value[:50]}") from None

    def _parse(self, value: str) -> datetime:
        """Raises ValueError, OverflowError or KeyError."""
        if not value.isascii():
            raise ValueError
        if found := _TWITTER.fullmatch(value):
            month, day, hour, minute, second, zone, year = found.groups()
            return _moment(year, _MONTHS[month.lower()], day, hour, minute, second, _zone(zone))
        if _NUMBER.fullmatch(value):
            return _from_number(value)
        with suppress(ValueError):
            return _from_iso(value)
        if found := _MAIL.fullmatch(value):
            day, month, year, hour, minute, second, zone = found.groups()
            month_number = _MONTHS[month.lower()]
            return _moment(year, month_number, day, hour, minute, second, _zone(zone or "utc"))
        if found := _NUMBERS.fullmatch(value):
            return self._from_numbers(value, found)
        raise ValueError

    def _from_numbers(self, value: str, found: re.Match[str]) -> datetime:
        first, separator, second = int(found[1]), found[2], int(found[3])
        if first > 12 or second > 12 or first == second:
            order: Order | None = "dmy" if first > 12 else "mdy"
        else:
            order = self._order(separator)
        if order is None:
            raise Unfit(f"{value} is two days: say --dates dmy (day first) or mdy (month first)")
        day, month = (first, second) if order == "dmy" else (second, first)
        hour = int(found[5] or 0)
        if found[8]:
            if not 1 <= hour <= 12:
                raise ValueError
            hour = hour % 12 + (12 if found[8] in "Pp" else 0)
        return datetime(int(found[4]), month, day, hour, int(found[6] or 0), int(found[7] or 0))  # noqa: DTZ001  # `read` says UTC


def _moment(
    year: str, month: int, day: str, hour: str, minute: str, second: str | None, zone: timezone
) -> datetime:
    leap = second == "60"
    seconds = 59 if leap else int(second or 0)
    moment = datetime(int(year), month, int(day), int(hour), int(minute), seconds, tzinfo=zone)
    return moment + timedelta(seconds=leap)


def _zone(name: str) -> timezone:
    if name[0] not in "+-":
        return timezone(timedelta(hours=_ZONES[name.lower()]))
    sign = -1 if name[0] == "-" else 1
    return timezone(sign * timedelta(hours=int(name[1:3]), minutes=int(name[-2:])))


def _from_iso(value: str) -> datetime:
    if "24:00" not in value and ":60" not in value:
        return datetime.fromisoformat(_without_zone_name(value))
    later = timedelta()
    value, leap = _LEAP_SECOND.subn(r"\1\2:59", value.upper(), count=1)
    value, midnight = _MIDNIGHT.subn(r"\g<1>00:00", value, count=1)
    if leap:
        later = timedelta(seconds=1)
    elif midnight:
        later = timedelta(days=1)
    return datetime.fromisoformat(_without_zone_name(value)) + later


def _without_zone_name(value: str) -> str:
    return _SPACED_ZONE.sub("", value.upper().removesuffix(" UTC").removesuffix(" GMT"))


def _from_number(value: str) -> datetime:
    """A spreadsheet's days since 1900, or seconds, milli- or microseconds since 1970.

    Each is taken where it falls between 1955 and 2119, in which no two of them overlap.
    """
    number = float(value)
    if 20_089 <= number < 80_000:
        return _SPREADSHEET_DAY_0 + timedelta(seconds=round(number * 86_400))
    for unit in (1, 1000, 1_000_000):
        if 1e8 * unit <= number < 4.7e9 * unit:
            seconds, _, fraction = value.partition(".")
            if unit == 1 and fraction:
                return datetime.fromtimestamp(int(seconds), UTC) + timedelta(
                    microseconds=int(fraction[:6].ljust(6, "0"))
                )
            return datetime.fromtimestamp(0, UTC) + timedelta(
                microseconds=int(seconds) * 1_000_000 // unit
            )
    if len(value) == 8:
        return datetime.fromisoformat(value)
    raise ValueError
