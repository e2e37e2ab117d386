"""Server-sent events on both databases: none missing, none twice, whoever wrote and read."""

import asyncio
import json
import re
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from analysis.handling import HandlingChange, HandlingState
from analysis.labels import Labelling
from analysis.outcomes import Complete
from api.event_stream import CHUNK_BYTES, SHARED_CHUNKS, InsightStream
from api.handling import handling_changes
from api.labels import label_changes
from database import Database
from errors import Unavailable
from models import Lane
from store.conversations import ConversationStore
from store.handling import HandlingStore
from store.insights import InsightStore
from store.label_history import LabelStore
from store.queue import Claimed, WorkQueue
from store.rules import RuleStore
from tests.support.factories import (
    analysis,
    claim_all,
    complete,
    insert_insights,
    new_conversation,
    new_conversations,
    of_another_process,
)
from tests.support.http_helpers import captured_log, eventually
from tests.support.streams import FOR_EVER, all_ids, ids_in


async def ids_heard(stream: InsightStream, after: int | None, count: int) -> list[int]:
    """The ids of the first `count` events."""
    heard: list[int] = []
    events = stream.listen(after)
    async with asyncio.timeout(20):
        async for content in events:
            heard += ids_in(content)
            if len(heard) >= count:
                break
    await events.aclose()
    return heard


async def test_one_that_comes_back_hears_all_that_it_missed(database: Database) -> None:
    await insert_insights(database, [{}] * 450)  # more than is read at a time
    ids = await all_ids(database)
    stream = InsightStream(InsightStore(database))
    assert await ids_heard(stream, 0, 450) == ids
    assert await ids_heard(stream, ids[99], 350) == ids[100:]


async def test_one_that_comes_new_hears_only_what_is_new(database: Database) -> None:
    await insert_insights(database, [{}] * 5)
    stream = InsightStream(InsightStore(database), look_seconds=0.01)
    events = stream.listen(None)
    assert ids_in(await anext(events)) == []
    await insert_insights(database, [{}] * 2)
    heard: list[int] = []
    while len(heard) < 2:
        heard += ids_in(await anext(events))
    await events.aclose()
    assert heard == (await all_ids(database))[5:]


async def test_changes_are_heard_by_those_who_listen_whoever_makes_them(
    database: Database,
) -> None:
    """Once each, without an id, and not by one that comes later; also where insights come too."""
    ids = await insert_insights(database, [{}] * 3)
    store = HandlingStore(database)
    async with of_another_process(database) as other:
        stream = InsightStream(InsightStore(database), [handling_changes(store)], look_seconds=0.01)
        events = stream.listen(None)
        await anext(events)
        answered = HandlingChange(HandlingState.ANSWERED, "ana")
        for id_ in ids:
            await HandlingStore(other).change(id_, answered, key_name="", now=1)
            await insert_insights(database, [{}])
        heard = b""
        async with asyncio.timeout(10):
            while heard.count(b"event: ") < 6:
                heard += await anext(events)
        changes = re.findall(rb"^event: handling\ndata: (.+)\n\n", heard, re.MULTILINE)
        assert [json.loads(each)["conversation_id"] for each in changes] == ids
        assert ids_in(heard) == (await all_ids(database))[3:]

        late = stream.listen(None)
        await anext(late)
        await HandlingStore(other).change(ids[0], answered._replace(by="ben"), key_name="", now=2)
        for listening in (events, late):
            content = await anext(listening)
            assert content.count(b"event: ") == 1
            assert b'"by":"ben"' in content
            await listening.aclose()


async def test_labels_are_heard_but_not_those_that_came_with_an_insight(
    database: Database,
) -> None:
    await RuleStore(database).create("all", {"q": "parcel"}, {"sentiment": "neutral"}, enabled=True)
    store = LabelStore(database)
    stream = InsightStream(InsightStore(database), [label_changes(store)], look_seconds=0.01)
    events = stream.listen(None)
    await anext(events)
    (id_,) = await complete(database, new_conversation("where is the parcel?"))
    heard = await anext(events)
    assert heard.count(b"event: ") == heard.count(b"event: insight") == 1
    assert b'"name":"all"' in heard
    newest = await store.newest_event()
    assert newest
    await eventually(lambda: stream._places == [newest], what="they are looked through once")

    await store.label(id_, Labelling(sentiment_score=0.6), by="ana", reason=None)
    await store.label(id_, Labelling(sentiment_score=-0.6), by="ben", reason=None)
    heard = b""
    async with asyncio.timeout(10):
        while b'"name":"ben"' not in heard:
            heard += await anext(events)
    assert set(re.findall(rb"^event: (.+)", heard, re.MULTILINE)) == {b"label"}
    assert b"id: " not in heard
    await events.aclose()


