"""Endpoints, to which messages go, and what was delivered to them."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import Depends, Query, Request, Response
from typing_extensions import TypedDict

from analysis.deliveries import DeliveryState
from analysis.messages import EndpointKind, Event, MessageType
from api.access import needs
from api.answers import MADE, Retried, location, shown
from api.bodies import documented_body, read_short
from api.endpoint_bodies import (
    DeliveriesQuery,
    EndpointIn,
    EndpointPatch,
    RetryIn,
    check_target,
)
from api.error_responses import answers
from api.late_routes import late_router
from api.path_ids import path_id
from api.services import Services, services
from errors import InvalidInput
from notices.addresses import AddressRefused
from notices.signing import new_secret
from schemas import ShownTime, built_late
from store.deliveries import no_such_delivery
from store.endpoints import Endpoint, no_such_endpoint

router = late_router(tags=["endpoints"])

_PATH = "/api/v1/endpoints"
_ONE = f"{_PATH}/{{endpoint_id}}"
_DELIVERIES = f"{_ONE}/deliveries"


@built_late
class EndpointOut(TypedDict):
    """`to` is of kind `email`, `url` of all others. `failing_since`: nothing has arrived there
    since then; null where the last try succeeded."""

    endpoint_id: str
    name: str
    kind: EndpointKind
    url: str | None
    to: str | None
    events: Sequence[Event]
    enabled: bool
    disabled_reason: str | None
    failing_since: ShownTime | None
    created_at: ShownTime


@built_late
class EndpointWithSecret(EndpointOut):
    """`secret` is shown here and never again; null where the kind is not signed."""

    secret: str | None


@built_late
class EndpointsOut(TypedDict):
    """The oldest first."""

    endpoints: Sequence[EndpointOut]


@built_late
class DeliveryAccepted(TypedDict):
    status: Literal["accepted"]
    delivery_id: int


class DeliveryOut(TypedDict):
    """`message_id` is the `webhook-id`. `attempts` are those that are over; `next_at` is null once
    it is not pending. `last_status` and `last_error` tell what the receiver said last, its first
    200 characters."""

    delivery_id: int
    message_id: str
    type: MessageType
    alert_id: str | None
    state: DeliveryState
    attempts: int
    created_at: ShownTime
    next_at: ShownTime | None
    last_at: ShownTime | None
    last_status: int | None
    last_error: str | None


class DeliveriesMetadata(TypedDict):
    """`next_cursor` is null on the last page."""

    returned_count: int
    next_cursor: str | None


@built_late
class DeliveriesOut(TypedDict):
    """The newest first."""

    deliveries: Sequence[DeliveryOut]
    metadata: DeliveriesMetadata


async def _possible_delivery(delivery_id: str) -> int:
    """Raises NotFound, without a query, for what cannot be one."""
    if not re.fullmatch(r"[1-9][0-9]{0,17}", delivery_id):
        raise no_such_delivery(delivery_id)
    return int(delivery_id)


EndpointId = Annotated[str, path_id("endp", no_such_endpoint)]
DeliveryId = Annotated[int, Depends(_possible_delivery)]


async def _check_url(url: str, parts: Services) -> None:
    """Raises InvalidInput."""
    try:
        await parts.web_client.check(url)
    except AddressRefused as error:
        raise InvalidInput(f"url: {error}") from None


def _item(endpoint: Endpoint) -> EndpointOut:
    by_mail = endpoint.kind is EndpointKind.EMAIL
    url, to = (None, endpoint.target) if by_mail else (endpoint.target, None)
    return shown(EndpointOut, endpoint, endpoint_id=endpoint.id, url=url, to=to)


@router.get(_PATH, responses=answers("unavailable"))
@needs("admin")
async def list_endpoints(request: Request) -> EndpointsOut:
    """All endpoints, the oldest first."""
    return {"endpoints": [_item(each) for each in await services(request).endpoints.all()]}


@router.post(
    _PATH,
    status_code=201,
    responses=answers("invalid_schema", "unavailable"),
    openapi_extra={**documented_body(EndpointIn), **MADE},
)
@needs("admin")
async def create_endpoint(request: Request, response: Response) -> EndpointWithSecret:
    """Make an endpoint. The secret that signs what is sent to it is shown in this answer alone."""
    parts = services(request)
    asked = await read_short(EndpointIn, request)
    if asked.url is not None:
        await _check_url(asked.url, parts)
    assert asked.target is not None
    secret = new_secret() if asked.kind is EndpointKind.STANDARD else None
    made = await parts.endpoints.create(
        asked.name, asked.kind, asked.target, asked.events, secret=secret, enabled=asked.enabled
    )
    response.headers["Location"] = location(request, f"{_PATH}/{made.id}")
    return {**_item(made), "secret": secret}


@router.get(_ONE, responses=answers("not_found", "unavailable"))
@needs("admin")
async def get_endpoint(request: Request, endpoint_id: EndpointId) -> EndpointOut:
    """One endpoint."""
    return _item(await services(request).endpoints.find(endpoint_id))


@router.patch(
    _ONE,
    responses=answers("invalid_schema", "not_found", "unavailable"),
    openapi_extra=documented_body(EndpointPatch),
)
@needs("admin")
async def change_endpoint(request: Request, endpoint_id: EndpointId) -> EndpointOut:
    """Change where messages go, or which. What waits goes where the endpoint leads then."""
    parts = services(request)
    asked = await read_short(EndpointPatch, request)
    found = await parts.endpoints.find(endpoint_id)
    if asked.kind not in (None, found.kind):
        raise InvalidInput("kind: cannot be changed; make another endpoint")
    check_target(found.kind, asked.url, asked.to)
    if asked.url is not None:
        await _check_url(asked.url, parts)
    values = asked.model_dump(include={"name", "events", "enabled"}, exclude_none=True)
    if target := asked.url or asked.to:
        values["target"] = target
    return _item(await parts.endpoints.change(endpoint_id, **values))


@router.delete(_ONE, status_code=204, responses=answers("not_found", "conflict", "unavailable"))
@needs("admin")
async def delete_endpoint(request: Request, endpoint_id: EndpointId) -> None:
    """Delete an endpoint, and what was and was to be delivered to it. One that an alert rule names
    is not deleted: change the rule first."""
    await services(request).endpoints.delete(endpoint_id)


@router.post(
    f"{_ONE}/test",
    status_code=202,
    responses=answers("not_found", "conflict", "unavailable"),
)
@needs("admin")
async def send_test(request: Request, endpoint_id: EndpointId) -> DeliveryAccepted:
    """Send one message that is not tried again. What came of it is in the list of deliveries."""
    parts = services(request)
    delivery_id = await parts.endpoints.test(endpoint_id)
    parts.wake_courier()
    return {"status": "accepted", "delivery_id": delivery_id}


@router.post(f"{_ONE}/rotate", responses=answers("not_found", "conflict", "unavailable"))
@needs("admin")
async def rotate_secret(request: Request, endpoint_id: EndpointId) -> EndpointWithSecret:
    """Sign with a new secret, shown in this answer alone, and for 24 hours with the old one too."""
    secret = new_secret()
    return {
        **_item(await services(request).endpoints.rotate(endpoint_id, secret)),
        "secret": secret,
    }


@router.post(f"{_ONE}/enable", responses=answers("not_found", "unavailable"))
@needs("admin")
async def enable_endpoint(request: Request, endpoint_id: EndpointId) -> EndpointOut:
    """Send to it again, from now on. What failed meanwhile is sent when that is asked for."""
    return _item(await services(request).endpoints.enable(endpoint_id))


@router.get(_DELIVERIES, responses=answers("invalid_schema", "not_found", "unavailable"))
@needs("admin")
async def list_deliveries(
    request: Request, endpoint_id: EndpointId, query: Annotated[DeliveriesQuery, Query()]
) -> DeliveriesOut:
    """What was and is to be delivered to an endpoint, the newest first."""
    page = await services(request).deliveries.page(
        endpoint_id, state=query.state, limit=query.limit, cursor=query.cursor
    )
    return {
        "deliveries": [shown(DeliveryOut, each, delivery_id=each.id) for each in page.deliveries],
        "metadata": {
            "returned_count": len(page.deliveries),
            "next_cursor": page.next_cursor,
        },
    }


@router.post(
    f"{_DELIVERIES}/retry",
    status_code=202,
    responses=answers("invalid_schema", "not_found", "conflict", "unavailable"),
    openapi_extra=documented_body(RetryIn),
)
@needs("admin")
async def retry_deliveries(request: Request, endpoint_id: EndpointId) -> Retried:
    """Send once more what failed of the messages made in a time."""
    parts = services(request)
    asked = await read_short(RetryIn, request)
    retried = await parts.deliveries.retry_between(endpoint_id, asked.first, asked.last)
    parts.wake_courier()
    return Retried(retried=retried)


@router.post(
    f"{_DELIVERIES}/{{delivery_id}}/retry",
    status_code=202,
    responses=answers("not_found", "conflict", "unavailable"),
)
@needs("admin")
async def retry_delivery(
    request: Request, endpoint_id: EndpointId, delivery_id: DeliveryId
) -> Retried:
    """Send one once more, at once, under the same message id."""
    parts = services(request)
    await parts.deliveries.retry(endpoint_id, delivery_id)
    parts.wake_courier()
    return Retried(retried=1)
