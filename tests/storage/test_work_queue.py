"""The queue as the worker sees it, on both databases: claims, fences, rescues."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, func, insert, select, text
from sqlalchemy.exc import IntegrityError

from analysis.outcomes import Call, CallOutcome, Complete, Fail, Outcome, Requeue, Retry
from analysis.topics import Topics
from analysis.urgency import Urgency
from backends.sqlite import execute
from database import Database
from models import (
    Lane,
    Status,
    conversations,
    from_micros,
    insight_clusters,
    insights,
    now_micros,
    to_micros,
)
from store import derived
from store.conversations import ConversationStore
from store.ledger import CallReceipt, Ledger, usage_in_all
from store.orphans import DIED, Rescued
from store.queue import NOT_STORED, Claim, Claimed, WorkQueue
from tests.support.factories import (
    LEASE,
    NOON,
    RUN_OUT,
    accept,
    analysis,
    claim_all,
    claim_one,
    claim_some,
    complete,
    insert_insight,
    new_conversation,
    new_conversations,
    of_another_process,
    run_sql,
    scalar,
)


@pytest.fixture
def store(database: Database) -> ConversationStore:
    return ConversationStore(database)


@pytest.fixture
def queue(database: Database) -> WorkQueue:
    return WorkQueue(database)


@pytest.fixture
async def replicas(database: Database) -> AsyncIterator[list[Database]]:
    """Four `Database`s on one database, as so many processes would have it."""
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(of_another_process(database)) for _ in range(3)]
        yield [database, *others]


async def row_of(database: Database, id_: str) -> Any:
    statement = select(conversations).where(conversations.c.id == id_)
    return await database.read(lambda connection: connection.execute(statement).one())


async def counts(database: Database) -> tuple[int, int]:
    """Of insights and of their clusters."""
    return (
        await scalar(database, select(func.count()).select_from(insights)),
        await scalar(database, select(func.count()).select_from(insight_clusters)),
    )


async def settled_ids(queue: WorkQueue, results: Sequence[tuple[Claimed, Outcome]]) -> set[str]:
    return {claimed.id for claimed in (await queue.settle(results)).done}


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
    await queue.settle([(first, Retry("503", delay=3600.0)), (second, Retry("503", delay=-1.0))])
    assert [item.id for item in await claim_all(database)] == [other]
    row = await row_of(database, waits)
    assert timedelta(minutes=59) < from_micros(row.not_before) - from_micros(now_micros())


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


# --- settle ---------------------------------------------------------------------------------------


async def test_complete_writes_the_insight_with_all_that_it_says(
    database: Database, queue: WorkQueue
) -> None:
    item = new_conversation("Where is it?", author="ann", timestamp=NOON, followers=999)
    id_ = await accept(database, item)
    result = analysis(
        -0.25,
        clusters=("b", "a"),
        confidence=0.5,
        reasoning="Because.",
        details={"model": "grok", "usage": {"tokens": 7}, "content": "🙂"},
        cost_usd_ticks=123_456_789_012,
        language="en",
        urgency=Urgency.SOON,
    )
    before = now_micros()
    notes = {"suspected_injection": ["override"]}
    completed = Complete(result, fingerprint="f" * 32, notes=notes)
    assert await settled_ids(queue, [(await claim_one(database), completed)]) == {id_}
    insight, clusters = await database.read(
        lambda connection: (
            connection.execute(select(insights)).mappings().one(),
            connection.execute(select(insight_clusters)).all(),
        )
    )
    assert before <= insight["created_at"] <= now_micros()
    assert dict(insight) == {
        "id": insight["id"],
        "conversation_id": id_,
        "timestamp": (await row_of(database, id_)).timestamp,
        "text": "Where is it?",
        "author": "ann",
        "sentiment_score": -0.25,
        "clusters": ["b", "a"],
        "confidence": 0.5,
        "reasoning": "Because.",
        "grok_analysis": {"model": "grok", "usage": {"tokens": 7}, "content": "🙂"},
        "cost_usd_ticks": 123_456_789_012,
        "created_at": insight["created_at"],
        "fingerprint": "f" * 32,
        "notes": notes,
        "sentiment": -1,
        "version": 1,
        "language": "en",
        "urgency": "soon",
        "labelled": "model",
        "label": None,
        "model_sentiment_score": None,
        "model_clusters": None,
        "model_confidence": None,
        "own": 0,
        "handling": "open",
        "handling_by": None,
        "handling_at": None,
        "handling_until": None,
        "repeats": 0,
        "reach": 0.5,
        "rising": 0,
        # 40 x 0.125 and 5 x 0.5, and nothing for the urgency of a text that is suspected.
        "priority": round(7.5 * 3_600_000_000) - to_micros(NOON),
    }
    assert from_micros(insight["timestamp"]) == NOON
    assert sorted(clusters) == [
        (name, insight["timestamp"], insight["id"], -0.25, 0.5) for name in "ab"
    ]


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Complete(analysis()), {"status": "completed", "attempts": 1, "last_error": None}),
        (Retry("503", 0.0), {"status": "pending", "attempts": 1, "last_error": "503"}),
        (Fail("refused"), {"status": "failed", "attempts": 1, "last_error": "refused"}),
        (Requeue(), {"status": "pending", "attempts": 0, "last_error": None}),
    ],
)
async def test_each_outcome_leaves_its_state_and_no_lease(
    database: Database, queue: WorkQueue, outcome: Outcome, expected: dict[str, Any]
) -> None:
    id_ = await accept(database)
    assert await settled_ids(queue, [(await claim_one(database), outcome)]) == {id_}
    row = await row_of(database, id_)
    assert {name: getattr(row, name) for name in expected} == expected
    assert (row.lease_token, row.leased_until, row.deaths) == (None, None, 0)
    completed = isinstance(outcome, Complete)
    assert await counts(database) == ((1, 1) if completed else (0, 0))


async def test_outcomes_of_all_kinds_are_settled_in_one_call(
    database: Database, queue: WorkQueue, store: ConversationStore
) -> None:
    outcomes: list[Outcome] = [
        Complete(analysis(0.5, clusters=("a", "b"))),
        Fail("refused"),
        Requeue(),
        Retry("503", 0.0),
        Complete(analysis(-0.5, clusters=("c",))),
        Requeue(),
        Retry("502", 60.0),
    ] * 3
    ids = await store.accept(new_conversations(len(outcomes)), lane=Lane.BULK)
    claimed = await claim_all(database)
    assert await settled_ids(queue, list(zip(claimed, outcomes, strict=True))) == set(ids)
    for id_, outcome in zip(ids, outcomes, strict=True):
        found = await store.find(id_)
        match outcome:
            case Complete(expected):
                assert found.status is Status.COMPLETED
                assert found.insight is not None
                assert found.insight.sentiment_score == expected.sentiment_score
                assert found.insight.clusters == expected.clusters
            case Fail(error):
                assert (found.status, found.last_error) == (Status.FAILED, error)
            case Retry(error):
                assert (found.status, found.last_error) == (Status.PENDING, error)
                assert found.attempts == 1
            case Requeue():
                assert (found.status, found.attempts) == (Status.PENDING, 0)
    assert await counts(database) == (6, 9)


async def test_settling_nothing_changes_nothing(database: Database, queue: WorkQueue) -> None:
    await accept(database)
    assert await settled_ids(queue, []) == set()
    assert await counts(database) == (0, 0)


async def test_completing_clears_the_error_of_an_earlier_attempt(
    database: Database, queue: WorkQueue
) -> None:
    id_ = await accept(database)
    await queue.settle([(await claim_one(database), Retry("503", 0.0))])
    claimed = await claim_one(database)
    assert claimed.attempts == 2
    await queue.settle([(claimed, Complete(analysis()))])
    row = await row_of(database, id_)
    assert (row.status, row.attempts, row.last_error) == ("completed", 2, None)


async def test_five_hundred_results_are_settled_in_one_call(
    database: Database, queue: WorkQueue, store: ConversationStore
) -> None:
    ids = await store.accept(new_conversations(500), lane=Lane.BULK)
    results = [
        (item, Complete(analysis(clusters=("a", "b")))) for item in await claim_all(database)
    ]
    assert await settled_ids(queue, results) == set(ids)
    assert await counts(database) == (500, 1000)


async def test_ten_results_take_as_few_statements_as_one(
    monkeypatch: pytest.MonkeyPatch, database: Database, queue: WorkQueue
) -> None:
    """Rules and weights are read once, and nothing is looked for behind the newest posts."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    def note_and_execute(connection: Any, statement: str, parameters: Any) -> Any:
        seen.append(statement)  # past SQLAlchemy
        return execute(connection, statement, parameters)

    monkeypatch.setattr("store.bulk_insert.execute", note_and_execute)
    told = []
    for count in (1, 1, 10):  # the first also looks for what is rising
        posts = [new_conversation("late", author=f"customer{n}") for n in range(count)]
        await ConversationStore(database).accept(posts, lane=Lane.LIVE)
        claimed = await claim_all(database)
        seen.clear()
        event.listen(Engine, "before_cursor_execute", note)
        try:
            await queue.settle([(one, Complete(analysis(sentiment_score=-0.9))) for one in claimed])
        finally:
            event.remove(Engine, "before_cursor_execute", note)
        told.append(seen.copy())
        seen.clear()
    assert 8 <= len(told[1]) == len(told[2])
    assert sum("FROM rules" in statement for statement in told[2]) == 1
    assert sum("FROM applied_settings" in statement for statement in told[2]) == 1
    assert not [statement for statement in told[2] if "CROSS JOIN insights" in statement]


