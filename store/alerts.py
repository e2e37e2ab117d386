"""Alerts: judged, told, listed, acknowledged and muted.

What a judgement changes and the messages about it are one transaction, so that a kill loses none
and doubles none. On PostgreSQL one process at a time judges: whoever holds the advisory lock, and
a minute that was judged is not judged again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    bindparam,
    delete,
    func,
    literal,
    literal_column,
    null,
    select,
    tuple_,
    update,
)

from analysis.alerts import Alert, AlertState, Judgement, RuleKind, judged
from analysis.micros import DAY, HOUR, MINUTE
from database import LONG_READ_SECONDS, Database
from errors import NotFound
from models import now_micros
from store import cursors
from store.alert_changes import (
    alerts_by_rule,
    enabled_rules,
    latest_closed,
    store_change,
    to_alert,
)
from store.alert_judging import AlertJudge
from store.alert_rules import BUILT_IN, AlertRule
from store.alert_turn import has_turn, wait_for_turn
from store.handling import HandlingStore
from store.told_texts import gone_of
from tables.alerts import alert_rules, alerts

KEPT_DAYS = 90
_SILENT_MINUTES = 2
_LIST = "alerts"

Troubles = Mapping[str, str]
"""Of the machine: by their keys, each in a sentence."""


@dataclass(frozen=True, slots=True)
class ListedAlert:
    """An alert with its rule's name and kind; `rule_id` is None where nobody made the rule."""

    alert: Alert
    rule_id: str | None
    rule: str
    kind: RuleKind
    acknowledged_by: str | None
    acknowledged_at: int | None


@dataclass(frozen=True, slots=True)
class AlertPage:
    """`open_count` is of all that are open."""

    alerts: Sequence[ListedAlert]
    open_count: int
    next_cursor: str | None


def no_such_alert(alert_id: str) -> NotFound:
    return NotFound(f"There is no alert {alert_id!r}.")


class AlertStore:
    def __init__(self, database: Database, judge: AlertJudge) -> None:
        self._database = database
        self._judge = judge
        self._handling = HandlingStore(database)

    # --- judging ------------------------------------------------------------------------------

    async def judge(self, troubles: Troubles, *, now: int | None = None) -> int:
        """Judge all rules at `now`, in microseconds, once a minute at most; how many messages that
        makes. Rules about single posts are not judged here."""
        moment = now_micros() if now is None else now
        await self._handling.end_leases()  # since rules may ask for states
        looked = await self._database.read(
            partial(self._look, troubles, moment), costly=True, seconds=LONG_READ_SECONDS
        )
        if not any(look.breaches or look.others for look in looked):
            return 0
        return await self._database.write(partial(_write, looked, moment))

    def _look(self, troubles: Troubles, now: int, connection: Connection) -> Sequence["Look"]:
        rules = [rule for rule in enabled_rules(connection) if rule.kind is not RuleKind.SINGLE]
        unclosed = alerts_by_rule(connection, (rule.id for rule in rules))
        looks = []
        for rule in rules:
            known = unclosed.get(rule.id, {})
            match rule.kind:
                case RuleKind.MACHINE:
                    breaches: Sequence[Judgement] = [
                        Judgement(key, 1.0, True, evidence={"sentence": sentence})
                        for key, sentence in troubles.items()
                    ]
                case _:
                    breaches = self._judge.breaches(rule, known, now, connection)
            others = known.keys() - {each.key for each in breaches}
            looks.append(Look(rule, breaches, bool(others)))
        return looks

    async def prune(self, *, limit: int) -> bool:
        """Forget up to `limit` that were opened more than `KEPT_DAYS` ago and are closed. Whether
        more may be left."""
        before = now_micros() - KEPT_DAYS * DAY
        return await self._database.write(
            lambda connection: (
                connection.execute(_FORGET, {"before": before, "most": limit}).rowcount == limit
            )
        )

    # --- for people ---------------------------------------------------------------------------

    async def page(self, state: AlertState | None, *, limit: int, cursor: str | None) -> AlertPage:
        """Up to `limit` alerts that have been open, the last opened first. Raises InvalidInput for
        a cursor that is none of these."""
        position = None if cursor is None else cursors.decode(_LIST, cursor)
        return await self._database.read(partial(_page, state, limit, position))

    async def acknowledge(self, alert_id: str, by: str) -> ListedAlert:
        """Somebody has seen it. Raises NotFound."""
        values = {"acknowledged_by": by, "acknowledged_at": now_micros()}
        return await self._database.write(partial(_change, alert_id, values))

    async def mute(self, alert_id: str, hours: float) -> ListedAlert:
        """Tell nothing of it, nor of any other one of the same rule and key, for so long. Raises
        NotFound."""
        until = now_micros() + round(hours * HOUR) if hours else None
        return await self._database.write(partial(_mute, alert_id, until))


