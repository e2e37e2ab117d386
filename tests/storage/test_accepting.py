"""Taking conversations in, on both databases: ids, order, and commits that many share."""

import asyncio
import json
import re
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Connection, select

from database import Database
from errors import Conflict, ServiceError, Unavailable
from models import Lane, Status, conversations
from store.conversations import ConversationStore, NewConversation
from store.ids import RunningIds
from store.lookup import StoredConversation
from tests.support.factories import (
    NOON,
    accept,
    claim_all,
    keyed_conversation,
    new_conversation,
    new_conversations,
)
from tests.support.stored import count


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
    times = iter([5000, 5001, 4000, 6000])
    monkeypatch.setattr("store.conversations.now_micros", lambda: next(times))
    ids: list[str] = []
    for number in (3, 1, 1, 1):
        ids += await store.accept(new_conversations(number), lane=Lane.BULK)
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

    async with Database(sqlite_url) as database:
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
