"""What a rule would have sent over the last thirty days, by the functions that judge.

Counts are looked at in steps: of a quarter of an hour, or of an hour where windows are longer than
that. A look stands for the judgements of all minutes of its step. Posts of one by one rules are
taken as they came.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

from sqlalchemy import Connection

from analysis.alerts import Alert, Judgement, RuleKind, judged
from analysis.rising import GATE, HOUR, KEPT_HOURS, WEEK, WEEKS, HourCounts, standing
from analysis.sentiment import Sentiment
from analysis.trend_score import signed_root
from analysis.urgency import Urgency
from database import LONG_READ_SECONDS, Database
from errors import InvalidInput
from models import from_micros, now_micros
from store.alert_evidence import EvidenceReader, held_back, of_topic
from store.alert_judging import RISING_ABOVE, RISING_AT_LEAST, count_breaches, share_breaches
from store.alert_rules import AlertRule
from store.alert_singles import A_MINUTE, matches
from store.derived import rollup_query
from store.derived.rollup_query import Key
from store.derived.rollups import NAMES_OF_CLUSTERS
from store.filters import InsightFilter, filter_of
from store.insights import InsightStore

DAYS = 30
_MINUTE = HOUR // 60
_QUARTER = HOUR // 4
_DAY = 24 * HOUR
_MOST_MATCHES = 20_000
_MOST_LOOKS_AT_POSTS = 100
_MOST_POSTS = 1000
_BASELINE = KEPT_HOURS * HOUR
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class TrialAlert:
    """An alert that there would have been; times in microseconds. `told` is how many messages it
    would have made."""

    key: str
    opened_at: int
    closed_at: int | None
    peak: float
    held_back: str | None
    told: int


@dataclass(frozen=True, slots=True)
class Trial:
    """`messages` and `alerts_count` are of all, `alerts` are the last hundred."""

    start: int
    stop: int
    step_minutes: int
    messages: int
    alerts_count: int
    held_back_count: int
    alerts: Sequence[TrialAlert]


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


class TrialStore:
    def __init__(
        self, database: Database, insights: InsightStore, evidence: EvidenceReader
    ) -> None:
        self._database = database
        self._insights = insights
        self._evidence = evidence

    async def run(self, rule: AlertRule, *, now: int | None = None) -> Trial:
        """Raises InvalidInput where a search has too many matches to be counted by time."""
        moment = now_micros() if now is None else now
        work = partial(self._run, rule, moment)
        return await self._database.read(work, costly=True, seconds=LONG_READ_SECONDS)

    def _run(self, rule: AlertRule, now: int, connection: Connection) -> Trial:
        step = _step(rule)
        stop = now // step * step
        start = stop - DAYS * _DAY
        match rule.kind:
            case RuleKind.MACHINE:  # of which nothing is kept
                return Trial(start, stop, 1, 0, 0, 0, [])
            case RuleKind.SINGLE:
                return self._singles(rule, now - DAYS * _DAY, now, connection)
        looks = self._looks(rule, start, stop, step, connection)
        run = _Run(rule, step, partial(self._held_back, rule, connection))
        for moment, breaches in looks:
            run.look(moment, breaches)
        return run.trial(start, stop)

    # --- looks --------------------------------------------------------------------------------

    def _looks(
        self, rule: AlertRule, start: int, stop: int, step: int, connection: Connection
    ) -> Iterator[tuple[int, Mapping[str, float]]]:
        """The ends of windows, and by how much which keys breach there."""
        assert rule.window is not None
        width = rule.window.width
        named = rule.filter
        moments = range(start, stop + 1, step)
        if rule.kind is RuleKind.COUNT:
            steps = self._count(named, start - width, stop, step, connection)
            for moment in moments:
                count = steps.between(moment - width, moment)
                yield moment, {"": float(count)} if count_breaches(rule, count) else {}
        elif rule.kind is RuleKind.SHARE:
            steps = self._count(named, start - width, stop, step, connection)
            bad = {**named, "sentiment": Sentiment.NEGATIVE.value}
            negative = self._count(bad, start - width, stop, step, connection)
            for moment in moments:
                count = steps.between(moment - width, moment)
                share = negative.between(moment - width, moment) / count if count else 0.0
                yield moment, {"": share} if share_breaches(rule, count, share) else {}
        else:
            first = (start - _BASELINE) // HOUR * HOUR
            everything = self._count({}, first, stop, step, connection)
            if named.keys() <= {"sentiment", "min_confidence"}:
                topics = _count_topics(named, first, stop, step, connection)
            else:
                key = named.get("cluster", "")
                topics = {key: self._count(named, first, stop, step, connection)}
            for moment in moments:
                yield moment, _rising(rule, topics, everything, moment)

    def _count(
        self, named: Mapping[str, Any], start: int, stop: int, step: int, connection: Connection
    ) -> Steps:
        counts = [0] * ((stop - start) // step)
        wanted = _between(named, start, stop)
        if wanted.words is not None:
            found = self._insights.keys_after(wanted, None, _MOST_MATCHES + 1, connection)
            if len(found) > _MOST_MATCHES:
                raise InvalidInput(
                    f"filter.q: more than {_MOST_MATCHES:,} posts match: narrow the search to try"
                    " the rule"
                )
            for each in found:
                counts[(each.timestamp - start) // step] += 1
        else:
            for sign, part in rollup_query.signed_parts(wanted):
                values = rollup_query.values_of(part, by_day=False)
                values |= rollup_query.bucket_values(start, step)
                for moment, count in rollup_query.figures(
                    part.shape,
                    Key(bucket=True),
                    values,
                    connection,
                    by_rows=step < HOUR,
                    only_count=True,
                ):
                    counts[(moment - start) // step] += sign * count
        return Steps(start, step, [0, *accumulate(counts)])

    def _held_back(
        self, rule: AlertRule, connection: Connection, key: str, moment: int
    ) -> str | None:
        assert rule.window is not None
        wanted = _between(rule.filter, moment - rule.window.width, moment)
        if rule.kind is RuleKind.RISING and key:
            wanted = of_topic(wanted, key)
        elif rule.kind is RuleKind.SHARE:
            wanted = replace(wanted, sentiment=Sentiment.NEGATIVE)
        found = self._evidence.read(wanted, {}, connection, texts=False)
        above = rule.above if rule.kind is RuleKind.COUNT else None
        return held_back(found, wanted, at_least=above)

    # --- posts one by one ---------------------------------------------------------------------

    def _singles(self, rule: AlertRule, start: int, stop: int, connection: Connection) -> Trial:
        wanted = replace(_between(rule.filter, start, stop), urgency=Urgency.NOW)
        if wanted.sentiment is None:
            wanted = replace(wanted, sentiment=Sentiment.NEGATIVE)
        posts = self._insights.newest(wanted, _MOST_POSTS, connection)
        by_minute: dict[int, list[TrialAlert]] = {}
        for post in reversed(posts):
            if matches(rule, post):
                moment = round(post.timestamp.timestamp() * 1e6)
                told = TrialAlert(
                    post.conversation_id, moment, None, -post.sentiment_score, None, 1
                )
                by_minute.setdefault(moment // _MINUTE, []).append(told)
        alerts = [
            alert for minute in by_minute.values() for alert in minute[: A_MINUTE + 1]
        ]  # what is more is told in one message
        return Trial(start, stop, 1, len(alerts), len(alerts), 0, alerts[-_SHOWN:])


def _step(rule: AlertRule) -> int:
    if rule.window is None or rule.window.width > HOUR:
        return HOUR
    return _QUARTER


def _between(named: Mapping[str, Any], start: int, stop: int) -> InsightFilter:
    return replace(filter_of(named), start_time=from_micros(start), end_time=from_micros(stop - 1))


def _count_topics(
    named: Mapping[str, Any], start: int, stop: int, step: int, connection: Connection
) -> Mapping[str, Steps]:
    wanted = _between(named, start, stop)
    values = rollup_query.values_of(wanted, by_day=False) | rollup_query.bucket_values(start, step)
    values["names"] = connection.scalars(NAMES_OF_CLUSTERS).all()
    found: dict[str, list[int]] = {}
    for moment, name, count in rollup_query.figures(
        wanted.shape,
        Key(bucket=True, cluster=True),
        values,
        connection,
        by_rows=step < HOUR,
        only_count=True,
    ):
        counts = found.setdefault(name, [0] * ((stop - start) // step))
        counts[(moment - start) // step] += count
    return {name: Steps(start, step, [0, *accumulate(counts)]) for name, counts in found.items()}


def _rising(
    rule: AlertRule, topics: Mapping[str, Steps], everything: Steps, moment: int
) -> Mapping[str, float]:
    assert rule.window is not None
    width = rule.window.width
    above = RISING_ABOVE if rule.above is None else rule.above
    found: dict[str, float] = {}
    hours: HourCounts | None = None
    for name, steps in topics.items():
        count = steps.between(moment - width, moment)
        if count < (rule.at_least or RISING_AT_LEAST):
            continue
        if above >= GATE and _is_usual(count, steps, moment, width):
            continue
        hours = hours or everything.hours(moment // HOUR * HOUR)
        of_topic_ = steps.hours(moment // HOUR * HOUR)
        now = everything.between(moment - width, moment)
        score = standing(count, of_topic_, now, hours, (moment - width, moment)).score
        if score >= above:
            found[name] = score
    return found


def _is_usual(count: int, steps: Steps, moment: int, width: int) -> bool:
    """Whether the gate of the same hours holds it back, which costs less than to ask all."""
    if not steps.between(moment - _BASELINE, moment - WEEKS * WEEK - _DAY):
        return False
    same = sum(
        steps.between(moment - width - week * WEEK, moment - week * WEEK)
        for week in range(1, WEEKS + 1)
    )
    return signed_root(count, same, WEEKS) < GATE


# --- the alerts that looks make -------------------------------------------------------------------


class _Run:
    """Of one rule, key by key."""

    def __init__(
        self, rule: AlertRule, step: int, held_back: Callable[[str, int], str | None]
    ) -> None:
        self._policy = rule.policy
        self._minutes = step // _MINUTE
        self._held_back = held_back
        self._left = _MOST_LOOKS_AT_POSTS
        self._alerts: dict[str, Alert] = {}
        self._found: list[TrialAlert] = []
        self._told: dict[str, int] = {}

    def look(self, moment: int, breaches: Mapping[str, float]) -> None:
        for key in breaches.keys() | self._alerts.keys():
            self._judge(key, breaches.get(key), moment)

    def _judge(self, key: str, value: float | None, moment: int) -> None:
        reason = None
        if value is not None:
            alert = self._alerts.get(key)
            if (alert is None or not alert.is_told) and self._left:
                self._left -= 1
                reason = self._held_back(key, moment)
        judgement = Judgement(key, value or 0.0, value is not None, reason)
        for minute in range(self._minutes):
            now = moment + minute * _MINUTE
            before = self._alerts.get(key)
            if before is None and value is None:
                return
            change = judged(before, judgement, now, self._policy)
            if change.alert is None:
                del self._alerts[key]
                continue
            if not change.alert.id:
                self._keep(key)
                change = replace(change, alert=replace(change.alert, id="new"))
            assert change.alert is not None
            self._alerts[key] = change.alert
            self._told[key] = self._told.get(key, 0) + (change.notice is not None)
            if change.alert == before:
                return

    def _keep(self, key: str) -> None:
        """Another alert takes the place of the one of this key."""
        alert = self._alerts.get(key)
        if alert is not None and alert.opened_at is not None:
            self._found.append(_to_trial(alert, self._told.get(key, 0)))
        self._told[key] = 0

    def trial(self, start: int, stop: int) -> Trial:
        for key in list(self._alerts):
            self._keep(key)
        found = sorted(self._found, key=lambda each: each.opened_at)
        return Trial(
            start,
            stop,
            self._minutes,
            sum(each.told for each in found),
            len(found),
            _count_held_back(found),
            found[-_SHOWN:],
        )


def _count_held_back(found: Iterable[TrialAlert]) -> int:
    return sum(not each.told and each.held_back is not None for each in found)


def _to_trial(alert: Alert, told: int) -> TrialAlert:
    assert alert.opened_at is not None
    return TrialAlert(
        alert.key,
        alert.opened_at,
        alert.closed_at,
        alert.peak or 0.0,
        alert.held_back,
        told,
    )
