"""What each kind of plan does to its rows, and how it undoes that."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Connection, bindparam, select, update

from analysis.handling import Handling, HandlingChange, HandlingState
from analysis.labels import (
    PERSON,
    Effective,
    Labelling,
    label_from_json,
    label_to_json,
    labelling_of,
)
from analysis.micros import MINUTE
from models import Status, conversations, to_micros
from store import handling, labels
from store.conversations import AS_NEW, RETRY
from store.handling import Handled
from store.insights import InsightStore
from store.plans.plan import Change, Plan, PlanKind
from store.plans.rule_matches import RuleMatches
from store.plans.selections import (
    FailedConversations,
    GivenLabels,
    HandledInsights,
    MatchingInsights,
    Selection,
)


class Kind(Protocol):
    """All methods but `selection` are for up to 500 rows in a transaction of the caller's, which
    has locked the conversations. Times are in microseconds."""

    def selection(self, plan: Plan) -> Selection:
        """The rows that it means."""

    def preview(
        self, plan: Plan, ids: Sequence[str], at: int, connection: Connection
    ) -> Sequence[Change]:
        """What would be seen before and after, for each of the ids. Nothing is written."""

    def apply(
        self, plan: Plan, ids: Collection[str], at: int, connection: Connection
    ) -> Sequence[Change]:
        """Change rows of the selection. What was changed is returned, with all that `undo` needs;
        rows that are already as they are to be are not in it."""

    def undo(self, plan: Plan, changes: Sequence[Change], at: int, connection: Connection) -> int:
        """Put back what was before, in rows that are as `apply` has left them; how many."""


class _OfLabels:
    """Kinds whose changes are those of one giver's labels."""

    def __init__(self, insights: InsightStore) -> None:
        self._insights = insights

    def selection(self, plan: Plan) -> Selection:
        return MatchingInsights(self._insights, plan.filter)

    def _giver(self, plan: Plan) -> int:
        return PERSON if plan.rule is None else plan.rule.number

    def _labelling(self, plan: Plan) -> Labelling | None:
        """None takes the giver's labels back."""
        return labelling_of(plan.set or {})

    def _name(self, plan: Plan) -> str:
        """Of whose word it is."""
        return plan.rule.name if plan.rule else plan.by or plan.id

    def preview(
        self, plan: Plan, ids: Sequence[str], at: int, connection: Connection
    ) -> Sequence[Change]:
        found = labels.preview(
            connection,
            ids,
            self._giver(plan),
            self._labelling(plan),
            name=self._name(plan),
            at=at,
            reason=plan.id,
        )
        return [
            Change(each.conversation_id, _shown(each.before), _shown(each.after)) for each in found
        ]

    def apply(
        self, plan: Plan, ids: Collection[str], at: int, connection: Connection
    ) -> Sequence[Change]:
        giver, labelling, name = self._giver(plan), self._labelling(plan), self._name(plan)
        if labelling is None:
            by = plan.by or name
            found = labels.take_back(connection, ids, giver, by=by, at=at, reason=plan.id)
        else:
            found = labels.give(connection, ids, giver, labelling, name=name, at=at, reason=plan.id)
        return [
            Change(
                each.conversation_id,
                label_to_json(each.label_before),
                label_to_json(each.label_after),
            )
            for each in found
        ]

    def undo(self, plan: Plan, changes: Sequence[Change], at: int, connection: Connection) -> int:
        wanted = {
            id_: labels.PutBack(label_from_json(after), label_from_json(before))
            for id_, before, after in changes
        }
        found = labels.put_back(
            connection,
            wanted,
            self._giver(plan),
            by=plan.by or self._name(plan),
            at=at,
            reason=f"{plan.id} is undone",
        )
        return len(found)


def _shown(what: Effective) -> dict[str, Any]:
    values, last_word, _ = what
    return {
        "sentiment_score": values.sentiment_score,
        "clusters": list(values.clusters),
        "confidence": values.confidence,
        "labelled": last_word.value,
    }


class LabelPlans(_OfLabels):
    """A person's labels."""


class RulePlans(_OfLabels):
    """A rule's labels. The plan has the rule's filter and what it sets as they were when it was
    made."""

    def selection(self, plan: Plan) -> Selection:
        return RuleMatches(self._insights, plan.filter)


class UnlabelPlans(_OfLabels):
    """Takes back a rule's labels, or without a rule those of people."""

    def selection(self, plan: Plan) -> Selection:
        return GivenLabels(self._giver(plan), plan.filter)

    def _labelling(self, plan: Plan) -> Labelling | None:
        return None


