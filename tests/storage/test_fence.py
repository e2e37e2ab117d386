"""A late result never counts, on both databases."""

import asyncio

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError

from analysis.outcomes import Complete, Fail, Outcome, Requeue, Retry
from database import Database
from models import Lane, Status, insights
from store.conversations import ConversationStore
from store.queue import Claimed, WorkQueue
from tests.support.factories import (
    RUN_OUT,
    accept,
    analysis,
    claim_all,
    claim_one,
    complete,
    new_conversation,
    new_conversations,
    run_sql,
)
from tests.support.stored import counts, row_of, settled_ids

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
