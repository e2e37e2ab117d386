"""What a rule would have sent over the last thirty days, by the functions that judge.

Counts are looked at in steps: of a quarter of an hour, or of an hour where windows are longer than
that. A look stands for the judgements of all minutes of its step; of the step that is under way, it
is what is found now. Posts of one by one rules are taken as they came.

Counts are read first; what they come to is found in a thread of its own, which holds no connection
but while it reads the evidence of a breach.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import Any

from sqlalchemy import Connection

from analysis.alerts import Alert, Judgement, RuleKind, judged
from analysis.micros import DAY, HOUR, MINUTE
from analysis.sentiment import Sentiment
from analysis.urgency import Urgency
from database import LONG_READ_SECONDS, Database
from errors import InvalidInput, Unavailable
from models import now_micros, to_micros
from store.alert_counts import between, counts_by_topic, is_by_topic, left_out
from store.alert_evidence import EvidenceReader, held_back, of_topic
from store.alert_judging import AlertJudge
from store.alert_looks import BASELINE, Looks, Steps, count_looks, rising_looks, share_looks
from store.alert_rules import AlertRule
from store.alert_singles import A_MINUTE, matches
from store.derived import rollup_query
from store.derived.rollup_query import Key
from store.filters import filter_of
from store.insights import InsightStore
from store.listed import ListedInsight

DAYS = 30
_QUARTER = HOUR // 4
_MOST_MATCHES = 20_000
_MOST_LOOKS_AT_POSTS = 100
_MOST_POSTS = 1000
_SHOWN = 100
_NEVER_SEEN = {
    "cluster": "No post has ever had the topic {!r}.",
    "author": "No post is by {!r}.",
}


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
    """`messages` and `alerts_count` are of all from `start` to `stop`, `alerts` are the last
    hundred. Where there are more than `_MOST_POSTS` posts to look at, `start` is later. `warnings`
    say what of the filter no post has ever had."""

    start: int
    stop: int
    step_minutes: int
    messages: int
    alerts_count: int
    held_back_count: int
    alerts: Sequence[TrialAlert]
    warnings: Sequence[str] = ()


ReadEvidence = Callable[[str, int], str | None]
"""Why nobody is told of a breach of a key at a moment."""
Trying = Callable[["Turn", ReadEvidence], Trial]
"""What is left to do once the counts are there."""


class Turn:
    """Of one trial to compute, until it is over or given up."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self._is_given_up = False

    def give_up(self) -> None:
        """Nobody waits for it any more."""
        self._is_given_up = True

    def check(self) -> None:
        """Let others run. Raises Unavailable where it has taken too long."""
        time.sleep(0)
        if self._is_given_up or time.monotonic() >= self._until:
            raise Unavailable(
                f"The trial takes more than {self._seconds:g} s: narrow the rule's filter."
            )


