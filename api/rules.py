"""Rules, which label new insights as they come."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import Request, Response
from typing_extensions import TypedDict

from api.access import needs
from api.answers import MADE, location, shown
from api.bodies import documented_body, read_short
from api.error_responses import answers
from api.insights import cluster_named, conditions_named
from api.label_bodies import (
    RuleIn,
    RulePatch,
    RuleSet,
    check_no_contradiction,
    topics_named,
)
from api.late_routes import late_router
from api.path_ids import path_id
from api.services import Services, services
from schemas import ShownTime, built_late
from store.rules import StoredRule, no_such_rule

router = late_router(tags=["rules"])

_PATH = "/api/v1/rules"
_ONE = f"{_PATH}/{{rule_id}}"


@built_late
class RuleOut(TypedDict):
    """`labelled` is of how many conversations it says something now."""

    rule_id: str
    name: str
    filter: Mapping[str, Any]
    set: Mapping[str, Any]
    enabled: bool
    created_at: ShownTime
    labelled: int


@built_late
class RulesOut(TypedDict):
    """The newest first: where several match, it wins."""

    rules: Sequence[RuleOut]


class TakeBack(TypedDict):
    """The body of a plan."""

    kind: Literal["unlabel"]
    rule_id: str


@built_late
class RuleDeleted(TypedDict):
    """What it said of `labelled` conversations stays until the plan `take_back` is applied."""

    rule_id: str
    labelled: int
    take_back: TakeBack


RuleId = Annotated[str, path_id("rule", no_such_rule)]


async def _set(asked: RuleSet, parts: Services) -> dict[str, Any]:
    """Topics that are taken away are named as in a filter, new ones as in a label. Raises
    InvalidInput."""
    named = asked.model_dump(mode="json", exclude_none=True)
    if "remove_cluster" in named:
        named["remove_cluster"] = await cluster_named(named["remove_cluster"], parts)
    if "add_cluster" in named:
        field = "set.add_cluster"
        (named["add_cluster"],) = topics_named([named["add_cluster"]], parts, field=field)
    if "replace_cluster" in named:
        before, after = named["replace_cluster"]
        (after,) = topics_named([after], parts, field="set.replace_cluster")
        named["replace_cluster"] = [await cluster_named(before, parts), after]
    check_no_contradiction(named)
    return named


def _item(rule: StoredRule) -> RuleOut:
    return shown(RuleOut, rule, rule_id=rule.id)


@router.get(_PATH, responses=answers("unavailable"))
@needs("read")
async def list_rules(request: Request) -> RulesOut:
    """All rules, the newest first."""
    return {"rules": [_item(rule) for rule in await services(request).rules.all()]}


@router.post(
    _PATH,
    status_code=201,
    responses=answers("invalid_schema", "unavailable"),
    openapi_extra={**documented_body(RuleIn), **MADE},
)
@needs("write")
async def create_rule(request: Request, response: Response) -> RuleOut:
    """Label every new insight that matches. Those that are there are for a plan of kind `rule`."""
    parts = services(request)
    asked = await read_short(RuleIn, request)
    conditions = await conditions_named(asked.filter.named(), parts)
    what = await _set(asked.set, parts)
    made = await parts.rules.create(asked.name, conditions, what, enabled=asked.enabled)
    response.headers["Location"] = location(request, f"{_PATH}/{made.id}")
    return _item(made)


@router.get(_ONE, responses=answers("not_found", "unavailable"))
@needs("read")
async def get_rule(request: Request, rule_id: RuleId) -> RuleOut:
    """One rule."""
    return _item(await services(request).rules.find(rule_id))


@router.patch(
    _ONE,
    responses=answers("invalid_schema", "not_found", "unavailable"),
    openapi_extra=documented_body(RulePatch),
)
@needs("write")
async def change_rule(request: Request, rule_id: RuleId) -> RuleOut:
    """Change what a rule does to insights that are still to come."""
    parts = services(request)
    asked = await read_short(RulePatch, request)
    values = asked.model_dump(include={"name", "enabled"}, exclude_none=True)
    if asked.filter is not None:
        values["filter"] = await conditions_named(asked.filter.named(), parts)
    if asked.set is not None:
        values["set"] = await _set(asked.set, parts)
    return _item(await parts.rules.change(rule_id, **values))


@router.delete(_ONE, responses=answers("not_found", "unavailable"))
@needs("write")
async def delete_rule(request: Request, rule_id: RuleId) -> RuleDeleted:
    """End a rule. What it has said stays, until a plan takes that back."""
    deleted = await services(request).rules.delete(rule_id)
    return {
        "rule_id": deleted.id,
        "labelled": deleted.labelled,
        "take_back": {"kind": "unlabel", "rule_id": deleted.id},
    }