async def test_calls_that_end_at_once_are_settled_together_each_with_its_own_answer(
    database: Database, queue: WorkQueue, store: ConversationStore
) -> None:
    ids = await store.accept(new_conversations(40), lane=Lane.BULK)
    claimed = await claim_all(database)
    await store.erase(ids[7])
    answers = await asyncio.gather(
        *(settled_ids(queue, [(item, Complete(analysis()))]) for item in claimed)
    )
    assert answers == [{id_} if id_ != ids[7] else set() for id_ in ids]
    assert await counts(database) == (39, 39)


async def test_a_result_that_the_database_chokes_on_spoils_no_other(
    database: Database, queue: WorkQueue, store: ConversationStore
) -> None:
    ids = await store.accept(new_conversations(3), lane=Lane.BULK)
    first, second, third = await claim_all(database)
    choking = analysis(reasoning="a \ud800 lone surrogate")
    before, choked, after = await asyncio.gather(
        queue.settle([(first, Complete(analysis()))]),
        queue.settle([(second, Complete(choking))]),
        queue.settle([(third, Complete(analysis()))]),
    )
    assert before == ({first}, {}, None)
    assert after == ({third}, {}, None)
    assert (choked.done, set(choked.rejected)) == (set(), {second})
    assert [((found := await store.find(id_)).status, found.last_error) for id_ in ids] == [
        ("completed", None),
        ("failed", NOT_STORED),
        ("completed", None),
    ]


