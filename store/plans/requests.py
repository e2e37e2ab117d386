"""What clients do with plans: make one, look it up, apply it, undo it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, select, update

from database import LONG_READ_SECONDS, Database
from errors import Conflict, InvalidInput
from models import conversations, from_micros, now_micros, to_micros
from store.insights import InsightStore
from store.plans.kinds import kinds_of_plans
from store.plans.plan import (
    FIND_PLAN,
    SELECT_PLANS,
    TIME_TO_APPLY,
    TIME_TO_UNDO,
    Plan,
    PlanKind,
    PlanState,
    Rule,
    new_plan_id,
    no_such_plan,
    read_plan,
)
from store.rules import no_such_rule
from tables.people import plans, rules

MAX_READY = 1000
"""Of the plans that can still be applied. For one more, the oldest of the API key that has made
most is forgotten: so nobody keeps others from making any."""
SAMPLE = 10
_LOOKED_AT_FOR_SAMPLE = 100
"""Rows of which a sample is taken: those first that would change."""


@dataclass(frozen=True, slots=True)
class NewPlan:
    """What a client asks for. `filter` is by the names and values of the API; a rule's own filter
    is added to it. `set` says what labels to give, as `Labelling.to_json` does. `key_name` is that
    of the API key, empty where none is needed."""

    kind: PlanKind
    filter: Mapping[str, Any]
    set: Mapping[str, Any] | None = None
    by: str | None = None
    rule_id: str | None = None
    key_name: str = ""


class SampleText(NamedTuple):
    """What was said by whom and when in a conversation of a sample."""

    text: str
    author: str | None
    timestamp: datetime


class PlanStore:
    def __init__(self, database: Database, insights: InsightStore) -> None:
        self._database = database
        self._kinds = kinds_of_plans(insights)

    async def make(self, new: NewPlan) -> Plan:
        """Find out what the plan would do, and store it; nothing else changes.

        Raises InvalidInput for a filter that says nothing, or another thing than the rule's;
        NotFound for a rule that is not there.
        """
        plan = await self._database.read(
            partial(self._drawn_up, new), costly=True, seconds=LONG_READ_SECONDS
        )
        await self._database.write(partial(_insert, plan))
        return plan

    def _drawn_up(self, new: NewPlan, connection: Connection) -> Plan:
        now = now_micros()
        rule, conditions, what = None, new.filter, new.set
        if new.rule_id is not None:
            rule, of_rule = _find_rule(new.rule_id, connection)
            if new.kind is PlanKind.RULE:
                if rule.deleted:
                    raise no_such_rule(new.rule_id)
                conditions, what = _narrowed(of_rule.filter, new.filter), of_rule.set
        if not conditions and not (new.kind is PlanKind.UNLABEL and rule is not None):
            raise InvalidInput("filter: must name a condition, as without one it means everything")
        plan = Plan(
            id=new_plan_id(),
            kind=new.kind,
            filter=conditions,
            set=what,
            by=new.by,
            rule=rule,
            state=PlanState.READY,
            bound=0,
            matched=0,
            sample=[],
            warnings=[],
            created_at=from_micros(now),
            key_name=new.key_name,
        )
        selection = self._kinds[plan.kind].selection(plan)
        matched = selection.count(connection)
        if not matched:
            return replace(
                plan, bound=selection.bound(connection), warnings=[self._emptied(plan, connection)]
            )
        found = selection.next(None, _LOOKED_AT_FOR_SAMPLE, 2**63 - 1, connection)
        ids = [each.conversation_id for each in found]
        changes = self._kinds[plan.kind].preview(plan, ids, now, connection)
        warnings = list(selection.warnings(connection))
        left = len(ids) - len(changes)
        if left and plan.kind is not PlanKind.HANDLING:  # which says itself what it leaves alone
            warnings.append(
                f"Of the first {len(ids):,} it would leave {left:,} alone, which are so already."
            )
        return replace(
            plan,
            bound=selection.bound(connection),
            matched=matched,
            sample=changes[:SAMPLE],
            warnings=warnings,
        )

    def _emptied(self, plan: Plan, connection: Connection) -> str:
        """Which condition is to blame that nothing matches."""
        parts = [name for name in plan.filter if name not in ("start_time", "end_time")]
        without = {name: [name] for name in parts}
        if len(parts) < len(plan.filter):
            without["the time range"] = ["start_time", "end_time"]
        found = []
        for name, left_out in without.items():
            kept = {key: each for key, each in plan.filter.items() if key not in left_out}
            wider = self._kinds[plan.kind].selection(replace(plan, filter=kept))
            if count := wider.count(connection):
                found.append(f"without {name} it would be {count:,}")
        if found:
            return f"Nothing matches: {', '.join(found)}."
        return "Nothing matches, and nothing would without any one part of the filter."

    async def find(self, plan_id: str) -> Plan:
        """Raises NotFound."""
        return await self._database.read(partial(_find, plan_id))

    async def newest(self, limit: int) -> Sequence[Plan]:
        """The newest first."""
        statement = SELECT_PLANS.order_by(plans.c.created_at.desc(), plans.c.id.desc())
        return await self._database.read(
            lambda connection: list(map(read_plan, connection.execute(statement.limit(limit))))
        )

    async def texts(self, plan: Plan) -> Mapping[str, SampleText]:
        """Of the conversations in its sample; one that was erased since is not there."""
        ids = [each.conversation_id for each in plan.sample]
        rows = await self._database.read(
            lambda connection: connection.execute(_TEXTS, {"ids": ids}).all()
        )
        return {
            row.id: SampleText(row.text, row.author, from_micros(row.timestamp)) for row in rows
        }

    async def apply(self, plan_id: str, *, key_name: str = "") -> Plan:
        """Have the worker apply it. Raises NotFound, Conflict where that may not be any more."""
        return await self._database.write(partial(_apply, plan_id, key_name))

    async def undo(self, plan_id: str, *, key_name: str = "") -> Plan:
        """Have the worker undo it. Raises NotFound, Conflict where there is nothing to undo."""
        return await self._database.write(partial(_undo, plan_id, key_name))


_TEXTS = select(conversations.c.id, *(conversations.c[name] for name in SampleText._fields)).where(
    conversations.c.id.in_(bindparam("ids", expanding=True))
)
_LOCK = select(plans.c.id).where(plans.c.id == bindparam("id")).with_for_update()


def _find(plan_id: str, connection: Connection) -> Plan:
    row = connection.execute(FIND_PLAN, {"id": plan_id}).one_or_none()
    if row is None:
        raise no_such_plan(plan_id)
    return read_plan(row)


def _find_locked(plan_id: str, connection: Connection) -> Plan:
    connection.execute(_LOCK, {"id": plan_id})
    return _find(plan_id, connection)


_IS_READY = and_(plans.c.state == PlanState.READY.value, plans.c.created_at > bindparam("since"))
_READY = select(func.count()).select_from(plans).where(_IS_READY)
_WHO_HAS_MOST = (
    select(plans.c.key_name)
    .where(_IS_READY)
    .group_by(plans.c.key_name)
    .order_by(func.count().desc())
    .limit(1)
)
_FORGET_OLDEST = delete(plans).where(
    plans.c.id.in_(
        select(plans.c.id)
        .where(_IS_READY, plans.c.key_name == _WHO_HAS_MOST.scalar_subquery())
        .order_by(plans.c.created_at, plans.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)  # one that is being applied is ready no more
    )
)


def _insert(plan: Plan, connection: Connection) -> None:
    since = to_micros(plan.created_at - TIME_TO_APPLY)
    if (connection.scalar(_READY, {"since": since}) or 0) >= MAX_READY:
        connection.execute(_FORGET_OLDEST, {"since": since})
    row = {
        "id": plan.id,
        "kind": plan.kind.value,
        "filter": plan.filter,
        "set": plan.set,
        "by": plan.by,
        "rule_number": plan.rule and plan.rule.number,
        "state": plan.state.value,
        "bound": plan.bound,
        "matched": plan.matched,
        "sample": plan.sample,
        "warnings": plan.warnings,
        "created_at": to_micros(plan.created_at),
        "key_name": plan.key_name,
    }
    connection.execute(insert(plans), row)


def _apply(plan_id: str, key_name: str, connection: Connection) -> Plan:
    plan = _find_locked(plan_id, connection)
    if plan.state is not PlanState.READY:
        raise Conflict(f"Only a plan that is ready can be applied; this one is {plan.state}.")
    if from_micros(now_micros()) > plan.expires_at:
        hours = TIME_TO_APPLY.total_seconds() / 3600
        raise Conflict(f"The plan was made more than {hours:.0f} hours ago. Make it again.")
    if plan.until is not None and plan.is_over(now_micros()):
        raise Conflict(f"The plan snoozes until {plan.until:%Y-%m-%d %H:%M} UTC, which is over.")
    if plan.kind is PlanKind.RULE and plan.rule is not None and plan.rule.deleted:
        raise Conflict(f"The rule {plan.rule.id} was deleted after the plan was made.")
    state, now = PlanState.APPLYING.value, now_micros()
    return _queue(plan, connection, state=state, applied_at=now, key_name=key_name)


def _undo(plan_id: str, key_name: str, connection: Connection) -> Plan:
    plan = _find_locked(plan_id, connection)
    if plan.state not in (PlanState.APPLIED, PlanState.FAILED) or plan.applied_at is None:
        raise Conflict(f"Only a plan that was applied can be undone; this one is {plan.state}.")
    if from_micros(now_micros()) > plan.applied_at + TIME_TO_UNDO:
        raise Conflict(f"The plan was applied more than {TIME_TO_UNDO.days} days ago.")
    return _queue(plan, connection, state=PlanState.UNDOING.value, left_alone=0, key_name=key_name)


def _queue(plan: Plan, connection: Connection, **values: Any) -> Plan:
    """At the end of those that the worker is to walk."""
    values |= {"queued_at": now_micros(), "position": None, "done": 0, "error": None}
    connection.execute(update(plans).where(plans.c.id == plan.id).values(**values))
    return _find(plan.id, connection)


# --- rules ----------------------------------------------------------------------------------------


class _OfRule(NamedTuple):
    filter: Mapping[str, Any]
    set: Mapping[str, Any]


def _find_rule(rule_id: str, connection: Connection) -> tuple[Rule, _OfRule]:
    row = connection.execute(select(rules).where(rules.c.id == rule_id)).one_or_none()
    if row is None:
        raise no_such_rule(rule_id)
    rule = Rule(row.id, row.number, row.name, row.deleted_at is not None)
    return rule, _OfRule(row.filter, row.set)


def _narrowed(of_rule: Mapping[str, Any], further: Mapping[str, Any]) -> Mapping[str, Any]:
    """The rule's filter with further conditions. Raises InvalidInput where one of them says another
    thing than the rule's own."""
    both = dict(of_rule)
    for name, value in further.items():
        if name == "q" and name in both:
            both[name] = f"{both[name]} {value}"
        elif name == "min_confidence" and name in both:
            both[name] = max(both[name], value)
        elif both.setdefault(name, value) != value:
            raise InvalidInput(f"filter.{name}: the rule's own filter asks for {both[name]}")
    return both
