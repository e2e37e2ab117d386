"""Conversations as their senders see them, on both databases: found, erased, tried again."""

import json
import random
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.dialects import sqlite

from analysis.outcomes import Complete, Fail, Outcome, Requeue, Retry
from api.answers import failed_json
from database import Database
from errors import Conflict, InvalidInput, NotFound
from models import Lane, Status, conversations, insight_clusters, insights
from store import positions
from store.conversations import ConversationStore
from store.insight_row import BYTES_OF_PAGE
from store.lookup import _failed_statement
from store.queue import Claimed, WorkQueue
from tests.support.factories import (
    accept,
    analysis,
    claim_all,
    claim_one,
    claim_some,
    complete,
    new_conversation,
    new_conversations,
    open_read,
    run_sql,
    scalar,
)
from tests.support.stored import count

# --- too much of it -------------------------------------------------------------------------------


@pytest.mark.parametrize("long_lane", [0, 10_000])
async def test_a_position_is_exact_in_a_short_lane_and_a_second_old_in_a_long_one(
    database: Database, monkeypatch: pytest.MonkeyPatch, long_lane: int
) -> None:
    monkeypatch.setattr("store.positions.LONG_LANE", long_lane)
    store, chance = ConversationStore(database), random.Random(3)
    queue: dict[Lane, list[str]] = {lane: [] for lane in Lane}
    for _ in range(12):
        lane = chance.choice(list(Lane))
        queue[lane] += await store.accept(new_conversations(chance.randint(1, 9)), lane=lane)

    async def check(store: ConversationStore) -> None:
        in_order = [*queue[Lane.LIVE], *queue[Lane.BULK]]
        for id_ in chance.sample(in_order, len(in_order)):
            found = await store.find(id_)
            assert found.queue_position == in_order.index(id_) + 1

    await check(store)
    for lane in Lane:
        for item in await claim_some(database, limit=3, lanes=[lane]):
            queue[lane].remove(item.id)
    monkeypatch.setattr("store.positions._KEPT_SECONDS", -1.0)
    await check(ConversationStore(database))


