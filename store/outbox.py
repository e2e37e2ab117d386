"""The outbox: messages are written by the transaction that makes them true, and sent after it.

The courier finds what is due by itself within a second or so; whoever wants it sent at once wakes
it after the transaction.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, bindparam, insert, null, select, update

from analysis.messages import Event, Message, MessageType
from models import now_micros
from store.told_texts import forget_texts
from tables.alerts import deliveries, endpoints

_ENABLED = (
    select(endpoints.c.id, endpoints.c.asked_until)
    .where(endpoints.c.enabled, endpoints.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(endpoints.c.id)
)
_SUBSCRIPTIONS = (
    select(endpoints.c.id, endpoints.c.events).where(endpoints.c.enabled).order_by(endpoints.c.id)
)


def _drop_opening(alert_id: str, endpoint_ids: Collection[str], connection: Connection) -> None:
    untold = (
        deliveries.c.alert_id == alert_id,
        deliveries.c.endpoint_id.in_(endpoint_ids),
        deliveries.c.type == MessageType.ALERT_OPENED.value,
        deliveries.c.state == "pending",
        # One that is on its way is dropped when it comes back without success.
        deliveries.c.lease_token.is_(null()),
    )
    forget_texts(connection, *untold)
    connection.execute(update(deliveries).where(*untold).values(state="dropped", next_at=None))


def enqueue(
    connection: Connection, message: Message, *, endpoints: Collection[str]
) -> Sequence[str]:
    """Have `message` delivered to those of `endpoints` (ids) that are enabled, in this transaction.

    Returns the ids of these. What an endpoint subscribed to is not looked at: who is named gets it.
    With an `alert.closed` goes the `alert.opened` of the same `alert_id` that was not delivered
    yet: it is dropped, since the later message tells both times. A message is written once for an
    endpoint: the same id a second time is an IntegrityError. Where a receiver has asked for time,
    it waits as well, unless it is a test, which somebody waits for.
    """
    asked_until = dict(connection.execute(_ENABLED, {"ids": list(endpoints)}).all())
    ids = list(asked_until)
    if not ids:
        return []
    now, is_test = now_micros(), message.type is MessageType.TEST
    if message.type is MessageType.ALERT_CLOSED and message.alert_id is not None:
        _drop_opening(message.alert_id, ids, connection)
    rows = [
        {
            "endpoint_id": id_,
            "message_id": message.id,
            "type": message.type.value,
            "data": message.data,
            "alert_id": message.alert_id,
            "created_at": now,
            "next_at": now if is_test else max(now, asked_until[id_] or 0),
            # A test tells what happens now.
            "retries": not is_test,
        }
        for id_ in ids
    ]
    connection.execute(insert(deliveries), rows)
    return ids


def enabled_among(ids: Collection[str], connection: Connection) -> Sequence[str]:
    """Those endpoints of these that are enabled."""
    return connection.scalars(_ENABLED, {"ids": list(ids)}).all()


def subscribers(connection: Connection, event: Event) -> Sequence[str]:
    """Ids of the enabled endpoints that take `event`."""
    return [id_ for id_, events in connection.execute(_SUBSCRIPTIONS) if event.value in events]
