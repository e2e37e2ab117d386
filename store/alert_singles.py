"""Rules about one post at a time: what is new since they looked last, told within a second.

At most ten a minute are told one by one; what else has come by the end of the minute is told in one
message. A post's alert is closed, which is not told, once the post is handled, somebody has
acknowledged it, a day has passed, or `MOST_OPEN` newer ones of its rule are open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import Connection, bindparam, func, literal_column, select, update

from analysis.alerts import Alert, AlertState, Change, Judgement, RuleKind, judged
from analysis.labels import LastWord
from analysis.micros import DAY, MINUTE
from analysis.rules import hold
from analysis.sentiment import Sentiment, sentiment_of
from analysis.urgency import Urgency
from analysis.words import parse_search, words_of
from database import Database
from models import insights, now_micros, to_micros
from store import alert_evidence
from store.alert_changes import alerts_by_rule, enabled_rules, store_change
from store.alert_rules import AlertRule
from store.alert_turn import has_turn
from store.filters import InsightFilter
from store.insight_row import SUSPECTED
from store.listed import SHOWN, ListedInsight, to_listed
from store.told_texts import gone_of
from tables.alerts import alert_rules, alerts

A_MINUTE = 10
"""The most posts that one rule tells of, one by one."""
MOST_OPEN = 300
"""The most alerts of one rule that stay open."""
_LOOKED_AT = 1000
"""Matches of one pass."""
_DEFAULT_ABOVE = 0.8


Posts = Sequence[tuple[int, ListedInsight]]
"""New insights, each with its id."""


class SingleStore:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen = 0
        """The newest insight that no rule has anything to say about, up to which nobody looks."""

    async def judge(self, *, sum_up: bool, now: int | None = None) -> int:
        """Look at what is new; how many messages that makes. With `sum_up`, once a minute, what is
        too much to be told one by one is told in one message, and alerts are closed."""
        moment = now_micros() if now is None else now
        rules, posts, newest = await self._database.read(self._look)
        if not rules:
            return 0
        matching = {
            rule.id: [(id_, post) for id_, post in posts if _is_new(rule, id_, post, moment)]
            for rule in rules
        }
        if not sum_up and not any(matching.values()):
            self._seen = max(self._seen, newest)
            return 0
        work = partial(_write, rules, matching, newest, sum_up, moment)
        messages, all_judged = await self._database.write(work)
        if sum_up and all_judged:
            self._seen = max(self._seen, newest)
        return messages

    def _look(self, connection: Connection) -> tuple[Sequence[AlertRule], Posts, int]:
        rules = _rules(connection)
        if not rules:
            return [], [], 0
        values = {
            "after": max(self._seen, min(rule.judged_id or 0 for rule in rules)),
            "worst": -min(_above(rule) for rule in rules),
            "limit": _LOOKED_AT,
        }
        rows = connection.execute(_NEW, values).all()
        newest = rows[-1].id if len(rows) == _LOOKED_AT else connection.scalar(_NEWEST) or 0
        ids = [row.id for row in rows]
        return rules, list(zip(ids, to_listed(rows), strict=True)), newest


_COLUMNS = insights.c
_NEW = (
    SHOWN.where(
        _COLUMNS.id > bindparam("after"),
        _COLUMNS.urgency == Urgency.NOW.value,
        _COLUMNS.sentiment_score <= bindparam("worst"),
        _COLUMNS.own == 0,
    )
    .order_by(_COLUMNS.id)
    .limit(bindparam("limit"))
)
_NEWEST = select(func.max(_COLUMNS.id))


def _rules(connection: Connection) -> Sequence[AlertRule]:
    return [rule for rule in enabled_rules(connection) if rule.kind is RuleKind.SINGLE]


def _above(rule: AlertRule) -> float:
    return _DEFAULT_ABOVE if rule.above is None else rule.above


def _is_new(rule: AlertRule, id_: int, post: ListedInsight, now: int) -> bool:
    return (
        id_ > (rule.judged_id or 0)
        and to_micros(post.timestamp) > now - rule.width
        and matches(rule, post)
    )


def matches(rule: AlertRule, post: ListedInsight) -> bool:
    """Of a post that is urgent now: whether it is unhappy enough, and what the filter asks for."""
    named = rule.filter
    labelled = LastWord.MODEL if post.labelled is None else post.labelled.by
    return (
        post.sentiment_score <= -_above(rule)
        and SUSPECTED not in post.notes
        and named.get("sentiment") in (None, sentiment_of(post.sentiment_score))
        and named.get("cluster") in (None, *post.clusters)
        and named.get("author") in (None, post.author)
        and named.get("language") in (None, post.language)
        and named.get("urgency") in (None, Urgency.NOW)
        and named.get("labelled") in (None, labelled)
        and named.get("handling") in (None, post.handling.state)
        and post.confidence >= named.get("min_confidence", 0.0)
        and ("q" not in named or hold(words_of(post.text), parse_search(named["q"])))
    )


# --- one transaction ------------------------------------------------------------------------------

_OPENED_LATELY = (
    select(func.count())
    .select_from(alerts)
    .where(
        alerts.c.opened_at > bindparam("since"),
        alerts.c.rule_id == bindparam("of_rule"),
    )
)
_JUDGED = (
    update(alert_rules)
    .where(alert_rules.c.id == bindparam("of_rule"))
    .values(judged_id=bindparam("newest"))
)


def _write(
    looked: Sequence[AlertRule],
    matching: Mapping[str, Posts],
    newest: int,
    sum_up: bool,
    now: int,
    connection: Connection,
) -> tuple[int, bool]:
    """How many messages that makes, and whether all rules have judged what was looked at."""
    if not has_turn(connection):
        return 0, False
    messages, all_judged = 0, True
    rules = {rule.id: rule for rule in _rules(connection)}
    gone = gone_of(
        {post.conversation_id for all_ in matching.values() for _, post in all_}, connection
    )
    for rule in looked:
        if rules.get(rule.id) != rule:
            all_judged = False  # changed meanwhile, or judged by another process
            continue
        posts = matching[rule.id]
        if any(post.conversation_id in gone for _, post in posts):
            all_judged = False  # what is erased is told to nobody: looked at anew
            continue
        lately = connection.scalar(_OPENED_LATELY, {"of_rule": rule.id, "since": now - MINUTE})
        told = posts[: max(0, A_MINUTE - (lately or 0))]
        rest = posts[len(told) :]
        for _, post in told:
            messages += _open(rule, _judgement(rule, [post]), now, connection)
        if rest and sum_up:
            messages += _open(rule, _judgement(rule, [post for _, post in rest]), now, connection)
        reached = newest if sum_up or not rest else max([id_ for id_, _ in told], default=0)
        if reached > (rule.judged_id or 0):
            connection.execute(_JUDGED, {"of_rule": rule.id, "newest": reached})
    if sum_up:
        messages += _go_over(rules, now, connection)
    return messages, all_judged


def _judgement(rule: AlertRule, posts: Sequence[ListedInsight]) -> Judgement:
    """Of one post, or of many together."""
    worst = max(-post.sentiment_score for post in posts)
    shown = posts[: alert_evidence.SHOWN]
    evidence: dict[str, Any] = {
        "count": len(posts),
        "expected": None,
        "score": round(worst, 2),
        "share": None,
        "authors": len({post.author or post.conversation_id for post in posts}),
        "copies": 0.0,
        "suspected": 0,
        "words": [],
        "conversations": [post.conversation_id for post in shown],
        "link": f"/dashboard?open={posts[0].conversation_id}",
    }
    if rule.texts:
        evidence["texts"] = alert_evidence.texts_of(shown)
    key = posts[0].conversation_id
    if len(posts) > 1:
        key = f"{len(posts)} posts from {key} on"
        evidence["link"] = _link_to_all(rule, posts)
    return Judgement(key, worst, True, evidence=evidence)


def _link_to_all(rule: AlertRule, posts: Sequence[ListedInsight]) -> str:
    """The page with what the rule looks at, from the first of the posts to the last."""
    times = [post.timestamp for post in posts]
    named = {**rule.filter, "urgency": Urgency.NOW.value}
    if sentiment_of(-_above(rule)) is Sentiment.NEGATIVE:
        named["sentiment"] = Sentiment.NEGATIVE.value  # no filter asks for a score
    return alert_evidence.page_link(named, InsightFilter(min(times), max(times)))


def _open(rule: AlertRule, judgement: Judgement, now: int, connection: Connection) -> int:
    change = judged(None, judgement, now, replace(rule.policy, hold=1))
    return store_change(rule, None, change, connection)


# --- alerts that are open -------------------------------------------------------------------------

_HANDLED = select(_COLUMNS.conversation_id).where(
    _COLUMNS.conversation_id.in_(bindparam("ids", expanding=True)),
    _COLUMNS.handling.in_(["open", "claimed", "snoozed"]),
)
_ACKNOWLEDGED = select(alerts.c.id).where(
    alerts.c.state != literal_column("'closed'"), alerts.c.acknowledged_at.is_not(None)
)


def _go_over(rules: Mapping[str, AlertRule], now: int, connection: Connection) -> int:
    """Close those that need nobody any more, and tell of what quiet hours have put off
    or nobody took."""
    messages = 0
    acknowledged = set(connection.scalars(_ACKNOWLEDGED))
    for rule_id, by_key in alerts_by_rule(connection, rules).items():
        rule = rules[rule_id]
        ids = [key for key in by_key if key.startswith("conv_")]
        waiting = set(connection.scalars(_HANDLED, {"ids": ids}))
        over: list[Alert] = []
        left: list[Alert] = []
        for key, alert in by_key.items():
            is_old = now - (alert.opened_at or 0) > DAY
            is_handled = key.startswith("conv_") and key not in waiting
            is_over = alert.id in acknowledged or is_old or is_handled
            (over if is_over else left).append(alert)
        # Those of which nobody has been told yet are the last to go.
        left.sort(key=lambda alert: (alert.told_at is None, alert.opened_at or 0))
        too_many = max(0, len(left) - MOST_OPEN)
        for alert in [*over, *left[:too_many]]:
            closed = replace(alert, state=AlertState.CLOSED, closed_at=now, put_off_until=None)
            store_change(rule, alert, Change(closed), connection)
        put_off = [
            alert
            for alert in left[too_many:]
            # Which quiet hours hold now, the rule says.
            if alert.told_at is None and now >= (alert.muted_until or 0)
        ]
        for alert in put_off[:A_MINUTE]:
            again = Judgement(alert.key, alert.peak or 0.0, True)
            messages += store_change(
                rule, alert, judged(alert, again, now, rule.policy), connection
            )
    return messages