async def test_positions_cost_less_than_counting_them(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one in the middle is counted from an end, those beside it from there."""
    monkeypatch.setattr("store.positions.LONG_LANE", 0)
    counted: list[int] = []
    count_between = positions._count

    def count_and_note(*args: Any) -> int:
        counted.append(count_between(*args))
        return counted[-1]

    monkeypatch.setattr("store.positions._count", count_and_note)
    store = ConversationStore(database)
    ids = await store.accept(new_conversations(400), lane=Lane.BULK)
    for place in (0, 399, 200, 201, 199, 202):
        assert (await store.find(ids[place])).queue_position == place + 1
    assert counted[:2] == [0, 1]
    assert max(counted[3:]) <= 2


# --- find -----------------------------------------------------------------------------------------


async def test_what_is_not_there_is_not_found(store: ConversationStore) -> None:
    with pytest.raises(NotFound, match="conv_00000000"):
        await store.find("conv_00000000")


async def test_places_in_the_queue_count_live_before_bulk_and_old_before_new(
    store: ConversationStore,
) -> None:
    bulk = await store.accept(new_conversations(3), lane=Lane.BULK)
    live = await store.accept(new_conversations(2), lane=Lane.LIVE)
    assert [(await store.find(id_)).queue_position for id_ in live] == [1, 2]
    assert [(await store.find(id_)).queue_position for id_ in bulk] == [3, 4, 5]


async def test_what_is_no_longer_pending_leaves_the_queue(
    database: Database, store: ConversationStore
) -> None:
    first, second = await store.accept(new_conversations(2), lane=Lane.LIVE)
    (claimed,) = await claim_all(database, limit=1)
    assert claimed.id == first
    found = await store.find(first)
    assert (found.status, found.queue_position, found.attempts) == (Status.PROCESSING, None, 1)
    assert (await store.find(second)).queue_position == 1


async def test_a_completed_conversation_has_its_insight(
    database: Database, store: ConversationStore
) -> None:
    (id_,) = await complete(
        database, new_conversation(), clusters=("b", "a"), reasoning="Because.", confidence=0.75
    )
    found = await store.find(id_)
    assert (found.status, found.queue_position, found.attempts) == (Status.COMPLETED, None, 1)
    assert found.insight is not None
    assert found.insight.conversation_id == id_
    assert found.insight[4:9] == (-0.65, ("b", "a"), 0.75, "Because.", {})


async def test_a_failed_conversation_says_why(database: Database, store: ConversationStore) -> None:
    id_ = await accept(database)
    claimed = await claim_one(database)
    await WorkQueue(database).settle([(claimed, Fail("against the rules"))])
    found = await store.find(id_)
    assert (found.status, found.last_error) == (Status.FAILED, "against the rules")
    assert (found.queue_position, found.insight) == (None, None)


# --- erase ----------------------------------------------------------------------------------------


async def test_what_is_erased_is_gone_with_its_insight_and_clusters(
    database: Database, store: ConversationStore
) -> None:
    erased, kept = await complete(
        database, new_conversation("erase me"), new_conversation("keep me"), clusters=("a", "b")
    )
    await store.erase(erased)
    with pytest.raises(NotFound):
        await store.find(erased)
    assert (await store.find(kept)).insight is not None
    assert [await count(database, table) for table in (conversations, insights)] == [1, 1]
    assert await count(database, insight_clusters) == 2


@pytest.mark.parametrize("state", ["pending", "processing", "failed", "completed"])
async def test_in_every_state_a_conversation_can_be_erased_once(
    database: Database, store: ConversationStore, state: str
) -> None:
    id_ = await accept(database)
    if state != "pending":
        claimed = await claim_one(database)
        outcomes: dict[str, Outcome] = {"failed": Fail("no"), "completed": Complete(analysis())}
        if outcome := outcomes.get(state):
            await WorkQueue(database).settle([(claimed, outcome)])
    assert (await store.find(id_)).status == state
    await store.erase(id_)
    with pytest.raises(NotFound):
        await store.erase(id_)
    assert await count(database) == 0


async def test_erasing_what_was_never_there_is_not_found(store: ConversationStore) -> None:
    with pytest.raises(NotFound, match="conv_00000000"):
        await store.erase("conv_00000000")


@pytest.mark.parametrize("length", [1, 20_000])
async def test_the_files_hold_nothing_of_an_erased_text(
    sqlite_url: str, tmp_path: Path, length: int
) -> None:
    """Neither the database nor its log; of a long text, which takes pages of its own, either."""

    def files_hold(words: str) -> bool:
        files = list(tmp_path.glob("insights.db*"))
        assert len(files) >= 2
        return any(words.encode() in file.read_bytes() for file in files)

    async with Database(sqlite_url) as database:
        store = ConversationStore(database)
        pending = await accept(database, "pending-marker" * length)
        await complete(
            database,
            new_conversation("kept-marker", author="kept-author"),
            new_conversation("finished-marker" * length, author="author-marker"),
            reasoning="reasoning-marker",
            details={"content": "details-marker"},
        )
        markers = ["pending", "finished", "author", "reasoning", "details"]
        assert all(files_hold(f"{marker}-marker") for marker in markers)
        finished = await scalar(
            database, select(conversations.c.id).where(conversations.c.text.like("finished%"))
        )
        await store.erase(pending)
        await store.erase(finished)
        assert not any(files_hold(f"{marker}-marker") for marker in ("pending", "finished"))
        assert not files_hold("author-marker")
        assert files_hold("kept-marker")
        assert files_hold("kept-author")


async def test_erasing_succeeds_while_somebody_reads(sqlite_url: str) -> None:
    """An open reader keeps the log from being emptied, which must neither fail nor block."""
    async with Database(sqlite_url) as database:
        id_ = await accept(database)
        async with open_read(database, text("SELECT count(*) FROM conversations")) as read:
            started = time.monotonic()
            await ConversationStore(database).erase(id_)
            assert time.monotonic() - started < 10
        assert await read == [1, 1]
        assert await count(database) == 0


# --- what failed ----------------------------------------------------------------------------------


async def fail_all(database: Database, reason: str = "503") -> None:
    claimed = await claim_all(database)
    await WorkQueue(database).settle([(item, Fail(reason)) for item in claimed])


async def fail_in_both_lanes(database: Database, count: int) -> list[str]:
    """Every third in the live lane; the ids, oldest first."""
    ids = []
    for number in range(count):
        lane = Lane.BULK if number % 3 else Lane.LIVE
        ids.append(await accept(database, f"text {number}", lane=lane))
    await fail_all(database)
    return ids


async def test_failed_conversations_are_listed_newest_first_over_both_lanes(
    database: Database, store: ConversationStore
) -> None:
    ids = await fail_in_both_lanes(database, 7)
    await accept(database, "pending")
    await complete(database, new_conversation("completed"))

    page = await store.failed(limit=10, cursor=None)

    assert [found.id for found in page.conversations] == ids[::-1]
    assert {(found.status, found.last_error) for found in page.conversations} == {
        (Status.FAILED, "503")
    }
    assert (page.total_count, page.next_cursor) == (7, None)


async def test_a_page_of_failed_conversations_ends_at_its_bytes(
    database: Database, store: ConversationStore
) -> None:
    raw = json.dumps({"": "x" * 900_000})
    texts = [*["\x01" * 10_000] * 80, "short"]
    items = [new_conversation(text) for text in texts]
    items += [new_conversation(raw_data=raw) for _ in range(5)]
    ids = await store.accept(items, lane=Lane.LIVE)
    await fail_all(database)
    found: list[str] = []
    cursor = None
    while True:
        page = await store.failed(limit=1000, cursor=cursor)
        assert len(failed_json(page)) <= 1.1 * BYTES_OF_PAGE
        found += [each.id for each in page.conversations]
        assert page.total_count == len(ids)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == ids[::-1]


async def test_pages_of_failed_conversations_neither_skip_nor_repeat_while_some_come_and_go(
    database: Database, store: ConversationStore
) -> None:
    ids = await fail_in_both_lanes(database, 8)
    first = await store.failed(limit=3, cursor=None)
    await store.retry(first.conversations[-1].id)  # the very one that the cursor names
    await claim_all(database)
    await fail_in_both_lanes(database, 2)

    second = await store.failed(limit=3, cursor=first.next_cursor)
    third = await store.failed(limit=3, cursor=second.next_cursor)

    pages = (first, second, third)
    assert [found.id for page in pages for found in page.conversations] == ids[::-1]
    assert (second.total_count, third.next_cursor) == (9, None)


async def test_conversations_of_one_moment_are_all_listed_once(
    database: Database, store: ConversationStore
) -> None:
    ids = await fail_in_both_lanes(database, 5)
    await run_sql(database, update(conversations).values(created_at=1))

    listed: list[str] = []
    cursor = None
    while not listed or cursor:
        page = await store.failed(limit=2, cursor=cursor)
        listed += [found.id for found in page.conversations]
        cursor = page.next_cursor

    assert sorted(listed) == sorted(ids)


@pytest.mark.parametrize("cursor", ["", "?", "AAAA", "ä" * 22])
async def test_a_cursor_that_was_not_given_is_refused(
    store: ConversationStore, cursor: str
) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        await store.failed(limit=1, cursor=cursor)


@pytest.mark.parametrize("position", [None, (1, 1)])
async def test_failed_conversations_are_found_by_an_index(
    sqlite_url: str, position: tuple[int, int] | None
) -> None:
    async with Database(sqlite_url) as database:
        compiled = _failed_statement(2, position).compile(
            dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}
        )
        explain = text(f"EXPLAIN QUERY PLAN {compiled}")
        plan = await database.read(lambda connection: connection.execute(explain).all())

    assert str(plan).count("idx_conv_status (status=? AND lane=?") == len(Lane)
    assert "SCAN conversations" not in str(plan)


# --- retry ----------------------------------------------------------------------------------------


async def test_a_failed_conversation_goes_back_to_pending_as_if_new(
    database: Database, store: ConversationStore
) -> None:
    id_ = await accept(database)
    await fail_all(database)
    await store.retry(id_)
    found = await store.find(id_)
    assert (found.status, found.attempts, found.last_error) == (Status.PENDING, 0, None)
    assert found.queue_position == 1
    assert (await claim_one(database)).attempts == 1


async def test_a_retried_conversation_has_three_lives_again(
    database: Database, store: ConversationStore
) -> None:
    queue = WorkQueue(database)
    id_ = await accept(database)
    for _ in range(2):
        await claim_one(database)
        await queue.rescue(all_orphaned=True)
    await queue.claim_suspect(lease=timedelta(seconds=30))
    await queue.rescue(all_orphaned=True)
    assert (await store.find(id_)).status is Status.FAILED
    await store.retry(id_)
    await claim_one(database)
    await queue.rescue(all_orphaned=True)
    assert (await store.find(id_)).status is Status.PENDING


@pytest.mark.parametrize("state", ["pending", "processing", "completed"])
async def test_what_has_not_failed_cannot_be_retried(
    database: Database, store: ConversationStore, state: str
) -> None:
    id_ = await accept(database)
    if state != "pending":
        claimed = await claim_one(database)
        if state == "completed":
            await WorkQueue(database).settle([(claimed, Complete(analysis()))])
    before = await store.find(id_)
    with pytest.raises(Conflict, match=f"this one is {state}"):
        await store.retry(id_)
    assert await store.find(id_) == before


async def test_what_is_not_there_cannot_be_retried(store: ConversationStore) -> None:
    with pytest.raises(NotFound, match="conv_00000000"):
        await store.retry("conv_00000000")


async def test_retrying_all_failed_touches_no_other(
    database: Database, store: ConversationStore
) -> None:
    failed = await store.accept(new_conversations(3), lane=Lane.BULK)
    await fail_all(database)
    (completed,) = await complete(database, new_conversation())
    await accept(database, "being analysed")
    processing = await claim_one(database)
    pending = await accept(database, "waits for a retry of its own")
    (claimed,) = await claim_all(database)
    await WorkQueue(database).settle([(claimed, Retry("503", delay=60.0))])

    assert await store.retry_failed() == 3
    assert await store.retry_failed() == 0
    assert [(await store.find(id_)).status for id_ in failed] == [Status.PENDING] * 3
    assert (await store.find(completed)).status is Status.COMPLETED
    assert (await store.find(processing.id)).status is Status.PROCESSING
    assert (await store.find(pending)).last_error == "503"
    assert [item.id for item in await claim_all(database)] == failed


async def test_a_put_back_conversation_keeps_its_place(
    database: Database, store: ConversationStore
) -> None:
    first, second = await store.accept(new_conversations(2), lane=Lane.LIVE)
    (claimed,) = await claim_all(database, limit=1)
    await WorkQueue(database).settle([(claimed, Requeue())])
    assert [(await store.find(id_)).queue_position for id_ in (first, second)] == [1, 2]


async def test_very_many_are_retried_some_at_a_time(
    database: Database, store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.conversations._RETRIED_AT_ONCE", 3)
    await store.accept(new_conversations(8), lane=Lane.BULK)
    results: list[tuple[Claimed, Outcome]] = [
        (item, Fail("no")) for item in await claim_all(database)
    ]
    await WorkQueue(database).settle(results)
    assert await store.retry_failed() == 8
    assert len(await claim_all(database)) == 8
