"""Endpoints: made, changed, disabled and deleted. What is sent to them is in `outbox.py`,
`dispatch.py` and `deliveries.py`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from secrets import randbits
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, null, select, update

from analysis.deliveries import DeliveryState
from analysis.messages import EndpointKind, Event, Message, MessageType, new_message_id
from database import Database
from errors import Conflict, InvalidInput, NotFound
from models import from_micros, now_micros, time_or_none
from store import derived
from store.alert_turn import wait_for_turn
from store.outbox import enqueue
from store.told_texts import forget_texts
from tables.alerts import alert_rules, deliveries, endpoints

MAX_ENDPOINTS = 20
OVERLAP = timedelta(hours=24)
"""For so long a secret signs beside the one that took its place."""
_MOST_OLD_SECRETS = 5
BY_HAND = "somebody disabled it"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`target` is a URL, or of kind `email` the address of a mailbox. `failing_since`: nothing has
    arrived there since then, None where the last try succeeded."""

    id: str
    name: str
    kind: EndpointKind
    target: str
    events: Sequence[Event]
    enabled: bool
    disabled_reason: str | None
    failing_since: datetime | None
    created_at: datetime


def no_such_endpoint(endpoint_id: str) -> NotFound:
    return NotFound(f"There is no endpoint {endpoint_id!r}.")


class EndpointStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Sequence[Endpoint]:
        """The oldest first."""
        return await self._database.read(
            lambda connection: [_to_endpoint(row) for row in connection.execute(_ALL)]
        )

    async def find(self, endpoint_id: str) -> Endpoint:
        """Raises NotFound."""
        return await self._database.read(partial(find_endpoint, endpoint_id))

    async def create(
        self,
        name: str,
        kind: EndpointKind,
        target: str,
        events: Sequence[Event],
        *,
        secret: str | None,
        enabled: bool = True,
    ) -> Endpoint:
        """`secret` is there for kind `standard`. Raises InvalidInput where there are
        `MAX_ENDPOINTS` already."""
        values = {
            "name": name,
            "kind": kind.value,
            "target": target,
            "events": [event.value for event in events],
            "secret": secret,
            "enabled": enabled,
            "disabled_reason": None if enabled else BY_HAND,
        }
        return await self._database.write(partial(_create, values))

    async def change(self, endpoint_id: str, **values: Any) -> Endpoint:
        """Give it another `name`, `target`, `events` or `enabled`. What waits for one that is
        disabled has failed. Raises NotFound."""
        return await self._database.write(partial(_change, endpoint_id, values))

    async def enable(self, endpoint_id: str) -> Endpoint:
        """It takes what comes from now on. Raises NotFound."""
        return await self.change(endpoint_id, enabled=True)

    async def delete(self, endpoint_id: str) -> None:
        """With all deliveries to it. Raises NotFound, and Conflict where an alert rule names it."""
        await self._database.write(partial(_delete, endpoint_id))

    async def rotate(self, endpoint_id: str, secret: str) -> Endpoint:
        """From now on `secret` signs, and the ones before it for 24 hours more. Raises NotFound,
        and Conflict for one that signs nothing."""
        return await self._database.write(partial(_rotate, endpoint_id, secret))

    async def test(self, endpoint_id: str) -> int:
        """Have one message sent to it, which is not tried again; the delivery's id. Raises
        NotFound, and Conflict for one that is disabled."""
        return await self._database.write(partial(_test, endpoint_id))


_COLUMNS = endpoints.c
_ALL = select(endpoints).order_by(_COLUMNS.created_at, _COLUMNS.id)
_FIND = select(endpoints).where(_COLUMNS.id == bindparam("endpoint_id"))
# Not against those that only write a delivery to it.
_LOCK = _FIND.with_for_update(key_share=True)
_COUNT = select(func.count()).select_from(endpoints)
_RULES = select(alert_rules.c.id, alert_rules.c.name, alert_rules.c.to).order_by(
    alert_rules.c.created_at, alert_rules.c.id
)
_GO_ON = (
    update(deliveries)
    .where(
        deliveries.c.endpoint_id == bindparam("of_endpoint"),
        deliveries.c.next_at <= bindparam("asked_until"),
        deliveries.c.lease_token.is_(null()),
    )
    .values(next_at=bindparam("now"))
)
_DELIVERY = select(deliveries.c.id).where(
    deliveries.c.endpoint_id == bindparam("endpoint_id"),
    deliveries.c.message_id == bindparam("message_id"),
)


def find_endpoint(endpoint_id: str, connection: Connection) -> Endpoint:
    """Raises NotFound."""
    row = connection.execute(_FIND, {"endpoint_id": endpoint_id}).one_or_none()
    if row is None:
        raise no_such_endpoint(endpoint_id)
    return _to_endpoint(row)


