"""The outbox as the courier sees it, and what comes of a try for a delivery and its endpoint."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, update

from analysis.deliveries import (
    Delivered,
    DeliveryOutcome,
    DeliveryState,
    Disabled,
    GivenUp,
    TryAgain,
)
from analysis.messages import Event, Message, MessageType
from database import Database
from errors import Conflict, NotFound
from store.dispatch import Dispatch, DispatchStore
from store.endpoints import BY_HAND, EndpointStore
from tables.alerts import deliveries
from tests.support.outbox import (
    a_message,
    add_endpoint,
    delivery_store,
    enqueue_for,
    make_due,
    rows,
    states,
)

LEASE = timedelta(seconds=60)
ALERT = "aler_0000000a"
LATER = TryAgain(300.0, "answered 500", 500)
GONE = Disabled("answered 410", 410, "it answered 410, which says that it is gone")


async def claim(database: Database) -> list[Dispatch]:
    outbox = DispatchStore(database)
    return list(await outbox.claim(await outbox.due(), lease=LEASE))


async def try_all(database: Database, outcome: DeliveryOutcome) -> int:
    """Claim and settle until nothing is due; how many tries that took."""
    tries = 0
    while claimed := await claim(database):
        for each in claimed:
            assert await DispatchStore(database).settle(each, outcome)
            tries += 1
    return tries


async def test_each_endpoint_gets_its_oldest_message_first_and_one_at_a_time(
    database: Database,
) -> None:
    one, two = await add_endpoint(database), await add_endpoint(database)
    first = await enqueue_for(database, one, two)
    second = await enqueue_for(database, one)

    claimed = await claim(database)
    assert {(each.endpoint_id, each.messages[0].id) for each in claimed} == {
        (one.id, first.id),
        (two.id, first.id),
    }
    # Not while the first is on its way, whoever asks.
    outbox = DispatchStore(database)
    assert await outbox.due() == []
    assert await outbox.claim([one.id, two.id], lease=LEASE) == []
    for each in claimed:
        await outbox.settle(each, Delivered(200))
    (again,) = await claim(database)
    assert (again.endpoint_id, again.messages[0].id) == (one.id, second.id)


async def test_what_was_delivered_is_over_and_is_not_charged_before(database: Database) -> None:
    endpoint = await add_endpoint(database)
    await enqueue_for(database, endpoint)

    (claimed,) = await claim(database)
    assert [(row.state, row.attempts) for row in await rows(database)] == [("pending", 0)]
    assert await DispatchStore(database).settle(claimed, Delivered(204))

    (row,) = await rows(database)
    assert (row.state, row.attempts, row.last_status) == ("delivered", 1, 204)
    assert (row.next_at, row.lease_token, row.last_error) == (None, None, None)


async def test_a_failure_is_tried_again_when_its_time_has_come(database: Database) -> None:
    endpoint = await add_endpoint(database)
    await enqueue_for(database, endpoint)

    assert await try_all(database, LATER) == 1
    (row,) = await rows(database)
    assert (row.state, row.attempts, row.waits) == ("pending", 1, 0)
    assert (row.last_status, row.last_error) == (500, "answered 500")
    assert row.next_at - row.last_at == 300_000_000
    failing = (await EndpointStore(database).find(endpoint.id)).failing_since
    assert failing is not None

    await make_due(database)
    assert await try_all(database, Delivered(200)) == 1
    assert (await EndpointStore(database).find(endpoint.id)).failing_since is None


async def test_a_test_that_fails_is_not_the_first_failure_of_an_endpoint(
    database: Database,
) -> None:
    endpoint = await add_endpoint(database)
    store = EndpointStore(database)
    await enqueue_for(database, endpoint, message=a_message(MessageType.TEST))
    await try_all(database, GivenUp("answered 500", 500))
    assert (await store.find(endpoint.id)).failing_since is None

    await enqueue_for(database, endpoint)
    await try_all(database, LATER)
    assert (await store.find(endpoint.id)).failing_since is not None
    await enqueue_for(database, endpoint, message=a_message(MessageType.TEST))
    await try_all(database, Delivered(200))
    assert (await store.find(endpoint.id)).failing_since is None


async def test_failing_since_is_the_first_failure_in_a_row(database: Database) -> None:
    endpoint = await add_endpoint(database)
    await enqueue_for(database, endpoint)

    await try_all(database, LATER)
    first = (await EndpointStore(database).find(endpoint.id)).failing_since
    await make_due(database)
    (claimed,) = await claim(database)
    assert claimed.failing_since is not None
    assert claimed.tried(claimed.failing_since + 5_000_000).failing_seconds == 5.0
    await DispatchStore(database).settle(claimed, LATER)

    assert (await EndpointStore(database).find(endpoint.id)).failing_since == first


async def test_an_endpoint_that_asks_for_time_gets_it_for_all_messages(database: Database) -> None:
    slow, other = await add_endpoint(database), await add_endpoint(database)
    for _ in range(3):
        await enqueue_for(database, slow, other)

    by_endpoint = {each.endpoint_id: each for each in await claim(database)}
    asked = TryAgain(60.0, "answered 429", 429, waits=True)
    await DispatchStore(database).settle(by_endpoint[slow.id], asked)
    await DispatchStore(database).settle(by_endpoint[other.id], Delivered(200))

    assert await DispatchStore(database).due() == [other.id]
    of_slow = [row for row in await rows(database) if row.endpoint_id == slow.id]
    assert len({row.next_at for row in of_slow}) == 1
    assert [(row.attempts, row.waits) for row in of_slow] == [(1, 1), (0, 0), (0, 0)]


async def test_a_claim_that_has_run_out_is_others_and_its_result_is_dropped(
    database: Database,
) -> None:
    endpoint = await add_endpoint(database)
    await enqueue_for(database, endpoint)

    (first,) = await claim(database)
    assert await claim(database) == []
    await make_due(database)  # its lease is over
    (second,) = await claim(database)

    assert not await DispatchStore(database).settle(first, Delivered(200))
    assert await states(database) == ["pending"]
    assert await DispatchStore(database).settle(second, Delivered(200))
    assert not await DispatchStore(database).settle(second, LATER)
    assert await states(database) == ["delivered"]


async def test_released_claims_are_due_at_once_and_not_charged(database: Database) -> None:
    one, two = await add_endpoint(database), await add_endpoint(database)
    await enqueue_for(database, one, two)
    outbox = DispatchStore(database)

    first, second = await claim(database)
    await outbox.release([first.token])
    assert await outbox.due() == [first.endpoint_id]
    await outbox.release()
    assert set(await outbox.due()) == {first.endpoint_id, second.endpoint_id}
    assert [row.attempts for row in await rows(database)] == [0, 0]
    assert not await outbox.settle(first, Delivered(200))


@pytest.fixture
async def another(database: Database, database_url: str) -> AsyncIterator[Database]:
    """The same database as another process has it."""
    if database.is_sqlite:
        pytest.skip("a SQLite file belongs to one process")
    async with Database(database_url) as other:
        yield other


async def test_two_processes_never_send_the_same_message_nor_to_one_endpoint_at_once(
    database: Database, another: Database
) -> None:
    endpoints = [await add_endpoint(database) for _ in range(5)]
    for _ in range(20):
        await enqueue_for(database, *endpoints)
    taken: list[tuple[str, int]] = []
    busy: list[str] = []

    async def work(mine: Database) -> None:
        idle = 0
        while idle < 3:
            claimed = await claim(mine)
            idle = 0 if claimed else idle + 1
            busy.extend(each.endpoint_id for each in claimed)
            assert len(busy) == len(set(busy))
            for each in claimed:
                taken.extend((each.token, id_) for id_ in each.ids)
                await asyncio.sleep(0)
                busy.remove(each.endpoint_id)
                assert await DispatchStore(mine).settle(each, Delivered(200))

    await asyncio.gather(work(database), work(another), work(database), work(another))

    assert len(taken) == len({id_ for _, id_ in taken}) == 100
    assert set(await states(database)) == {"delivered"}


# --- what an endpoint's end means -----------------------------------------------------------------


async def test_one_that_is_gone_is_disabled_and_the_others_are_told(database: Database) -> None:
    gone = await add_endpoint(database, name="old one")
    told = await add_endpoint(database)
    untold = await add_endpoint(database, events=[Event.ALERT])
    await enqueue_for(database, gone)
    await enqueue_for(database, gone)

    (claimed,) = await claim(database)
    await DispatchStore(database).settle(claimed, GONE)

    endpoint = await EndpointStore(database).find(gone.id)
    assert (endpoint.enabled, endpoint.disabled_reason) == (False, GONE.why)
    first, second, message = await rows(database)
    assert (first.state, first.last_error) == ("failed", "answered 410")
    assert (second.state, second.last_error) == ("failed", f"not sent: {GONE.why}")
    assert (message.endpoint_id, message.type, message.state) == (told.id, "machine", "pending")
    assert message.data["key"] == gone.id
    assert message.data["sentence"].startswith("The endpoint old one is disabled: it answered 410")
    assert untold.enabled


async def test_what_is_on_its_way_when_somebody_disables_its_endpoint_ends_there(
    database: Database,
) -> None:
    endpoint = await add_endpoint(database)
    await enqueue_for(database, endpoint)
    await enqueue_for(database, endpoint)

    (claimed,) = await claim(database)
    changed = await EndpointStore(database).change(endpoint.id, enabled=False)
    assert changed.disabled_reason == BY_HAND
    assert await states(database) == ["pending", "failed"]
    await DispatchStore(database).settle(claimed, LATER)
    assert await states(database) == ["failed", "failed"]


async def test_what_a_dead_process_left_for_a_disabled_endpoint_is_not_sent(
    database: Database,
) -> None:
    endpoint = await add_endpoint(database)
    await enqueue_for(database, endpoint)
    await claim(database)
    await EndpointStore(database).change(endpoint.id, enabled=False)
    await make_due(database)

    assert await claim(database) == []
    assert await states(database) == ["failed"]


async def test_with_an_endpoint_go_its_deliveries(database: Database) -> None:
    endpoint = await add_endpoint(database)
    await enqueue_for(database, endpoint)
    (claimed,) = await claim(database)

    await EndpointStore(database).delete(endpoint.id)

    assert await rows(database) == []
    assert not await DispatchStore(database).settle(claimed, Delivered(200))
    with pytest.raises(NotFound):
        await EndpointStore(database).delete(endpoint.id)


# --- alerts that are over before they were told ---------------------------------------------------


def opened() -> Message:
    return a_message(MessageType.ALERT_OPENED, ALERT)


def closed() -> Message:
    return a_message(MessageType.ALERT_CLOSED, ALERT)


async def test_a_beginning_on_its_way_that_fails_after_the_end_is_dropped(
    database: Database,
) -> None:
    endpoint = await add_endpoint(database)
    await enqueue_for(database, endpoint, message=opened())
    (claimed,) = await claim(database)
    await enqueue_for(database, endpoint, message=closed())

    await DispatchStore(database).settle(claimed, LATER)

    assert await states(database) == ["dropped", "pending"]


async def test_a_beginning_that_a_dead_process_had_is_dropped_after_the_end(
    database: Database,
) -> None:
    endpoint = await add_endpoint(database)
    await enqueue_for(database, endpoint, message=opened())
    await claim(database)
    end = closed()
    await enqueue_for(database, endpoint, message=end)
    await make_due(database)

    (claimed,) = await claim(database)
    assert claimed.messages[0].id == end.id
    assert await states(database) == ["dropped", "pending"]


async def test_an_alert_that_opens_again_after_its_end_was_told_is_told(
    database: Database,
) -> None:
    endpoint = await add_endpoint(database)
    for message in (opened(), closed()):
        await enqueue_for(database, endpoint, message=message)
        await try_all(database, Delivered(200))
    again = opened()
    await enqueue_for(database, endpoint, message=again)

    (claimed,) = await claim(database)
    assert claimed.messages[0].id == again.id
    await DispatchStore(database).settle(claimed, LATER)
    assert await states(database) == ["delivered", "delivered", "pending"]


async def test_another_alert_is_nobodys_end(database: Database) -> None:
    endpoint = await add_endpoint(database)
    await enqueue_for(database, endpoint, message=opened())
    await enqueue_for(database, endpoint, message=a_message(MessageType.ALERT_CLOSED, "aler_b"))

    assert await try_all(database, Delivered(200)) == 2


async def test_texts_are_not_kept_once_they_were_told(database: Database) -> None:
    endpoint = await add_endpoint(database)
    message = a_message(MessageType.ALERT_OPENED, ALERT, evidence={"count": 3, "texts": ["a", "b"]})
    await enqueue_for(database, endpoint, message=message)

    await try_all(database, LATER)
    assert "texts" in (await rows(database))[0].data["evidence"]
    await make_due(database)
    await try_all(database, Delivered(200))
    assert (await rows(database))[0].data["evidence"] == {"count": 3}


# --- asked for once more --------------------------------------------------------------------------


async def test_a_failed_one_is_tried_from_the_start_under_its_id(database: Database) -> None:
    endpoint = await add_endpoint(database)
    message = await enqueue_for(database, endpoint)
    await try_all(database, GivenUp("answered 500", 500))
    (row,) = await rows(database)

    await delivery_store(database).retry(endpoint.id, row.id)

    (claimed,) = await claim(database)
    assert (claimed.messages[0].id, claimed.attempts) == (message.id, 0)
    # One on its way is left to arrive.
    await delivery_store(database).retry(endpoint.id, row.id)
    assert await DispatchStore(database).settle(claimed, Delivered(200))
    with pytest.raises(Conflict, match="delivered"):
        await delivery_store(database).retry(endpoint.id, row.id)
    with pytest.raises(NotFound):
        await delivery_store(database).retry((await add_endpoint(database)).id, row.id)


async def test_what_failed_in_a_time_is_tried_once_more(database: Database) -> None:
    endpoint, other = await add_endpoint(database), await add_endpoint(database)
    for _ in range(3):
        await enqueue_for(database, endpoint, other)
    await try_all(database, GivenUp("answered 500", 500))
    first = min(row.created_at for row in await rows(database))
    old = update(deliveries).where(deliveries.c.created_at == first).values(created_at=1)
    await database.write(lambda connection: connection.execute(old).rowcount)
    now = datetime.now(UTC)

    between = delivery_store(database).retry_between
    assert await between(endpoint.id, now - timedelta(days=1), now) == 2
    assert [row.state for row in await rows(database) if row.endpoint_id == endpoint.id] == [
        *("failed", "pending", "pending")
    ]
    assert await between(endpoint.id, now - timedelta(days=1), now) == 0
    await EndpointStore(database).change(other.id, enabled=False)
    with pytest.raises(Conflict):
        await between(other.id, now - timedelta(days=1), now)


async def test_what_is_over_is_forgotten_after_thirty_days(database: Database) -> None:
    endpoint = await add_endpoint(database)
    for _ in range(4):
        await enqueue_for(database, endpoint)
    ids = [row.id for row in await rows(database)]

    def age(connection: Connection) -> None:
        for id_, state in zip(ids, ("delivered", "failed", "pending", "delivered"), strict=True):
            values = {"state": state, "created_at": 1 if id_ != ids[3] else deliveries.c.created_at}
            statement = update(deliveries).where(deliveries.c.id == id_).values(values)
            connection.execute(statement)

    await database.write(age)

    assert await delivery_store(database).prune(limit=10)
    assert not await delivery_store(database).prune(limit=10)
    assert [row.id for row in await rows(database)] == ids[2:]


async def test_pages_of_deliveries_neither_skip_nor_repeat(database: Database) -> None:
    endpoint = await add_endpoint(database)
    for _ in range(5):
        await enqueue_for(database, endpoint)
    store = delivery_store(database)

    page = await store.page(endpoint.id, limit=2)
    await enqueue_for(database, endpoint)
    found = list(page.deliveries)
    while page.next_cursor is not None:
        page = await store.page(endpoint.id, limit=2, cursor=page.next_cursor)
        found += page.deliveries

    assert [each.id for each in found] == sorted((each.id for each in found), reverse=True)
    assert len({each.id for each in found}) == 5
    failed = await store.page(endpoint.id, state=DeliveryState.FAILED, limit=2)
    assert (failed.deliveries, failed.next_cursor) == ([], None)