async def test_of_one_call_only_what_the_database_rejects_is_lost(
    database: Database, queue: WorkQueue
) -> None:
    """Neither its neighbours, nor what the call cost, nor the counts and words kept beside them."""
    await ConversationStore(database).accept(new_conversations(3), lane=Lane.LIVE)
    first, second, third = await claim_all(database)
    ledger = Ledger(database)
    reserved = await ledger.reserve("r", model="m", conversations=3, highest_cost=100)
    assert reserved is not None
    call = Call(CallOutcome.ANSWERED, model="m", cost_usd_ticks=7)
    choking = analysis(reasoning="a \ud800 lone surrogate")
    outcomes = [Complete(analysis()), Complete(choking), Complete(analysis())]
    settled = await queue.settle(
        list(zip([first, second, third], outcomes, strict=True)), CallReceipt(reserved, call)
    )
    assert (settled.done, set(settled.rejected)) == ({first, third}, {second})
    assert settled.receipt_error is None
    usage = await database.read(usage_in_all)
    assert (usage.calls, usage.conversations, usage.cost_usd_ticks) == (1, 2, 7)
    assert await counts(database) == (2, 2)
    assert not await derived.rebuild(database), "what is kept beside the insights is as a recount"


async def test_a_receipt_that_the_database_rejects_costs_no_result(
    database: Database, queue: WorkQueue
) -> None:
    await accept(database)
    claimed = await claim_one(database)
    reserved = await Ledger(database).reserve("r", model="m", conversations=1, highest_cost=100)
    assert reserved is not None
    call = Call(CallOutcome.ANSWERED, model="m", cost_usd_ticks=2**80)
    settled = await queue.settle([(claimed, Complete(analysis()))], CallReceipt(reserved, call))
    assert settled.done == {claimed}
    assert settled.receipt_error is not None


