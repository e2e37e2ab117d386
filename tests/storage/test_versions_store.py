"""Versions of the analysis: their numbers, and how many insights bear each, on both databases."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from analysis.outcomes import Complete
from database import Database
from models import insights, now_micros
from store.conversations import ConversationStore
from store.erasure import ErasureStore
from store.queue import WorkQueue
from store.versions import Asked, VersionStore
from tests.support.factories import (
    NOON,
    accept,
    analysis,
    claim_all,
    insert_insight,
    insert_insights,
    of_another_process,
    run_sql,
)
from tests.support.http_helpers import captured_log

ASKED = Asked("grok", "grok-4", "4", 0.3, "open", ("delivery_problems", "praise"))
OTHERS = [
    replace(ASKED, analyser="offline", temperature=None),
    replace(ASKED, model="grok-5"),
    replace(ASKED, prompt_version="5"),
    replace(ASKED, temperature=0.0),
    replace(ASKED, clusters_mode="closed"),
    replace(ASKED, clusters=("praise", "delivery_problems")),
]


@pytest.fixture
def store(database: Database) -> VersionStore:
    return VersionStore(database)


async def counted(store: VersionStore) -> dict[int, int]:
    return {each.version: each.insights for each in await store.all()}


async def borne(database: Database) -> dict[int, int]:
    """How many insights bear each version, counted one by one."""
    statement = select(insights.c.version, func.count()).group_by(insights.c.version)
    return await database.read(lambda connection: dict(connection.execute(statement).all()))


async def settle(database: Database, version: int, count: int, **result: Any) -> None:
    queue = WorkQueue(database)
    queue.writer.version = version
    for _ in range(count):
        await accept(database)
    claimed = await claim_all(database)
    await queue.settle([(item, Complete(analysis(**result))) for item in claimed])


async def test_whoever_asks_alike_has_the_same_number_and_each_change_a_new_one(
    store: VersionStore,
) -> None:
    with captured_log() as log:
        assert await store.take_up(ASKED) == 1
        assert [await store.take_up(other) for other in OTHERS] == [2, 3, 4, 5, 6, 7]
        assert [await store.take_up(asked) for asked in (ASKED, *OTHERS)] == [1, 2, 3, 4, 5, 6, 7]
    assert [each["version"] for each in log.named("analysis_version_is_new")] == list(range(1, 8))
    assert [each.asked for each in await store.all()] == [*reversed(OTHERS), ASKED]


async def test_the_active_one_is_that_of_the_last_start(store: VersionStore) -> None:
    for asked in (ASKED, OTHERS[0], ASKED):
        await store.take_up(asked)
    assert [(each.version, each.active) for each in await store.all()] == [(2, False), (1, True)]


async def test_replicas_that_start_at_once_agree(database: Database) -> None:
    async with of_another_process(database) as other:
        stores = [VersionStore(database), VersionStore(other)] * 4
        numbers = await asyncio.gather(*(each.take_up(ASKED) for each in stores))
    assert set(numbers) == {1}
    assert len(await VersionStore(database).all()) == 1


async def test_old_insights_are_version_1_of_what_they_say_that_was_asked(
    database: Database, store: VersionStore
) -> None:
    details = {
        "analyser": "grok",
        "requested_model": "grok-4",
        "model": "grok-4-0309",
        "prompt_version": "3",
    }
    created_at = NOON - timedelta(days=9)
    await insert_insights(
        database, [{"grok_analysis": details, "created_at": created_at} for _ in range(3)]
    )
    assert await store.take_up(ASKED) == 2
    new, old = await store.all()
    assert (old.version, old.asked) == (1, replace(ASKED, prompt_version="3"))
    assert (old.insights, old.first_used) == (3, created_at)
    assert (new.asked, new.insights, new.active) == (ASKED, 0, True)


async def test_old_insights_that_say_nothing_are_of_the_settings_of_now(
    database: Database, store: VersionStore
) -> None:
    await insert_insight(database)
    assert await store.take_up(ASKED) == 1
    assert await counted(store) == {1: 1}


async def test_insights_are_counted_as_they_come_and_go(
    database: Database, store: VersionStore
) -> None:
    for asked in (ASKED, *OTHERS):
        await store.take_up(asked)
    before = now_micros()
    await settle(database, 1, 3)
    await settle(database, 3, 2)
    assert await counted(store) == {**dict.fromkeys(range(1, 8), 0), 1: 3, 3: 2}
    used = {each.version: each.last_used.timestamp() * 1e6 >= before for each in await store.all()}
    assert [version for version, is_used in used.items() if is_used] == [3, 1]

    ids = await database.read(
        lambda connection: connection.scalars(
            select(insights.c.conversation_id).order_by(insights.c.id)
        ).all()
    )
    await ConversationStore(database).erase(ids[0])
    await run_sql(database, update(insights).values(timestamp=0))
    assert await counted(store) == {**dict.fromkeys(range(1, 8), 0), 1: 2, 3: 2}


async def test_a_result_that_the_database_rejects_is_not_counted(
    database: Database, store: VersionStore
) -> None:
    await store.take_up(ASKED)
    queue = WorkQueue(database)
    ids = [await accept(database) for _ in range(3)]
    claimed = {item.id: item for item in await claim_all(database)}
    good, bad = analysis(), analysis(reasoning=None)
    settled = await queue.settle(
        [(claimed[id_], Complete(each)) for id_, each in zip(ids, (good, bad, good), strict=True)]
    )
    assert len(settled.rejected) == 1
    assert await counted(store) == await borne(database) == {1: 2}


async def test_the_count_stays_exact_while_replicas_settle_and_others_erase(
    database: Database, store: VersionStore
) -> None:
    for asked in (ASKED, OTHERS[0]):
        await store.take_up(asked)
    ids = [await accept(database) for _ in range(40)]
    claimed = await claim_all(database)

    async def work(mine: Database, version: int) -> None:
        queue = WorkQueue(mine)
        queue.writer.version = version
        for item in claimed[version::2]:
            await queue.settle([(item, Complete(analysis()))])

    async def erase() -> None:
        for id_ in ids[::5]:
            await ErasureStore(database).erase(id_)

    async with of_another_process(database) as other:
        await asyncio.gather(work(database, 1), work(other, 2), erase())
    left = await borne(database)
    assert await counted(store) == {version: left.get(version, 0) for version in (1, 2)}
    assert sum(left.values()) == 32
