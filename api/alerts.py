"""Alerts: listed, acknowledged and muted."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Query, Request
from typing_extensions import TypedDict

from analysis.alerts import AlertState, RuleKind
from api.access import needs
from api.alert_bodies import AcknowledgeIn, AlertsQuery, MuteIn
from api.bodies import documented_body, read_short
from api.error_responses import answers
from api.late_routes import late_router
from api.path_ids import path_id
from api.services import services
from models import time_or_none
from schemas import ShownTime, built_late
from store.alerts import ListedAlert, no_such_alert

router = late_router(tags=["alerts"])

_PATH = "/api/v1/alerts"
_ONE = f"{_PATH}/{{alert_id}}"


@built_late
class AlertOut(TypedDict):
    """`rule_id` is null for what the service tells of itself without a rule. `held_back` says why
    nobody was told: too few authors, too many copies, or no endpoint that is enabled takes it.
    `quiet_until` is when quiet hours end that put a notice off. `evidence` has
    `count` (where there is a `share`, of all posts of which it is one), `expected`, `score`,
    `share`, `authors`, `copies` (a share), `suspected` (posts that did not count), `words`,
    `conversations`, `link`, or of the service a `sentence`."""

    alert_id: str
    rule_id: str | None
    rule: str
    kind: RuleKind
    key: str
    state: AlertState
    opened_at: ShownTime | None
    closed_at: ShownTime | None
    peak: float | None
    held_back: str | None
    told_at: ShownTime | None
    quiet_until: ShownTime | None
    muted_until: ShownTime | None
    acknowledged_by: str | None
    acknowledged_at: ShownTime | None
    evidence: Mapping[str, Any]


class AlertsMetadata(TypedDict):
    """`open_count` is of all that are open."""

    open_count: int
    returned_count: int
    next_cursor: str | None


@built_late
class AlertsOut(TypedDict):
    """The last opened first."""

    alerts: Sequence[AlertOut]
    metadata: AlertsMetadata


AlertId = Annotated[str, path_id("alrt", no_such_alert)]


def _item(listed: ListedAlert) -> AlertOut:
    alert = listed.alert
    return {
        "alert_id": alert.id,
        "rule_id": listed.rule_id,
        "rule": listed.rule,
        "kind": listed.kind,
        "key": alert.key,
        "state": alert.state,
        "opened_at": time_or_none(alert.opened_at),
        "closed_at": None if alert.state is AlertState.OPEN else time_or_none(alert.closed_at),
        "peak": alert.peak,
        "held_back": alert.held_back,
        "told_at": time_or_none(alert.told_at),
        "quiet_until": time_or_none(alert.put_off_until),
        "muted_until": time_or_none(alert.muted_until),
        "acknowledged_by": listed.acknowledged_by,
        "acknowledged_at": time_or_none(listed.acknowledged_at),
        "evidence": alert.evidence,
    }


@router.get(_PATH, responses=answers("invalid_schema", "unavailable"))
@needs("read")
async def list_alerts(request: Request, asked: Annotated[AlertsQuery, Query()]) -> AlertsOut:
    """Alerts that are or have been open, the last opened first."""
    page = await services(request).alerts.page(asked.state, limit=asked.limit, cursor=asked.cursor)
    return {
        "alerts": [_item(each) for each in page.alerts],
        "metadata": {
            "open_count": page.open_count,
            "returned_count": len(page.alerts),
            "next_cursor": page.next_cursor,
        },
    }


@router.post(
    f"{_ONE}/acknowledge",
    responses=answers("invalid_schema", "not_found", "unavailable"),
    openapi_extra=documented_body(AcknowledgeIn),
)
@needs("write")
async def acknowledge_alert(request: Request, alert_id: AlertId) -> AlertOut:
    """Say that somebody has seen it."""
    asked = await read_short(AcknowledgeIn, request)
    return _item(await services(request).alerts.acknowledge(alert_id, asked.by))


@router.post(
    f"{_ONE}/mute",
    responses=answers("invalid_schema", "not_found", "unavailable"),
    openapi_extra=documented_body(MuteIn),
)
@needs("write")
async def mute_alert(request: Request, alert_id: AlertId) -> AlertOut:
    """Tell nothing of it, nor of any other one of the same rule and key, for some hours."""
    asked = await read_short(MuteIn, request)
    return _item(await services(request).alerts.mute(alert_id, asked.hours))
