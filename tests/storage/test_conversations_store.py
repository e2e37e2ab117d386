"""Conversations as their senders see them, on both databases."""

import asyncio
import json
import random
import re
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.dialects import sqlite

from analysis.outcomes import Complete, Fail, Outcome, Requeue, Retry
from api.answers import failed_json
from database import Database
from errors import Conflict, InvalidInput, NotFound, ServiceError, Unavailable
from models import Lane, Status, conversations, insight_clusters, insights
from store import positions
from store.conversations import (
    ConversationStore,
    KeyConflict,
    NewConversation,
)
from store.idempotency import EVERYBODY
from store.ids import RunningIds
from store.insight_row import BYTES_OF_PAGE
from store.lookup import StoredConversation, _failed_statement
from store.queue import Claimed, WorkQueue
from tests.support.factories import (
    NOON,
    accept,
    analysis,
    claim_all,
    claim_one,
    claim_some,
    complete,
    keyed_conversation,
    new_conversation,
    new_conversations,
    of_another_process,
    open_read,
    run_sql,
    scalar,
)


@pytest.fixture
def store(database: Database) -> ConversationStore:
    return ConversationStore(database)


@pytest.fixture
async def other_database(database: Database) -> AsyncIterator[Database]:
    async with of_another_process(database) as other:
        yield other


async def count(database: Database, table: Any = conversations) -> int:
    return int(await scalar(database, select(func.count()).select_from(table)))


def what_the_database_chokes_on(database: Database) -> NewConversation:
    """Text that fails only when it gets there; the HTTP edge lets none of it through."""
    return new_conversation("a \ud800 lone surrogate" if database.is_sqlite else "a NUL \x00")


# --- accept ---------------------------------------------------------------------------------------


async def test_what_is_accepted_is_there_under_its_id_in_the_order_sent(
    database: Database, store: ConversationStore
) -> None:
    ids = await store.accept(new_conversations(50), lane=Lane.BULK)
    found = [await store.find(id_) for id_ in ids]
    assert [item.text for item in found] == [f"text {number}" for number in range(50)]
    assert await count(database) == 50


async def test_ids_are_conv_and_eight_hex_digits(store: ConversationStore) -> None:
    ids = await store.accept(new_conversations(100), lane=Lane.LIVE)
    assert [id_ for id_ in ids if not re.fullmatch("conv_[0-9a-f]{8}", id_)] == []
    assert len(set(ids)) == 100


def test_ids_follow_each_other_and_begin_anew_after_the_last() -> None:
    ids = RunningIds(start=2**32 - 2)
    assert ids.draw(3) == ["conv_fffffffe", "conv_ffffffff", "conv_00000000"]
    assert ids.draw(1) == ["conv_00000001"]


def test_a_jump_goes_elsewhere_and_so_does_the_next_process() -> None:
    ids = RunningIds(start=5)
    ids.jump()
    starts = {ids.draw(1)[0], *(RunningIds().draw(1)[0] for _ in range(3))}
    assert len(starts) == 4
    assert "conv_00000005" not in starts


async def test_an_accepted_conversation_is_found_as_it_was_sent(store: ConversationStore) -> None:
    before = datetime.now(UTC)
    (id_,) = await store.accept(
        [
            new_conversation(
                "Where is it?", author="ann", timestamp=NOON, raw_data='{"likes": 3, "tags": ["a"]}'
            )
        ],
        lane=Lane.BULK,
    )
    found = await store.find(id_)
    assert before - timedelta(seconds=1) <= found.created_at <= datetime.now(UTC)
    assert found == StoredConversation(
        id=id_,
        status=Status.PENDING,
        lane=Lane.BULK,
        text="Where is it?",
        author="ann",
        timestamp=NOON,
        created_at=found.created_at,
        attempts=0,
        last_error=None,
        raw_data='{"likes": 3, "tags": ["a"]}',
        queue_position=1,
        insight=None,
    )


async def test_timestamp_defaults_to_the_moment_of_acceptance(store: ConversationStore) -> None:
    (id_,) = await store.accept([new_conversation()], lane=Lane.LIVE)
    found = await store.find(id_)
    assert found.timestamp == found.created_at


