"""Dates as people's files have them, read only where there is one way to read them.

A time without a zone is in the zone that its column's name tells (`Date (EST)`), else in UTC.
`3/4/2015` could be two days: another row of the file decides (one with a number above 12), or the
user does. Names that stand for several zones (IST, BST) and years of two digits that could be days
are not guessed.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo

from importing.errors import RowRejected

Order = Literal["dmy", "mdy", "ymd"]

MISSING = frozenset(("", "nat", "nan", "nil", "none", "null", "n/a", "na", "-", "\\n"))
_MONTHS = {
    name[:length]: number
    for number, name in enumerate(
        "january february march april may june july august september october november"
        " december".split(),
        start=1,
    )
    for length in {3, 4 if name == "september" else 3, len(name)}
}
# In hours. Those of RFC 2822, and those that stand for one zone only.
_ZONES = {
    "utc": 0, "gmt": 0, "z": 0, "ut": 0,
    "est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8, "pdt": -7,
    "akst": -9, "akdt": -8, "hst": -10, "wet": 0, "west": 1, "cet": 1, "cest": 2, "mez": 1,
    "mesz": 2, "eet": 2, "eest": 3, "msk": 3, "sgt": 8, "hkt": 8, "jst": 9, "kst": 9, "awst": 8,
    "acst": 9.5, "acdt": 10.5, "aest": 10, "aedt": 11, "nzst": 12, "nzdt": 13,
    "brt": -3, "brst": -2, "art": -3, "clt": -4, "clst": -3, "cot": -5, "pet": -5, "uyt": -3,
    "sast": 2, "eat": 3, "wat": 1, "trt": 3, "pkt": 5, "wib": 7, "ict": 7, "pht": 8,
}  # fmt: skip
_PLACES = {
    "et": "America/New_York", "ct": "America/Chicago", "mt": "America/Denver",
    "pt": "America/Los_Angeles",
}  # fmt: skip
_CLOCK = r"(\d\d?):(\d\d)(?::(\d\d))?"
_ZONE = r"([+-]\d\d:?\d\d|[A-Za-z]{1,3})"
_TWITTER = re.compile(
    rf"(?:[A-Za-z]{{3}} )?([A-Za-z]{{3}}) +(\d\d?) {_CLOCK}(?: {_ZONE})? (\d{{4}})"
)
_WEEKDAY = re.compile(
    r"(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?\.?,? +", re.IGNORECASE
)
_DAY = re.compile(
    r"(?P<year>\d{4})(?P<mark>[/.-])(?P<month>\d\d?)(?P=mark)(?P<day>\d\d?)(?:\b|(?=T))"
    r"|(?P<first>\d\d?)(?P<sign>[/.-])(?P<second>\d\d?)(?P=sign)(?P<third>\d{4}|\d\d)\b"
    r"|(?P<day_1>\d\d?)(?:st|nd|rd|th|\.)?[ /-]?(?P<name_1>[A-Za-z]{3,9})[., /-]*"
    r"(?P<year_1>\d{4}|'?\d\d)\b"
    r"|(?P<name_2>[A-Za-z]{3,9})\.? ?(?P<day_2>\d\d?)(?:st|nd|rd|th)?,? (?P<year_2>\d{4})\b"
)
_TIME = re.compile(
    r"(?:,? +(?:at +|- +)?|T)(?P<hour>\d\d?)[:.](?P<minute>\d\d)"
    r"(?:[:.](?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?(?: ?(?P<half>[AaPp])\.? ?[Mm]\b\.?)?"
    r"(?: ?(?P<zone>(?:UTC|GMT)?[+-]\d\d?(?::?\d\d)?|[A-Za-z]+(?:/[A-Za-z_]+)*)"
    r"(?: \([^()]*\))?)?"
)
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d\d?)(?::?(\d\d))?")
_CLOCK_ONLY = re.compile(
    r"\d\d?:\d\d(?::\d\d(?:\.\d+)?)?(?: ?[AaPp]\.?[Mm]\.?)?(?: [A-Za-z]{1,5})?"
)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_LONG_NUMBER = re.compile(r"(\d)\.(\d{9,})[eE]\+?(\d\d)")
"""As workbooks and programs have micro- and nanoseconds, known to the second at least."""
_LEAP_SECOND = re.compile(r"(T| )(\d\d:\d\d):60")
_MIDNIGHT = re.compile(r"(T| )24:00(:00(?:\.0+)?)?")
_ISO_DAY = re.compile(r"\d{4}-\d\d-(\d\d)")
_FEW_TEXTS, _FEW_DAYS = 3, 8
"""Of eight days of a month all are before the thirteenth once in 1,700 times."""
_SPACED_ZONE = re.compile(r" (?=[+-]\d\d:?\d\d$)")
_BRACKETS = re.compile(r"(?<=Z|\d)\[[A-Z_/]+\]$")
_ODD_SPACES = str.maketrans("\xa0\u202f\u2009·", "    ")
_DAYS_WITH_COMMA = re.compile(r"\d{5},\d+")
"""As a spreadsheet has them whose language has no point in numbers."""
SPREADSHEET_DAY_0 = datetime(1899, 12, 30, tzinfo=UTC)


class Dates:
    """Reads the dates of one file. `zone` is for times that have none of their own, `day_0` what a
    spreadsheet's days are counted from."""

    def __init__(
        self,
        order: Order | None = None,
        zone: tzinfo = UTC,
        day_0: datetime = SPREADSHEET_DAY_0,
    ) -> None:
        self._given, self._zone, self._day_0 = order, zone, day_0
        self._orders: dict[str, set[Order]] = {}

    def learn(self, value: str) -> None:
        """See whether this date tells in which order this file has day and month."""
        if found := _numbers(value):
            known = self._orders.setdefault(found["sign"], set())
            possible = _possible_orders(found)
            if len(possible) == 1:
                known.update(possible)

    def undecided(self, value: str) -> bool:
        """Whether the value could be several days, and no other value has told the order."""
        found = _numbers(value)
        if not found or self._order(found["sign"]):
            return False
        return len({_day_of(found, order) for order in _possible_orders(found)}) > 1

    def _order(self, separator: str) -> Order | None:
        seen = self._orders.get(separator, set())
        return self._given or (next(iter(seen)) if len(seen) == 1 else None)

    def describe(self) -> str:
        orders = {self._order(separator) for separator in self._orders} - {None}
        names = {"dmy": "day first", "mdy": "month first", "ymd": "year first"}
        return " and ".join(sorted(names[order] for order in orders if order))

    def read(self, value: str) -> str | None:
        """ISO 8601 in UTC with `Z`; None for an empty value. Raises RowRejected."""
        value = value.strip()
        if value.lower() in MISSING:
            return None
        try:
            moment = self._parse(value)
            if moment.tzinfo is None:
                moment = _in_zone(moment, self._zone)
            return to_iso(moment.astimezone(UTC))
        except (ValueError, OverflowError, KeyError):
            raise RowRejected(f"not a time that can be read for sure: {value[:50]}") from None

    def _parse(self, value: str) -> datetime:
        """Raises ValueError, OverflowError or KeyError."""
        if not value.isascii():
            value = value.translate(_ODD_SPACES)
            if not value.isascii():
                raise ValueError
        if found := _TWITTER.fullmatch(value):
            month, day, hour, minute, second, zone, year = found.groups()
            known_zone = zone_of(zone) if zone else self._zone
            return _moment(year, _MONTHS[month.lower()], day, hour, minute, second, known_zone)
        if _DAYS_WITH_COMMA.fullmatch(value):
            value = value.replace(",", ".")
        if is_number(value):
            return _from_number(_written_out(value), self._day_0)
        with suppress(ValueError):
            return _from_iso(value)
        return self._from_parts(value)

    def _from_parts(self, value: str) -> datetime:
        """A day and a time of it, each in any of its forms."""
        start = found.end() if (found := _WEEKDAY.match(value)) else 0
        day = _DAY.match(value, start)
        if day is None:
            raise ValueError
        if day["first"]:
            year, month, number = self._from_numbers(day)
        elif day["year"]:
            year, month, number = int(day["year"]), int(day["month"]), int(day["day"])
        else:
            name, number_of_day = day["name_1"] or day["name_2"], day["day_1"] or day["day_2"]
            month, number = _MONTHS[name.lower()], int(number_of_day)
            year = _year(day["year_1"] or day["year_2"])
        if day.end() == len(value):
            return datetime(year, month, number)  # noqa: DTZ001  # `read` says the zone
        time = _TIME.fullmatch(value, day.end())
        if time is None:
            raise ValueError
        hour, half = int(time["hour"]), time["half"]
        if half:
            if not 1 <= hour <= 12:
                raise ValueError
            hour = hour % 12 + (12 if half in "Pp" else 0)
        fraction = int((time["fraction"] or "0")[:6].ljust(6, "0"))
        moment = datetime(  # noqa: DTZ001  # as above
            year, month, number, hour, int(time["minute"]), int(time["second"] or 0), fraction
        )
        return _in_zone(moment, zone_of(time["zone"])) if time["zone"] else moment

    def _from_numbers(self, found: re.Match[str]) -> tuple[int, int, int]:
        """Raises RowRejected where they are several days."""
        orders = _possible_orders(found)
        days = {_day_of(found, order) for order in orders}
        if len(days) > 1:
            order = self._order(found["sign"])
            days = {_day_of(found, order)} if order in orders and order else set()
            if not order:
                raise RowRejected(
                    f"{found[0]} is two days: say --dates dmy (day first) or mdy (month first)"
                )
        if not days:
            raise ValueError
        return days.pop()


