"""alerts: how often rules call falsely, how soon they see a threefold rise, and what they cost.

Sixty days of made-up traffic: twenty topics that share the rhythm of days and weeks, but for some
that have one of their own. Every minute of the last 32 days is judged as the service judges it. On
the same minutes, for comparison: a plain threshold, three times the mean of the days before, a
z-score of 4 against the 24 windows before, and the most that can be had: a judge who is told the
rate by which the posts are drawn, where the others must find it out. The cost is that of the
service's own store, the delay that of the service itself.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from analysis.alerts import Judgement, Notice, Policy, judged
from analysis.micros import HOUR
from analysis.rising import HourCounts, standing
from bench import alerts_cost, alerts_delay
from bench.report import Report, Samples
from bench.servers import Servers

DAYS, WARM_UP = 60, 28
TOPICS = 20
USUAL, THREEFOLD = 10.0, 3.0
ABOVE, AT_LEAST = 3.7, 20
RISES = 300
_MINUTES = 60
_PER_DAY = 24 * _MINUTES
_MINUTE = HOUR // 60
_COOLDOWN = 4 * HOUR

Score = Callable[["Topic", "Topic", int], tuple[float, int]]
"""Of a topic beside everything, in the hour that ends with a minute: above 1 it breaches; and the
count of the hour."""


Rate = Callable[[int], float]
"""In a minute, posts an hour."""


class Topic:
    """Posts minute by minute, from the first day on."""

    def __init__(self, minutes: Sequence[int], rate: Rate) -> None:
        """`rate` is that by which they are drawn."""
        self.rate = rate
        self.sums = [0, *accumulate(minutes)]
        self._by_hour: dict[int, HourCounts] = {}

    def count(self, start: int, stop: int) -> int:
        return self.sums[stop] - self.sums[max(0, start)]

    def hours(self, minute: int) -> HourCounts:
        """As they are known in that minute."""
        hour = minute // _MINUTES
        if hour not in self._by_hour:
            first = max(0, hour - 30 * 24)
            counts = [
                self.count(each * _MINUTES, (each + 1) * _MINUTES) for each in range(first, hour)
            ]
            self._by_hour = {hour: HourCounts(counts, hour * HOUR)}
        return self._by_hour[hour]


class Traffic(NamedTuple):
    topics: Sequence[Topic]
    everything: Topic


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    traffic = _make_traffic(random.Random(1))
    weeks = (DAYS - WARM_UP) / 7
    for name, score in _WAYS.items():
        false = sum(_notices(traffic.everything, topic, score) for topic in traffic.topics)
        noticed = _share_noticed(traffic, score, random.Random(2))
        aims = name == "rising"
        report.say(
            f"  {name}: {false / weeks:.2f} false notices a week;"
            f" {100 * noticed:.0f} % of threefold rises noticed within the hour"
        )
        report.add(
            "alerts",
            f"false notices a week, {name}",
            Samples([false / weeks]),
            "",
            below=1.0 if aims else None,
        )
        report.add(
            "alerts",
            f"threefold rises missed, {name}",
            Samples([100 * (1 - noticed)]),
            "%",
            below=10.0 if aims else None,
        )
    alerts_delay.run(report, servers)
    alerts_cost.run(report, servers)


def _make_traffic(draw: random.Random) -> Traffic:
    """Some 200 posts an hour, at night a fifth of what comes by day, on Sundays half."""
    topics = []
    everything = [0] * (DAYS * _PER_DAY)
    for number in range(TOPICS):
        rate = _rate(USUAL * (0.5 + 1.5 * number / TOPICS), 6 if number % 5 == 0 else 0)
        minutes = [_poisson(rate(minute) / _MINUTES, draw) for minute in range(DAYS * _PER_DAY)]
        everything = [a + b for a, b in zip(everything, minutes, strict=True)]
        topics.append(Topic(minutes, rate))
    return Traffic(topics, Topic(everything, lambda minute: sum(t.rate(minute) for t in topics)))


def _rate(mean: float, shift: int) -> Rate:
    """`shift` is by how many hours its day is another one than that of the others."""

    def rate(minute: int) -> float:
        hour = minute / _MINUTES - shift
        by_day = 1 - 0.66 * math.cos(2 * math.pi * (hour % 24 - 3) / 24)
        return mean * by_day * (0.5 if minute // _PER_DAY % 7 == 6 else 1.08)

    return rate


def _notices(everything: Topic, topic: Topic, score: Score) -> int:
    policy, alert, notices = Policy(cooldown=_COOLDOWN), None, 0
    for minute in range(WARM_UP * _PER_DAY, DAYS * _PER_DAY):
        value, count = score(topic, everything, minute)
        judgement = Judgement("topic", value, value >= 1 and count >= AT_LEAST)
        change = judged(alert, judgement, minute * _MINUTE, policy)
        alert, notices = change.alert, notices + (change.notice is Notice.OPENED)
    return notices


def _share_noticed(traffic: Traffic, score: Score, draw: random.Random) -> float:
    """Of rises to three times what is usual, where that is ten an hour, that last an hour."""
    noticed = 0
    for _ in range(RISES):
        number, start = _place(traffic, draw)
        topic, more = traffic.topics[number], [0] * (DAYS * _PER_DAY)
        for minute in range(start, start + _MINUTES):
            more[minute] = _poisson((THREEFOLD - 1) * USUAL / _MINUTES, draw)
        risen = _with(topic, more)
        everything = _with(traffic.everything, more)
        noticed += any(
            value >= 1 and count >= AT_LEAST
            for value, count in (
                score(risen, everything, minute) for minute in range(start, start + _MINUTES + 1)
            )
        )
    return noticed / RISES


def _place(traffic: Traffic, draw: random.Random) -> tuple[int, int]:
    while True:
        number = draw.randrange(TOPICS)
        start = draw.randrange((WARM_UP + 2) * _PER_DAY, (DAYS - 1) * _PER_DAY)
        if abs(traffic.topics[number].rate(start + 30) - USUAL) < 0.5:
            return number, start


def _with(topic: Topic, more: Sequence[int]) -> Topic:
    risen = Topic([], topic.rate)
    risen.sums = [a + b for a, b in zip(topic.sums, [0, *accumulate(more)], strict=True)]
    return risen


# --- the ways to judge ----------------------------------------------------------------------------


def _rising(topic: Topic, everything: Topic, minute: int) -> tuple[float, int]:
    count = topic.count(minute - _MINUTES, minute)
    if count < AT_LEAST:
        return 0.0, count
    found = standing(
        count,
        topic.hours(minute),
        everything.count(minute - _MINUTES, minute),
        everything.hours(minute),
        ((minute - _MINUTES) * _MINUTE, minute * _MINUTE),
    )
    return found.score / ABOVE, count


def _threshold(topic: Topic, everything: Topic, minute: int) -> tuple[float, int]:
    count, hours = topic.count(minute - _MINUTES, minute), topic.hours(minute)
    return count / max(1e-9, THREEFOLD * hours.total / hours.hours), count


def _z_score(topic: Topic, everything: Topic, minute: int) -> tuple[float, int]:
    count = topic.count(minute - _MINUTES, minute)
    before = list(_windows(topic, minute - _MINUTES))
    mean = sum(before) / len(before)
    deviation = math.sqrt(sum((each - mean) ** 2 for each in before) / (len(before) - 1))
    return (count - mean) / max(1.0, deviation) / 4, count


def _all_knowing(topic: Topic, everything: Topic, minute: int) -> tuple[float, int]:
    """The signed root of the log-likelihood ratio, of a count whose mean is known."""
    count = topic.count(minute - _MINUTES, minute)
    known = topic.rate(minute - _MINUTES // 2)
    if count < AT_LEAST or count <= known:
        return 0.0, count
    return math.sqrt(2 * (count * math.log(count / known) - count + known)) / ABOVE, count


def _windows(topic: Topic, stop: int) -> Iterator[int]:
    for number in range(24):
        yield topic.count(stop - (number + 1) * _MINUTES, stop - number * _MINUTES)


_WAYS: dict[str, Score] = {
    "rising": _rising,
    "a plain threshold": _threshold,
    "a z-score": _z_score,
    "who knows the rates": _all_knowing,
}


def _poisson(rate: float, draw: random.Random) -> int:
    """By Knuth's product of uniforms, for the small rates of a minute."""
    count, bound, product = 0, math.exp(-rate), draw.random()
    while product > bound:
        count, product = count + 1, product * draw.random()
    return count
