"""Whether a topic is rising, in a way that wakes somebody up. Pure.

The statistic is that of trends (`analysis/trend_score.py`). What is expected comes from four weeks
of the topic: how much of it comes at that hour of the day, times how much on that day of the week,
lifted where the last day was clearly livelier than that. With less than four weeks, it comes from
the windows right before and, where that is more, from the same hours of the days before. The score
is divided by how much more than Poisson the topic varies among the same hours, in blocks as long as
the window; an incident of the past counts in that as a lively hour only. Two gates keep what is no
incident from having a high score:

- the same hours of the week in the four weeks, by themselves: what comes each Monday at nine is
  none;
- the topic's share of all posts, now and before, by the signed root of the log-likelihood ratio of
  the 2x2 table (the G-test: R. Sokal and F. Rohlf, "Biometry", 1981; for words T. Dunning,
  Computational Linguistics 19(1), 1993): a morning that is lively for all topics is none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from analysis.micros import DAY, HOUR, WEEK
from analysis.trend_score import dispersion, signed_root

WEEKS = 4
_WEEK_HOURS = 7 * 24
BASELINE_HOURS = WEEKS * _WEEK_HOURS
KEPT_HOURS = BASELINE_HOURS + 2 * 24
"""What `standing` looks at."""
GATE = 1.5
"""A signed root: by chance one window of fifteen is that far up."""
_CLEARLY = 2.0
"""Standard deviations by which a day is livelier than usual."""
_SMOOTHING = 3 / 8
"""The sum of the squares of 1/4, 1/2 and 1/4."""
_MOST_OF_A_BLOCK = 10.0
"""What one block can add to the variation, in Poisson variances."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a count in the last window stands: against what was `expected`, and as a score."""

    expected: float
    score: float