async def test_a_rejected_result_of_a_claim_that_is_lost_fails_nobody(
    database: Database, queue: WorkQueue, store: ConversationStore
) -> None:
    id_ = await accept(database)
    claimed = await claim_one(database)
    await store.erase(id_)
    choking = analysis(reasoning="a \ud800 lone surrogate")
    assert await queue.settle([(claimed, Complete(choking))]) == (set(), {}, None)


async def test_drained_waits_for_results_that_are_being_written(
    database: Database, queue: WorkQueue
) -> None:
    id_ = await accept(database)
    claimed = await claim_one(database)
    settling = asyncio.create_task(settled_ids(queue, [(claimed, Complete(analysis()))]))
    await asyncio.sleep(0)
    await asyncio.wait_for(queue.drained(), 10)
    assert (await row_of(database, id_)).status == "completed"
    assert await asyncio.wait_for(settling, 1) == {id_}


# --- the fence ------------------------------------------------------------------------------------

OUTCOMES = [Complete(analysis()), Retry("late", 0.0), Fail("late"), Requeue()]


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_late_result_of_an_erased_conversation_is_dropped(
    database: Database, queue: WorkQueue, store: ConversationStore, outcome: Outcome
) -> None:
    id_ = await accept(database)
    claimed = await claim_one(database)
    await store.erase(id_)
    assert await settled_ids(queue, [(claimed, outcome)]) == set()
    assert await counts(database) == (0, 0)


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_late_result_of_a_rescued_conversation_is_dropped(
    database: Database, queue: WorkQueue, outcome: Outcome
) -> None:
    id_ = await accept(database)
    late = await claim_one(database, lease=RUN_OUT)
    await queue.rescue()
    before = await row_of(database, id_)
    assert await settled_ids(queue, [(late, outcome)]) == set()
    assert await row_of(database, id_) == before
    assert await counts(database) == (0, 0)


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_late_result_of_a_reclaimed_conversation_is_dropped_and_the_new_one_counts(
    database: Database, queue: WorkQueue, store: ConversationStore, outcome: Outcome
) -> None:
    id_ = await accept(database)
    late = await claim_one(database, lease=RUN_OUT)
    await queue.rescue()
    current = await claim_one(database)
    before = await row_of(database, id_)
    assert await settled_ids(queue, [(late, outcome)]) == set()
    assert await row_of(database, id_) == before
    assert await settled_ids(queue, [(current, Complete(analysis(0.75)))]) == {id_}
    insight = (await store.find(id_)).insight
    assert insight is not None
    assert insight.sentiment_score == 0.75


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_a_result_with_another_token_is_dropped(
    database: Database, queue: WorkQueue, outcome: Outcome
) -> None:
    id_ = await accept(database)
    claimed = await claim_one(database)
    before = await row_of(database, id_)
    forged = Claimed(id_, claimed.text, claimed.lane, claimed.attempts, token="0" * 32)
    assert await settled_ids(queue, [(forged, outcome)]) == set()
    assert await row_of(database, id_) == before


