"""Changes that go out beside insights: how much of them is kept, and goes out at a time."""

import asyncio
from collections.abc import Sequence

import pytest

from api import event_stream
from api.event_stream import CHUNK_BYTES, ChangeSource, InsightStream
from database import Database
from store.insights import InsightStore
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
