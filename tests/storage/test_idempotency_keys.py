"""What is sent again under its key is stored once, on both databases."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from database import Database
from errors import Conflict
from models import Lane, Status
from store.conversations import AcceptedIds, ConversationStore, KeyConflict
from store.idempotency import EVERYBODY
from tests.support.factories import (
    complete,
    keyed_conversation,
    new_conversation,
    new_conversations,
    of_another_process,
)
from tests.support.http_helpers import eventually
from tests.support.stored import count


@pytest.fixture
async def other_database(database: Database) -> AsyncIterator[Database]:
    async with of_another_process(database) as other:
        yield other


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


async def test_which_items_were_stored_before_is_told(store: ConversationStore) -> None:
    first = await store.accept(
        [keyed_conversation("a"), new_conversation(), keyed_conversation("b")], lane=Lane.BULK
    )
    assert list(first.replayed) == []
    again = await store.accept(
        [
            new_conversation(),
            keyed_conversation("a"),
            keyed_conversation("c"),
            keyed_conversation("b"),
            keyed_conversation("c"),
        ],
        lane=Lane.BULK,
    )
    assert list(again.replayed) == [1, 3, 4]
    assert (again[1], again[3], again[4]) == (first[0], first[2], again[2])


async def test_of_equal_requests_at_once_all_but_one_are_told_as_stored_before(
    database: Database, other_database: Database
) -> None:
    stores = [ConversationStore(database), ConversationStore(other_database)]
    for number in range(10):
        item = keyed_conversation(f"key-{number}")
        answers = await asyncio.gather(
            *(store.accept([item], lane=Lane.LIVE) for store in stores * 3)
        )
        assert sorted(list(each.replayed) for each in answers) == [[]] + [[0]] * 5


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
    assert [type(answer) for answer in answers] == [AcceptedIds] + [KeyConflict] * 4
    assert await count(database) == 1


async def test_keys_are_taken_in_one_order_whatever_the_order_of_the_batch(
    postgres_url: str, plain_dsn: str
) -> None:
    """Else two batches with the same keys could each wait for one that the other has."""
    taken = (
        "INSERT INTO conversations (id, text, timestamp, status, created_at, lane, key_owner,"
        " idempotency_key) VALUES ($1, 'x', 0, 'failed', 0, 'bulk', $2, $3)"
    )
    holder, another = [await asyncpg.connect(plain_dsn) for _ in range(2)]
    async with Database(postgres_url) as database:
        await holder.execute("BEGIN")
        await holder.execute(taken, "conv_00000001", EVERYBODY, "key b")
        batch = [keyed_conversation(f"key {each}") for each in "cba"]
        waits = asyncio.create_task(ConversationStore(database).accept(batch, lane=Lane.BULK))
        await until_one_waits(holder)
        await another.execute("SET lock_timeout = '2s'")
        await another.execute("BEGIN")
        await another.execute(taken, "conv_00000002", EVERYBODY, "key c")
        for each in (another, holder):
            await each.execute("ROLLBACK")
            await each.close()
        assert len(await waits) == 3


async def until_one_waits(connection: asyncpg.Connection) -> None:
    async def waits() -> bool:
        return bool(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    await eventually(waits)


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
    assert caught.value.positions == [2]
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
            assert caught.value.positions == [len(items) - 1]
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


async def test_a_conflict_names_all_places_with_the_same_fault(
    database: Database, store: ConversationStore
) -> None:
    known = [keyed_conversation(key, "0" * 64) for key in "abcde"]
    await store.accept(known, lane=Lane.BULK)
    changed = [each._replace(body_hash="1" * 64) for each in known]
    for at in (1, 2):
        changed[at] = changed[at]._replace(text="Another text")
    twice = [keyed_conversation("new", digit * 64) for digit in "01"]
    items = [*changed, *twice, known[0], new_conversation()]
    with pytest.raises(KeyConflict, match="different body") as caught:
        await store.accept(items, lane=Lane.BULK)
    assert caught.value.positions == [0, 3, 4, 6]
    with pytest.raises(KeyConflict, match="another text") as caught:
        await store.accept(items[1:], lane=Lane.BULK)
    assert caught.value.positions == [0, 1]
    assert await count(database) == 5


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
