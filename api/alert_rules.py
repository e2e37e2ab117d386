"""Alert rules, and what each would have sent."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import Request, Response
from typing_extensions import TypedDict

from analysis.alerts import RuleKind
from api.access import needs
from api.alert_bodies import AlertRuleFields, AlertRuleIn, AlertRulePatch, shown_duration
from api.answers import MADE, location, shown
from api.bodies import documented_body, read_short
from api.error_responses import answers
from api.insights import conditions_named
from api.late_routes import late_router
from api.path_ids import path_id
from api.services import services
from errors import InvalidInput
from models import from_micros, time_or_none
from schemas import ShownTime, built_late
from store.alert_rules import AlertRule, no_such_alert_rule
from store.trends import Window

router = late_router(tags=["alerts"])

_PATH = "/api/v1/alert-rules"
_ONE = f"{_PATH}/{{rule_id}}"


@built_late
class AlertRuleOut(TypedDict):
    """`window` and `above` are null where the kind has none."""

    rule_id: str
    name: str
    kind: RuleKind
    filter: Mapping[str, Any]
    window: Window | None
    above: float | None
    at_least: int | None
    hold: int
    clear: int
    cooldown: str
    quiet: Mapping[str, str] | None
    to: Sequence[str]
    texts: bool
    enabled: bool
    created_at: ShownTime


@built_late
class AlertRulesOut(TypedDict):
    """The newest first."""

    rules: Sequence[AlertRuleOut]


class TrialAlertOut(TypedDict):
    """`told` is how many messages it would have made."""

    key: str
    opened_at: ShownTime
    closed_at: ShownTime | None
    peak: float
    held_back: str | None
    told: int


@built_late
class TrialOut(TypedDict):
    """`messages`, `alerts_count` and `held_back_count` are of all from `start_time` on, which of a
    rule of kind `single` is less than 30 days ago where more than 1,000 posts are to be looked at;
    `alerts` are the last hundred. Counts are looked at every `step_minutes`. `warnings` say what of
    the filter no post has ever had."""

    rule_id: str
    start_time: ShownTime
    end_time: ShownTime
    step_minutes: int
    messages: int
    alerts_count: int
    held_back_count: int
    alerts: Sequence[TrialAlertOut]
    warnings: Sequence[str]


AlertRuleId = Annotated[str, path_id("arul", no_such_alert_rule)]


def _item(rule: AlertRule) -> AlertRuleOut:
    cooldown = shown_duration(rule.cooldown_seconds)
    return shown(AlertRuleOut, rule, rule_id=rule.id, cooldown=cooldown)


@router.get(_PATH, responses=answers("unavailable"))
@needs("read")
async def list_alert_rules(request: Request) -> AlertRulesOut:
    """All alert rules, the newest first."""
    return {"rules": [_item(rule) for rule in await services(request).alert_rules.all()]}


@router.post(
    _PATH,
    status_code=201,
    responses=answers("invalid_schema", "unavailable"),
    openapi_extra={**documented_body(AlertRuleIn), **MADE},
)
@needs("write")
async def create_alert_rule(request: Request, response: Response) -> AlertRuleOut:
    """Be told when something needs people. Judged every minute; a rule of kind `single` within a
    second."""
    parts = services(request)
    asked = await read_short(AlertRuleIn, request)
    columns = asked.to_columns(asked.kind, await conditions_named(asked.filter.named(), parts))
    rule = await parts.alert_rules.create({"name": asked.name, **columns})
    parts.wake_alerts()
    response.headers["Location"] = location(request, f"{_PATH}/{rule.id}")
    return _item(rule)


@router.get(_ONE, responses=answers("not_found", "unavailable"))
@needs("read")
async def get_alert_rule(request: Request, rule_id: AlertRuleId) -> AlertRuleOut:
    """One alert rule."""
    return _item(await services(request).alert_rules.find(rule_id))


@router.patch(
    _ONE,
    responses=answers("invalid_schema", "not_found", "unavailable"),
    openapi_extra=documented_body(AlertRulePatch),
)
@needs("write")
async def change_alert_rule(request: Request, rule_id: AlertRuleId) -> AlertRuleOut:
    """Change a rule. Where it then looks at something else, its open alerts are closed, and nobody
    is told."""
    parts = services(request)
    asked = await read_short(AlertRulePatch, request)
    named = None
    if asked.filter is not None:
        named = await conditions_named(asked.filter.named(), parts)
    changed = await parts.alert_rules.change(rule_id, partial(_changed, asked, named))
    parts.wake_alerts()
    return _item(changed)


def _changed(
    asked: AlertRulePatch, named: Mapping[str, Any] | None, before: AlertRule
) -> Mapping[str, Any]:
    """The columns of a rule with what is asked; `named` is the filter that is asked for, as it is
    stored. Raises InvalidInput."""
    if asked.kind not in (None, before.kind):
        raise InvalidInput("kind: cannot be changed; make another rule")
    given = asked.model_dump(exclude={"kind"}, exclude_unset=True, by_alias=True, mode="json")
    name = given.pop("name", before.name)
    # A filter that was once taken is not checked again, so that its rule can be switched off.
    fields = {**_given(before), **given, "filter": asked.filter or {}}
    stored = before.filter if named is None else named
    columns = AlertRuleFields.model_validate(fields).to_columns(before.kind, stored)
    return {"name": name, **columns}


def _given(rule: AlertRule) -> dict[str, Any]:
    """As a body would have it."""
    names = AlertRuleFields.model_fields
    return {name: value for name, value in _item(rule).items() if name in names}


@router.delete(_ONE, status_code=204, responses=answers("not_found", "unavailable"))
@needs("write")
async def delete_alert_rule(request: Request, rule_id: AlertRuleId) -> None:
    """End a rule, with its alerts."""
    await services(request).alert_rules.delete(rule_id)


@router.post(f"{_ONE}/try", responses=answers("invalid_schema", "not_found", "unavailable"))
@needs("write")
async def try_alert_rule(request: Request, rule_id: AlertRuleId) -> TrialOut:
    """What the rule would have sent over the last 30 days. Nothing is sent."""
    parts = services(request)
    rule = await parts.alert_rules.find(rule_id)
    if "handling" in rule.filter:
        await parts.handling.end_leases()
    trial = await parts.alert_trials.run(rule)
    alerts = [
        shown(
            TrialAlertOut,
            each,
            opened_at=from_micros(each.opened_at),
            closed_at=time_or_none(each.closed_at),
        )
        for each in trial.alerts
    ]
    start, stop = from_micros(trial.start), from_micros(trial.stop)
    return shown(TrialOut, trial, rule_id=rule.id, start_time=start, end_time=stop, alerts=alerts)
