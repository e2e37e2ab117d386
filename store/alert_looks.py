"""What of a rule breaches at many moments of the past, from counts in steps. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from analysis.micros import DAY, HOUR, WEEK
from analysis.rising import GATE, KEPT_HOURS, WEEKS, HourCounts, standing
from analysis.trend_score import signed_root
from store.alert_judging import count_breaches, rising_above, rising_at_least, share_breaches
from store.alert_rules import AlertRule

BASELINE = KEPT_HOURS * HOUR
"""What of the past a rising topic is held against."""

Breaches = Mapping[str, float]
"""By how much which keys breach."""
Looks = Iterator[tuple[int, Breaches]]
"""The ends of windows, and what breaches there."""


class Steps(NamedTuple):
    """Counts in steps of `width` from `start` on, as sums up to each."""

    start: int
    width: int
    sums: Sequence[int]

    def between(self, start: int, stop: int) -> int:
        """Both on a step."""
        first, last = ((moment - self.start) // self.width for moment in (start, stop))
        return self.sums[max(0, last)] - self.sums[max(0, first)]

    def hours(self, stop: int) -> HourCounts:
        """Before a full hour."""
        in_an_hour = HOUR // self.width
        last = (stop - self.start) // self.width
        first = max(last % in_an_hour, last - KEPT_HOURS * in_an_hour)
        places = range(first, last, in_an_hour)
        counts = [self.sums[place + in_an_hour] - self.sums[place] for place in places]
        return HourCounts(counts, stop)


def count_looks(rule: AlertRule, moments: range, steps: Steps) -> Looks:
    """Of a number that is to be reached."""
    for moment in moments:
        count = steps.between(moment - rule.width, moment)
        yield moment, {"": float(count)} if count_breaches(rule, count) else {}


def share_looks(rule: AlertRule, moments: range, negative: Steps, everything: Steps) -> Looks:
    """Of the share of negative ones."""
    for moment in moments:
        last = moment - rule.width, moment
        count = everything.between(*last)
        share = negative.between(*last) / count if count else 0.0
        yield moment, {"": share} if share_breaches(rule, count, share) else {}


def rising_looks(
    rule: AlertRule, moments: range, topics: Mapping[str, Steps], everything: Steps
) -> Looks:
    """Of topics that rise, by their names."""
    width = rule.width
    above, least = rising_above(rule), rising_at_least(rule)
    known: dict[str | None, HourCounts] = {}

    def hours(name: str | None, steps: Steps, stop: int) -> HourCounts:
        """The same for all looks of an hour: what it finds out of them is found once."""
        if (kept := known.get(name)) is None or kept.stop != stop:
            kept = known[name] = steps.hours(stop)
        return kept

    for moment in moments:
        found: dict[str, float] = {}
        hour = moment // HOUR * HOUR
        for name, steps in topics.items():
            count = steps.between(moment - width, moment)
            if count < least:
                continue
            if above >= GATE and _is_usual(count, steps, moment, width):
                continue
            now = everything.between(moment - width, moment)
            beside = now, hours(None, everything, hour)
            last = moment - width, moment
            score = standing(count, hours(name, steps, hour), *beside, last).score
            if score >= above:
                found[name] = score
        yield moment, found


def _is_usual(count: int, steps: Steps, moment: int, width: int) -> bool:
    """Whether the gate of the same hours holds it back, which costs less than to ask all."""
    if not steps.between(moment - BASELINE, moment - WEEKS * WEEK - DAY):
        return False
    same = sum(
        steps.between(moment - width - week * WEEK, moment - week * WEEK)
        for week in range(1, WEEKS + 1)
    )
    return signed_root(count, same, WEEKS) < GATE