@dataclass(frozen=True, slots=True)
class Look:
    """What a rule finds; `others` is whether it has alerts beside, which are calm."""

    rule: AlertRule
    breaches: Sequence[Judgement]
    others: bool

    @property
    def named(self) -> set[str]:
        """The conversations in its evidence."""
        return {id_ for each in self.breaches for id_ in each.evidence.get("conversations", ())}


# --- one transaction ------------------------------------------------------------------------------


def _write(looked: Sequence[Look], now: int, connection: Connection) -> int:
    # What another process judges counts for this one too, but not what it finds of its machine.
    reports = any(look.rule.kind is RuleKind.MACHINE and look.breaches for look in looked)
    if reports:
        wait_for_turn(connection)
    elif not has_turn(connection):
        return 0
    minute = now // MINUTE * MINUTE
    rules = {rule.id: rule for rule in enabled_rules(connection)}
    unclosed = alerts_by_rule(connection, (look.rule.id for look in looked))
    gone = gone_of(set[str]().union(*(look.named for look in looked)), connection)
    messages, judged_ids = 0, []
    for look in looked:
        rule = rules.get(look.rule.id)
        if rule is None or replace(look.rule, judged_at=rule.judged_at) != rule:
            continue  # changed meanwhile
        if not gone.isdisjoint(look.named):
            continue  # its words and texts may be of what is erased: judged in the next minute
        known = unclosed.get(rule.id, {})
        # Else another process has judged it in this minute, or since this one looked.
        is_due = rule.judged_at == look.rule.judged_at != minute
        if is_due:
            judged_ids.append(rule.id)
        if rule.kind is RuleKind.MACHINE:
            messages += _judge_machine(look, known, now, connection, is_due=is_due)
        elif is_due:
            for judgement in look.breaches:
                messages += _judge(rule, known, judgement, now, connection)
            for key in known.keys() - {each.key for each in look.breaches}:
                messages += _judge(rule, known, Judgement(key, 0.0, False), now, connection)
    connection.execute(_JUDGED, {"ids": judged_ids, "minute": minute})
    return messages


def _judge_machine(
    look: Look, known: Mapping[str, Alert], now: int, connection: Connection, *, is_due: bool
) -> int:
    """Each process knows its own troubles alone. What one finds counts once a minute, and it is
    calm where for two minutes none has found it."""
    rule, minute, messages = look.rule, now // MINUTE * MINUTE, 0
    for judgement in look.breaches:
        found = known.get(judgement.key)
        if found is None or (found.reported_at or 0) < minute:
            messages += _judge(rule, known, judgement, now, connection, reported_at=minute)
    if is_due:
        for key in known.keys() - {each.key for each in look.breaches}:
            if (known[key].reported_at or 0) <= minute - _SILENT_MINUTES * MINUTE:
                messages += _judge(rule, known, Judgement(key, 0.0, False), now, connection)
    return messages


