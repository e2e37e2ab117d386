"""What a receiver asks for holds for what comes meanwhile, and for nobody else at its endpoint."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from analysis.deliveries import DeliveryOutcome, Disabled, TryAgain
from analysis.messages import MessageType
from database import Database
from store.dispatch import Dispatch, DispatchStore
from store.endpoints import EndpointStore
from tables.alerts import deliveries
from tests.support.factories import run_sql
from tests.support.outbox import (
    a_message,
    add_endpoint,
    enqueue_for,
    make_due,
    rows,
    states,
)

LEASE = timedelta(seconds=60)
ALERT = "aler_0000000a"
ASKED = TryAgain(600.0, "answered 429", 429, waits=True)
LATER = TryAgain(300.0, "answered 500", 500)
GONE = Disabled("answered 410", 410, "it answered 410, which says that it is gone")


async def claim_one(database: Database) -> Dispatch:
    outbox = DispatchStore(database)
    (claimed,) = await outbox.claim(await outbox.due(), lease=LEASE)
    return claimed


async def test_what_comes_while_an_endpoint_asks_for_time_waits_as_well(database: Database) -> None:
    slow, other = await add_endpoint(database), await add_endpoint(database)
    outbox = DispatchStore(database)
    await enqueue_for(database, slow, message=a_message(MessageType.ALERT_OPENED, ALERT))
    await outbox.settle(await claim_one(database), ASKED)
    # Also what takes the place of the one that was told to wait, and what comes after that.
    closed = a_message(MessageType.ALERT_CLOSED, ALERT)
    await enqueue_for(database, slow, other, message=closed)
    assert await outbox.due() == [other.id]
    await enqueue_for(database, slow)
    assert await outbox.due() == [other.id]
    # Somebody waits for this one.
    await EndpointStore(database).test(slow.id)
    assert set(await outbox.due()) == {slow.id, other.id}


async def test_a_failure_of_another_kind_holds_up_nothing_that_comes(database: Database) -> None:
    endpoint = await add_endpoint(database)
    await enqueue_for(database, endpoint)
    await DispatchStore(database).settle(await claim_one(database), LATER)
    await enqueue_for(database, endpoint)
    assert await DispatchStore(database).due() == [endpoint.id]


@pytest.mark.parametrize("outcome", [GONE, LATER, ASKED])
async def test_what_the_address_before_says_is_not_held_against_the_new_one(
    database: Database, outcome: DeliveryOutcome
) -> None:
    endpoint = await add_endpoint(database)
    await enqueue_for(database, endpoint)
    claimed = await claim_one(database)
    await enqueue_for(database, endpoint)
    await EndpointStore(database).change(endpoint.id, target="https://example.com/new")

    assert await DispatchStore(database).settle(claimed, outcome)
    found = await EndpointStore(database).find(endpoint.id)
    assert (found.enabled, found.failing_since) == (True, None)
    first, second = await rows(database)
    assert [(each.state, each.waits) for each in (first, second)] == [("pending", 0)] * 2
    assert first.next_at - first.last_at == 5_000_000
    assert await DispatchStore(database).due() == [endpoint.id]  # the second need not wait


async def test_a_test_of_the_address_before_is_over(database: Database) -> None:
    endpoint = await add_endpoint(database)
    await EndpointStore(database).test(endpoint.id)
    claimed = await claim_one(database)
    await EndpointStore(database).change(endpoint.id, target="https://example.com/new")
    await DispatchStore(database).settle(claimed, GONE)
    assert (await EndpointStore(database).find(endpoint.id)).enabled
    assert await states(database) == ["failed"]


async def test_whom_the_address_before_has_asked_to_wait_the_new_one_need_not(
    database: Database,
) -> None:
    endpoint = await add_endpoint(database)
    await enqueue_for(database, endpoint)
    await DispatchStore(database).settle(await claim_one(database), ASKED)
    await enqueue_for(database, endpoint)
    assert await DispatchStore(database).due() == []
    await EndpointStore(database).change(endpoint.id, target=endpoint.target)
    assert await DispatchStore(database).due() == []
    await EndpointStore(database).change(endpoint.id, target="https://example.com/new")
    assert await DispatchStore(database).due() == [endpoint.id]
    await enqueue_for(database, endpoint)
    first, *others = await rows(database)
    assert all(each.next_at >= first.next_at for each in others)
    assert len({each.next_at for each in (first, others[0])}) == 1


async def test_what_had_failed_before_its_receiver_asked_for_time_holds_up_what_comes(
    database: Database,
) -> None:
    endpoint = await add_endpoint(database)
    outbox = DispatchStore(database)
    await enqueue_for(database, endpoint)
    for outcome in (LATER, ASKED):
        await outbox.settle(await claim_one(database), outcome)
        await make_due(database)
    await enqueue_for(database, endpoint)
    first, second = await rows(database)
    assert (first.attempts, first.waits) == (2, 1)
    assert second.next_at - first.last_at == 600_000_000


async def test_a_shorter_wait_takes_nothing_back_of_a_longer_one_but_another_address_does(
    database: Database,
) -> None:
    endpoint = await add_endpoint(database)
    outbox = DispatchStore(database)
    await enqueue_for(database, endpoint)
    await outbox.settle(await claim_one(database), ASKED)
    await enqueue_for(database, endpoint)
    first, _ = await rows(database)
    again = update(deliveries).where(deliveries.c.id == first.id).values(next_at=1)
    await run_sql(database, again)  # as somebody who retries it
    await outbox.settle(await claim_one(database), TryAgain(10.0, "answered 429", 429, waits=True))
    await enqueue_for(database, endpoint)
    assert len({each.next_at for each in await rows(database)}) == 1
    await EndpointStore(database).change(endpoint.id, target="https://example.com/new")
    assert len({each.next_at for each in await rows(database)}) == 1
    assert await outbox.due() == [endpoint.id]
