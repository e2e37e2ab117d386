"""Conversations are counted as they are written, by whichever statement."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, text, update

from database import Database
from errors import Unavailable
from models import Lane, Status, conversations, status_counts
from store.conversations import ConversationStore
from store.derived.status_counts import counted, counted_in, recount
from store.queue import WorkQueue
from tests.support.factories import (
    LEASE,
    claim_some,
    complete,
    new_conversation,
    new_conversations,
    run_sql,
)

Counts = Mapping[tuple[Status, Lane], int]


async def counts_of(database: Database) -> Counts:
    """But for what there is none of."""
    counts = await database.read(counted)
    return {key: count for key, count in counts.items() if count}


async def test_every_way_to_change_a_row_is_counted(database: Database) -> None:
    row = {"text": "a", "timestamp": 1, "created_at": 1, "lane": "live", "status": "pending"}
    rows = [{**row, "id": f"conv_{number:08x}"} for number in range(10)]
    await run_sql(database, insert(conversations).values(rows))
    assert await counts_of(database) == {(Status.PENDING, Lane.LIVE): 10}
    columns = conversations.c
    await run_sql(
        database,
        update(conversations).where(columns.id < "conv_00000003").values(status="failed"),
        update(conversations).where(columns.id > "conv_00000007").values(lane="bulk"),
        update(conversations).values(attempts=4),
    )
    expected = {
        (Status.FAILED, Lane.LIVE): 3,
        (Status.PENDING, Lane.LIVE): 5,
        (Status.PENDING, Lane.BULK): 2,
    }
    assert await counts_of(database) == expected
    assert await database.read(lambda found: counted_in(Status.PENDING, found)) == 7
    await database.write(recount)
    assert await counts_of(database) == expected
    await run_sql(database, delete(conversations).where(columns.status == "pending"))
    assert await counts_of(database) == {(Status.FAILED, Lane.LIVE): 3}


async def test_what_is_undone_is_not_counted(database: Database) -> None:
    def change_and_fail(connection: Connection) -> None:
        connection.execute(update(conversations).values(status="failed"))
        connection.execute(delete(conversations))
        raise Unavailable("no")

    await ConversationStore(database).accept(new_conversations(3), lane=Lane.BULK)
    with pytest.raises(Unavailable):
        await database.write(change_and_fail)
    assert await counts_of(database) == {(Status.PENDING, Lane.BULK): 3}


async def test_a_key_that_is_known_is_not_counted_twice(database: Database) -> None:
    item = new_conversation(idempotency_key="key", body_hash="0" * 64)
    for _ in range(3):
        await ConversationStore(database).accept([item], lane=Lane.LIVE)
    assert await counts_of(database) == {(Status.PENDING, Lane.LIVE): 1}


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_nobody_waits_for_another_s_count(database: Database) -> None:
    """None of these ends before all have counted, and in opposite orders. On SQLite one writes at a
    time."""
    await ConversationStore(database).accept(new_conversations(12), lane=Lane.LIVE)
    await ConversationStore(database).accept(new_conversations(12), lane=Lane.BULK)
    ids = [
        [item.id for item in await claim_some(database, limit=3, lanes=[lane], lease=LEASE)]
        for lane in (*Lane, *Lane)
    ]
    meeting = asyncio.Barrier(len(ids))
    backend: Any = database._backend

    async def change(ids: list[str], statuses: list[str]) -> None:
        async with backend._engine.begin() as connection:
            for id_, status in zip(ids, statuses, strict=True):
                changed = update(conversations).where(conversations.c.id == id_)
                await connection.execute(changed.values(status=status))
                await meeting.wait()

    orders = [["failed", "pending", "failed"], ["pending", "failed", "pending"]] * 2
    async with asyncio.timeout(10):
        await asyncio.gather(*map(change, ids, orders))
    kept = await counts_of(database)
    await database.write(recount)
    assert await counts_of(database) == kept
    assert sum(kept.values()) == 24


async def test_single_parts_may_be_below_zero(database: Database) -> None:
    """As where one connection accepts and another one settles."""
    await complete(database, *new_conversations(4))
    await run_sql(
        database,
        update(status_counts)
        .where(status_counts.c.status == "pending")
        .values(count=status_counts.c["count"] - 9),
        insert(status_counts).values(status="pending", lane="live", part=63, count=9),
    )
    assert await counts_of(database) == {(Status.COMPLETED, Lane.LIVE): 4}


async def test_rows_with_a_renewed_lease_stay_counted(database: Database) -> None:
    await ConversationStore(database).accept(new_conversations(2), lane=Lane.LIVE)
    claimed = await claim_some(database, limit=1)
    await WorkQueue(database).extend([item.token for item in claimed], lease=LEASE)
    assert await counts_of(database) == {
        (Status.PENDING, Lane.LIVE): 1,
        (Status.PROCESSING, Lane.LIVE): 1,
    }


async def test_nothing_is_left_of_a_table_made_empty(database: Database) -> None:
    await ConversationStore(database).accept(new_conversations(2), lane=Lane.LIVE)
    await run_sql(database, text("DELETE FROM conversations"))
    assert await counts_of(database) == {}
