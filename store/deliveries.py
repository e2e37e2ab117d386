"""Deliveries as they are shown, and asked for once more."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, delete, select, update

from analysis.deliveries import DeliveryState
from analysis.messages import MessageType
from analysis.report_times import Period
from database import Database
from errors import Conflict, NotFound
from models import from_micros, now_micros, time_or_none, to_micros
from store import cursors
from store.endpoints import find_endpoint, lock
from store.told_texts import without_erased
from tables.alerts import deliveries

KEPT = timedelta(days=30)
_LIST = "deliveries"


@dataclass(frozen=True, slots=True)
class Delivery:
    """`attempts` are those that are over. `next_at` is there while it is pending; the `last_` ones
    are of the last attempt, `last_error` without success only."""

    id: int
    endpoint_id: str
    message_id: str
    type: MessageType
    alert_id: str | None
    state: DeliveryState
    attempts: int
    created_at: datetime
    next_at: datetime | None
    last_at: datetime | None
    last_status: int | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    deliveries: Sequence[Delivery]
    next_cursor: str | None


MakeReport = Callable[[Period, date], Awaitable[Mapping[str, Any]]]
"""The data of a message with the report of a period up to a day."""


class DeliveryStore:
    def __init__(self, database: Database, make_report: MakeReport) -> None:
        self._database = database
        self._make_report = make_report

    async def page(
        self,
        endpoint_id: str,
        *,
        state: DeliveryState | None = None,
        limit: int,
        cursor: str | None = None,
    ) -> DeliveryPage:
        """The newest first. Raises InvalidInput for a bad cursor; NotFound."""
        before = None if cursor is None else cursors.decode(_LIST, cursor)[0]
        return await self._database.read(partial(_page, endpoint_id, state, limit, before))

    async def retry(self, endpoint_id: str, delivery_id: int) -> None:
        """Send it once more and at once, with all tries before it, under the same message id.
        Raises NotFound, and Conflict where it was delivered or dropped or the endpoint is disabled.
        """
        reports = await self._reports(endpoint_id, _COLUMNS.id == delivery_id)
        await self._database.write(partial(_retry, endpoint_id, delivery_id, reports))

    async def retry_between(self, endpoint_id: str, first: datetime, last: datetime) -> int:
        """The same for all that failed of those made from `first` to `last`, both inclusive; their
        number. Raises NotFound, and Conflict where the endpoint is disabled."""
        reports = await self._reports(endpoint_id, _made_between(first, last))
        work = partial(_retry_between, endpoint_id, first, last, reports)
        return await self._database.write(work)

    async def _reports(self, endpoint_id: str, which: ColumnElement[bool]) -> "Reports":
        """Made anew of those that failed, since nothing of them was kept but their period."""
        failed = select(_COLUMNS.id, _COLUMNS.data).where(
            *_failed(endpoint_id), _COLUMNS.type == MessageType.REPORT.value, which
        )
        rows = await self._database.read(lambda connection: connection.execute(failed).all())
        return {
            id_: await self._make_report(
                _PERIODS[data["period"]], date.fromisoformat(data["ending"])
            )
            for id_, data in rows
        }

    async def prune(self, *, limit: int) -> bool:
        """Forget, of the `limit` oldest, those that are over and older than 30 days. Whether more
        may be left."""
        return await self._database.write(partial(_prune, limit))


_PERIODS = {each.value: each for each in Period}
Reports = Mapping[int, Mapping[str, Any]]
"""The data of messages, by the ids of their deliveries."""

_COLUMNS = deliveries.c
_SHOWN = (
    select(deliveries)
    .where(_COLUMNS.endpoint_id == bindparam("endpoint_id"))
    .order_by(_COLUMNS.id.desc())
)
_ONE = select(deliveries).where(
    _COLUMNS.endpoint_id == bindparam("endpoint_id"), _COLUMNS.id == bindparam("delivery_id")
)
_OLDEST = (
    select(_COLUMNS.id, _COLUMNS.created_at, _COLUMNS.state)
    .order_by(_COLUMNS.id)
    .limit(bindparam("limit"))
)
_FORGET = delete(deliveries).where(_COLUMNS.id.in_(bindparam("ids", expanding=True)))


def _again(now: int) -> dict[str, Any]:
    return {
        "state": DeliveryState.PENDING.value,
        "attempts": 0,
        "waits": 0,
        "next_at": now,
        "lease_token": None,
    }


def _page(
    endpoint_id: str,
    state: DeliveryState | None,
    limit: int,
    before: int | None,
    connection: Connection,
) -> DeliveryPage:
    find_endpoint(endpoint_id, connection)
    statement = _SHOWN.limit(limit + 1)
    if state is not None:
        statement = statement.where(_COLUMNS.state == state.value)
    if before is not None:
        statement = statement.where(_COLUMNS.id < before)
    found = [_shown(row) for row in connection.execute(statement, {"endpoint_id": endpoint_id})]
    cursor = cursors.encode(_LIST, found[limit - 1].id, 0) if len(found) > limit else None
    return DeliveryPage(found[:limit], cursor)


def _failed(endpoint_id: str) -> Sequence[ColumnElement[bool]]:
    return (
        _COLUMNS.endpoint_id == endpoint_id,
        _COLUMNS.state == DeliveryState.FAILED.value,
    )


def _made_between(first: datetime, last: datetime) -> ColumnElement[bool]:
    return _COLUMNS.created_at.between(to_micros(first), to_micros(last))


def _retry(endpoint_id: str, delivery_id: int, reports: Reports, connection: Connection) -> None:
    _check_enabled(endpoint_id, connection)
    named = {"endpoint_id": endpoint_id, "delivery_id": delivery_id}
    row = connection.execute(_ONE.with_for_update(), named).one_or_none()
    if row is None:
        raise no_such_delivery(delivery_id)
    if row.lease_token is not None:  # it is on its way
        return
    if row.state in (DeliveryState.DELIVERED, DeliveryState.DROPPED):
        raise Conflict(f"The delivery is not failed, but {row.state}.")
    connection.execute(
        update(deliveries).where(_COLUMNS.id == delivery_id).values(_again(now_micros()))
    )
    _write_reports(reports, connection)


def _retry_between(
    endpoint_id: str, first: datetime, last: datetime, reports: Reports, connection: Connection
) -> int:
    _check_enabled(endpoint_id, connection)
    failed = (*_failed(endpoint_id), _made_between(first, last))
    retried = connection.execute(update(deliveries).where(*failed).values(_again(now_micros())))
    _write_reports(reports, connection)
    return retried.rowcount


def _write_reports(reports: Reports, connection: Connection) -> None:
    # Unless it has been delivered since.
    pending = update(deliveries).where(_COLUMNS.state == DeliveryState.PENDING.value)
    for id_, data in reports.items():
        less = without_erased(data, connection)
        connection.execute(pending.where(_COLUMNS.id == id_).values(data=less))


def no_such_delivery(delivery_id: object) -> NotFound:
    return NotFound(f"There is no delivery {delivery_id!r} to this endpoint.")


def _check_enabled(endpoint_id: str, connection: Connection) -> None:
    if not lock(endpoint_id, connection).enabled:
        raise Conflict("The endpoint is disabled: enable it first.")


def _prune(limit: int, connection: Connection) -> bool:
    before = now_micros() - KEPT // timedelta(microseconds=1)
    ids = [
        id_
        for id_, created_at, state in connection.execute(_OLDEST, {"limit": limit})
        if created_at < before and state != DeliveryState.PENDING
    ]
    if ids:
        connection.execute(_FORGET, {"ids": ids})
    return bool(ids)


def _shown(row: Row[*tuple[Any, ...]]) -> Delivery:
    return Delivery(
        row.id,
        row.endpoint_id,
        row.message_id,
        MessageType(row.type),
        row.alert_id,
        DeliveryState(row.state),
        row.attempts,
        from_micros(row.created_at),
        time_or_none(row.next_at),
        time_or_none(row.last_at),
        row.last_status,
        row.last_error,
    )
