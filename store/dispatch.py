"""The outbox as the courier sees it: what is due, claim, settle, release.

A claim marks deliveries with a random token and puts off when they are due again: whoever dies with
them leaves them to others. What came of a try counts only while a row bears that token.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, assert_never
from uuid import uuid4

from sqlalchemy import (
    ColumnElement,
    Connection,
    Exists,
    Row,
    bindparam,
    exists,
    null,
    select,
    update,
)

from analysis.alerts import AlertState, Notice, RuleKind
from analysis.deliveries import (
    ALONE_AFTER,
    LADDER_SECONDS,
    Delivered,
    DeliveryOutcome,
    DeliveryState,
    Disabled,
    GivenUp,
    Tried,
    TryAgain,
)
from analysis.messages import (
    MOST_TOGETHER,
    TOLD_TOGETHER,
    EndpointKind,
    Event,
    Message,
    MessageType,
    go_together,
    new_message_id,
)
from database import Database
from errors import NotFound
from models import format_time, from_micros, now_micros
from store.endpoints import disable, lock, still_valid
from store.outbox import enqueue, subscribers
from store.told_texts import without_texts
from tables.alerts import alert_rules, alerts, deliveries, endpoints


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Deliveries that go to their endpoint as one, and are ours until their lease runs out: one, or
    several that people are told of together. `ids` and `messages` are theirs, in order. `secrets`
    are those that sign, the current one first; `created_at` is when the first message was made;
    `attempts` and `waits` are those of each before this try; `failing_since` is the endpoint's, in
    microseconds."""

    ids: Sequence[int]
    token: str
    endpoint_id: str
    endpoint_name: str
    kind: EndpointKind
    target: str
    secrets: Sequence[str]
    messages: Sequence[Message]
    created_at: datetime
    attempts: int
    waits: int
    retries: bool
    failing_since: int | None

    def tried(self, now: int) -> Tried:
        """As each stands once this try is over."""
        failing = 0.0 if self.failing_since is None else (now - self.failing_since) / 1_000_000
        return Tried(self.attempts + 1, self.waits, self.retries, failing)


class DispatchStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(self) -> Sequence[str]:
        """Ids of the endpoints for which something is due, and to which nothing is on its way."""
        now = {"now": now_micros()}
        return await self._database.read(lambda connection: connection.scalars(_DUE, now).all())

    async def claim(self, endpoint_ids: Collection[str], *, lease: timedelta) -> Sequence[Dispatch]:
        """Take what is due first for each of them to which nothing is on its way, whichever process
        asks, until `lease` from now: one each, with what goes together with it. What need not be
        sent any more is ended on the way."""
        return await self._database.write(partial(_claim, endpoint_ids, lease))

    async def settle(self, claimed: Dispatch, outcome: DeliveryOutcome) -> bool:
        """Write what came of it for each that is still ours, and what it means for the endpoint, in
        one transaction. False where none is, and then nothing is written. Where the endpoint has
        another address by now, they are soon sent there, and nothing else follows.

        Where the endpoint is disabled by it, a `machine` message goes to those that take these.
        """
        return await self._database.write(partial(_settle, claimed, outcome))

    async def release(self, tokens: Collection[str] | None = None) -> None:
        """Make what these claims hold due at once, with None what anybody's do. No try is
        charged."""
        await self._database.write(partial(_release, tokens))


_COLUMNS = deliveries.c

_LEASED = deliveries.alias()


def _on_its_way(endpoint_id: ColumnElement[str]) -> Exists:
    """Whether somebody is sending to the endpoint."""
    return exists().where(
        _LEASED.c.endpoint_id == endpoint_id,
        _LEASED.c.lease_token.is_not(null()),
        _LEASED.c.next_at > bindparam("now"),
    )


_DUE = select(endpoints.c.id).where(
    exists()
    .where(_COLUMNS.endpoint_id == endpoints.c.id, _COLUMNS.next_at <= bindparam("now"))
    .correlate(endpoints),
    ~_on_its_way(endpoints.c.id).correlate(endpoints),
)

