"""Endpoints and messages for tests, and what has become of deliveries."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select, update

from analysis.messages import EndpointKind, Event, Message, MessageType, new_message_id
from database import Database
from notices.signing import new_secret
from store.deliveries import DeliveryStore
from store.endpoints import Endpoint, EndpointStore
from store.insights import InsightStore
from store.outbox import enqueue
from store.reports import ReportStore
from store.summaries import SummaryStore
from tables.alerts import deliveries


async def add_endpoint(
    database: Database,
    url: str = "http://127.0.0.1:9/",
    *,
    kind: EndpointKind = EndpointKind.STANDARD,
    events: Sequence[Event] = tuple(Event),
    secret: str | None = None,
    name: str = "team",
) -> Endpoint:
    if kind is EndpointKind.STANDARD and secret is None:
        secret = new_secret()
    return await EndpointStore(database).create(name, kind, url, events, secret=secret)


def report_store(database: Database) -> ReportStore:
    return ReportStore(database, SummaryStore(database), InsightStore(database))


def delivery_store(database: Database) -> DeliveryStore:
    return DeliveryStore(database, report_store(database).told)


def a_message(
    type_: MessageType = MessageType.MACHINE, alert_id: str | None = None, **data: Any
) -> Message:
    return Message(new_message_id(), type_, {"sentence": "It is late.", **data}, alert_id)


async def enqueue_for(
    database: Database, *endpoints: Endpoint, message: Message | None = None
) -> Message:
    message = a_message() if message is None else message
    ids = [each.id for each in endpoints]
    await database.write(lambda connection: enqueue(connection, message, endpoints=ids))
    return message


async def rows(database: Database) -> Sequence[Any]:
    """All deliveries, the oldest first."""

    def read(connection: Connection) -> Sequence[Any]:
        return connection.execute(select(deliveries).order_by(deliveries.c.id)).all()

    return await database.read(read)


async def states(database: Database) -> list[str]:
    return [row.state for row in await rows(database)]


async def make_due(database: Database) -> None:
    """As if the time had come for all that is pending, also for what is on its way."""
    statement = update(deliveries).where(deliveries.c.next_at.is_not(None)).values(next_at=1)
    await database.write(lambda connection: connection.execute(statement).rowcount)
