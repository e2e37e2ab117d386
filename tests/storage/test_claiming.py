"""Claims on both databases: whose turn it is, and that no conversation is taken twice."""

import asyncio
import random
import threading
from datetime import timedelta

import pytest
from sqlalchemy import Connection, update

from analysis.outcomes import Complete, Outcome, Requeue, Retry
from database import Database
from models import Lane, Status, conversations, from_micros, now_micros
from runtime import turns
from store.conversations import ConversationStore
from store.queue import Claim, Claimed, WorkQueue
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
from tests.support.stored import counts, row_of, settled_ids

# --- claim ----------------------------------------------------------------------------------------


async def test_an_empty_queue_gives_nothing(queue: WorkQueue) -> None:
    claim = await queue.claim(tuple(Lane), look=10, take=lambda waiting: waiting, lease=LEASE)
    assert claim == Claim([], {Lane.LIVE: 0, Lane.BULK: 0})


async def test_a_claim_marks_its_rows(database: Database) -> None:
    id_ = await accept(database, "Where is it?", lane=Lane.BULK)
    before = now_micros()
    (claimed,) = await claim_some(database, limit=10, lease=timedelta(seconds=30))
    row = await row_of(database, id_)
    assert claimed == Claimed(
        id_,
        "Where is it?",
        Lane.BULK,
        attempts=1,
        token=claimed.token,
        timestamp=row.timestamp,
    )
    assert (row.status, row.attempts, row.lease_token) == ("processing", 1, claimed.token)
    assert before + 30_000_000 <= row.leased_until <= now_micros() + 30_000_000


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_reads_give_way_to_what_is_claimed_until_its_results_are_stored(
    database: Database, queue: WorkQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "_RIGHT_OF_WAY_SECONDS", 20.0)

    async def read() -> None:
        await database.read(lambda _connection: None)

    async with asyncio.timeout(10):
        await claim_some(database, limit=1)  # finds nothing, and so holds nobody up
        await read()
    await accept(database, "Where is it?")
    (claimed,) = await claim_some(database, limit=1)
    reading = asyncio.create_task(read())
    await asyncio.wait([reading], timeout=0.05)
    assert not reading.done()
    async with asyncio.timeout(10):
        await queue.settle([])  # looks once which topics are rising, and waits for nobody
        await reading
        begun, gate = threading.Event(), threading.Event()

        def hold_up(_connection: Connection) -> None:
            begun.set()
            assert gate.wait(10)

        writing = asyncio.create_task(database.write(hold_up))
        assert await asyncio.to_thread(begun.wait, 10)
        settling = asyncio.create_task(queue.settle([(claimed, Requeue())]))
        await asyncio.sleep(0.01)  # it lines up
        reading = asyncio.create_task(read())
        await asyncio.wait([reading], timeout=0.05)
        was_held_up = not reading.done()
        gate.set()
        await asyncio.gather(writing, settling, reading)
    assert was_held_up


@pytest.mark.parametrize("first", Lane)
async def test_a_claim_is_from_the_first_lane_that_has_any_and_from_no_other(
    store: ConversationStore, queue: WorkQueue, first: Lane
) -> None:
    ids = {lane: await store.accept(new_conversations(3), lane=lane) for lane in Lane}
    (then,) = set(Lane) - {first}

    claims = [
        await queue.claim((first, then), look=10, take=lambda waiting: waiting, lease=LEASE)
        for _ in range(3)
    ]

    assert [[item.id for item in claim.items] for claim in claims] == [ids[first], ids[then], []]
    assert [claim.waiting for claim in claims] == [
        {first: 3, then: 1},  # of the other lane it is seen whether it is empty
        {first: 0, then: 3},
        {first: 0, then: 0},
    ]


async def test_how_many_are_taken_is_up_to_who_asks_and_knows_how_many_wait(
    store: ConversationStore, queue: WorkQueue
) -> None:
    ids = await store.accept(new_conversations(9), lane=Lane.LIVE)
    seen: list[int] = []

    def a_third(waiting: int) -> int:
        seen.append(waiting)
        return waiting // 3

    claim = await queue.claim((Lane.LIVE,), look=100, take=a_third, lease=LEASE)
    assert [item.id for item in claim.items] == ids[:3]

    claim = await queue.claim((Lane.LIVE,), look=4, take=a_third, lease=LEASE)
    assert [item.id for item in claim.items] == ids[3:4]
    assert claim.waiting == {Lane.LIVE: 4}  # no further than was looked
    assert seen == [9, 4]


async def test_what_is_claimed_is_not_claimed_again(
    store: ConversationStore, database: Database
) -> None:
    ids = await store.accept(new_conversations(3), lane=Lane.LIVE)
    first = await claim_some(database, limit=2)
    second = await claim_some(database, limit=2)
    assert [item.id for item in first + second] == ids
    assert first[0].token == first[1].token != second[0].token
    assert await claim_some(database, limit=2) == []


async def test_an_expired_lease_alone_frees_nothing(database: Database) -> None:
    """It takes a rescue, which counts the death."""
    await accept(database)
    await claim_one(database, lease=RUN_OUT)
    assert await claim_some(database, limit=1) == []


