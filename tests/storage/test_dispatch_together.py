"""What people are told of in one message: which deliveries go together, what becomes of each."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import update

from analysis.deliveries import Delivered, Disabled, TryAgain
from analysis.messages import MOST_TOGETHER, EndpointKind, MessageType, id_of
from database import Database
from store.dispatch import Dispatch, DispatchStore
from store.endpoints import Endpoint, EndpointStore
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
FAILED = TryAgain(300.0, "answered 500", 500)
ASKED_TO_WAIT = TryAgain(60.0, "answered 429", 429, waits=True)
GONE = Disabled("answered 410", 410, "it answered 410, which says that it is gone")
OPENED, CLOSED = MessageType.ALERT_OPENED, MessageType.ALERT_CLOSED


@pytest.fixture
async def team(database: Database) -> Endpoint:
    return await add_endpoint(database, kind=EndpointKind.SLACK)


@pytest.fixture
def outbox(database: Database) -> DispatchStore:
    return DispatchStore(database)


async def tell(database: Database, endpoint: Endpoint, *alert_ids: str) -> Sequence[str]:
    """Of so many alerts; the ids of the messages."""
    messages = [a_message(OPENED, id_) for id_ in alert_ids]
    return [(await enqueue_for(database, endpoint, message=each)).id for each in messages]


async def claim(outbox: DispatchStore) -> Dispatch:
    (claimed,) = await outbox.claim(await outbox.due(), lease=LEASE)
    return claimed


def ids(claimed: Dispatch) -> Sequence[str]:
    return [message.id for message in claimed.messages]


@pytest.mark.parametrize("kind", sorted(set(EndpointKind) - {EndpointKind.STANDARD}))
async def test_people_are_told_at_once_of_all_that_is_due(
    database: Database, outbox: DispatchStore, kind: EndpointKind
) -> None:
    team = await add_endpoint(database, "ops@example.com", kind=kind)
    told = await tell(database, team, "alrt_a", "alrt_b")
    told = [*told, (await enqueue_for(database, team, message=a_message(CLOSED, "alrt_c"))).id]
    told = [*told, (await enqueue_for(database, team)).id]

    claimed = await claim(outbox)
    assert ids(claimed) == told
    assert await outbox.due() == []
    assert await outbox.settle(claimed, Delivered(200))

    assert await states(database) == ["delivered"] * 4
    assert [row.attempts for row in await rows(database)] == [1] * 4
    assert await outbox.due() == []


async def test_a_program_is_told_of_each_by_itself(
    database: Database, outbox: DispatchStore
) -> None:
    told = await tell(database, await add_endpoint(database), "alrt_a", "alrt_b")

    claimed = await claim(outbox)
    assert ids(claimed) == told[:1]
    await outbox.settle(claimed, Delivered(200))
    assert ids(await claim(outbox)) == told[1:]


@pytest.mark.parametrize("type_", [MessageType.REPORT, MessageType.TEST])
async def test_a_report_and_a_test_are_told_by_themselves(
    database: Database, outbox: DispatchStore, team: Endpoint, type_: MessageType
) -> None:
    (first,) = await tell(database, team, "alrt_a")
    alone = await enqueue_for(database, team, message=a_message(type_))
    (last,) = await tell(database, team, "alrt_b")

    together = await claim(outbox)
    assert ids(together) == [first, last]
    await outbox.settle(together, Delivered(200))
    assert ids(await claim(outbox)) == [alone.id]


async def test_no_more_go_together_than_fit(
    database: Database, outbox: DispatchStore, team: Endpoint
) -> None:
    told = await tell(database, team, *[f"alrt_{number}" for number in range(MOST_TOGETHER + 2)])

    first = await claim(outbox)
    assert ids(first) == told[:MOST_TOGETHER]
    await outbox.settle(first, Delivered(200))
    assert ids(await claim(outbox)) == told[MOST_TOGETHER:]


async def test_what_failed_together_stays_together_and_each_by_itself_after_two_tries(
    database: Database, outbox: DispatchStore, team: Endpoint
) -> None:
    """One of them may be what the receiver refuses: it is not to hold up the others for ever."""
    told = await tell(database, team, "alrt_a", "alrt_b")

    for _ in range(2):
        claimed = await claim(outbox)
        assert ids(claimed) == told
        await outbox.settle(claimed, FAILED)
        assert len({row.next_at for row in await rows(database)} - {None}) == 1
        (new,) = await tell(database, team, "alrt_new")
        fresh = await claim(outbox)
        assert ids(fresh) == [new]
        await outbox.settle(fresh, Delivered(200))
        await make_due(database)

    for id_ in told:
        claimed = await claim(outbox)
        assert ids(claimed) == [id_]
        await outbox.settle(claimed, Delivered(200))


async def test_who_is_asked_to_wait_has_not_failed(
    database: Database, outbox: DispatchStore, team: Endpoint
) -> None:
    told = await tell(database, team, "alrt_a", "alrt_b")
    for _ in range(5):
        claimed = await claim(outbox)
        assert ids(claimed) == told
        await outbox.settle(claimed, ASKED_TO_WAIT)
        assert await outbox.due() == []
        await make_due(database)
    assert [(row.attempts, row.waits) for row in await rows(database)] == [(5, 5)] * 2


async def test_a_beginning_whose_end_is_to_be_told_is_dropped_from_among_the_others(
    database: Database, outbox: DispatchStore, team: Endpoint
) -> None:
    told = await tell(database, team, "alrt_a", "alrt_b")
    await claim(outbox)  # by one that dies
    end = await enqueue_for(database, team, message=a_message(CLOSED, "alrt_b"))
    await make_due(database)

    claimed = await claim(outbox)
    assert ids(claimed) == [told[0], end.id]
    await enqueue_for(database, team, message=a_message(CLOSED, "alrt_a"))
    await outbox.settle(claimed, FAILED)
    assert await states(database) == ["dropped", "dropped", "pending", "pending"]


async def test_one_that_is_no_longer_ours_is_not_settled_with_the_others(
    database: Database, outbox: DispatchStore, team: Endpoint
) -> None:
    told = await tell(database, team, "alrt_a", "alrt_b")
    claimed = await claim(outbox)
    lost = update(deliveries).where(deliveries.c.id == claimed.ids[0])
    lost = lost.values(lease_token=None, next_at=1)
    await database.write(lambda connection: connection.execute(lost).rowcount)

    assert await outbox.settle(claimed, Delivered(200))
    assert await states(database) == ["pending", "delivered"]
    again = await claim(outbox)
    assert ids(again) == told[:1]
    await outbox.release([again.token])
    assert not await outbox.settle(again, Delivered(200))
    assert await states(database) == ["pending", "delivered"]


async def test_all_have_failed_where_the_endpoint_is_gone_and_can_be_asked_for_again(
    database: Database, outbox: DispatchStore, team: Endpoint
) -> None:
    told = await tell(database, team, "alrt_a", "alrt_b")
    await outbox.settle(await claim(outbox), GONE)
    assert [(row.state, row.last_error) for row in await rows(database)] == [
        ("failed", "answered 410")
    ] * 2

    await EndpointStore(database).change(team.id, enabled=True)
    for row in await rows(database):
        await delivery_store(database).retry(team.id, row.id)
    assert ids(await claim(outbox)) == told


def test_the_id_of_one_is_its_own_and_that_of_several_is_theirs_alone() -> None:
    one, two, three = (a_message() for _ in range(3))
    assert id_of([one]) == one.id
    assert id_of([one, two]) == id_of([one, two])
    assert len({id_of(some) for some in ([one, two], [one, three], [one, two, three])}) == 3
    assert len(id_of([one, two])) == len(one.id)