def _numbers(value: str) -> re.Match[str] | None:
    """Day, month and year as numbers, the year last unless it has two digits; else None."""
    value = value.strip()
    found = _DAY.match(value)
    if not found or not found["first"]:
        return None
    return found if found.end() == len(value) or _TIME.fullmatch(value, found.end()) else None


def are_swapped(values: Iterable[str]) -> bool:
    """Whether a spreadsheet in another language has opened these: then what could be a day of its
    own is one, with day and month swapped, and the others, with a day above 12, are texts still."""
    texts, days = list[re.Match[str]](), list[int]()
    for value in values:
        if found := _numbers(value):
            texts.append(found)
        elif day := _ISO_DAY.match(value):
            days.append(int(day[1]))
    return (
        len(texts) >= _FEW_TEXTS
        and len(days) >= _FEW_DAYS
        and all(day <= 12 for day in days)
        and all(len(_possible_orders(found)) == 1 for found in texts)
    )


def _possible_orders(found: re.Match[str]) -> set[Order]:
    """Where two digits stand last they are the year, but between hyphens, where ISO 8601 has it
    first, they may also be the day."""
    orders: list[Order] = ["dmy", "mdy"]
    if found["sign"] == "-" and len(found["third"]) == 2:
        orders.append("ymd")
    return {order for order in orders if _is_day(found, order)}