def lock(endpoint_id: str, connection: Connection) -> Row[*tuple[Any, ...]]:
    """Its row, which nobody else changes until the transaction ends. Raises NotFound."""
    row = connection.execute(_LOCK, {"endpoint_id": endpoint_id}).one_or_none()
    if row is None:
        raise no_such_endpoint(endpoint_id)
    return row


def _create(values: dict[str, Any], connection: Connection) -> Endpoint:
    derived.take_turn(connection)  # so that the count is right when the row is written
    if (connection.scalar(_COUNT) or 0) >= MAX_ENDPOINTS:
        raise InvalidInput(f"There are {MAX_ENDPOINTS} endpoints already, which is the most.")
    endpoint_id = f"endp_{randbits(32):08x}"
    connection.execute(insert(endpoints).values(id=endpoint_id, created_at=now_micros(), **values))
    return find_endpoint(endpoint_id, connection)


def _change(endpoint_id: str, values: dict[str, Any], connection: Connection) -> Endpoint:
    before = lock(endpoint_id, connection)
    if "events" in values:
        values = {**values, "events": [event.value for event in values["events"]]}
    if values.get("enabled") is False:
        disable(endpoint_id, BY_HAND, connection)
    elif values.get("enabled"):
        values = {**values, "disabled_reason": None, "failing_since": None}
    if "target" in values:
        values = {**values, "failing_since": None}
        if values["target"] != before.target and before.asked_until is not None:
            # What the address before has asked to wait need not for another one.
            values = {**values, "asked_until": None}
            asked = {"of_endpoint": endpoint_id, "asked_until": before.asked_until}
            connection.execute(_GO_ON, {**asked, "now": now_micros()})
    if values:
        connection.execute(update(endpoints).where(_COLUMNS.id == endpoint_id).values(values))
    return find_endpoint(endpoint_id, connection)


def disable(endpoint_id: str, reason: str, connection: Connection) -> None:
    """Nothing more is sent to it, and what waits for it has failed."""
    connection.execute(
        update(endpoints)
        .where(_COLUMNS.id == endpoint_id)
        .values(enabled=False, disabled_reason=reason)
    )
    waiting = (
        deliveries.c.endpoint_id == endpoint_id,
        deliveries.c.state == DeliveryState.PENDING.value,
        # What is on its way ends as it ends.
        deliveries.c.lease_token.is_(null()),
    )
    forget_texts(connection, *waiting)
    failed = update(deliveries).where(*waiting)
    connection.execute(
        failed.values(
            state=DeliveryState.FAILED.value, next_at=None, last_error=f"not sent: {reason}"
        )
    )


def _delete(endpoint_id: str, connection: Connection) -> None:
    wait_for_turn(connection)
    derived.take_turn(connection)  # so that no rule names it before it is gone
    naming = [
        f"{row.name} ({row.id})" for row in connection.execute(_RULES) if endpoint_id in row.to
    ]
    if naming:
        raise Conflict(f"Alert rules name the endpoint: {', '.join(naming)}. Change them first.")
    if not connection.execute(delete(endpoints).where(_COLUMNS.id == endpoint_id)).rowcount:
        raise no_such_endpoint(endpoint_id)


def _rotate(endpoint_id: str, secret: str, connection: Connection) -> Endpoint:
    row, now = lock(endpoint_id, connection), now_micros()
    if row.secret is None:
        raise Conflict("Only endpoints of kind standard have a secret.")
    until = now + OVERLAP // timedelta(microseconds=1)
    old = [[row.secret, until], *still_valid(row.old_secrets, now)][:_MOST_OLD_SECRETS]
    changed = {"secret": secret, "old_secrets": old}
    connection.execute(update(endpoints).where(_COLUMNS.id == endpoint_id).values(changed))
    return find_endpoint(endpoint_id, connection)


def still_valid(old_secrets: Sequence[Sequence[Any]] | None, now: int) -> Sequence[Sequence[Any]]:
    """Those pairs of secret and time whose time has not come."""
    return [pair for pair in old_secrets or () if pair[1] > now]


def _test(endpoint_id: str, connection: Connection) -> int:
    row = lock(endpoint_id, connection)
    sentence = f"This is a test of the endpoint {row.name}. Messages arrive here."
    message = Message(new_message_id(), MessageType.TEST, {"sentence": sentence})
    if not enqueue(connection, message, endpoints=[endpoint_id]):
        raise Conflict("The endpoint is disabled: enable it first.")
    named = {"endpoint_id": endpoint_id, "message_id": message.id}
    return int(connection.execute(_DELIVERY, named).scalar_one())


def _to_endpoint(row: Row[*tuple[Any, ...]]) -> Endpoint:
    return Endpoint(
        row.id,
        row.name,
        EndpointKind(row.kind),
        row.target,
        [Event(event) for event in row.events],
        row.enabled,
        row.disabled_reason,
        time_or_none(row.failing_since),
        from_micros(row.created_at),
    )