async def test_an_id_from_the_future_is_as_now(database: Database) -> None:
    await insert_insights(database, [{}] * 3)
    stream = InsightStream(InsightStore(database), look_seconds=0.01)
    events = stream.listen(10**9)
    await anext(events)
    await insert_insights(database, [{}])
    content = await anext(events)
    await events.aclose()
    assert ids_in(content) == (await all_ids(database))[3:]


async def test_a_lone_insight_comes_at_once(database: Database) -> None:
    stream = InsightStream(InsightStore(database), gather_seconds=FOR_EVER, look_seconds=0.01)
    events = stream.listen(None)
    await anext(events)
    await insert_insights(database, [{}])
    async with asyncio.timeout(10):
        assert ids_in(await anext(events)) == await all_ids(database)
    await events.aclose()


async def test_more_than_is_read_at_a_time_is_not_held_up(database: Database) -> None:
    stream = InsightStream(InsightStore(database), gather_seconds=FOR_EVER, look_seconds=0.01)
    events = stream.listen(None)
    await anext(events)
    await insert_insights(database, [{}] * 450)
    heard: list[int] = []
    async with asyncio.timeout(20):
        while len(heard) < 450:
            heard += ids_in(await anext(events))
    await events.aclose()
    assert heard == await all_ids(database)


async def test_what_comes_close_together_goes_out_together(database: Database) -> None:
    stream = InsightStream(InsightStore(database), gather_seconds=0.1, look_seconds=0.001)
    events = stream.listen(None)
    await anext(events)

    async def write() -> None:
        for _ in range(50):
            await insert_insights(database, [{}])

    started = time.monotonic()
    writing = asyncio.create_task(write())
    heard: list[list[int]] = []
    async with asyncio.timeout(60):
        while sum(map(len, heard)) < 50:
            heard.append(ids_in(await anext(events)))
    await writing
    await events.aclose()
    assert [id_ for ids in heard for id_ in ids] == await all_ids(database)
    assert len(heard) <= (time.monotonic() - started) / 0.1 + 1


async def test_what_is_erased_is_skipped(database: Database) -> None:
    conversations = await insert_insights(database, [{}] * 6)
    ids = await all_ids(database)
    for id_ in (conversations[1], conversations[2], conversations[5]):
        await ConversationStore(database).erase(id_)
    stream = InsightStream(InsightStore(database), look_seconds=0.01)
    assert await ids_heard(stream, ids[0], 2) == [ids[3], ids[4]]


async def test_several_writers_at_once_leave_no_gap(database: Database) -> None:
    """Ids come up in their order, so that nothing appears behind one that was heard already."""
    stream = InsightStream(InsightStore(database), look_seconds=0.001)
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(of_another_process(database)) for _ in range(3)]
        events = stream.listen(None)
        await anext(events)

        await ConversationStore(database).accept(new_conversations(45), lane=Lane.LIVE)
        claimed = await claim_all(database)

        async def settle(on: Database, items: list[Claimed]) -> None:
            for item in items:
                await WorkQueue(on).settle([(item, Complete(analysis()))])

        writing = asyncio.gather(
            *(settle(other, claimed[number::3]) for number, other in enumerate(others))
        )
        heard: list[int] = []
        async with asyncio.timeout(60):
            while len(heard) < 45:
                heard += ids_in(await anext(events))
        await writing
        await events.aclose()
        assert heard == await all_ids(database)


async def test_one_that_falls_behind_reads_on_by_itself(database: Database) -> None:
    stream = InsightStream(InsightStore(database), kept=10, look_seconds=0.005)
    slow, quick = stream.listen(None), stream.listen(None)
    for events in (slow, quick):
        await anext(events)
    await insert_insights(database, [{}] * 300)
    ids = await all_ids(database)
    heard: dict[str, list[int]] = {"quick": [], "slow": []}
    async with asyncio.timeout(20):
        for name, events in (("quick", quick), ("slow", slow)):
            while len(heard[name]) < 300:
                heard[name] += ids_in(await anext(events))
            await events.aclose()
    assert heard == {"quick": ids, "slow": ids}
    assert len(stream._events) <= 10


LONG = "\x01" * 9900
"""59 kB of JSON."""


@pytest.mark.parametrize("new", [False, True], ids=["old", "new"])
async def test_what_goes_out_at_a_time_is_bounded_and_shared(database: Database, new: bool) -> None:
    """From the database and from what is kept: the same bytes for all that are equally far."""
    stream = InsightStream(InsightStore(database), look_seconds=0.01 if new else FOR_EVER)
    if not new:
        await insert_insights(database, [{"text": LONG}] * 10)
    listening = [stream.listen(None if new else 0) for _ in range(3)]
    for events in listening:
        await anext(events)
    heard: list[int] = []
    async with asyncio.timeout(20):
        if new:
            await insert_insights(database, [{"text": LONG}] * 10)
            await eventually(lambda: len(stream._events) == 10)
        while len(heard) < 10:
            chunks = await asyncio.gather(*(anext(events) for events in listening))
            assert len(chunks[0]) <= CHUNK_BYTES
            assert all(chunk is chunks[0] for chunk in chunks)
            heard += ids_in(chunks[0])
    for events in listening:
        await events.aclose()
    assert heard == await all_ids(database)


