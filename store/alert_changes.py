"""What becomes of alerts, written with the messages about it in one transaction."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from secrets import randbits
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    null,
    select,
    update,
)

from analysis.alerts import Alert, AlertState, Change, Notice, RuleKind, told_to_nobody
from analysis.messages import Event, Message, MessageType
from models import format_time, from_micros, now_micros
from store.alert_rules import BUILT_IN, AlertRule, rules_in
from store.deliveries import KEPT
from store.endpoints import MAX_ENDPOINTS
from store.outbox import enabled_among, enqueue, subscribers
from tables.alerts import alert_rules, alerts, deliveries

# --- rules and alerts as they are judged ----------------------------------------------------------

_ENABLED = select(alert_rules).where(alert_rules.c.enabled).order_by(alert_rules.c.created_at)
_OF_RULES = alerts.c.rule_id.in_(bindparam("rule_ids", expanding=True))
_NOT_DONE = (
    select(alerts)
    .where(alerts.c.state != literal_column("'closed'"), _OF_RULES)
    .union_all(
        select(alerts).where(
            alerts.c.state == literal_column("'closed'"),
            alerts.c.put_off_until.is_not(null()),
            _OF_RULES,
        )
    )
)
_LATEST = (
    select(alerts)
    .where(
        alerts.c.rule_id == bindparam("of_rule"),
        alerts.c.key == bindparam("of_key"),
        alerts.c.state == literal_column("'closed'"),
    )
    .order_by(alerts.c.closed_at.desc())
    .limit(1)
)


def enabled_rules(connection: Connection) -> Sequence[AlertRule]:
    """With the built-in one of the machine where nobody made another."""
    found = rules_in(connection, _ENABLED)
    made = [rule for rule in found if rule.id != BUILT_IN]
    if connection.scalar(_MADE_FOR_MACHINE):
        return made
    return found if len(found) > len(made) else [*made, _BUILT_IN_RULE]


_MADE_FOR_MACHINE = (
    select(func.count())
    .select_from(alert_rules)
    .where(alert_rules.c.kind == RuleKind.MACHINE.value, alert_rules.c.id != BUILT_IN)
)
_BUILT_IN_RULE = AlertRule(
    id=BUILT_IN,
    name="The machine",
    kind=RuleKind.MACHINE,
    filter={},
    window=None,
    above=None,
    at_least=None,
    hold=1,
    clear=3,
    cooldown_seconds=3600,
    quiet=None,
    to=[],
    texts=False,
    enabled=True,
    created_at=from_micros(0),
)


def alerts_by_rule(
    connection: Connection, rule_ids: Iterable[str]
) -> Mapping[str, Mapping[str, Alert]]:
    """Those of some rules that are open, waiting, or still to be told of, by rule and key. Of two
    of a key it is the one that is not closed."""
    found: dict[str, dict[str, Alert]] = {}
    for row in connection.execute(_NOT_DONE, {"rule_ids": list(rule_ids)}):
        by_key = found.setdefault(row.rule_id, {})
        if row.state != AlertState.CLOSED or row.key not in by_key:
            by_key[row.key] = to_alert(row)
    return found


def latest_closed(rule_id: str, key: str, connection: Connection) -> Alert | None:
    row = connection.execute(_LATEST, {"of_rule": rule_id, "of_key": key}).one_or_none()
    return None if row is None else to_alert(row)


_FIELDS = [name for name in Alert.__dataclass_fields__ if name != "state"]


def to_alert(row: Row[*tuple[Any, ...]]) -> Alert:
    values = row._asdict()
    return Alert(state=AlertState(row.state), **{name: values[name] for name in _FIELDS})


# --- one change -----------------------------------------------------------------------------------


def store_change(
    rule: AlertRule, before: Alert | None, change: Change, connection: Connection
) -> int:
    """Write what an alert has become, with the messages about it; how many these are."""
    told_to: Collection[str] = ()
    if change.notice is not None and change.alert is not None:
        told_to = _told_to(rule, change.alert, change.notice, connection)
        if change.notice is Notice.OPENED and not told_to:
            change = told_to_nobody(before, change.alert)
    alert = change.alert
    if alert == before:
        return 0
    if alert is None:
        if before is not None:
            connection.execute(delete(alerts).where(alerts.c.id == before.id))
        return 0
    # What people wrote is told and not kept: it must be gone where they have it erased.
    evidence = {name: each for name, each in alert.evidence.items() if name != "texts"}
    values = {**asdict(alert), "state": alert.state.value, "evidence": evidence}
    if alert.id:
        del values["muted_until"]  # by somebody who may have muted it meanwhile
        if change.notice is Notice.OPENED and alert.closed_at is not None:
            # What somebody has seen is over: this is another time.
            values |= {"acknowledged_by": None, "acknowledged_at": None}
        connection.execute(update(alerts).where(alerts.c.id == alert.id).values(values))
    else:
        if rule.id == BUILT_IN:
            _keep_built_in(connection)
        alert = replace(alert, id=f"alrt_{randbits(32):08x}")
        connection.execute(insert(alerts).values({**values, "id": alert.id, "rule_id": rule.id}))
    if change.notice is None:
        return 0
    told_before = None if before is None else before.told_at
    message = _message(rule, alert, change.notice, told_before)
    return len(enqueue(connection, message, endpoints=told_to))


def _keep_built_in(connection: Connection) -> None:
    if connection.scalar(select(alert_rules.c.id).where(alert_rules.c.id == BUILT_IN)) is None:
        values = {**asdict(_BUILT_IN_RULE), "kind": RuleKind.MACHINE.value, "created_at": 0}
        connection.execute(insert(alert_rules).values(values))


def receivers(rule: AlertRule, connection: Connection) -> Sequence[str]:
    """Of those that the rule names, else of all that take what it tells, the enabled ones."""
    if rule.to:
        return enabled_among(rule.to, connection)
    event = Event.MACHINE if rule.kind is RuleKind.MACHINE else Event.ALERT
    return subscribers(connection, event)


def _told_to(
    rule: AlertRule, alert: Alert, notice: Notice, connection: Connection
) -> Collection[str]:
    """An end is told to those alone to which its beginning was written. Where that has failed, the
    end tells of both."""
    found = receivers(rule, connection)
    if notice is Notice.OPENED:
        return found
    openings = connection.execute(_OPENINGS, {"of_alert": alert.id}).all()
    if not openings and now_micros() - (alert.told_at or 0) > _DELIVERIES_KEPT:
        return found
    last = {row.endpoint_id for row in openings if row.message_id == openings[0].message_id}
    # A rule that names endpoints may name others since.
    return enabled_among(last, connection) if rule.to else last.intersection(found)


_DELIVERIES_KEPT = KEPT // timedelta(microseconds=1)
_OPENINGS = (
    select(deliveries.c.endpoint_id, deliveries.c.message_id)
    .where(
        deliveries.c.alert_id == bindparam("of_alert"),
        deliveries.c.message_id.endswith(f"_{Notice.OPENED.value}", autoescape=True),
    )
    .order_by(deliveries.c.id.desc())
    .limit(MAX_ENDPOINTS)
)
"""The last ones of an alert, to which others may have gone before."""


def _message(rule: AlertRule, alert: Alert, notice: Notice, told_before: int | None) -> Message:
    """Its id follows from what is stored, so that the same news is never two messages."""
    about = told_before or 0
    id_ = f"msg_{alert.id.removeprefix('alrt_')}_{about:x}_{notice.value}"
    if rule.kind is RuleKind.MACHINE:
        sentence = alert.evidence.get("sentence", alert.key)
        if notice is Notice.CLOSED:
            sentence = f"Over: {sentence}"
        data = {
            "alert_id": alert.id,
            "key": alert.key,
            "state": alert.state.value,
            "sentence": sentence,
            "since": shown_time(alert.opened_at),
        }
        return Message(id_, MessageType.MACHINE, data, alert.id)
    type_ = MessageType.ALERT_OPENED if notice is Notice.OPENED else MessageType.ALERT_CLOSED
    return Message(id_, type_, shown_alert(rule, alert), alert.id)


def shown_alert(rule: AlertRule, alert: Alert) -> Mapping[str, Any]:
    return {
        "alert_id": alert.id,
        "rule_id": rule.id,
        "rule": rule.name,
        "kind": rule.kind.value,
        "key": alert.key,
        "state": alert.state.value,
        "opened_at": shown_time(alert.opened_at),
        "closed_at": None if alert.state is AlertState.OPEN else shown_time(alert.closed_at),
        "peak": alert.peak,
        "held_back": alert.held_back,
        "evidence": alert.evidence,
    }


def shown_time(micros: int | None) -> str | None:
    """ISO 8601 in UTC, as the API shows it."""
    return None if micros is None else format_time(from_micros(micros))