_ENDPOINT = (
    select(endpoints)
    .where(endpoints.c.id == bindparam("endpoint_id"))
    # Where another process is claiming for it, that one does.
    .with_for_update(key_share=True, skip_locked=True)
)

# What others have claimed is seen by what begins after the endpoint is locked.
_PICK = (
    select(deliveries)
    .where(
        _COLUMNS.endpoint_id == bindparam("endpoint_id"),
        _COLUMNS.next_at <= bindparam("now"),
        ~_on_its_way(bindparam("endpoint_id")),
    )
    .order_by(_COLUMNS.next_at, _COLUMNS.id)
    .limit(1)
    .with_for_update(skip_locked=True)
)

_BESIDE = (
    select(deliveries)
    .where(
        _COLUMNS.endpoint_id == bindparam("endpoint_id"),
        _COLUMNS.next_at <= bindparam("now"),
        _COLUMNS.id != bindparam("first"),
        # What stands alike has the same outcome, and so stays together.
        _COLUMNS.attempts == bindparam("attempts"),
        _COLUMNS.waits == bindparam("waits"),
        _COLUMNS.type.in_(TOLD_TOGETHER),
    )
    .order_by(_COLUMNS.next_at, _COLUMNS.id)
    .limit(MOST_TOGETHER - 1)
    .with_for_update(skip_locked=True)
)

_CLOSED = select(_COLUMNS.id).where(
    _COLUMNS.alert_id == bindparam("of_alert"),
    _COLUMNS.endpoint_id == bindparam("endpoint_id"),
    _COLUMNS.type == MessageType.ALERT_CLOSED.value,
    # One before it is of an earlier opening of the same alert.
    _COLUMNS.id > bindparam("after"),
)

_ALERT = (
    select(alerts.c.state, alert_rules.c.kind, alert_rules.c.enabled)
    .join_from(alerts, alert_rules, alerts.c.rule_id == alert_rules.c.id)
    .where(alerts.c.id == bindparam("of_alert"))
)

_HELD = (
    select(_COLUMNS.id)
    .where(
        _COLUMNS.id.in_(bindparam("ids", expanding=True)),
        _COLUMNS.lease_token == bindparam("token"),
    )
    .with_for_update()
)
"""The fence: a row that was claimed anew, retried or deleted is not found."""


def _claim(
    endpoint_ids: Collection[str], lease: timedelta, connection: Connection
) -> Sequence[Dispatch]:
    found = []
    for endpoint_id in endpoint_ids:
        endpoint = connection.execute(_ENDPOINT, {"endpoint_id": endpoint_id}).one_or_none()
        if endpoint is not None and (dispatch := _take(endpoint, lease, connection)):
            found.append(dispatch)
    return found


def _take(
    endpoint: Row[*tuple[Any, ...]], lease: timedelta, connection: Connection
) -> Dispatch | None:
    now = now_micros()
    first = _pick(endpoint, now, connection)
    if first is None:
        return None
    rows = [first, *_beside(first, endpoint, now, connection)]
    token, until = uuid4().hex, now + lease // timedelta(microseconds=1)
    for row in rows:
        _write(row.id, {"lease_token": token, "next_at": until}, connection)
    return _dispatch(rows, endpoint, token, now)


def _pick(
    endpoint: Row[*tuple[Any, ...]], now: int, connection: Connection
) -> Row[*tuple[Any, ...]] | None:
    """What is due first and still to be sent."""
    while row := connection.execute(_PICK, {"endpoint_id": endpoint.id, "now": now}).one_or_none():
        if not endpoint.enabled:
            reason = "the endpoint is disabled"
            _end(row.id, _message(row), DeliveryState.FAILED, connection, last_error=reason)
        elif not _drop_if_needless(row, endpoint.id, connection):
            return row
    return None


def _beside(
    first: Row[*tuple[Any, ...]],
    endpoint: Row[*tuple[Any, ...]],
    now: int,
    connection: Connection,
) -> Sequence[Row[*tuple[Any, ...]]]:
    """What else is due and goes with it."""
    is_told_together = go_together(EndpointKind(endpoint.kind), first.type)
    if not is_told_together or first.attempts - first.waits >= ALONE_AFTER:
        return []
    alike = {"first": first.id, "attempts": first.attempts, "waits": first.waits}
    found = connection.execute(_BESIDE, {**alike, "endpoint_id": endpoint.id, "now": now})
    return [row for row in found.all() if not _drop_if_needless(row, endpoint.id, connection)]