def _judge(
    rule: AlertRule,
    known: Mapping[str, Alert],
    judgement: Judgement,
    now: int,
    connection: Connection,
    *,
    reported_at: int | None = None,
) -> int:
    before = known.get(judgement.key) or latest_closed(rule.id, judgement.key, connection)
    change = judged(before, judgement, now, rule.policy)
    if change.alert is not None and reported_at is not None:
        change = replace(change, alert=replace(change.alert, reported_at=reported_at))
    return store_change(rule, before, change, connection)


_JUDGED = (
    update(alert_rules)
    .where(alert_rules.c.id.in_(bindparam("ids", expanding=True)))
    .values(judged_at=bindparam("minute"))
)


_FORGET = delete(alerts).where(
    alerts.c.id.in_(
        select(alerts.c.id)
        .where(alerts.c.opened_at < bindparam("before"), alerts.c.state == "closed")
        .order_by(alerts.c.opened_at)
        .limit(bindparam("most"))
    )
)


# --- listing and changing -------------------------------------------------------------------------

_LISTED = (
    select(alerts, alert_rules.c.name.label("rule"), alert_rules.c.kind)
    .join_from(alerts, alert_rules, alerts.c.rule_id == alert_rules.c.id)
    .where(alerts.c.opened_at.is_not(null()))
)
_OPEN = (
    select(func.count())
    .select_from(alerts)
    .where(alerts.c.state == "open", alerts.c.state != literal_column("'closed'"))
)


def _page(
    state: AlertState | None, limit: int, position: tuple[int, int] | None, connection: Connection
) -> AlertPage:
    opened_at, id_ = alerts.c.opened_at, alerts.c.id
    wanted: Select[*tuple[Any, ...]] = _LISTED
    if state is not None:
        wanted = wanted.where(alerts.c.state == state.value)
    if position is not None:
        last = literal(position[0]), literal(f"alrt_{position[1]:08x}")
        wanted = wanted.where(tuple_(opened_at, id_) < tuple_(*last))
    ordered = wanted.order_by(opened_at.desc(), id_.desc()).limit(limit + 1)
    rows = connection.execute(ordered).all()
    more, rows = len(rows) > limit, rows[:limit]
    return AlertPage(
        [_to_listed(row) for row in rows],
        connection.scalar(_OPEN) or 0,
        cursors.encode(_LIST, rows[-1].opened_at, _number(rows[-1].id)) if more else None,
    )


def _number(alert_id: str) -> int:
    return int(alert_id.removeprefix("alrt_"), 16)


def _change(alert_id: str, values: Mapping[str, Any], connection: Connection) -> ListedAlert:
    connection.execute(update(alerts).where(alerts.c.id == alert_id).values(**values))
    return _find(alert_id, connection)


def _mute(alert_id: str, until: int | None, connection: Connection) -> ListedAlert:
    wait_for_turn(connection)  # so that no judgement makes another of them meanwhile
    connection.execute(_MUTE, {"of_alert": alert_id, "until": until})
    return _find(alert_id, connection)


_NAMED = alerts.alias()
_MUTE = (
    update(alerts)
    .where(
        *(
            alerts.c[name]
            == select(_NAMED.c[name]).where(_NAMED.c.id == bindparam("of_alert")).scalar_subquery()
            for name in ("rule_id", "key")
        )
    )
    .values(muted_until=bindparam("until"))
)


def _find(alert_id: str, connection: Connection) -> ListedAlert:
    row = connection.execute(_LISTED.where(alerts.c.id == alert_id)).one_or_none()
    if row is None:
        raise no_such_alert(alert_id)
    return _to_listed(row)


def _to_listed(row: Row[*tuple[Any, ...]]) -> ListedAlert:
    return ListedAlert(
        to_alert(row),
        None if row.rule_id == BUILT_IN else row.rule_id,
        row.rule,
        RuleKind(row.kind),
        row.acknowledged_by,
        row.acknowledged_at,
    )