async def test_what_is_to_wait_is_not_claimed_before_its_time(
    database: Database, queue: WorkQueue
) -> None:
    waits, other = await ConversationStore(database).accept(new_conversations(2), lane=Lane.LIVE)
    first, second = await claim_all(database)
    await queue.settle([(first, Retry("503", delay=80.0)), (second, Retry("503", delay=-1.0))])
    assert [item.id for item in await claim_all(database)] == [other]
    row = await row_of(database, waits)
    assert timedelta(seconds=59) < from_micros(row.not_before) - from_micros(now_micros())


@pytest.mark.parametrize(
    ("outcome", "longest"),
    [(Retry("503", delay=80.0), 90), (Requeue(delay=3000.0), 3600)],
    ids=["a retry", "a probe"],
)
async def test_no_wait_is_longer_than_the_longest_that_anybody_asks_for(
    database: Database, queue: WorkQueue, outcome: Outcome, longest: int
) -> None:
    """A clock that was ahead had planned it, or this one was set back."""
    id_ = await accept(database)
    claimed = await claim_one(database)
    await queue.settle([(claimed, Retry("503", delay=0.0))])
    claimed = await claim_one(database)
    await queue.settle([(claimed, outcome)])
    assert await claim_all(database) == []

    async def plan(seconds: int) -> None:
        due = now_micros() + 1_000_000 * seconds
        statement = update(conversations).values(not_before=due)
        await database.write(lambda connection: connection.execute(statement).rowcount)

    await plan(longest - 1)
    assert await claim_all(database) == []
    await plan(longest + 60)
    assert [item.id for item in await claim_all(database)] == [id_]


async def test_four_replicas_with_many_claimers_never_get_the_same_row(
    replicas: list[Database],
) -> None:
    total = 400
    bulk = await ConversationStore(replicas[0]).accept(new_conversations(200), lane=Lane.BULK)
    live = await ConversationStore(replicas[1]).accept(new_conversations(200), lane=Lane.LIVE)
    taken: list[Claimed] = []

    async def work(database: Database, seed: int) -> None:
        chance = random.Random(seed)
        while len(taken) < total:
            lanes = chance.sample(list(Lane), 2)
            taken.extend(await claim_some(database, limit=chance.randint(1, 9), lanes=lanes))

    async with asyncio.timeout(60):
        await asyncio.gather(*(work(replicas[seed % 4], seed) for seed in range(16)))
    assert len(taken) == total
    assert {item.id for item in taken} == {*bulk, *live}
    assert {item.attempts for item in taken} == {1}


async def test_conversations_handed_in_meanwhile_are_all_claimed_once(
    replicas: list[Database],
) -> None:
    total = 200
    taken: list[str] = []

    async def hand_in() -> None:
        store = ConversationStore(replicas[0])
        for _ in range(total // 10):
            await store.accept(new_conversations(10), lane=Lane.LIVE)

    async def work(database: Database) -> None:
        while len(taken) < total:
            claimed = await claim_some(database, limit=5)
            settled = await settled_ids(
                WorkQueue(database), [(item, Complete(analysis())) for item in claimed]
            )
            taken.extend(settled)

    async with asyncio.timeout(60):
        await asyncio.gather(hand_in(), *(work(database) for database in replicas[1:]))
    assert len(set(taken)) == len(taken) == total
    assert (await counts(replicas[0]))[0] == total


# --- all together ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_the_order_no_conversation_is_lost_or_analysed_twice(
    database: Database, queue: WorkQueue, store: ConversationStore, seed: int
) -> None:
    """Random accepts, claims, deaths, late results and erasures."""
    chance = random.Random(seed)
    known: set[str] = set()
    erased: set[str] = set()
    completed: set[str] = set()
    in_hand: list[Claimed] = []
    for _ in range(60):
        match chance.choice(["accept", "claim", "settle", "settle", "rescue", "erase", "late"]):
            case "accept":
                items = new_conversations(chance.randint(1, 5))
                known.update(await store.accept(items, lane=chance.choice(list(Lane))))
            case "claim":
                lease = chance.choice([LEASE, RUN_OUT])
                in_hand += await claim_some(database, limit=chance.randint(1, 5), lease=lease)
            case "settle" | "late":
                some = chance.sample(in_hand, min(len(in_hand), 3))
                outcomes: list[Outcome] = [Complete(analysis()), Requeue()]
                results = [(item, chance.choice(outcomes)) for item in some]
                settled = (await queue.settle(results)).done
                finished = {
                    item.id
                    for item, outcome in results
                    if item in settled and isinstance(outcome, Complete)
                }
                assert not (finished & completed), "analysed twice"
                assert not ({item.id for item in settled} & erased), "came back from erasure"
                completed |= finished
            case "rescue":
                await queue.rescue(all_orphaned=chance.random() < 0.3)
            case _ if known - erased:
                id_ = chance.choice(sorted(known - erased))
                await store.erase(id_)
                erased.add(id_)
    found = [await store.find(id_) for id_ in sorted(known - erased)]
    assert len(known) > 5
    for conversation in found:
        assert (conversation.insight is not None) == (conversation.id in completed)
        assert (conversation.status is Status.COMPLETED) == (conversation.id in completed)
    assert (await counts(database))[0] == len(completed - erased)
