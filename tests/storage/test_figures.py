"""The queue in numbers, on both databases."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from analysis.outcomes import Complete, Fail
from database import Database
from models import Lane, Status, conversations, from_micros, now_micros
from store.conversations import ConversationStore
from store.figures import Completions, Fallbacks, FigureStore
from store.queue import WorkQueue
from tests.support.factories import (
    accept,
    analysis,
    claim_one,
    claim_some,
    complete,
    insert_insight,
    new_conversation,
    new_conversations,
    run_sql,
)

DAY = 86_400_000_000


@pytest.fixture
def figures(database: Database) -> FigureStore:
    return FigureStore(database)


async def test_an_empty_queue_has_zeros_everywhere(figures: FigureStore) -> None:
    queue = (await figures.all()).queue
    assert queue.counts == {(status, lane): 0 for status in Status for lane in Lane}
    assert queue.oldest_pending_seconds is None


async def test_conversations_are_counted_by_status_and_lane(
    database: Database, figures: FigureStore
) -> None:
    store, work = ConversationStore(database), WorkQueue(database)
    await store.accept(new_conversations(6), lane=Lane.LIVE)
    await store.accept(new_conversations(3), lane=Lane.BULK)
    first, second, third, *_ = await claim_some(database, limit=5)
    await work.settle(
        [
            (first, Complete(analysis())),
            (second, Complete(analysis())),
            (third, Fail("refused")),
        ]
    )
    queue = (await figures.all()).queue
    assert {key: count for key, count in queue.counts.items() if count} == {
        (Status.COMPLETED, Lane.LIVE): 2,
        (Status.FAILED, Lane.LIVE): 1,
        (Status.PROCESSING, Lane.LIVE): 2,
        (Status.PENDING, Lane.LIVE): 1,
        (Status.PENDING, Lane.BULK): 3,
    }
    assert len(queue.counts) == 8
    assert [queue.of(status) for status in Status] == [4, 2, 2, 1]


async def test_what_is_erased_leaves_every_count(database: Database, figures: FigureStore) -> None:
    (completed,) = await complete(database, new_conversation())
    pending = await accept(database)
    assert (await figures.all()).completions.last_hour == 1
    for id_ in (completed, pending):
        await ConversationStore(database).erase(id_)
    queue = (await figures.all()).queue
    assert sum(queue.counts.values()) == 0
    assert queue.oldest_pending_seconds is None
    assert (await figures.all()).completions == Completions(last_minute=0, last_hour=0)


async def test_the_oldest_that_waits_tells_the_age_of_the_queue(
    database: Database, figures: FigureStore
) -> None:
    old = await accept(database, "old")
    await accept(database, "new")
    await run_sql(
        database,
        update(conversations)
        .where(conversations.c.id == old)
        .values(created_at=now_micros() - 3_600_000_000),
    )
    age = (await figures.all()).queue.oldest_pending_seconds
    assert age is not None
    assert 3600 <= age < 3660
    (claimed,) = await claim_some(database, limit=1)
    assert claimed.id == old
    age = (await figures.all()).queue.oldest_pending_seconds
    assert age is not None
    assert 0 <= age < 60


async def test_a_clock_that_went_back_gives_no_negative_age(
    database: Database, figures: FigureStore
) -> None:
    await accept(database)
    await run_sql(database, update(conversations).values(created_at=now_micros() + 3_600_000_000))
    assert (await figures.all()).queue.oldest_pending_seconds == 0.0


async def test_work_stands_still_only_where_no_process_completes_any(
    database: Database, figures: FigureStore
) -> None:
    assert await figures.stalled_seconds() == 0.0
    await accept(database)
    await run_sql(database, update(conversations).values(created_at=now_micros() - 3_600_000_000))
    assert 3600 <= await figures.stalled_seconds() < 3660
    await insert_insight(database, created_at=from_micros(now_micros()) - timedelta(seconds=900))
    assert 900 <= await figures.stalled_seconds() < 960
    await insert_insight(database)
    assert await figures.stalled_seconds() < 60


async def test_work_that_is_being_done_does_not_wait(
    database: Database, figures: FigureStore
) -> None:
    await accept(database)
    await claim_one(database)
    assert (await figures.all()).queue.oldest_pending_seconds is None


async def test_completions_are_counted_by_when_they_were_made(
    database: Database, figures: FigureStore
) -> None:
    """Not by the conversation's own timestamp."""
    now = from_micros(now_micros())
    for age in (0, 30, 90, 1800, 3500, 3700, 86_400):
        await insert_insight(database, created_at=now - timedelta(seconds=age))
    assert (await figures.all()).completions == Completions(last_minute=2, last_hour=5)


async def test_fallbacks_are_counted_by_when_they_were_made_and_nothing_else_is(
    database: Database, figures: FigureStore
) -> None:
    now = now_micros()
    midnight = now // DAY * DAY
    fallback = {"clusters": ["unknown"], "confidence": 0.0, "sentiment_score": 0.0}
    for created_at in (now, midnight, midnight - 1, now - 3_599_000_000, now - 3_601_000_000):
        await insert_insight(database, created_at=created_at, **fallback)
    await insert_insight(database, **{**fallback, "confidence": 0.1})
    await insert_insight(database, **{**fallback, "clusters": ["praise"]})
    await insert_insight(database, **{**fallback, "clusters": ["unknown", "praise"]})
    made = (now, midnight, midnight - 1, now - 3_599_000_000, now - 3_601_000_000)
    assert (await figures.all()).fallbacks == Fallbacks(
        today=sum(moment >= midnight for moment in made),
        last_hour=sum(moment > now - 3_600_000_000 for moment in made),
    )
    (id_,) = await complete(database, new_conversation(), **fallback)
    await ConversationStore(database).erase(id_)
    assert (await figures.all()).fallbacks.today == sum(moment >= midnight for moment in made)


async def test_a_completion_counts_at_once(database: Database, figures: FigureStore) -> None:
    assert (await figures.all()).completions == Completions(last_minute=0, last_hour=0)
    await complete(database, *new_conversations(3))
    assert (await figures.all()).completions == Completions(last_minute=3, last_hour=3)


async def test_the_rate_counts_from_the_first_completion_of_the_last_minute(
    database: Database,
) -> None:
    assert await FigureStore(database).completed_per_second() == 0.0
    now = from_micros(now_micros())
    for age in (1, 5, 10, 20, 70):
        await insert_insight(database, created_at=now - timedelta(seconds=age))
    assert await FigureStore(database).completed_per_second() == pytest.approx(4 / 20, rel=0.1)


async def test_a_first_completion_is_no_flood(database: Database) -> None:
    await complete(database, *new_conversations(3))
    assert await FigureStore(database).completed_per_second() == pytest.approx(3, rel=0.1)
