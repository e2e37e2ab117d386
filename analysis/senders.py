"""What is known of who wrote a text: the account's name, its followers, on which side it is."""

import math
import re
from collections.abc import Mapping
from typing import Any

MOST_FOLLOWERS = 10_000_000_000
"""More than there are people: what is beyond it counts as this."""
_FULL_REACH = 6
"""Of a million followers, as the exponent of 10."""

_FOLLOWERS = tuple(
    name.split(".")
    for name in (
        "followers_count",
        "followers",
        "user.followers_count",
        "author.followers_count",
        "public_metrics.followers_count",
        "author.public_metrics.followers_count",
    )
)
_HOLDERS_OF_FOLLOWERS = {path[0] for path in _FOLLOWERS}


def account(name: str) -> str:
    """The same for all ways to write an account's name: `@Acme` and `acme`."""
    return name.strip().lstrip("@").casefold()


def followers_of(raw_data: Mapping[str, Any]) -> int | None:
    """How many followers the data that came with a text says that its author has."""
    if _HOLDERS_OF_FOLLOWERS.isdisjoint(raw_data):  # as in most data: 0.2 us in place of 2.4
        return None
    for path in _FOLLOWERS:
        found: Any = raw_data
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        if (count := _count(found)) is not None:
            return count
    return None


def _count(value: object) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]+", value):  # as in a CSV file
        value = int(value) if len(value) <= 11 else MOST_FOLLOWERS
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if value > MOST_FOLLOWERS:
        return MOST_FOLLOWERS
    return int(value) if value >= 0 and value == int(value) else None


def is_outbound(raw_data: Mapping[str, Any]) -> bool:
    """Whether the data that came with a text says that it was sent by the company, not to it."""
    if "inbound" not in raw_data:  # as in most data: a quarter of the time
        return False
    inbound = raw_data["inbound"]
    return isinstance(inbound, str | int | float) and str(inbound).strip().lower() in ("false", "0")


def reach(followers: int | None) -> float:
    """From 0 to 1, which is a million followers; each step of ten times as many counts alike."""
    return round(min(1.0, math.log10(1 + (followers or 0)) / _FULL_REACH), 6)
