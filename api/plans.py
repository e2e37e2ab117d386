"""Plans: changes of many rows, shown before they are made."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Query, Request, Response
from typing_extensions import TypedDict

from api.access import needs
from api.answers import MADE, location, shown
from api.bodies import documented_body, read_short
from api.disconnect import stopped_when_gone
from api.error_responses import answers
from api.insights import conditions_named
from api.keys import holder_of, key_name
from api.late_routes import late_router
from api.path_ids import path_id
from api.plan_bodies import PlanIn, PlansQuery
from api.services import Services, services
from models import format_time, from_micros
from schemas import ShownTime, built_late
from store.plans.plan import Change, Plan, PlanKind, PlanState, no_such_plan
from store.plans.requests import NewPlan, SampleText

router = late_router(tags=["plans"])

PATH = "/api/v1/plans"


class SampleOut(TypedDict):
    """A conversation that would change. What is in `before` and `after` is the kind's own."""

    conversation_id: str
    timestamp: ShownTime
    text: str
    author: str | None
    before: Mapping[str, Any]
    after: Mapping[str, Any]


@built_late
class PlanOut(TypedDict):
    """`filter` is all that selects, a rule's own filter included. `matched` rows were there when
    the plan was made; `sample` has ten of them at most.

    `done` of `total` rows are passed, at `rate` a second; that and `eta_seconds` are null while
    nothing is under way. `changed` were changed; `skipped` were erased, match no more, or
    were come to when the time was over until which they were to be claimed or snoozed; `later` ones
    match but came after the plan was made, and were not touched. `left_alone` were not put back,
    since they were changed again or erased.
    """

    plan_id: str
    kind: PlanKind
    filter: Mapping[str, Any]
    set: Mapping[str, Any] | None
    by: str | None
    rule_id: str | None
    state: PlanState
    matched: int
    sample: Sequence[SampleOut]
    warnings: Sequence[str]
    created_at: ShownTime
    expires_at: ShownTime
    applied_at: ShownTime | None
    done: int
    total: int
    changed: int
    skipped: int
    later: int
    left_alone: int
    rate: float | None
    eta_seconds: float | None
    error: str | None


@built_late
class PlansOut(TypedDict):
    """The newest first, without samples."""

    plans: Sequence[PlanOut]


def _sample_item(change: Change, said: SampleText) -> SampleOut:
    return shown(
        SampleOut,
        change,
        timestamp=said.timestamp,
        text=said.text,
        author=said.author,
        before=_with_times(change.before),
        after=_with_times(change.after),
    )


def _with_times(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those of handling are stored in microseconds."""
    times = {
        name: format_time(from_micros(values[name]))
        for name in ("at", "until")
        if values.get(name) is not None
    }
    return {**values, **times}


def _plan_item(plan: Plan, texts: Mapping[str, SampleText]) -> PlanOut:
    sample = [
        _sample_item(change, texts[change.conversation_id])
        for change in plan.sample
        if change.conversation_id in texts
    ]
    rule_id = None if plan.rule is None else plan.rule.id
    return shown(PlanOut, plan, plan_id=plan.id, rule_id=rule_id, sample=sample)


PlanId = Annotated[str, path_id("plan", no_such_plan)]


async def _shown(plan: Plan, parts: Services) -> PlanOut:
    return _plan_item(plan, await parts.plans.texts(plan))


@router.post(
    PATH,
    status_code=201,
    responses=answers("invalid_schema", "not_found", "unavailable"),
    openapi_extra={**documented_body(PlanIn), **MADE},
)
@needs("write")
async def make_plan(request: Request, response: Response) -> PlanOut:
    """Say what is to be changed, and see how many rows that would be and ten of them. Nothing is
    changed before the plan is applied."""
    parts = services(request)
    asked = await read_short(PlanIn, request)
    conditions = await conditions_named(asked.filter.named(), parts)
    if "handling" in conditions:
        await parts.handling.end_leases()
    what = asked.checked_set(parts)
    by, rule_id, key = asked.by, asked.rule_id, key_name(request)
    new = NewPlan(asked.kind, conditions, what, by, rule_id, key)
    async with stopped_when_gone(request), parts.plan_previews.hold(holder_of(request)):
        plan = await parts.plans.make(new)
    response.headers["Location"] = location(request, f"{PATH}/{plan.id}")
    return await _shown(plan, parts)


@router.get(PATH, responses=answers("invalid_schema", "unavailable"))
@needs("read")
async def list_plans(request: Request, query: Annotated[PlansQuery, Query()]) -> PlansOut:
    """The newest plans, and how far each is."""
    plans = await services(request).plans.newest(query.limit)
    return {"plans": [_plan_item(plan, {}) for plan in plans]}


@router.get(f"{PATH}/{{plan_id}}", responses=answers("not_found", "unavailable"))
@needs("read")
async def get_plan(request: Request, plan_id: PlanId) -> PlanOut:
    """What a plan would change, and how far it is."""
    parts = services(request)
    return await _shown(await parts.plans.find(plan_id), parts)


@router.post(
    f"{PATH}/{{plan_id}}/apply",
    status_code=202,
    responses=answers("not_found", "conflict", "unavailable"),
)
@needs("write")
async def apply_plan(request: Request, plan_id: PlanId) -> PlanOut:
    """Begin to change what the plan says, behind the plans that were applied before."""
    parts = services(request)
    plan = await parts.plans.apply(plan_id, key_name=key_name(request))
    parts.wake_plan_worker()
    return await _shown(plan, parts)


@router.post(
    f"{PATH}/{{plan_id}}/undo",
    status_code=202,
    responses=answers("not_found", "conflict", "unavailable"),
)
@needs("write")
async def undo_plan(request: Request, plan_id: PlanId) -> PlanOut:
    """Begin to put back what was there, but for what somebody has changed since."""
    parts = services(request)
    plan = await parts.plans.undo(plan_id, key_name=key_name(request))
    parts.wake_plan_worker()
    return await _shown(plan, parts)
