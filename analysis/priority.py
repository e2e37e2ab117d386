"""Whom to answer first: points as a sum of terms that anybody can check. Pure.

Waiting counts alike for all, so the order does not depend on the time at which one looks. The *key*
by which conversations are ordered is their points without those for waiting until now:

    points(now) = fixed + hours x (now - timestamp)        key = fixed - hours x timestamp

as a whole number, in units of an hour's microseconds to a point: so no time is rounded.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from typing_extensions import TypedDict

from analysis.micros import DAY, HOUR
from analysis.urgency import Urgency

MOST_REPEATS = 3
FORTNIGHT = 14 * DAY
"""How long an author's unhappy conversations count as repeats, in microseconds."""

_DIGITS = 4
_TICK = 10_000
"""Points are added up in ten-thousandths, which is exact."""
_KEY_OF_TICK = HOUR // _TICK
_MOST_KEY = 2**63 - 1

_URGENT = {Urgency.NONE.value: 0.0, Urgency.SOON.value: 0.5, Urgency.NOW.value: 1.0}


class Weights(NamedTuple):
    """How many points a term's whole value gives. That of `hours` may be negative, which puts the
    new before the old; all others are at least 0."""

    negative: float = 40.0
    urgency: float = 25.0
    repeat: float = 10.0
    reach: float = 5.0
    rising: float = 5.0
    hours: float = 1.0


class Facts(NamedTuple):
    """What the points of an insight depend on. `timestamp` is in microseconds since 1970-01-01 UTC,
    `repeats` how many unhappy conversations its author had in the 14 days before, `reach` from 0.0
    to 1.0, `rising` whether one of its topics was rising when it was analysed.

    A text that is suspected of steering the analyser gets no points for its urgency.
    """

    timestamp: int
    sentiment_score: float
    confidence: float
    urgency: str
    suspected: bool
    repeats: int
    reach: float
    rising: int


_Others = tuple[str, bool, int, float, int]
"""The facts from `urgency` on."""


class PriorityTerm(TypedDict):
    """`points` is value x weight, rounded to four decimals."""

    name: str
    value: float
    weight: float
    points: float


class Priority(TypedDict):
    """The terms add up to the points to the digit. Terms may be shared: nobody changes one."""

    points: float
    terms: Sequence[PriorityTerm]


def priority(facts: Facts, weights: Weights, now: int) -> Priority:
    """`now` is in microseconds, too."""
    negative = _term("negative", _negative(facts), weights.negative)
    hours = _term("hours", round((now - facts.timestamp) / HOUR, 6), weights.hours)
    others, ticks = _other_terms(facts[3:], weights)
    ticks += _ticks(negative) + _ticks(hours)
    return {"points": ticks / _TICK, "terms": [negative, *others, hours]}


def _term(name: str, value: float, weight: float) -> PriorityTerm:
    points = round(value * weight, _DIGITS)
    return {"name": name, "value": value, "weight": weight, "points": points}


def _ticks(term: PriorityTerm) -> int:
    return round(term["points"] * _TICK)


@lru_cache(maxsize=4096)  # few different ones make up most of a page
def _other_terms(facts: _Others, weights: Weights) -> tuple[Sequence[PriorityTerm], int]:
    """The terms between the first and the last, and their sum in ticks."""
    terms = list(map(_term, Weights._fields[1:-1], _other_values(*facts), weights[1:-1]))
    return terms, sum(map(_ticks, terms))


def key(facts: Facts, weights: Weights) -> int:
    """The higher, the earlier to be answered. At the ends of all time several are equal."""
    timestamp, _, _, urgency, suspected, repeats, reach, rising = facts
    fixed = _ticks_of_few(urgency, suspected, repeats, rising, weights)
    for value, weight in ((_negative(facts), weights.negative), (reach, weights.reach)):
        fixed += round(round(value * weight, _DIGITS) * _TICK)
    return _within(fixed * _KEY_OF_TICK - round(weights.hours * timestamp))


@lru_cache(maxsize=256)
def _ticks_of_few(
    urgency: str, suspected: bool, repeats: int, rising: int, weights: Weights
) -> int:
    """Of the terms that have few values."""
    return _other_terms((urgency, suspected, repeats, 0.0, rising), weights)[1]


def highest_key(weights: Weights, first: int, last: int) -> int:
    """No key of a timestamp from `first` to `last` is higher."""
    fixed = round(sum(weights._replace(hours=0.0)) * _TICK) + len(weights)  # and all that rounding
    earliest = first if weights.hours > 0 else last
    return _within(fixed * _KEY_OF_TICK - round(weights.hours * earliest))


def _negative(facts: Facts) -> float:
    return round(max(0.0, -facts.sentiment_score) * facts.confidence, 6)


def _other_values(
    urgency: str, suspected: bool, repeats: int, reach: float, rising: int
) -> tuple[float, ...]:
    """Of the terms from `urgency` to `rising`, in the order of the weights, 0.0 to 1.0 each."""
    return (
        0.0 if suspected else _URGENT[urgency],
        round(min(repeats, MOST_REPEATS) / MOST_REPEATS, 6),
        reach,
        float(rising),
    )


def _within(number: int) -> int:
    return max(-_MOST_KEY, min(number, _MOST_KEY))
