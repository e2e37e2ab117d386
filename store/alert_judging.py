"""What the rules about many posts find at one moment: `rising`, `share` and `count`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import Connection

from analysis.alerts import NOBODY_TO_TELL, Alert, AlertState, Judgement, RuleKind, quiet_until
from analysis.rising import HourCounts, Standing, standing
from analysis.sentiment import Sentiment
from store.alert_changes import receivers
from store.alert_counts import AlertCounter, Counted, between, is_by_topic
from store.alert_evidence import EvidenceReader, held_back, of_topic
from store.alert_rules import AlertRule
from store.filters import InsightFilter

_RISING_ABOVE, _RISING_AT_LEAST = 3.7, 20
SHARE_AT_LEAST = 20
"""Where a rule does not say."""

Known = Mapping[str, Alert]
"""The alerts of a rule that are not closed, by their keys."""


class Breach(NamedTuple):
    """Of one key, as far as counts tell; `wanted` finds its posts, and `named` is that filter by
    its names in the API."""

    key: str
    value: float
    figures: Mapping[str, Any]
    wanted: InsightFilter
    named: Mapping[str, Any]


class AlertJudge:
    def __init__(self, counter: AlertCounter, evidence: EvidenceReader) -> None:
        self._counter = counter
        self._evidence = evidence

    def breaches(
        self, rule: AlertRule, known: Known, now: int, connection: Connection
    ) -> Sequence[Judgement]:
        """What breaches in the window up to, but without, `now`, in microseconds. What else there
        is, is calm."""
        return [
            self._with_evidence(rule, each, known.get(each.key), now, connection)
            for each in self._found(rule, now, connection)
        ]

    def _found(self, rule: AlertRule, now: int, connection: Connection) -> Iterator[Breach]:
        wanted = between(rule.filter, now - rule.width, now)
        match rule.kind:
            case RuleKind.RISING if is_by_topic(rule.filter):
                yield from self._rising_topics(rule, wanted, connection)
            case RuleKind.RISING:
                yield from self._rising(rule, wanted, connection)
            case RuleKind.SHARE:
                yield from self._share(rule, wanted, connection)
            case RuleKind.COUNT:
                counted = self._counter.count(wanted, connection)
                if count_breaches(rule, counted.count):
                    figures = {"count": counted.count, "suspected": counted.suspected}
                    yield Breach("", float(counted.count), figures, wanted, rule.filter)

    def _rising_topics(
        self, rule: AlertRule, wanted: InsightFilter, connection: Connection
    ) -> Iterator[Breach]:
        least = rising_at_least(rule)
        beside: tuple[int, HourCounts] | None = None
        for topic, (counted, hours) in self._counter.by_topic(wanted, connection).items():
            if counted.count < least:
                continue
            beside = beside or self._everything(wanted, connection)
            stands = standing(counted.count, hours, *beside, wanted.span)
            if stands.score >= rising_above(rule):
                yield Breach(
                    topic,
                    stands.score,
                    _figures(counted, stands),
                    of_topic(wanted, topic),
                    {**rule.filter, "cluster": topic},
                )

    def _rising(
        self, rule: AlertRule, wanted: InsightFilter, connection: Connection
    ) -> Iterator[Breach]:
        counted = self._counter.count(wanted, connection)
        if counted.count < rising_at_least(rule):
            return
        hours = self._counter.hours(wanted, connection)
        stands = standing(counted.count, hours, *self._everything(wanted, connection), wanted.span)
        if stands.score >= rising_above(rule):
            key = rule.filter.get("cluster", "")
            yield Breach(key, stands.score, _figures(counted, stands), wanted, rule.filter)

    def _everything(self, wanted: InsightFilter, connection: Connection) -> tuple[int, HourCounts]:
        """All posts in the time of a filter, and before."""
        all_ = InsightFilter(wanted.start_time, wanted.end_time)
        return (
            self._counter.count(all_, connection).count,
            self._counter.hours(all_, connection),
        )

    def _share(
        self, rule: AlertRule, wanted: InsightFilter, connection: Connection
    ) -> Iterator[Breach]:
        counted = self._counter.count(wanted, connection)
        if counted.count < (rule.at_least or SHARE_AT_LEAST):
            return
        bad = replace(wanted, sentiment=Sentiment.NEGATIVE)
        negative = self._counter.count(bad, connection)
        share = negative.count / counted.count
        if share_breaches(rule, counted.count, share):
            figures = {
                "count": counted.count,
                "share": round(share, 3),
                "suspected": counted.suspected,
            }
            yield Breach("", share, figures, bad, {**rule.filter, "sentiment": "negative"})

    def _with_evidence(
        self,
        rule: AlertRule,
        breach: Breach,
        alert: Alert | None,
        now: int,
        connection: Connection,
    ) -> Judgement:
        """Posts are looked at where somebody may be told, or it has become worse."""
        if (
            alert is not None
            and alert.state is AlertState.OPEN
            and breach.value <= (alert.peak or 0.0)
            and (
                alert.is_told
                or (_is_quiet(rule, alert, now) and alert.held_back != NOBODY_TO_TELL)
                or self._is_held_back_still(rule, alert, breach, connection)
            )
        ):
            return Judgement(breach.key, breach.value, True, alert.held_back)
        found = self._evidence.read(breach.wanted, breach.named, connection, texts=rule.texts)
        above = rule.above if rule.kind is RuleKind.COUNT else None
        return Judgement(
            breach.key,
            breach.value,
            True,
            held_back(found, breach.wanted, at_least=above),
            {**_NO_FIGURES, **breach.figures, **found},
        )

    def _is_held_back_still(
        self, rule: AlertRule, alert: Alert, breach: Breach, connection: Connection
    ) -> bool:
        """By the same posts as before, or since there is still nobody to tell."""
        if alert.held_back == NOBODY_TO_TELL:
            return not receivers(rule, connection)
        if alert.held_back is None or any(
            alert.evidence.get(name) != breach.figures[name] for name in ("count", "suspected")
        ):
            return False
        return self._evidence.is_of_the_same(alert.evidence, breach.wanted, connection)


def _is_quiet(rule: AlertRule, alert: Alert, now: int) -> bool:
    """Whether nobody may be told of it yet: it is muted, or quiet hours, which somebody may have
    changed since, have put it off."""
    if now < (alert.muted_until or 0):
        return True
    return alert.put_off_until is not None and quiet_until(rule.policy, now) is not None


_NO_FIGURES: Mapping[str, Any] = {
    "count": 0,
    "expected": None,
    "score": None,
    "share": None,
    "suspected": 0,
}


def _figures(counted: Counted, stands: Standing) -> Mapping[str, Any]:
    return {
        "count": counted.count,
        "expected": round(stands.expected, 1),
        "score": round(stands.score, 2),
        "suspected": counted.suspected,
    }


def rising_at_least(rule: AlertRule) -> int:
    return rule.at_least or _RISING_AT_LEAST


def rising_above(rule: AlertRule) -> float:
    return _RISING_ABOVE if rule.above is None else rule.above


def count_breaches(rule: AlertRule, count: int) -> bool:
    assert rule.above is not None
    return count >= max(rule.above, rule.at_least or 1)


def share_breaches(rule: AlertRule, count: int, share: float) -> bool:
    assert rule.above is not None
    return count >= (rule.at_least or SHARE_AT_LEAST) and share >= rule.above