class HourCounts:
    """Counts of full hours, the oldest first; the last one ends at `stop`, in microseconds.

    What was before the first count that is not 0 tells nothing.
    """

    def __init__(self, counts: Sequence[float], stop: int) -> None:
        first = next((place for place, count in enumerate(counts) if count), len(counts))
        self._counts = counts[first:]
        self.stop = stop
        self.start = stop - len(self._counts) * HOUR
        self._sums = [0, *accumulate(self._counts)]
        self._dispersions: dict[int, float] = {}

    @cached_property
    def total(self) -> float:
        return self._sums[-1]

    @property
    def hours(self) -> int:
        return len(self._counts)

    def between(self, start: int, stop: int) -> float:
        """Of a part of an hour a part of its count."""
        return self._up_to(stop) - self._up_to(start)

    def _up_to(self, moment: int) -> float:
        place, rest = divmod(min(max(moment, self.start), self.stop) - self.start, HOUR)
        if not rest:
            return self._sums[place]
        return self._sums[place] + self._counts[place] * rest / HOUR

    def reaches_back(self, moment: int) -> bool:
        return self.start <= moment

    def weekly_dispersion(self, width: int) -> float:
        """Variance over mean among the same blocks of four weeks; at least 1, as of Poisson."""
        hours = max(1, width // HOUR)
        if hours not in self._dispersions:
            self._dispersions[hours] = self._find_dispersion(hours)
        return self._dispersions[hours]

    def _find_dispersion(self, hours: int) -> float:
        end, in_a_week = len(self._counts), _WEEK_HOURS // hours
        sums = self._sums
        blocks = [sums[end - n * hours] - sums[end - (n + 1) * hours] for n in range(in_a_week * 4)]
        variation, freedom = 0.0, 0
        for place in range(in_a_week):
            same = blocks[place::in_a_week]
            mean = sum(same) / WEEKS
            if mean:
                freedom += WEEKS - 1
                variation += sum(
                    min((count - mean) ** 2 / mean, _MOST_OF_A_BLOCK) for count in same
                )
        return max(1.0, variation / freedom) if freedom else 1.0

    def expected(self, start: int, stop: int) -> float:
        """By the rhythm of day and week, of a time that is at most some hours after `stop`."""
        first, rest = divmod(start, HOUR)
        last, more = divmod(stop, HOUR)
        rates = self._rhythm
        if first == last:
            return rates[first % _WEEK_HOURS] * (stop - start) / HOUR
        whole = sum(rates[hour % _WEEK_HOURS] for hour in range(first + 1, last))
        head = rates[first % _WEEK_HOURS] * (HOUR - rest) / HOUR
        return head + whole + rates[last % _WEEK_HOURS] * more / HOUR

    @cached_property
    def _rhythm(self) -> Sequence[float]:
        """Counts that are expected in each hour of the week, from Thursday 1970-01-01 on: how many
        come at that hour of the day, times how lively that day of the week is. Means leave out the
        highest and the lowest, so that one incident makes nobody expect another."""
        by_hour: list[list[float]] = [[] for _ in range(24)]
        by_day: list[list[float]] = [[] for _ in range(7)]
        first = self.start // HOUR
        for hour, count in enumerate(self._counts, first):
            by_hour[hour % 24].append(count)
        midnight = -(-first // 24) * 24 - first
        for place in range(midnight, len(self._counts) - 23, 24):
            of_day = self._sums[place + 24] - self._sums[place]
            by_day[(first + place) // 24 % 7].append(of_day)
        hours = [_middle(counts, 2) for counts in by_hour]
        days = [_middle(counts, 1) for counts in by_day]
        usual = sum(days) / 7 or 1.0
        smooth = [
            hours[place - 1] / 4 + hours[place] / 2 + hours[(place + 1) % 24] / 4
            for place in range(24)
        ]
        return [smooth[place % 24] * days[place // 24] / usual for place in range(_WEEK_HOURS)]


def _middle(counts: Sequence[float], left_out: int) -> float:
    """The mean but for so many at either end."""
    middle = sorted(counts)[left_out:-left_out]
    return sum(middle) / len(middle) if middle else 0.0


def standing(
    count: int,
    topic: HourCounts,
    everything_now: int,
    everything: HourCounts,
    last: tuple[int, int],
) -> Standing:
    """Of a topic with `count` of `everything_now` posts in the last window, from `last[0]` up to,
    but without, `last[1]`."""
    start, stop = last
    width = stop - start
    gates = [_share_root(count, everything_now, topic, everything, start)]
    if topic.reaches_back(stop - WEEKS * WEEK - DAY):
        lift = _lift(topic, start)
        expected, windows = lift * topic.expected(start, stop), _worth(width)
        varies = topic.weekly_dispersion(width)
        same = sum(
            topic.between(start - week * WEEK, stop - week * WEEK) for week in range(1, WEEKS + 1)
        )
        gates.append(signed_root(count, lift * same, WEEKS))
    else:
        # In the very first window all that comes is new, as it is to trends.
        before = _windows_before(topic, everything, start, width) or [0.0] * _BEFORE[width]
        windows, varies = float(len(before)), dispersion(before)
        expected = sum(before) / windows
        days = _same_hours(topic, start, stop)
        if days:
            gates.append(signed_root(count, expected * windows, windows))
            windows, varies = float(len(days)), dispersion(days)
            expected = max(expected, sum(days) / windows)
    score = signed_root(count, expected * windows, windows) / math.sqrt(varies)
    if min(gates) < GATE:
        score = min(score, *gates)
    return Standing(expected, score)


def _same_hours(topic: HourCounts, start: int, stop: int) -> Sequence[float]:
    """Of up to seven days before, where there are two; a whole day has none."""
    days = min(7, (start - topic.start) // DAY)
    if days < 2 or stop - start >= DAY:
        return []
    return [topic.between(start - day * DAY, stop - day * DAY) for day in range(1, days + 1)]


def _lift(topic: HourCounts, start: int) -> float:
    usual, day = topic.expected(start - DAY, start), topic.between(start - DAY, start)
    varies = topic.weekly_dispersion(DAY)
    return day / usual if usual and day > usual + _CLEARLY * math.sqrt(varies * usual) else 1.0


def _worth(width: int) -> float:
    """As how many windows that are counted the expectation is as sure: hours of the day are known
    from some 28 days, with their neighbours; days of the week from four."""
    of_hours = 28 * max(1.0, HOUR / (_SMOOTHING * width))
    of_days = WEEKS * DAY / width
    return 1 / (1 / of_hours + 1 / of_days)


_BEFORE = {HOUR // 4: 24, HOUR: 24, 6 * HOUR: 28, 24 * HOUR: 14}
"""By a window's width, how many before it are looked at, as for trends."""


def _windows_before(
    topic: HourCounts, everything: HourCounts, start: int, width: int
) -> Sequence[float]:
    """As far back as there is anything at all."""
    found = []
    for number in range(_BEFORE[width]):
        stop = min(start, topic.stop) - number * width
        if stop - width < everything.start:
            break
        found.append(topic.between(stop - width, stop))
    return found


def _share_root(
    count: int, everything_now: int, topic: HourCounts, everything: HourCounts, start: int
) -> float:
    """Over all that is known before the window since the topic is there, or, where that is less
    than a day, which may be this very incident, over all. Where there is nothing else, or nothing
    before, nothing is asked."""
    stop = min(start, topic.stop)
    before = topic.between(topic.start, stop)
    others = everything_now - count
    since = everything.start
    if topic.start <= start - DAY:
        since = max(topic.start, since)
    others_before = everything.between(since, stop) - before
    if others_before <= 0 and (others <= 0 or before <= 0):
        return math.inf
    return _g_root(count, others, before, max(0.0, others_before))


def _g_root(count: float, others: float, before: float, others_before: float) -> float:
    """The signed root of the G statistic: positive where the share is larger now than before."""
    table = ((count, others), (before, others_before))
    rows = [sum(row) for row in table]
    columns = [sum(column) for column in zip(*table, strict=True)]
    in_all = sum(rows)
    if not in_all or not all(rows) or not all(columns):
        return 0.0
    ratio = 2 * sum(
        n * math.log(n * in_all / (rows[i] * columns[j]))
        for i, row in enumerate(table)
        for j, n in enumerate(row)
        if n
    )
    return math.copysign(math.sqrt(max(0.0, ratio)), count * rows[1] - before * rows[0])
