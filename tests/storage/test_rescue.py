"""Claims that are given back, kept longer or taken from the dead, on both databases."""

import asyncio

from analysis.outcomes import Complete, Fail, Requeue, Retry
from database import Database
from models import Lane, Status, now_micros
from store.conversations import ConversationStore
from store.orphans import DIED, Rescued
from store.queue import Claimed, WorkQueue
from tests.support.factories import (
    LEASE,
    RUN_OUT,
    accept,
    analysis,
    claim_all,
    claim_one,
    claim_some,
    new_conversations,
)
from tests.support.stored import row_of, settled_ids

# --- put back, extend -----------------------------------------------------------------------------


async def put_back(queue: WorkQueue, *claimed: Claimed) -> set[str]:
    return await settled_ids(queue, [(item, Requeue()) for item in claimed])


async def test_conversations_that_are_put_back_are_pending_again_and_uncharged(
    database: Database, queue: WorkQueue, store: ConversationStore
) -> None:
    ids = await store.accept(new_conversations(3), lane=Lane.LIVE)
    claimed = await claim_all(database)
    assert await put_back(queue, *claimed[:2]) == set(ids[:2])
    assert [(await store.find(id_)).status for id_ in ids] == ["pending", "pending", "processing"]
    assert [(await store.find(id_)).attempts for id_ in ids] == [0, 0, 1]
    assert [(item.id, item.attempts) for item in await claim_all(database)] == [
        (ids[0], 1),
        (ids[1], 1),
    ]


async def test_an_extended_lease_is_not_rescued(database: Database, queue: WorkQueue) -> None:
    await accept(database)
    claimed = await claim_one(database, lease=RUN_OUT)
    await queue.extend({claimed.token}, lease=LEASE)
    assert await queue.rescue() == Rescued(back_to_pending=0, failed=0)
    assert await settled_ids(queue, [(claimed, Complete(analysis()))]) == {claimed.id}


async def test_only_the_named_claims_are_extended(
    database: Database, queue: WorkQueue, store: ConversationStore
) -> None:
    ids = await store.accept(new_conversations(3), lane=Lane.LIVE)
    first, second, third = [(await claim_all(database, limit=1, lease=RUN_OUT))[0] for _ in ids]
    await queue.settle([(third, Complete(analysis()))])
    await queue.extend([first.token, third.token], lease=LEASE)
    assert await queue.rescue() == Rescued(back_to_pending=1, failed=0)
    assert [(await store.find(id_)).status for id_ in ids] == ["processing", "pending", "completed"]
    assert second.id == ids[1]
    assert (await row_of(database, ids[2])).leased_until is None


async def test_extending_nothing_changes_nothing(database: Database, queue: WorkQueue) -> None:
    id_ = await accept(database)
    await claim_one(database, lease=RUN_OUT)
    before = await row_of(database, id_)
    await queue.extend(set(), lease=LEASE)
    assert await row_of(database, id_) == before


# --- rescue ---------------------------------------------------------------------------------------


async def test_only_expired_leases_are_rescued(
    database: Database, queue: WorkQueue, store: ConversationStore
) -> None:
    ids = await store.accept(new_conversations(3), lane=Lane.LIVE)
    await claim_all(database, limit=1, lease=RUN_OUT)
    await claim_all(database, limit=1, lease=LEASE)
    assert await queue.rescue() == Rescued(back_to_pending=1, failed=0)
    assert [(await store.find(id_)).status for id_ in ids] == ["pending", "processing", "pending"]
    row = await row_of(database, ids[0])
    assert (row.deaths, row.lease_token, row.leased_until) == (1, None, None)


async def test_all_orphaned_are_rescued_whatever_their_lease(
    database: Database, queue: WorkQueue, store: ConversationStore
) -> None:
    ids = await store.accept(new_conversations(3), lane=Lane.LIVE)
    (done,) = await claim_all(database, limit=1)
    await queue.settle([(done, Complete(analysis()))])
    await claim_all(database)
    assert await queue.rescue(all_orphaned=True) == Rescued(back_to_pending=2, failed=0)
    assert await queue.rescue(all_orphaned=True) == Rescued(back_to_pending=0, failed=0)
    assert [(await store.find(id_)).status for id_ in ids] == ["completed", "pending", "pending"]


async def test_a_rescued_conversation_keeps_its_place_and_waits_for_nothing(
    database: Database, queue: WorkQueue, store: ConversationStore
) -> None:
    ids = await store.accept(new_conversations(2), lane=Lane.LIVE)
    await claim_all(database, limit=1, lease=RUN_OUT)
    await queue.rescue()
    assert [item.id for item in await claim_all(database)] == ids