def _drop_if_needless(row: Row[*tuple[Any, ...]], endpoint_id: str, connection: Connection) -> bool:
    values = {}
    if not _is_told_by_another(row.id, row.type, row.alert_id, endpoint_id, connection):
        unwanted = _unwanted(row, connection)
        if unwanted is None:
            return False
        values = {"last_error": f"not sent: {unwanted}"}
    _end(row.id, _message(row), DeliveryState.DROPPED, connection, **values)
    return True


def _unwanted(row: Row[*tuple[Any, ...]], connection: Connection) -> str | None:
    """Why nobody wants to hear any more that an alert is open, where that is so. One that is over
    is told to be, if at all, in place of this, but not those that close by themselves."""
    if row.alert_id is None or not row.message_id.endswith(f"_{Notice.OPENED}"):
        return None
    alert = connection.execute(_ALERT, {"of_alert": row.alert_id}).one_or_none()
    if alert is None:
        return "its alert rule is deleted"
    if not alert.enabled:
        return "its alert rule is disabled"
    is_over = alert.state == AlertState.CLOSED and alert.kind not in _ENDS_TOLD_APART
    return "its alert is over" if is_over else None


_ENDS_TOLD_APART = (RuleKind.SINGLE, RuleKind.MACHINE)


def _is_told_by_another(
    id_: int, type_: str, alert_id: str | None, endpoint_id: str, connection: Connection
) -> bool:
    """Whether the end of what it tells is told, or is to be, to the same endpoint."""
    if type_ != MessageType.ALERT_OPENED or alert_id is None:
        return False
    named = {"of_alert": alert_id, "endpoint_id": endpoint_id, "after": id_}
    return connection.scalars(_CLOSED, named).first() is not None


def _dispatch(
    rows: Sequence[Row[*tuple[Any, ...]]],
    endpoint: Row[*tuple[Any, ...]],
    token: str,
    now: int,
) -> Dispatch:
    secrets = [endpoint.secret, *(secret for secret, _ in still_valid(endpoint.old_secrets, now))]
    first = rows[0]
    return Dispatch(
        [row.id for row in rows],
        token,
        endpoint.id,
        endpoint.name,
        EndpointKind(endpoint.kind),
        endpoint.target,
        secrets if endpoint.secret is not None else (),
        [_message(row) for row in rows],
        from_micros(first.created_at),
        first.attempts,
        first.waits,
        first.retries,
        endpoint.failing_since,
    )


def _settle(claimed: Dispatch, outcome: DeliveryOutcome, connection: Connection) -> bool:
    try:
        endpoint = lock(claimed.endpoint_id, connection)
    except NotFound:
        return False
    named = {"ids": claimed.ids, "token": claimed.token}
    held = set(connection.scalars(_HELD, named))
    now = now_micros()
    has_moved = endpoint.target != claimed.target
    if has_moved and isinstance(outcome, Disabled | TryAgain):
        outcome = _of_another_address(claimed, outcome)
    for id_, message in zip(claimed.ids, claimed.messages, strict=True):
        if id_ in held:
            _settle_one(id_, message, claimed, outcome, endpoint, now, connection)
    if held:
        if isinstance(outcome, TryAgain) and outcome.waits and endpoint.enabled:
            _put_off(endpoint, _due(outcome, now), connection)
        is_test = all(each.type is MessageType.TEST for each in claimed.messages)
        if not has_moved:
            _note(endpoint, outcome, now, connection, is_test=is_test)
    return bool(held)


def _of_another_address(claimed: Dispatch, outcome: Disabled | TryAgain) -> DeliveryOutcome:
    """What the address before said is not held against the one that somebody has named since."""
    if not claimed.retries:
        return GivenUp(outcome.reason, outcome.status)
    return TryAgain(LADDER_SECONDS[0], outcome.reason, outcome.status)


def _due(outcome: TryAgain, now: int) -> int:
    return now + int(outcome.delay * 1_000_000)