def _is_day(found: re.Match[str], order: Order) -> bool:
    with suppress(ValueError):
        return date(*_day_of(found, order)) is not None
    return False


def _day_of(found: re.Match[str], order: Order) -> tuple[int, int, int]:
    """Year, month, day. Raises ValueError."""
    numbers = (found["first"], found["second"], found["third"])
    year, month, day = (numbers[order.index(part)] for part in "ymd")
    return _year(year), int(month), int(day)


def _year(digits: str) -> int:
    """Of two digits: up to the next year, or before 2000. Raises ValueError where it is neither."""
    digits = digits.removeprefix("'")
    if len(digits) == 4:
        return int(digits)
    short, now = int(digits), datetime.now(UTC).year % 100
    if now + 1 < short < 70:
        raise ValueError
    return short + (2000 if short <= now + 1 else 1900)


def is_clock(value: str) -> bool:
    """Whether it is a time of day without a day."""
    return _CLOCK_ONLY.fullmatch(value.strip()) is not None


def is_number(value: str) -> bool:
    return (_NUMBER.fullmatch(value) or _LONG_NUMBER.fullmatch(value)) is not None


def _written_out(value: str) -> str:
    """A number without its exponent: zeros stand for the digits that it does not have."""
    if (found := _LONG_NUMBER.fullmatch(value)) is None:
        return value
    digits, length = found[1] + found[2], int(found[3]) + 1
    return digits.ljust(length, "0")[:length]


def _in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """Raises ValueError for an hour that is there twice, or not at all, as the clocks change."""
    found = moment.replace(tzinfo=zone)
    if found.utcoffset() != found.replace(fold=1).utcoffset():
        raise ValueError
    return found


def _moment(
    year: str, month: int, day: str, hour: str, minute: str, second: str | None, zone: tzinfo
) -> datetime:
    leap = second == "60"
    seconds = 59 if leap else int(second or 0)
    moment = datetime(int(year), month, int(day), int(hour), int(minute), seconds, tzinfo=zone)
    return moment + timedelta(seconds=leap)


def zone_of(name: str) -> tzinfo:
    """Raises KeyError or ValueError where it stands for none, or for several."""
    if found := _OFFSET.fullmatch(name):
        size = timedelta(hours=int(found[2]), minutes=int(found[3] or 0))
        return timezone(-size if found[1] == "-" else size)
    if place := _PLACES.get(name.lower(), name if 0 < name.count("/") <= 2 else None):
        return ZoneInfo(place)
    return timezone(timedelta(hours=_ZONES[name.lower()]))


def to_iso(moment: datetime) -> str:
    """Of a moment in UTC, with `Z`."""
    return moment.isoformat().replace("+00:00", "Z")


def _from_iso(value: str) -> datetime:
    with suppress(ValueError):
        return datetime.fromisoformat(value)
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
    # Java adds the zone's name in brackets, to an offset that says it already.
    value = _BRACKETS.sub("", value.upper())
    return _SPACED_ZONE.sub("", value.removesuffix(" UTC").removesuffix(" GMT"))


_WRITTEN_TOGETHER = re.compile(r"(?:19[89]|20\d)\d[01]\d[0-3]\d[0-2]\d[0-5]\d(?:[0-5]\d)?")


def _from_number(value: str, day_0: datetime) -> datetime:
    """A spreadsheet's days, or seconds, milli-, micro- or nanoseconds since 1970.

    Each is taken where it falls between 1955 and 2119, in which no two of them overlap.
    """
    if _WRITTEN_TOGETHER.fullmatch(value):  # as milliseconds it would be a day in 1976
        with suppress(ValueError):
            return datetime.fromisoformat(f"{value[:8]}T{value[8:]}")
    number = float(value)
    if 20_089 <= number < 80_000:
        return day_0 + timedelta(seconds=round(number * 86_400))
    for unit in (1, 1000, 1_000_000, 1_000_000_000):
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
