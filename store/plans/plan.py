"""A plan as it is stored: what it is to change, and how far it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from secrets import randbits
from typing import Any, NamedTuple

from sqlalchemy import Row, bindparam, select

from errors import NotFound
from models import from_micros, time_or_none, to_micros
from tables.people import plans, rules

TIME_TO_APPLY = timedelta(hours=24)
TIME_TO_UNDO = timedelta(days=30)


class PlanKind(StrEnum):
    LABEL = "label"
    RULE = "rule"
    UNLABEL = "unlabel"
    HANDLING = "handling"
    RETRY = "retry"


class PlanState(StrEnum):
    READY = "ready"
    APPLYING = "applying"
    APPLIED = "applied"
    UNDOING = "undoing"
    UNDONE = "undone"
    FAILED = "failed"


WALKING = (PlanState.APPLYING, PlanState.UNDOING)


class Change(NamedTuple):
    """Of one conversation, as JSON; what is before and after is the kind's own."""

    conversation_id: str
    before: Any
    after: Any


Position = Sequence[Any]
"""Of the last row that a walk has passed; its shape is the selection's own."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule that a plan is about; one that is deleted is still named."""

    id: str
    number: int
    name: str
    deleted: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """`filter` is by the names and values of the API, its times included; `bound` says which rows
    were there when the plan was made, as its selection understands it.

    `done` counts the rows that the present walk has passed, and `rate` how many a second, None
    where none is under way. `changed`, `skipped`, `later` and `left_alone` are as in the answer of
    the API.
    """

    id: str
    kind: PlanKind
    filter: Mapping[str, Any]
    set: Mapping[str, Any] | None
    by: str | None
    rule: Rule | None
    state: PlanState
    bound: int
    matched: int
    sample: Sequence[Change]
    warnings: Sequence[str]
    created_at: datetime
    applied_at: datetime | None = None
    position: Position | None = None
    done: int = 0
    rate: float | None = None
    changed: int = 0
    skipped: int = 0
    later: int = 0
    left_alone: int = 0
    error: str | None = None
    key_name: str = ""
    """Of the API key by which it was made, applied or undone last; empty where none was needed."""

    @property
    def expires_at(self) -> datetime:
        return self.created_at + TIME_TO_APPLY

    @property
    def until(self) -> datetime | None:
        """When the claims or snoozes that it sets end. None where they do not, or not before it is
        known when it is applied: minutes count from then."""
        what = self.set or {}
        if "until" in what:
            return datetime.fromisoformat(what["until"])
        if "minutes" in what and self.applied_at is not None:
            return self.applied_at + timedelta(minutes=what["minutes"])
        return None

    def is_over(self, now: int) -> bool:
        """Whether what it sets would have run out already at `now`, in microseconds: it would only
        open what others have answered, claimed or ignored."""
        return self.until is not None and to_micros(self.until) <= now

    @property
    def total(self) -> int:
        """Of the rows that `done` counts."""
        undone = self.state in (PlanState.UNDOING, PlanState.UNDONE)
        return self.changed if undone else self.matched

    @property
    def eta_seconds(self) -> float | None:
        """None where nothing is under way, or not for long enough to tell."""
        if self.state not in WALKING or not self.rate:
            return None
        return round(max(0, self.total - self.done) / self.rate, 1)


def new_plan_id() -> str:
    return f"plan_{randbits(32):08x}"


def no_such_plan(plan_id: str) -> NotFound:
    return NotFound(f"There is no plan {plan_id!r}.")


SELECT_PLANS = select(
    plans,
    rules.c.id.label("rule_id"),
    rules.c.name.label("rule_name"),
    rules.c.deleted_at.label("rule_deleted_at"),
).outerjoin(rules, rules.c.number == plans.c.rule_number)

FIND_PLAN = SELECT_PLANS.where(plans.c.id == bindparam("id"))


def read_plan(row: Row[*tuple[Any, ...]]) -> Plan:
    """A row of `SELECT_PLANS`."""
    rule = None
    if row.rule_number is not None:
        deleted = row.rule_deleted_at is not None
        rule = Rule(row.rule_id, row.rule_number, row.rule_name, deleted)
    return Plan(
        id=row.id,
        kind=PlanKind(row.kind),
        filter=row.filter,
        set=row.set,
        by=row.by,
        rule=rule,
        state=PlanState(row.state),
        bound=row.bound,
        matched=row.matched,
        sample=[Change(*each) for each in row.sample],
        warnings=row.warnings,
        created_at=from_micros(row.created_at),
        applied_at=time_or_none(row.applied_at),
        position=row.position,
        done=row.done,
        rate=row.rate,
        changed=row.changed,
        skipped=row.skipped,
        later=row.later,
        left_alone=row.left_alone,
        error=row.error,
        key_name=row.key_name,
    )
