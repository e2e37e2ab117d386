"""Changes that go out beside insights: how much of them is kept, and goes out at a time."""

import asyncio
from collections.abc import Sequence

import pytest

from analysis.handling import HandlingChange, HandlingState
from analysis.labels import Labelling
from api import event_stream
from api.event_stream import CHUNK_BYTES, ChangeSource, InsightStream
from api.handling import handling_changes
from api.labels import label_changes
from database import Database
from store.erasure import ErasureStore
from store.handling import HandlingStore
from store.insights import InsightStore
from store.label_history import LabelStore
from tests.support.factories import insert_insights
from tests.support.http_helpers import eventually


def told(changes: Sequence[tuple[int, object]]) -> ChangeSource:
    async def newest() -> int:
        return 0

    async def since(id_: int) -> Sequence[tuple[int, object]]:
        return [change for change in changes if change[0] > id_]

    return ChangeSource("label", newest, since)


async def test_what_is_kept_of_changes_and_goes_out_at_a_time_is_bounded_in_bytes(
    database: Database,
) -> None:
    """One that does not keep up hears the newest of them."""
    changes: list[tuple[int, object]] = []
    stream = InsightStream(
        InsightStore(database), [told(changes)], kept_bytes=20 * CHUNK_BYTES, look_seconds=0.005
    )
    events = stream.listen(None)
    await anext(events)
    changes += [(number, str(number) * (CHUNK_BYTES // 4)) for number in range(101, 201)]
    await eventually(lambda: stream._changes_read == 100)
    assert sum(len(change.content) for change in stream._changes) <= 20 * CHUNK_BYTES

    heard: list[str] = []
    async with asyncio.timeout(20):
        while "200" not in heard:
            content = await anext(events)
            assert len(content) <= CHUNK_BYTES
            heard += [part[:3].decode() for part in content.split(b'data: "')[1:]]
    assert heard == [str(number) for number in range(201 - len(heard), 201)]
    await events.aclose()


async def test_changes_are_heard_also_after_the_newest_of_them_is_erased(
    database: Database,
) -> None:
    """SQLite gives the number of its line again."""
    erased, kept = await insert_insights(database, [{}] * 2)
    handling, labels = HandlingStore(database), LabelStore(database)
    answered = HandlingChange(HandlingState.ANSWERED, "ana")
    stream = InsightStream(
        InsightStore(database),
        [handling_changes(handling), label_changes(labels)],
        look_seconds=0.005,
    )
    events = stream.listen(None)
    for id_ in (erased, kept):
        await handling.change(id_, answered, key_name="", now=1)
        await labels.label(id_, Labelling(sentiment_score=0.6), by="ana", reason=None)
        if id_ == erased:
            await anext(events)
            await ErasureStore(database).erase(erased)
            await eventually(lambda: stream._places == [0, 0], what="the place is the newest's")
    heard = b""
    async with asyncio.timeout(10):
        while heard.count(b"event: ") < 2:
            heard += await anext(events)
    assert heard.count(kept.encode()) == 2
    await events.aclose()


async def test_no_more_than_some_changes_are_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "KEPT_CHANGES", 7)
    changes: list[tuple[int, object]] = []
    stream = InsightStream(InsightStore(database), [told(changes)], look_seconds=0.005)
    events = stream.listen(None)
    await anext(events)
    changes += [(number, "a change") for number in range(1, 31)]
    await eventually(lambda: stream._changes_read == 30)
    assert [change.id for change in stream._changes] == list(range(24, 31))
    await events.aclose()