@pytest.mark.parametrize("second", OUTCOMES)
async def test_a_result_settled_twice_counts_once(
    database: Database, queue: WorkQueue, store: ConversationStore, second: Outcome
) -> None:
    """As after a commit whose confirmation was lost."""
    id_ = await accept(database)
    claimed = await claim_one(database)
    await queue.settle([(claimed, Complete(analysis(0.75)))])
    assert await settled_ids(queue, [(claimed, second)]) == set()
    found = await store.find(id_)
    assert found.status is Status.COMPLETED
    assert found.insight is not None
    assert found.insight.sentiment_score == 0.75
    assert await counts(database) == (1, 1)


async def test_the_same_result_settled_by_several_at_once_counts_once(
    replicas: list[Database],
) -> None:
    id_ = await accept(replicas[0])
    claimed = await claim_one(replicas[0])
    settled = await asyncio.gather(
        *(settled_ids(WorkQueue(one), [(claimed, Complete(analysis()))]) for one in replicas)
    )
    assert sorted(map(len, settled)) == [0, 0, 0, 1]
    assert set().union(*settled) == {id_}
    assert await counts(replicas[0]) == (1, 1)


async def test_a_dropped_result_spoils_none_that_it_is_settled_with(
    database: Database, queue: WorkQueue, store: ConversationStore
) -> None:
    ids = await store.accept(new_conversations(6), lane=Lane.LIVE)
    claimed = await claim_all(database)
    await store.erase(ids[0])
    await store.erase(ids[3])
    outcomes: list[Outcome] = [
        Complete(analysis()),
        Complete(analysis()),
        Fail("no"),
        Requeue(),
        Requeue(),
    ]
    results = list(zip(claimed, [*outcomes, Retry("503", 0.0)], strict=True))
    assert await settled_ids(queue, results) == {ids[1], ids[2], ids[4], ids[5]}
    assert await counts(database) == (1, 1)


async def test_the_database_itself_refuses_a_second_insight(database: Database) -> None:
    await complete(database, new_conversation())
    columns = [column for column in insights.c if column.name not in ("id", "sentiment")]
    copy = insert(insights).from_select([column.name for column in columns], select(*columns))
    with pytest.raises(IntegrityError):
        await run_sql(database, copy)
    assert await counts(database) == (1, 1)


async def test_the_database_itself_refuses_an_insight_of_nothing(database: Database) -> None:
    (id_,) = await complete(database, new_conversation())
    with pytest.raises(IntegrityError):
        await run_sql(database, text("UPDATE insights SET conversation_id = 'conv_00000000'"))
    assert (await ConversationStore(database).find(id_)).insight is not None


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


async def test_an_earlier_analysis_has_its_language_and_urgency(
    database: Database, queue: WorkQueue
) -> None:
    await accept(database)
    result = analysis(language="de", urgency=Urgency.NOW)
    await queue.settle([(await claim_one(database), Complete(result, fingerprint="f" * 32))])
    found = await queue.analysed_before({"f" * 32}, within=timedelta(hours=1))
    assert found["f" * 32].analysis == result


async def test_who_led_to_a_topic_on_which_days_is_remembered_over_a_restart(
    database: Database,
) -> None:
    """Though there are more analyses of late than are looked at."""
    day = timedelta(days=1)
    topic = {"clusters": ["gift_cards"], "fingerprint": "1" * 32}
    for number, author in enumerate(["ann", "ben", "cem", "ann"]):
        await insert_insight(database, timestamp=NOON + number * day, author=author, **topic)
    flagged = {**topic, "clusters": ["scam"], "notes": {"suspected_injection": ["override"]}}
    for number, author in enumerate(["ann", "ben", "cem"]):
        await insert_insight(database, timestamp=NOON + number * day, author=author, **flagged)

    recent = await WorkQueue(database).recent_sightings(1)
    assert recent == []
    recent = await WorkQueue(database).recent_sightings(4)
    topics = Topics(["praise"])
    for sighting in recent:
        topics.learn(sighting)

    first = to_micros(NOON) // 86_400_000_000
    assert {(each.author, each.day - first) for each in recent} == {
        ("ann", 0),
        ("ben", 1),
        ("cem", 2),
        ("ann", 3),
    }
    assert topics.in_use() == ("gift_cards",)


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
