"""How many may listen to the stream, and who makes room for whom."""

import asyncio
from typing import Any

import pytest

from api.event_stream import InsightStream
from database import Database
from errors import Unavailable
from store.insights import InsightStore
from tests.support.factories import insert_insights
from tests.support.streams import all_ids, ids_in


async def test_no_more_than_some_listen_at_once(database: Database) -> None:
    stream = InsightStream(InsightStore(database), listeners=2)
    listening = [stream.listen(None) for _ in range(2)]
    for events in listening:
        await anext(events)
    with pytest.raises(Unavailable):
        await anext(stream.listen(None))
    await listening[0].aclose()
    another = stream.listen(None)
    await anext(another)
    for events in (listening[1], another):
        await events.aclose()


async def test_who_has_most_streams_makes_room_for_others(database: Database) -> None:
    """Its oldest ends, as the server's own end would have it; until both have the same number."""
    stream = InsightStream(InsightStore(database), listeners=4)
    greedy = [stream.listen(None, "greedy") for _ in range(4)]
    for events in greedy:
        await anext(events)
    fair = [stream.listen(None, "fair") for _ in range(2)]
    for events in fair:
        await anext(events)
    for holder in ("fair", "greedy"):
        with pytest.raises(Unavailable):
            await anext(stream.listen(None, holder))

    async with asyncio.timeout(20):
        for events in greedy[:2]:
            with pytest.raises(StopAsyncIteration):
                await anext(events)
        await insert_insights(database, [{}])
        for events in (*greedy[2:], *fair):
            assert ids_in(await anext(events)) == await all_ids(database)
            await events.aclose()
    assert not stream._listeners


async def test_one_that_makes_room_amid_a_read_ends_after_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where all others have gone by then."""
    await insert_insights(database, [{}])
    store, may_read = InsightStore(database), asyncio.Event()
    since = store.since

    async def patient(id_: int, *, limit: int) -> Any:
        await may_read.wait()
        return await since(id_, limit=limit)

    monkeypatch.setattr(store, "since", patient)
    stream = InsightStream(store, listeners=2)
    reading, other = stream.listen(0, "greedy"), stream.listen(None, "greedy")
    fair = stream.listen(None, "fair")
    for events in (reading, other):
        await anext(events)
    first = asyncio.ensure_future(anext(reading))
    await asyncio.sleep(0)
    await anext(fair)
    await fair.aclose()
    await other.aclose()
    may_read.set()
    async with asyncio.timeout(20):
        assert ids_in(await first) == await all_ids(database)
        with pytest.raises(StopAsyncIteration):
            await anext(reading)