class TrialStore:
    def __init__(
        self,
        database: Database,
        insights: InsightStore,
        evidence: EvidenceReader,
        judge: AlertJudge,
        *,
        seconds: float = LONG_READ_SECONDS,
    ) -> None:
        """A trial waits for those before it, and computes, for up to so many `seconds` each."""
        self._database = database
        self._insights = insights
        self._evidence = evidence
        self._judge = judge
        self._seconds = seconds
        self._lock = asyncio.Lock()

    async def run(self, rule: AlertRule, *, now: int | None = None) -> Trial:
        """One at a time. Raises InvalidInput where a search has too many matches to be counted by
        time, and Unavailable where this or those before it take too long."""
        moment = now_micros() if now is None else now
        try:
            async with asyncio.timeout(self._seconds):
                await self._lock.acquire()
        except TimeoutError:
            raise Unavailable(
                "Other rules are being tried: try this one later.",
                retry_after=max(1, round(self._seconds)),
            ) from None
        try:
            trying = await self._database.read(
                partial(self._read, rule, moment), costly=True, seconds=LONG_READ_SECONDS
            )
            trial = await self._compute(rule, trying)
        finally:
            self._lock.release()
        warnings = await self._database.read(partial(self._never_seen, rule))
        return replace(trial, warnings=warnings)

    def _never_seen(self, rule: AlertRule, connection: Connection) -> Sequence[str]:
        """What may be a slip of the pen: the rule waits for it in silence. Other conditions are of
        few values, or would take long to look for."""
        return [
            sentence.format(rule.filter[name])
            for name, sentence in _NEVER_SEEN.items()
            if name in rule.filter
            and not self._insights.newest(filter_of({name: rule.filter[name]}), 1, connection)
        ]

    async def _compute(self, rule: AlertRule, trying: Trying) -> Trial:
        turn, loop = Turn(self._seconds), asyncio.get_running_loop()

        def read_evidence(key: str, moment: int) -> str | None:
            work = partial(self._held_back, rule, key, moment)
            read = self._database.read(work, costly=True, seconds=LONG_READ_SECONDS)
            return asyncio.run_coroutine_threadsafe(read, loop).result()

        try:
            return await asyncio.to_thread(trying, turn, read_evidence)
        finally:
            turn.give_up()

    def _read(self, rule: AlertRule, now: int, connection: Connection) -> Trying:
        step = _step(rule)
        stop = now // step * step
        start = stop - DAYS * DAY
        match rule.kind:
            case RuleKind.MACHINE:  # of which nothing is kept
                return lambda _turn, _read: Trial(start, now, 1, 0, 0, 0, [])
            case RuleKind.SINGLE:
                return self._singles(rule, now - DAYS * DAY, now, connection)
        looks = self._looks(rule, range(start, stop + 1, step), connection)
        latest = self._judge.breaches(rule, {}, now, connection) if now > stop else []

        def try_it(turn: Turn, read: ReadEvidence) -> Trial:
            run = _Run(rule, step, read)
            for moment, breaches in looks:
                turn.check()
                run.look(moment, breaches, until=min(moment + step, stop + MINUTE))
            if now > stop:
                run.judge(latest, range(min(stop + MINUTE, now), now + 1, MINUTE))
            return run.trial(start, now)

        return try_it

    # --- looks --------------------------------------------------------------------------------

    def _looks(self, rule: AlertRule, moments: range, connection: Connection) -> Looks:
        """Their counts are read by now."""
        step, stop = moments.step, moments[-1]
        first = moments.start - rule.width
        named = rule.filter
        if rule.kind is RuleKind.COUNT:
            return count_looks(rule, moments, self._count(named, first, stop, step, connection))
        if rule.kind is RuleKind.SHARE:
            bad = {**named, "sentiment": Sentiment.NEGATIVE.value}
            negative = self._count(bad, first, stop, step, connection)
            everything = self._count(named, first, stop, step, connection)
            return share_looks(rule, moments, negative, everything)
        first = (moments.start - BASELINE) // HOUR * HOUR
        everything = self._count({}, first, stop, step, connection)
        if is_by_topic(named):
            found = counts_by_topic(between(named, first, stop), step, connection)
            topics = {
                name: Steps(first, step, [0, *accumulate(each)]) for name, each in found.items()
            }
        else:
            key = named.get("cluster", "")
            topics = {key: self._count(named, first, stop, step, connection)}
        return rising_looks(rule, moments, topics, everything)

    def _count(
        self, named: Mapping[str, Any], start: int, stop: int, step: int, connection: Connection
    ) -> Steps:
        counts = [0] * ((stop - start) // step)
        wanted = between(named, start, stop)
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
        for post in left_out(wanted, connection):
            counts[(post.timestamp - start) // step] -= 1
        return Steps(start, step, [0, *accumulate(counts)])

    def _held_back(
        self, rule: AlertRule, key: str, moment: int, connection: Connection
    ) -> str | None:
        wanted = between(rule.filter, moment - rule.width, moment)
        if rule.kind is RuleKind.RISING and key:
            wanted = of_topic(wanted, key)
        elif rule.kind is RuleKind.SHARE:
            wanted = replace(wanted, sentiment=Sentiment.NEGATIVE)
        found = self._evidence.read(wanted, {}, connection, texts=False)
        above = rule.above if rule.kind is RuleKind.COUNT else None
        return held_back(found, wanted, at_least=above)

    # --- posts one by one ---------------------------------------------------------------------

    def _singles(self, rule: AlertRule, start: int, stop: int, connection: Connection) -> Trying:
        wanted = replace(between(rule.filter, start, stop), urgency=Urgency.NOW)
        if wanted.sentiment is None:
            wanted = replace(wanted, sentiment=Sentiment.NEGATIVE)
        posts = self._insights.newest(wanted, _MOST_POSTS + 1, connection)
        if len(posts) > _MOST_POSTS:
            posts = posts[:_MOST_POSTS]
            start = to_micros(posts[-1].timestamp)
        return lambda turn, _read: _try_singles(rule, reversed(posts), start, stop, turn)


def _try_singles(
    rule: AlertRule, posts: Iterable[ListedInsight], start: int, stop: int, turn: Turn
) -> Trial:
    by_minute: dict[int, list[TrialAlert]] = {}
    for post in posts:
        turn.check()
        if matches(rule, post):
            moment = to_micros(post.timestamp)
            told = TrialAlert(post.conversation_id, moment, None, -post.sentiment_score, None, 1)
            by_minute.setdefault(moment // MINUTE, []).append(told)
    alerts = [
        alert for minute in by_minute.values() for alert in minute[: A_MINUTE + 1]
    ]  # what is more is told in one message
    return Trial(start, stop, 1, len(alerts), len(alerts), 0, alerts[-_SHOWN:])


def _step(rule: AlertRule) -> int:
    if rule.window is None or rule.width > HOUR:
        return HOUR
    return _QUARTER


# --- the alerts that looks make -------------------------------------------------------------------


class _Run:
    """Of one rule, key by key."""

    def __init__(self, rule: AlertRule, step: int, held_back: ReadEvidence) -> None:
        self._policy = rule.policy
        self._minutes = step // MINUTE
        self._held_back = held_back
        self._left = _MOST_LOOKS_AT_POSTS
        self._alerts: dict[str, Alert] = {}
        self._found: list[TrialAlert] = []
        self._told: dict[str, int] = {}

    def look(self, moment: int, breaches: Mapping[str, float], *, until: int) -> None:
        """For all judgements from then on, before `until`."""
        judgements = [
            Judgement(key, value, True, self._reason(key, moment))
            for key, value in breaches.items()
        ]
        self.judge(judgements, range(moment, until, MINUTE))

    def _reason(self, key: str, moment: int) -> str | None:
        """Why nobody is told of a breach, where that matters."""
        alert = self._alerts.get(key)
        if (alert is not None and alert.is_told) or not self._left:
            return None
        self._left -= 1
        return self._held_back(key, moment)

    def judge(self, judgements: Sequence[Judgement], moments: range) -> None:
        """The same at each of these moments. What is not among them is calm."""
        found = {each.key: each for each in judgements}
        for key in found.keys() | self._alerts.keys():
            self._judge(found.get(key, Judgement(key, 0.0, False)), moments)

    def _judge(self, judgement: Judgement, moments: range) -> None:
        key = judgement.key
        for now in moments:
            before = self._alerts.get(key)
            if before is None and not judgement.breaches:
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
            sum(not each.told and each.held_back is not None for each in found),
            found[-_SHOWN:],
        )


def _to_trial(alert: Alert, told: int) -> TrialAlert:
    assert alert.opened_at is not None
    return TrialAlert(
        alert.key, alert.opened_at, alert.closed_at, alert.peak or 0.0, alert.held_back, told
    )