def _settle_one(
    id_: int,
    message: Message,
    claimed: Dispatch,
    outcome: DeliveryOutcome,
    endpoint: Row[*tuple[Any, ...]],
    now: int,
    connection: Connection,
) -> None:
    tried: dict[str, Any] = {"attempts": claimed.attempts + 1, "last_at": now}
    match outcome:
        case Delivered(status):
            values = {**tried, "last_status": status, "last_error": None}
            _end(id_, message, DeliveryState.DELIVERED, connection, **values)
        case TryAgain(_, reason, status, waits) if endpoint.enabled:
            values = {**tried, "last_status": status, "last_error": reason}
            values["waits"] = claimed.waits + waits
            if _is_told_by_another(id_, message.type, message.alert_id, endpoint.id, connection):
                _end(id_, message, DeliveryState.DROPPED, connection, **values)
            else:
                again = {"lease_token": None, "next_at": _due(outcome, now)}
                _write(id_, {**values, **again}, connection)
        case TryAgain(_, reason, status) | GivenUp(reason, status) | Disabled(reason, status):
            values = {**tried, "last_status": status, "last_error": reason}
            _end(id_, message, DeliveryState.FAILED, connection, **values)
        case _:
            assert_never(outcome)


def _note(
    endpoint: Row[*tuple[Any, ...]],
    outcome: DeliveryOutcome,
    now: int,
    connection: Connection,
    *,
    is_test: bool,
) -> None:
    """What it means for the endpoint. A test that fails is no message that did not arrive."""
    since = endpoint.failing_since
    if isinstance(outcome, Delivered):
        since = None
    elif since is None and not is_test:
        since = now
    if since != endpoint.failing_since:
        statement = update(endpoints).where(endpoints.c.id == endpoint.id)
        connection.execute(statement.values(failing_since=since))
    if isinstance(outcome, Disabled) and endpoint.enabled:
        disable(endpoint.id, outcome.why, connection)
        shown = format_time(from_micros(since or now))
        data = {
            "alert_id": None,
            "key": endpoint.id,
            "state": "open",
            "sentence": f"The endpoint {endpoint.name} is disabled: {outcome.why}.",
            "since": shown,
        }
        message = Message(new_message_id(), MessageType.MACHINE, data)
        enqueue(connection, message, endpoints=subscribers(connection, Event.MACHINE))


def _put_off(endpoint: Row[*tuple[Any, ...]], until: int, connection: Connection) -> None:
    """Its receiver has asked for time: all that is to be sent to it waits. What it has asked for
    before holds as well."""
    until = max(until, endpoint.asked_until or 0)
    asked = update(endpoints).where(endpoints.c.id == endpoint.id)
    connection.execute(asked.values(asked_until=until))
    connection.execute(_PUT_OFF, {"of_endpoint": endpoint.id, "due": until})


_PUT_OFF = (
    update(deliveries)
    .where(
        _COLUMNS.endpoint_id == bindparam("of_endpoint"),
        _COLUMNS.next_at < bindparam("due"),
        _COLUMNS.lease_token.is_(null()),
    )
    .values(next_at=bindparam("due"))
)


def _message(row: Row[*tuple[Any, ...]]) -> Message:
    return Message(row.message_id, MessageType(row.type), row.data, row.alert_id)


def _end(
    id_: int, message: Message, state: DeliveryState, connection: Connection, **values: Any
) -> None:
    """What people wrote is not kept here once it is over: it may be erased where it came from."""
    over = {"state": state.value, "next_at": None, "lease_token": None}
    less = without_texts(message.type, message.data)
    _write(id_, {**values, **over, "data": less}, connection)


def _write(id_: int, values: Mapping[str, Any], connection: Connection) -> None:
    connection.execute(update(deliveries).where(_COLUMNS.id == id_).values(**values))


def _release(tokens: Collection[str] | None, connection: Connection) -> None:
    token = _COLUMNS.lease_token
    held = token.is_not(null()) if tokens is None else token.in_(tokens)
    released = update(deliveries).where(held).values(lease_token=None, next_at=now_micros())
    connection.execute(released)