class HandlingPlans:
    """Who is at conversations, or that they are answered. Claims of others are left out."""

    def __init__(self, insights: InsightStore) -> None:
        self._insights = insights

    def selection(self, plan: Plan) -> Selection:
        return HandledInsights(self._insights, plan.filter, _handling_change(plan, 0))

    def preview(
        self, plan: Plan, ids: Sequence[str], at: int, connection: Connection
    ) -> Sequence[Change]:
        found = handling.preview_many(connection, ids, _handling_change(plan, at), now=at)
        return _handling_changes(found)

    def apply(
        self, plan: Plan, ids: Collection[str], at: int, connection: Connection
    ) -> Sequence[Change]:
        change = _handling_change(plan, at)
        found = handling.change_many(connection, ids, change, key_name=plan.key_name, now=at)
        return _handling_changes(found)

    def undo(self, plan: Plan, changes: Sequence[Change], at: int, connection: Connection) -> int:
        wanted = {
            id_: Handled(_handling_from(before), _handling_from(after))
            for id_, before, after in changes
        }
        found = handling.put_back_many(
            connection,
            wanted,
            by=plan.by or plan.id,
            key_name=plan.key_name,
            now=at,
            note=f"{plan.id} is undone",
        )
        return len(found)


def _handling_change(plan: Plan, at: int) -> HandlingChange:
    """As it would be if the plan were applied now, where it is not yet."""
    what, until = plan.set or {}, None
    if plan.until is not None:
        until = to_micros(plan.until)
    elif "minutes" in what:
        until = at + what["minutes"] * MINUTE
    return HandlingChange(
        HandlingState(what["state"]),
        plan.by or plan.id,
        until,
        take_over=what.get("take_over", False),
        note=what.get("note", plan.id),
    )


def _handling_changes(found: Mapping[str, Handled]) -> Sequence[Change]:
    return [Change(id_, each.before._asdict(), each.after._asdict()) for id_, each in found.items()]


def _handling_from(stored: Mapping[str, Any]) -> Handling:
    return Handling(**{**stored, "state": HandlingState(stored["state"])})


_KEPT = ("status", *AS_NEW)
"""The columns that a retry changes, and undoing it puts back."""


class RetryPlans:
    """Puts failed conversations back in the queue. What the worker has begun with stays."""

    def selection(self, plan: Plan) -> Selection:
        return FailedConversations(plan.filter)

    def preview(
        self, plan: Plan, ids: Sequence[str], at: int, connection: Connection
    ) -> Sequence[Change]:
        new = _as_new()
        return [
            Change(id_, _queue_shown(before), _queue_shown(new))
            for id_, before in _queue_columns(ids, connection).items()
        ]

    def apply(
        self, plan: Plan, ids: Collection[str], at: int, connection: Connection
    ) -> Sequence[Change]:
        found = _queue_columns(ids, connection)
        connection.execute(RETRY.where(conversations.c.id.in_(list(ids))))
        new = _as_new()
        return [Change(id_, before, new) for id_, before in found.items()]

    def undo(self, plan: Plan, changes: Sequence[Change], at: int, connection: Connection) -> int:
        now = _queue_columns([each.conversation_id for each in changes], connection)
        unchanged = [each for each in changes if now.get(each.conversation_id) == each.after]
        if unchanged:
            connection.execute(
                _PUT_BACK, [{**each.before, "key": each.conversation_id} for each in unchanged]
            )
        return len(unchanged)


def _as_new() -> dict[str, Any]:
    return {"status": Status.PENDING.value, **AS_NEW}


def _queue_columns(ids: Collection[str], connection: Connection) -> dict[str, Mapping[str, Any]]:
    statement = select(conversations.c.id, *(conversations.c[name] for name in _KEPT))
    rows = connection.execute(statement.where(conversations.c.id.in_(list(ids))))
    return {id_: dict(zip(_KEPT, values, strict=True)) for id_, *values in rows}


def _queue_shown(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {name: columns[name] for name in ("status", "last_error")}


_PUT_BACK = (
    update(conversations)
    .where(conversations.c.id == bindparam("key"))
    .values({name: bindparam(name) for name in _KEPT})
)


def kinds_of_plans(insights: InsightStore) -> Mapping[PlanKind, Kind]:
    return {
        PlanKind.LABEL: LabelPlans(insights),
        PlanKind.RULE: RulePlans(insights),
        PlanKind.UNLABEL: UnlabelPlans(insights),
        PlanKind.HANDLING: HandlingPlans(insights),
        PlanKind.RETRY: RetryPlans(),
    }
