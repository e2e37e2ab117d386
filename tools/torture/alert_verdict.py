"""What became of alerts and their messages, from what clients and receivers wrote down and what is
in the database."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.fakes.receiver.server import FLOOD, Received, Reply
from tests.support.service_process import query
from tools.torture.alert_clients import CHAT, GONE, WINDOW, AlertsTold

_LOOKED_AT_WITHIN = timedelta(minutes=3)
_TAKEN = (Reply(), FLOOD)
_OPENED, _CLOSED = "alert.opened", "alert.closed"


@dataclass
class AlertVerdict:
    """`messages` are different ones by their ids, each at one endpoint; `requests` are all that
    receivers saw of them, `again` those of them of a message that had been answered with 200. Of a
    chat `chat_messages` were told in `chat_posts`."""

    kills: int = 0
    posts: int = 0
    failed_by_kills: int = 0
    windows: int = 0
    alerts: int = 0
    messages: int = 0
    dropped: int = 0
    requests: int = 0
    again: int = 0
    chat_messages: int = 0
    chat_posts: int = 0
    answered: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.doubled or self.wrong)


def untold(database_file: Path) -> bool:
    """Whether there are posts of which no alert tells yet, or rules about a window whose alert is
    still to end."""
    ((posts,),) = query(database_file, "SELECT count(*) FROM insights WHERE author LIKE 'author %'")
    told = sum(
        json.loads(evidence)["count"]
        for (evidence,) in query(
            database_file,
            "SELECT a.evidence FROM alerts a JOIN alert_rules r ON r.id = a.rule_id"
            " WHERE r.kind = 'single'",
        )
    )
    ((rules, ended),) = query(
        database_file,
        "SELECT count(*), count(a.id) FROM alert_rules r LEFT JOIN alerts a"
        " ON a.rule_id = r.id AND a.state = 'closed' WHERE r.kind = 'count'",
    )
    return bool(told < posts or ended < rules)


def judge(
    database_file: Path,
    told: AlertsTold,
    received: Sequence[Received],
    rules: Mapping[str, str],
    endpoints: Mapping[str, str],
) -> AlertVerdict:
    """The receivers have taken everything for a while, and nothing waits. `rules` are ids by
    author, `endpoints` by name."""
    verdict = AlertVerdict(posts=len(told.posts), windows=len(told.windows))
    verdict.requests = len(received)
    verdict.answered = dict(
        Counter(
            str(each.reply.status) if isinstance(each.reply, Reply) else each.reply
            for each in received
        )
    )
    alerts: dict[str, list[tuple[str, str, dict[str, Any], str]]] = defaultdict(list)
    for rule_id, id_, key, evidence, state in query(
        database_file, "SELECT rule_id, id, key, evidence, state FROM alerts"
    ):
        alerts[rule_id].append((id_, key, json.loads(evidence), state))
        verdict.alerts += 1
    states = dict(query(database_file, "SELECT id, status FROM conversations"))
    verdict.lost += [f"{id_} is not stored" for id_ in told.posts if id_ not in states]
    verdict.failed_by_kills = sum(states.get(id_) == "failed" for id_ in told.posts)
    completed = {id_: by for id_, by in told.posts.items() if states.get(id_) == "completed"}
    _judge_posts(completed, alerts, rules, verdict)
    windows = {id_: name for id_, name in told.windows.items() if name in completed.values()}
    seen = _seen_in_time(database_file)
    for rule_id, name in windows.items():
        of_rule = alerts[rule_id]
        if not of_rule and name in seen:
            verdict.lost.append(f"no alert of {name}")
        elif len(of_rule) > 1:
            verdict.doubled.append(f"{len(of_rule)} alerts of {name}")
        elif of_rule and of_rule[0][3] != "closed":
            verdict.wrong.append(f"the alert of {name} is {of_rule[0][3]}")
    by_minute = {id_ for rule_id in windows for id_, *_ in alerts[rule_id]}
    all_ids = {id_ for some in alerts.values() for id_, *_ in some}
    for name, endpoint_id in endpoints.items():
        at = [each for each in received if each.path == f"/{name}"]
        _judge_endpoint(database_file, name, endpoint_id, at, (all_ids, by_minute), verdict)
    for (problem,) in query(database_file, "PRAGMA integrity_check"):
        if problem != "ok":
            verdict.wrong.append(f"the file is damaged: {problem}")
    return verdict


def _seen_in_time(database_file: Path) -> Collection[str]:
    """Names of the rules that had their post in their window for some minutes: one that was tried
    late, as a suspect of kills, may have left it before anybody looked."""
    latest = (WINDOW - _LOOKED_AT_WITHIN) // timedelta(microseconds=1)
    rows = query(
        database_file,
        "SELECT r.name FROM alert_rules r JOIN insights i ON i.author = r.name"
        " WHERE max(r.created_at, i.created_at) <= i.timestamp + ?",
        latest,
    )
    return {name for (name,) in rows}


def _judge_posts(
    completed: Mapping[str, str],
    alerts: Mapping[str, Sequence[tuple[str, str, dict[str, Any], str]]],
    rules: Mapping[str, str],
    verdict: AlertVerdict,
) -> None:
    """Each post is in one alert of the rule about its author: in its own, or in one about several,
    which names the first ones. `completed` are authors by conversation."""
    for author, rule_id in rules.items():
        posts = {id_ for id_, by in completed.items() if by == author}
        of_rule = alerts[rule_id]
        named = [id_ for _, _, evidence, _ in of_rule for id_ in evidence["conversations"]]
        verdict.doubled += [f"{id_} in two alerts" for id_, n in Counter(named).items() if n > 1]
        verdict.wrong += [f"an alert of {id_}, of {author}" for id_ in {*named} - posts]
        count = sum(evidence["count"] for _, _, evidence, _ in of_rule)
        if count < len(posts):
            verdict.lost.append(f"alerts of {len(posts) - count} posts of {author}")
        elif count > len(posts):
            verdict.doubled.append(f"alerts of {count - len(posts)} posts of {author}")


def _judge_endpoint(
    database_file: Path,
    name: str,
    endpoint_id: str,
    received: Sequence[Received],
    ids: tuple[Collection[str], Collection[str]],
    verdict: AlertVerdict,
) -> None:
    """`ids` are of all alerts, and of those that have ended and told so. An endpoint that was
    disabled for a while is not told of what came meanwhile."""
    rows = query(
        database_file,
        "SELECT message_id, type, alert_id, state, data FROM deliveries WHERE endpoint_id = ?",
        endpoint_id,
    )
    state_of = {(alert_id, type_): state for _, type_, alert_id, state, _ in rows}
    if len(state_of) < len(rows):
        verdict.doubled.append(f"{len(rows) - len(state_of)} messages to {name} have two ids")
    for alert_ids, type_ in zip(ids, (_OPENED, _CLOSED), strict=True):
        written = {alert_id for alert_id, of_type in state_of if of_type == type_}
        verdict.wrong += [f"{type_} of no such alert to {name}" for _ in written - {*alert_ids}]
        if name != GONE:
            verdict.lost += [f"{type_} of {id_} to {name}" for id_ in {*alert_ids} - written]
    if name == CHAT:
        taken = _taken_by_a_chat(rows, received, verdict)
    else:
        taken = _taken_by_a_program(name, {row[0] for row in rows}, received, verdict)
    for message_id, type_, alert_id, state, _ in rows:
        is_over = type_ == _OPENED and state_of.get((alert_id, _CLOSED)) == "delivered"
        verdict.dropped += state == "dropped"
        if state == "delivered" and message_id not in taken:
            verdict.lost.append(f"{message_id} to {name} has not arrived")
        elif state not in ("delivered", "dropped") or (state == "dropped" and not is_over):
            verdict.wrong.append(f"{message_id} to {name} is {state}")


def _taken_by_a_program(
    name: str, written: Collection[str], received: Sequence[Received], verdict: AlertVerdict
) -> Collection[str]:
    """The ids of the messages that it has answered with 200."""
    taken, bodies = set(), defaultdict(set)
    for each in received:
        id_ = each.headers["webhook-id"]
        verdict.again += id_ in taken
        bodies[id_].add(each.body)
        if each.reply in _TAKEN:
            taken.add(id_)
    verdict.messages += len(bodies)
    verdict.wrong += [
        f"{id_} to {name} had two bodies" for id_, some in bodies.items() if len(some) > 1
    ]
    verdict.wrong += [f"{id_} to {name} was never written" for id_ in bodies.keys() - written]
    return taken


def _taken_by_a_chat(
    rows: Sequence[tuple[str, str, str, str, str]],
    received: Sequence[Received],
    verdict: AlertVerdict,
) -> Collection[str]:
    """The same, by what can be read in its posts."""
    posts = [each.body.decode() for each in received if each.reply in _TAKEN]
    taken = set()
    for message_id, type_, _, _, data in rows:
        told = json.loads(data)
        title = f"{'Alert' if type_ == _OPENED else 'Over'}: {told['rule']}"
        (conversation, *_) = told["evidence"]["conversations"]
        if any(title in post and conversation in post for post in posts):
            taken.add(message_id)
    verdict.chat_messages += len(taken)
    verdict.chat_posts += len(posts)
    return taken