async def test_the_third_death_fails_and_says_so(
    database: Database, queue: WorkQueue, store: ConversationStore
) -> None:
    id_ = await accept(database)
    for death in (1, 2):
        await claim_one(database, lease=RUN_OUT)
        assert await queue.rescue() == Rescued(1, 0, suspects=death == 2)
        assert (await row_of(database, id_)).deaths == death
    assert await claim_all(database) == []  # not among others
    suspect, more = await queue.claim_suspect(lease=RUN_OUT)
    assert (suspect and suspect.id, more) == (id_, False)
    assert await queue.rescue() == Rescued(back_to_pending=0, failed=1)
    found = await store.find(id_)
    assert (found.status, found.last_error) == (Status.FAILED, DIED)
    assert found.last_error == "the worker died while analysing this"
    assert await claim_all(database) == []


async def test_a_third_death_among_others_fails_that_one_alone(
    database: Database, queue: WorkQueue, store: ConversationStore
) -> None:
    unlucky = await accept(database)
    for _ in range(2):
        await claim_one(database)
        await queue.rescue(all_orphaned=True)
    others = await store.accept(new_conversations(4), lane=Lane.LIVE)
    await claim_all(database)
    await queue.claim_suspect(lease=LEASE)
    assert await queue.rescue(all_orphaned=True) == Rescued(back_to_pending=4, failed=1)
    assert (await store.find(unlucky)).status is Status.FAILED
    assert {(await store.find(id_)).status for id_ in others} == {Status.PENDING}


async def test_suspects_are_claimed_one_at_a_time_the_oldest_first(
    database: Database, queue: WorkQueue, store: ConversationStore
) -> None:
    ids = await store.accept(new_conversations(3), lane=Lane.BULK)
    for _ in range(2):
        await claim_all(database)
        await queue.rescue(all_orphaned=True)
    claims = [await queue.claim_suspect(lease=LEASE) for _ in range(4)]
    assert [suspect and suspect.id for suspect, _ in claims] == [*ids, None]
    assert [more for _, more in claims] == [True, True, False, False]


async def test_a_suspect_that_is_not_due_waits(database: Database, queue: WorkQueue) -> None:
    await accept(database)
    for _ in range(2):
        await claim_one(database)
        await queue.rescue(all_orphaned=True)
    suspect, _ = await queue.claim_suspect(lease=LEASE)
    assert suspect is not None
    await queue.settle([(suspect, Retry("later", delay=60.0))])
    assert await queue.claim_suspect(lease=LEASE) == (None, True)


async def test_waiting_counts_no_death(database: Database, queue: WorkQueue) -> None:
    id_ = await accept(database)
    for _ in range(5):
        await put_back(queue, await claim_one(database))
    row = await row_of(database, id_)
    assert (row.status, row.attempts, row.deaths) == ("pending", 0, 0)


async def test_two_rescuers_at_once_count_one_death(replicas: list[Database]) -> None:
    ids = await ConversationStore(replicas[0]).accept(new_conversations(20), lane=Lane.LIVE)
    await claim_all(replicas[0], lease=RUN_OUT)
    rescued = await asyncio.gather(*(WorkQueue(database).rescue() for database in replicas))
    assert sum(result.back_to_pending for result in rescued) == 20
    assert {(await row_of(replicas[0], id_)).deaths for id_ in ids} == {1}


# --- all together ---------------------------------------------------------------------------------


async def test_refusals_that_are_taken_back_are_pending_again_and_nothing_else_is(
    database: Database,
) -> None:
    queue = WorkQueue(database)
    ids = [await accept(database, text) for text in ("failed", "retried", "done", "refused now")]
    failed, retried, done, now = await claim_all(database)
    await queue.settle([(failed, Fail("no")), (retried, Fail("no")), (done, Complete(analysis()))])
    await ConversationStore(database).retry(ids[1])

    # All at once, as where many calls end together.
    await queue.settle([(now, Fail("no"))], None, not_theirs=[*ids, "conv_gone0000"])

    rows = [await row_of(database, id_) for id_ in ids]
    assert [(row.status, row.attempts, row.last_error) for row in rows] == [
        ("pending", 0, None),
        ("pending", 0, None),
        ("completed", 1, None),
        ("pending", 0, None),
    ]


async def test_what_is_put_back_for_a_while_makes_room_and_is_not_charged(
    database: Database,
) -> None:
    queue = WorkQueue(database)
    first, second = [await accept(database, text) for text in ("first", "second")]
    claimed = await claim_some(database, limit=1)
    await queue.settle([(claimed[0], Requeue(delay=60))])

    row = await row_of(database, first)
    assert (row.status, row.attempts) == ("pending", 0)
    assert 59e6 < row.not_before - now_micros() <= 60e6
    assert [item.id for item in await claim_all(database)] == [second]