async def test_timestamps_are_kept_to_the_microsecond_and_in_utc(store: ConversationStore) -> None:
    local = datetime(2025, 1, 20, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    (id_,) = await store.accept([new_conversation(timestamp=local)], lane=Lane.LIVE)
    timestamp = (await store.find(id_)).timestamp
    assert timestamp == local
    assert timestamp.isoformat() == "2025-01-20T06:30:00.123456+00:00"


@pytest.mark.parametrize("year", [1, 1969, 1970, 2038, 9999])
async def test_timestamps_far_away_are_kept(store: ConversationStore, year: int) -> None:
    moment = datetime(year, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    (id_,) = await store.accept([new_conversation(timestamp=moment)], lane=Lane.LIVE)
    assert (await store.find(id_)).timestamp == moment


@pytest.mark.parametrize(
    "raw_data",
    [
        None,
        {},
        {"größe": "🙂 配送 \u202e", "": ""},
        {"big": 2**70, "negative": -(2**70), "precise": 0.1 + 0.2, "small": 5e-324},
        {"null": None, "true": True, "list": [[], {}, [None]]},
        {"nul": "a\x00b", "quotes": "\"'\\", "new line": "\r\n\t"},
        {"lone": "\ud800"},
    ],
)
async def test_raw_data_comes_back_as_it_went_in(
    store: ConversationStore, raw_data: dict[str, Any] | None
) -> None:
    sent = None if raw_data is None else json.dumps(raw_data)
    (id_,) = await store.accept([new_conversation(raw_data=sent)], lane=Lane.LIVE)
    found = (await store.find(id_)).raw_data
    assert (None if found is None else json.loads(found)) == raw_data


@pytest.mark.parametrize(
    "words", ["'; DROP TABLE conversations; --", "🙂" * 5000, "\u202eabc", " "]
)
async def test_text_and_author_come_back_as_they_went_in(
    store: ConversationStore, words: str
) -> None:
    (id_,) = await store.accept([new_conversation(words, author=words)], lane=Lane.LIVE)
    found = await store.find(id_)
    assert (found.text, found.author) == (words, words)


async def test_a_batch_of_a_thousand_is_stored_whole_and_in_order(
    database: Database, store: ConversationStore
) -> None:
    ids = await store.accept(new_conversations(1000), lane=Lane.BULK)
    claimed = await claim_all(database)
    assert [(item.id, item.text) for item in claimed] == [
        (id_, f"text {number}") for number, id_ in enumerate(ids)
    ]


async def test_conversations_keep_their_order_when_the_clock_stands_still_or_goes_back(
    database: Database, store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their order is the order of work, so it must not depend on how the database breaks ties."""
    times = iter([5000, 5000, 5000, 4000, 3000, 6000])
    monkeypatch.setattr("store.conversations.now_micros", lambda: next(times))
    ids = await store.accept(new_conversations(6), lane=Lane.BULK)
    ordered = select(conversations.c.id, conversations.c.created_at).order_by(
        conversations.c.created_at
    )
    found = await database.read(lambda connection: connection.execute(ordered).all())
    assert [tuple(row) for row in found] == list(
        zip(ids, [5000, 5001, 5002, 5003, 5004, 6000], strict=True)
    )


# --- collisions of ids ----------------------------------------------------------------------------


class ScriptedIds:
    """Gives these lists first, each time it is asked, and then honest ones."""

    def __init__(self, *first: list[str]) -> None:
        self._script = list(first)
        self._honest = RunningIds()
        self.jumps = 0

    def draw(self, count: int) -> list[str]:
        if not self._script:
            return self._honest.draw(count)
        ids = self._script.pop(0)
        assert len(ids) == count
        return ids

    def jump(self) -> None:
        self.jumps += 1


async def test_an_id_that_is_taken_is_drawn_again_and_never_seen(database: Database) -> None:
    taken = await accept(database, "first")
    ids = ScriptedIds([taken], [taken], ["conv_0000000a"])
    store = ConversationStore(database, ids=ids)
    assert await store.accept([new_conversation("second")], lane=Lane.LIVE) == ["conv_0000000a"]
    assert ids.jumps == 2
    assert (await store.find(taken)).text == "first"
    assert (await store.find("conv_0000000a")).text == "second"


async def test_an_id_drawn_twice_at_once_is_drawn_again(database: Database) -> None:
    same = "conv_0000000a"
    store = ConversationStore(database, ids=ScriptedIds([same, same, same]))
    ids = await store.accept(new_conversations(3), lane=Lane.LIVE)
    assert len(set(ids)) == 3
    assert [(await store.find(id_)).text for id_ in ids] == ["text 0", "text 1", "text 2"]


async def test_a_collision_in_a_large_batch_is_never_seen(database: Database) -> None:
    taken = await ConversationStore(database).accept(new_conversations(30), lane=Lane.LIVE)
    drawn = RunningIds().draw(1000)
    drawn[100:130] = taken
    store = ConversationStore(database, ids=ScriptedIds(drawn))
    ids = await store.accept(
        [new_conversation(f"batch {number}") for number in range(1000)], lane=Lane.BULK
    )
    assert len({*ids, *taken}) == 1030
    assert await count(database) == 1030
    for number in (0, 100, 129, 999):
        assert (await store.find(ids[number])).text == f"batch {number}"
    assert [(await store.find(id_)).text for id_ in taken] == [f"text {n}" for n in range(30)]


# --- group commit ---------------------------------------------------------------------------------


async def test_many_at_once_share_a_few_commits_and_each_gets_its_own_answer(
    database: Database,
) -> None:
    commits: list[int] = []
    store = ConversationStore(database, on_commit=commits.append)
    answers = await asyncio.gather(
        *(store.accept([item], lane=Lane.LIVE) for item in new_conversations(200))
    )
    assert sum(commits) == 200
    assert len(commits) <= 3
    texts = [(await store.find(id_)).text for (id_,) in answers]
    assert texts == [f"text {number}" for number in range(200)]


async def test_a_post_is_committed_between_the_batches_of_an_import(sqlite_url: str) -> None:
    begun, gate = threading.Event(), threading.Event()
    commits: list[int] = []

    def hold_up(_connection: Connection) -> None:
        begun.set()
        assert gate.wait(10)

    database = Database(sqlite_url)
    await database.open()
    store = ConversationStore(database, on_commit=commits.append)
    waiting = [asyncio.create_task(database.write(hold_up))]
    assert await asyncio.to_thread(begun.wait, 10)
    for rows in (300, 300, 1, 300):
        accepting = store.accept([new_conversation()] * rows, lane=Lane.BULK)
        waiting.append(asyncio.create_task(accepting))  # type: ignore[arg-type]
    await asyncio.sleep(0)  # let them line up
    gate.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting)
    await database.close()
    assert commits == [1, 300, 300, 300]


async def test_batches_at_once_get_their_own_ids_each(store: ConversationStore) -> None:
    batches = [
        [new_conversation(f"{batch} {number}") for number in range(batch + 1)]
        for batch in range(20)
    ]
    answers = await asyncio.gather(*(store.accept(batch, lane=Lane.BULK) for batch in batches))
    for batch, ids in zip(batches, answers, strict=True):
        assert [(await store.find(id_)).text for id_ in ids] == [item.text for item in batch]


async def test_a_conflict_spoils_no_other_submission_of_its_group(store: ConversationStore) -> None:
    await store.accept([keyed_conversation("key", "0" * 64)], lane=Lane.LIVE)
    before, conflict, after = await asyncio.gather(
        store.accept(new_conversations(2), lane=Lane.LIVE),
        store.accept([keyed_conversation("key", "1" * 64)], lane=Lane.LIVE),
        store.accept(new_conversations(3), lane=Lane.LIVE),
        return_exceptions=True,
    )
    assert isinstance(conflict, Conflict)
    assert isinstance(before, list)
    assert isinstance(after, list)
    assert [(await store.find(id_)).text for id_ in before + after] == [
        "text 0",
        "text 1",
        "text 0",
        "text 1",
        "text 2",
    ]


async def test_a_row_that_the_database_chokes_on_spoils_no_other(
    database: Database, store: ConversationStore
) -> None:
    submissions = [[item] for item in new_conversations(20)]
    submissions.insert(10, [what_the_database_chokes_on(database)])
    answers = await asyncio.gather(
        *(store.accept(items, lane=Lane.LIVE) for items in submissions), return_exceptions=True
    )
    choked = answers.pop(10)
    assert isinstance(choked, Exception)
    assert not isinstance(choked, ServiceError)  # a bug, not something to say to a client
    ids = [answer[0] for answer in answers if isinstance(answer, list)]
    assert [(await store.find(id_)).text for id_ in ids] == [f"text {n}" for n in range(20)]
    assert await count(database) == 20


async def test_a_batch_that_the_database_chokes_on_stores_nothing(
    database: Database, store: ConversationStore
) -> None:
    with pytest.raises(Exception, match=r"surrogate|UTF8|utf-8"):
        await store.accept(
            [*new_conversations(5), what_the_database_chokes_on(database)], lane=Lane.BULK
        )
    assert await count(database) == 0
    await store.accept(new_conversations(1), lane=Lane.BULK)
    assert await count(database) == 1


async def test_drained_waits_for_what_is_being_stored(store: ConversationStore) -> None:
    accepting = asyncio.create_task(store.accept(new_conversations(1), lane=Lane.LIVE))
    await asyncio.sleep(0)
    await asyncio.wait_for(store.drained(), 10)
    assert len(await asyncio.wait_for(accepting, 1)) == 1


async def test_a_caller_who_gives_up_stops_no_other(store: ConversationStore) -> None:
    tasks = [
        asyncio.create_task(store.accept([item], lane=Lane.LIVE)) for item in new_conversations(10)
    ]
    await asyncio.sleep(0)
    tasks[0].cancel()
    for task in tasks[1:]:
        (id_,) = await asyncio.wait_for(task, 10)
        assert (await store.find(id_)).status is Status.PENDING
    with suppress(asyncio.CancelledError):
        await tasks[0]


# --- idempotency keys -----------------------------------------------------------------------------


async def test_the_same_key_and_body_give_the_same_id_and_store_nothing_new(
    database: Database, store: ConversationStore
) -> None:
    first = await store.accept([keyed_conversation()], lane=Lane.LIVE)
    again = await store.accept([keyed_conversation()], lane=Lane.LIVE)
    assert again == first
    assert await count(database) == 1


async def test_the_same_key_with_another_body_is_a_conflict(
    database: Database, store: ConversationStore
) -> None:
    await store.accept([keyed_conversation("key", "0" * 64)], lane=Lane.LIVE)
    with pytest.raises(Conflict, match=r"^The idempotency key was used before"):
        await store.accept([keyed_conversation("key", "1" * 64)], lane=Lane.LIVE)
    assert await count(database) == 1


async def test_another_key_with_the_same_body_is_another_conversation(
    database: Database, store: ConversationStore
) -> None:
    first = await store.accept([keyed_conversation("one")], lane=Lane.LIVE)
    second = await store.accept([keyed_conversation("two")], lane=Lane.LIVE)
    assert first != second
    assert await count(database) == 2


async def test_equal_requests_at_once_store_one_conversation(
    database: Database, store: ConversationStore
) -> None:
    answers = await asyncio.gather(
        *(store.accept([keyed_conversation()], lane=Lane.LIVE) for _ in range(20))
    )
    assert len({id_ for (id_,) in answers}) == 1
    assert await count(database) == 1


async def test_equal_requests_to_two_replicas_at_once_store_one_conversation(
    database: Database, other_database: Database
) -> None:
    stores = [ConversationStore(database), ConversationStore(other_database)]
    for number in range(20):
        item = keyed_conversation(f"key-{number}")
        ours, theirs = await asyncio.gather(
            *(store.accept([item], lane=Lane.LIVE) for store in stores)
        )
        assert ours == theirs
    assert await count(database) == 20


async def test_of_different_bodies_with_one_key_at_once_one_is_stored(
    database: Database, store: ConversationStore
) -> None:
    answers = await asyncio.gather(
        *(
            store.accept([keyed_conversation("key", str(number) * 64)], lane=Lane.LIVE)
            for number in range(5)
        ),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [list] + [KeyConflict] * 4
    assert await count(database) == 1


async def test_keys_of_a_conflicting_submission_stay_free(store: ConversationStore) -> None:
    """Within one group: what is not stored must not answer another request either."""
    await store.accept([keyed_conversation("used", "0" * 64)], lane=Lane.LIVE)
    conflict, later = await asyncio.gather(
        store.accept(
            [keyed_conversation("new", "2" * 64), keyed_conversation("used", "1" * 64)],
            lane=Lane.BULK,
        ),
        store.accept([keyed_conversation("new", "3" * 64)], lane=Lane.LIVE),
        return_exceptions=True,
    )
    assert isinstance(conflict, Conflict)
    assert isinstance(later, list)
    assert (await store.find(later[0])).status is Status.PENDING


async def test_within_a_batch_equal_items_share_an_id(
    database: Database, store: ConversationStore
) -> None:
    items = [keyed_conversation("a"), new_conversation(), keyed_conversation("a")]
    first, between, last = await store.accept(items, lane=Lane.BULK)
    assert first == last != between
    assert await count(database) == 2


async def test_within_a_batch_known_items_answer_their_id_and_new_ones_are_stored(
    database: Database, store: ConversationStore
) -> None:
    (known,) = await store.accept([keyed_conversation("a")], lane=Lane.LIVE)
    ids = await store.accept([keyed_conversation("b"), keyed_conversation("a")], lane=Lane.BULK)
    assert ids[1] == known
    assert await count(database) == 2


async def test_a_conflict_in_a_batch_names_its_place_and_stores_nothing(
    database: Database, store: ConversationStore
) -> None:
    items = [
        new_conversation(),
        keyed_conversation("a", "0" * 64),
        keyed_conversation("a", "1" * 64),
    ]
    with pytest.raises(KeyConflict) as caught:
        await store.accept(items, lane=Lane.BULK)
    assert caught.value.position == 2
    assert await count(database) == 0


@pytest.mark.parametrize("size", [1, 5])
async def test_a_conflict_says_whether_the_text_is_another(
    database: Database, store: ConversationStore, size: int
) -> None:
    """As it stands in the database, in the same commit, and in the same request."""
    others = new_conversations(size - 1)
    known = keyed_conversation("key", "0" * 64)
    same_text = keyed_conversation("key", "1" * 64)
    other_text = same_text._replace(text="Another text")
    for item, what in ((same_text, "different body"), (other_text, "another text")):
        for items in ([known, item], [*others, item]):
            if items[0] is not known:
                await store.accept([known], lane=Lane.LIVE)
            with pytest.raises(KeyConflict, match=what) as caught:
                await store.accept(items, lane=Lane.LIVE)
            assert caught.value.position == len(items) - 1
        (id_,) = await store.accept([known], lane=Lane.LIVE)
        await store.erase(id_)
        answers = await asyncio.gather(
            store.accept([known], lane=Lane.LIVE),
            store.accept([item], lane=Lane.LIVE),
            return_exceptions=True,
        )
        assert isinstance(answers[1], KeyConflict)
        assert what in answers[1].details
        assert isinstance(answers[0], list)
        await store.erase(*answers[0])


async def test_each_owner_has_keys_of_its_own(database: Database, store: ConversationStore) -> None:
    items = [keyed_conversation("key", digit * 64) for digit in "0123"]
    owners = ["ana", "ben", "ANA", EVERYBODY]
    ids = [
        await store.accept([item], lane=Lane.LIVE, owner=owner)
        for item, owner in zip(items, owners, strict=True)
    ]
    assert await count(database) == 4
    for item, owner, id_ in zip(items, owners, ids, strict=True):
        assert await store.accept([item], lane=Lane.LIVE, owner=owner) == id_
    with pytest.raises(KeyConflict):
        await store.accept([items[0]], lane=Lane.LIVE, owner="ben")
    assert await count(database) == 4


async def test_owners_that_meet_in_one_commit_do_not_meet_in_their_keys(
    database: Database, store: ConversationStore
) -> None:
    answers = await asyncio.gather(
        *(
            store.accept([keyed_conversation("key", str(n) * 64)], lane=Lane.LIVE, owner=f"o{n}")
            for n in range(8)
        ),
        *(
            store.accept([keyed_conversation("key", str(n) * 64)], lane=Lane.LIVE, owner=f"o{n}")
            for n in range(8)
        ),
    )
    assert answers[:8] == answers[8:]
    assert await count(database) == 8


async def test_what_came_in_without_an_owner_is_everybodys(
    database: Database, store: ConversationStore
) -> None:
    """So an import goes on after API keys have been set up, without any row twice."""
    before = await store.accept([keyed_conversation()], lane=Lane.BULK)
    assert await store.accept([keyed_conversation()], lane=Lane.BULK, owner="ana") == before
    with pytest.raises(KeyConflict):
        await store.accept([keyed_conversation(body_hash="1" * 64)], lane=Lane.BULK, owner="ana")
    own = await store.accept([keyed_conversation("mine")], lane=Lane.BULK, owner="ana")
    assert await store.accept([keyed_conversation("mine")], lane=Lane.BULK) != own


# --- too much of it -------------------------------------------------------------------------------


async def test_more_than_may_wait_is_refused_and_nothing_of_it_stored(
    database: Database, store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.conversations.MAX_PENDING", 5)
    known = keyed_conversation()
    ids = await store.accept([known, *new_conversations(3)], lane=Lane.BULK)
    with pytest.raises(Unavailable, match="At most 5") as caught:
        await store.accept(new_conversations(2), lane=Lane.LIVE)
    assert caught.value.retry_after
    assert await count(database) == 4

    refused, known_again, accepted, refused_too = await asyncio.gather(
        store.accept(new_conversations(2), lane=Lane.LIVE),
        store.accept([known], lane=Lane.LIVE),
        store.accept(new_conversations(1), lane=Lane.LIVE),
        store.accept(new_conversations(1), lane=Lane.LIVE),
        return_exceptions=True,
    )
    assert isinstance(refused, Unavailable)
    assert isinstance(refused_too, Unavailable)
    assert known_again == ids[:1]
    assert isinstance(accepted, list)

    await claim_all(database, limit=1)  # one is no longer pending
    await store.accept(new_conversations(1), lane=Lane.LIVE)
    assert await count(database) == 6


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


async def test_a_key_outlives_completion_but_not_erasure(
    database: Database, store: ConversationStore
) -> None:
    item = keyed_conversation("key", "0" * 64)
    (first,) = await complete(database, item)
    assert await store.accept([item], lane=Lane.LIVE) == [first]
    await store.erase(first)
    (second,) = await store.accept([keyed_conversation("key", "1" * 64)], lane=Lane.LIVE)
    assert second != first
    assert await count(database) == 1


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

    database = Database(sqlite_url)
    await database.open()
    try:
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
    finally:
        await database.close()


async def test_erasing_succeeds_while_somebody_reads(sqlite_url: str) -> None:
    """An open reader keeps the log from being emptied, which must neither fail nor block."""
    database = Database(sqlite_url)
    await database.open()
    try:
        id_ = await accept(database)
        async with open_read(database, text("SELECT count(*) FROM conversations")) as read:
            started = time.monotonic()
            await ConversationStore(database).erase(id_)
            assert time.monotonic() - started < 10
        assert await read == [1, 1]
        assert await count(database) == 0
    finally:
        await database.close()


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
    database = Database(sqlite_url)
    await database.open()
    compiled = _failed_statement(2, position).compile(
        dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}
    )
    explain = text(f"EXPLAIN QUERY PLAN {compiled}")
    plan = await database.read(lambda connection: connection.execute(explain).all())
    await database.close()

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
