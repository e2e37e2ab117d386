"""Who comes back to the stream hears what was missed as it is by now, and nothing twice."""

import asyncio
import json
import re
from typing import Any

import pytest

from analysis.handling import HandlingChange, HandlingState
from analysis.labels import Labelling
from api.event_stream import InsightStream
from api.handling import handling_changes
from api.labels import label_changes
from database import Database
from store.erasure import ErasureStore
from store.handling import HandlingStore
from store.insights import InsightStore
from store.label_history import LabelStore
from tests.support.factories import (
    insert_insights,
    of_another_process,
)
from tests.support.http_helpers import eventually
from tests.support.streams import FOR_EVER, all_ids, ids_in


async def test_what_one_missed_it_hears_as_it_is_by_now(database: Database) -> None:
    """Though others have heard it as it was, and another process has changed it. What is erased
    is not heard again, also where it was the last one."""
    ids = await insert_insights(database, [{}])
    handling, labels = HandlingStore(database), LabelStore(database)
    stream = InsightStream(
        InsightStore(database),
        [handling_changes(handling), label_changes(labels)],
        gather_seconds=FOR_EVER,
        look_seconds=0.01,
    )
    quick = stream.listen(None)
    await anext(quick)
    ids += await insert_insights(database, [{"text": f"secret {n}"} for n in range(5)])
    numbers = await all_ids(database)
    async with asyncio.timeout(20):
        assert ids_in(await anext(quick)) == numbers[1:]
        async with of_another_process(database) as other:
            for erased in (ids[1], ids[5]):
                await ErasureStore(other).erase(erased)
            labelling = Labelling(sentiment_score=0.6)
            await LabelStore(other).label(ids[2], labelling, by="ana", reason=None)
            answered = HandlingChange(HandlingState.ANSWERED, "ben")
            await HandlingStore(other).change(ids[3], answered, key_name="", now=1)

        again = stream.listen(numbers[0])
        await anext(again)
        content = await anext(again)
        assert ids_in(content) == numbers[2:5]
        assert re.findall(rb"secret \d", content) == [b"secret 1", b"secret 2", b"secret 3"]
        labelled, handled, _ = (
            json.loads(each) for each in re.findall(rb"^data: (.+)\n\n", content, re.MULTILINE)
        )
        assert labelled["grok_analysis"]["sentiment_score"] == 0.6
        assert handled["handling"]["state"] == "answered"

        new = stream.listen(None)
        await anext(new)
        await insert_insights(database, [{"text": "the next"}])
        assert re.findall(rb"secret|the next", await anext(new)) == [b"the next"]
    for events in (quick, again, new):
        await events.aclose()


async def test_one_that_has_come_back_goes_on_with_what_is_new(database: Database) -> None:
    stream = InsightStream(InsightStore(database), gather_seconds=0.01, look_seconds=0.01)
    quick = stream.listen(None)
    await anext(quick)
    heard: list[int] = []
    written = 0
    async with asyncio.timeout(20):
        for _ in range(5):
            await insert_insights(database, [{}] * 3)
            written += 3
            again = stream.listen(heard[-1] if heard else 0)
            while len(heard) < written - 1:
                heard += ids_in(await anext(again))
            await insert_insights(database, [{}] * 2)
            written += 2
            while len(heard) < written:
                heard += ids_in(await anext(again))
            await again.aclose()
    await quick.aclose()
    assert heard == await all_ids(database)


async def test_who_joins_a_read_hears_what_came_after_it_began(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all that the read could have found is erased."""
    ids = await insert_insights(database, [{}, {}])
    numbers = await all_ids(database)
    store = InsightStore(database)
    stream = InsightStream(store, gather_seconds=FOR_EVER, look_seconds=FOR_EVER)
    await ErasureStore(database).erase(ids[1])
    since, has_begun, goes_on = store.since, asyncio.Event(), asyncio.Event()

    async def held_up(position: int, *, limit: int) -> Any:
        found = await since(position, limit=limit)
        if not has_begun.is_set():
            has_begun.set()
            await goes_on.wait()
        return found

    first = stream.listen(numbers[0])
    await anext(first)
    stream._base = numbers[1]  # as where the newest one was erased later
    monkeypatch.setattr(store, "since", held_up)
    waiting = asyncio.create_task(anext(first))
    await has_begun.wait()
    await insert_insights(database, [{}])
    second = stream.listen(numbers[0])
    await anext(second)
    joined = asyncio.create_task(anext(second))
    await asyncio.sleep(0.05)
    goes_on.set()
    async with asyncio.timeout(20):
        assert ids_in(await joined) == (await all_ids(database))[1:]
    waiting.cancel()
    await asyncio.wait([waiting])
    await second.aclose()


async def test_of_what_came_a_while_ago_nothing_is_kept(database: Database) -> None:
    stream = InsightStream(InsightStore(database), gather_seconds=0.01, look_seconds=0.01)
    slow, quick = stream.listen(None), stream.listen(None)
    for events in (slow, quick):
        await anext(events)
    await insert_insights(database, [{}] * 3)
    async with asyncio.timeout(20):
        assert ids_in(await anext(quick)) == await all_ids(database)
        await eventually(lambda: not stream._events)
        assert ids_in(await anext(slow)) == await all_ids(database)
        await insert_insights(database, [{}])
        for events in (slow, quick):
            assert ids_in(await anext(events)) == (await all_ids(database))[3:]
            await events.aclose()
