"""Messages go into the outbox with the transaction that makes them true."""

import pytest
from sqlalchemy import Connection, insert, select, update

from analysis.messages import Event, Message, MessageType, new_message_id
from database import Database
from models import now_micros
from store.outbox import enqueue, subscribers
from tables.alerts import deliveries, endpoints

ALERT = "aler_0000000a"


def message(type_: MessageType = MessageType.ALERT_OPENED) -> Message:
    return Message(new_message_id(), type_, {"rule": "angry"}, ALERT)


def add_endpoints(connection: Connection) -> None:
    for number, enabled in enumerate([True, True, False]):
        connection.execute(
            insert(endpoints).values(
                id=f"endp_{number:08x}",
                name="team",
                kind="standard",
                target="https://example.com/",
                events=["alert"] if number else ["alert", "report"],
                enabled=enabled,
                created_at=now_micros(),
            )
        )


ALL = [f"endp_{number:08x}" for number in range(4)]


async def test_a_message_waits_for_each_enabled_endpoint_that_is_named(database: Database) -> None:
    def work(connection: Connection) -> list[tuple[str, str, str, object]]:
        add_endpoints(connection)
        assert enqueue(connection, message(), endpoints=ALL) == ALL[:2]
        columns = deliveries.c
        found = select(columns.endpoint_id, columns.type, columns.state, columns.data)
        return [tuple(row) for row in connection.execute(found.order_by(columns.id))]

    opened = ("alert.opened", "pending", {"rule": "angry"})
    assert await database.write(work) == [(ALL[0], *opened), (ALL[1], *opened)]


async def test_what_fails_after_it_takes_the_message_back(database: Database) -> None:
    def work(connection: Connection) -> None:
        add_endpoints(connection)
        enqueue(connection, message(), endpoints=ALL)
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(work)
    assert await database.read(lambda c: c.execute(select(deliveries)).all()) == []


async def test_the_end_of_an_alert_is_told_in_place_of_an_untold_beginning(
    database: Database,
) -> None:
    def work(connection: Connection) -> list[tuple[str, str, str]]:
        add_endpoints(connection)
        enqueue(connection, message(), endpoints=ALL)
        first = deliveries.c.endpoint_id == ALL[0]
        told = {"state": "delivered", "next_at": None}
        connection.execute(update(deliveries).where(first).values(told))
        enqueue(connection, message(MessageType.ALERT_CLOSED), endpoints=ALL)
        found = select(deliveries.c.endpoint_id, deliveries.c.type, deliveries.c.state)
        return [tuple(row) for row in connection.execute(found.order_by(deliveries.c.id))]

    assert await database.write(work) == [
        (ALL[0], "alert.opened", "delivered"),
        (ALL[1], "alert.opened", "dropped"),
        (ALL[0], "alert.closed", "pending"),
        (ALL[1], "alert.closed", "pending"),
    ]


async def test_only_enabled_endpoints_subscribe(database: Database) -> None:
    await database.write(add_endpoints)

    assert await database.read(lambda c: subscribers(c, Event.ALERT)) == ALL[:2]
    assert await database.read(lambda c: subscribers(c, Event.REPORT)) == ALL[:1]