async def test_of_listeners_at_different_places_few_chunks_are_kept(database: Database) -> None:
    stream = InsightStream(InsightStore(database), gather_seconds=FOR_EVER, look_seconds=0.01)
    listening = [stream.listen(None) for _ in range(SHARED_CHUNKS + 4)]
    for events in listening:
        await anext(events)
    await insert_insights(database, [{}] * len(listening))
    kept = []
    async with asyncio.timeout(20):
        assert ids_in(await anext(listening[-1])) == await all_ids(database)
    for number in range(len(listening)):
        stream._new(number)
        kept.append(len(stream._chunks))
    for events in listening:
        await events.aclose()
    assert max(kept) == SHARED_CHUNKS


async def test_what_is_kept_is_bounded_in_bytes(database: Database) -> None:
    stream = InsightStream(InsightStore(database), kept_bytes=200_000, look_seconds=0.005)
    slow, quick = stream.listen(None), stream.listen(None)
    for events in (slow, quick):
        await anext(events)
    await insert_insights(database, [{"text": LONG}] * 12)
    heard: list[list[int]] = [[], []]
    async with asyncio.timeout(20):
        for ids, events in zip(heard, (quick, slow), strict=True):
            while len(ids) < 12:
                ids += ids_in(await anext(events))
                assert sum(len(event.content) for event in stream._events) <= 200_000
            await events.aclose()
    assert heard == [await all_ids(database)] * 2


async def test_one_that_comes_as_the_last_one_leaves_is_served(database: Database) -> None:
    await insert_insights(database, [{}] * 3)
    stream = InsightStream(InsightStore(database))
    leaving = stream.listen(0)
    await anext(leaving)
    reading = asyncio.create_task(anext(leaving))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert await ids_heard(stream, 0, 3) == await all_ids(database)


class Stumbling(InsightStore):
    """Once the next read raises, or gives what nobody can make an event of."""

    stumbles: Exception | None = None
    gives_nonsense = False

    async def since(self, id_: int, *, limit: int) -> tuple[Sequence[tuple[int, Any]], bool]:
        trouble, self.stumbles = self.stumbles, None
        if trouble:
            raise trouble
        nonsense, self.gives_nonsense = self.gives_nonsense, False
        if nonsense:
            return [(id_ + 1, None)], False
        return await super().since(id_, limit=limit)


@pytest.mark.parametrize("trouble", [Unavailable("It is locked."), RuntimeError("a bug"), None])
@pytest.mark.parametrize("after", [None, 0], ids=["new", "back"])
async def test_it_goes_on_after_a_read_that_went_wrong(
    database: Database, trouble: Exception | None, after: int | None
) -> None:
    """Both the one that reads for all and a listener that reads for itself."""
    store = Stumbling(database)
    stream = InsightStream(store, look_seconds=0.01)
    if after is not None:
        await insert_insights(database, [{}])
    events = stream.listen(after)
    await anext(events)
    store.stumbles, store.gives_nonsense = trouble, trouble is None
    with captured_log() as log:
        await insert_insights(database, [{}])
        heard: list[int] = []
        async with asyncio.timeout(20):
            while len(heard) < (1 if after is None else 2):
                heard += ids_in(await anext(events))
    await events.aclose()
    assert heard == await all_ids(database)
    (line,) = [line for line in log.events if line["event"].startswith("stream_")]
    assert line["event"] == (
        "stream_waits" if isinstance(trouble, Unavailable) else "stream_failed"
    )


async def test_who_hears_nothing_new_hears_that_it_is_still_there(database: Database) -> None:
    stream = InsightStream(InsightStore(database), ping_seconds=0.01)
    events = stream.listen(None)
    assert [(await anext(events))[:1] for _ in range(3)] == [b":"] * 3
    await events.aclose()


async def test_without_listeners_nothing_is_read(database: Database) -> None:
    stream = InsightStream(InsightStore(database), look_seconds=0.001)
    assert stream._reader is None
    events = stream.listen(None)
    await anext(events)
    assert stream._reader is not None
    await events.aclose()
    assert stream._reader is None


async def test_closing_lets_every_listener_go(database: Database) -> None:
    """Also while more is gathered."""
    stream = InsightStream(InsightStore(database), gather_seconds=FOR_EVER, look_seconds=0.01)
    listening = [stream.listen(None) for _ in range(5)]
    for events in listening:
        await anext(events)
    await insert_insights(database, [{}])
    for events in listening:
        assert ids_in(await anext(events))
    rests = [asyncio.ensure_future(anext(events, b"the end")) for events in listening]
    await asyncio.sleep(0)
    stream.close()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*rests) == [b"the end"] * 5
    assert len([content async for content in stream.listen(None)]) == 1
