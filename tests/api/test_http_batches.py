"""Handing many conversations in with one request."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection

from api.conversations import take_apart
from schemas import BatchIn
from tests.conftest import RunningApp, StartApp
from tests.support.http_helpers import (
    CONVERSATIONS,
    assert_error,
    on_shared_loop,
    show,
    submit,
    submit_batch,
)
from tests.support.submitting import WIDE, nested, pending, post_raw, post_with_key

BATCH = f"{CONVERSATIONS}/batch"


@on_shared_loop
async def test_a_batch_is_answered_in_the_order_sent(shared: httpx.AsyncClient) -> None:
    texts = [f"text {number}" for number in range(30)]
    response = await shared.post(BATCH, json={"conversations": [{"text": text} for text in texts]})

    ids = response.json()["conversation_ids"]
    assert response.status_code == 202
    assert response.json() == {"status": "accepted", "accepted": 30, "conversation_ids": ids}
    assert all(re.fullmatch(r"conv_[0-9a-f]{8}", id_) for id_ in ids)
    assert [(await show(shared, id_))["text"] for id_ in ids] == texts


@on_shared_loop
async def test_others_have_their_turn_while_a_large_batch_is_taken_apart() -> None:
    texts = [str(number) for number in range(1000)]
    batch = BatchIn.model_validate({"conversations": [{"text": text} for text in texts]})
    taking = asyncio.create_task(take_apart(batch, partial(asyncio.sleep, 0)))
    turns = 0
    while not taking.done():
        await asyncio.sleep(0)
        turns += 1
    assert [row.text for row in taking.result()] == texts
    assert turns >= 10


@asynccontextmanager
async def _post_being_stored(running: RunningApp) -> AsyncIterator[None]:
    """While the block is under way, somebody waits for his post to be written."""
    begun, gate = threading.Event(), threading.Event()

    def store_slowly(_connection: Connection) -> None:
        begun.set()
        assert gate.wait(10)

    database = running.app.state.services.database
    storing = asyncio.create_task(database.write(store_slowly, urgent=True))
    try:
        assert await asyncio.to_thread(begun.wait, 10)
        yield
    finally:
        gate.set()
        await storing


async def test_a_batch_is_not_read_while_a_post_is_being_stored(start_app: StartApp) -> None:
    async with start_app() as running:
        async with _post_being_stored(running):
            sending = asyncio.create_task(running.client.post(BATCH, json={"conversations": []}))
            done, _ = await asyncio.wait([sending], timeout=0.3)
            assert not done
        assert_error(await sending, 400, "invalid_schema", "1 to 1000")


@pytest.mark.parametrize(
    ("fields", "lane"), [({}, "bulk"), ({"lane": "bulk"}, "bulk"), ({"lane": "live"}, "live")]
)
async def test_a_batch_goes_to_the_bulk_lane_unless_told_otherwise(
    shared: httpx.AsyncClient, fields: dict[str, str], lane: str
) -> None:
    (id_,) = await submit_batch(shared, ["a"], **fields)

    assert (await show(shared, id_))["lane"] == lane


@on_shared_loop
@pytest.mark.parametrize("count", [1, 2, 1000])
async def test_a_batch_holds_up_to_a_thousand(shared: httpx.AsyncClient, count: int) -> None:
    before = await pending(shared)

    ids = await submit_batch(shared, ["a"] * count)

    assert len(set(ids)) == count
    assert await pending(shared) == before + count


@on_shared_loop
@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"conversations": []}, "conversations: "),
        ({"conversations": [{"text": "a"}] * 1001}, "conversations: "),
        ({}, "Missing required field: conversations"),
        ({"conversations": None}, "conversations: "),
        ({"conversations": {"text": "a"}}, "conversations: "),
        ({"conversations": ["a"]}, "conversations[0]: "),
        ({"conversations": [None]}, "conversations[0]: "),
        ({"conversations": [{"text": "a"}], "lane": "express"}, "lane: "),
        ({"conversations": [{"text": "a"}], "lane": "LIVE"}, "lane: "),
        ({"conversations": [{"text": "a"}], "lane": None}, "lane: "),
    ],
)
async def test_a_batch_of_the_wrong_shape_is_refused_by_name(
    shared: httpx.AsyncClient, body: Any, told: str
) -> None:
    before = await pending(shared)

    assert_error(await shared.post(BATCH, json=body), 400, "invalid_schema", told)

    assert await pending(shared) == before


@on_shared_loop
@pytest.mark.parametrize(
    ("item", "told"),
    [
        ({"text": ""}, "conversations[3].text: must not be empty"),
        ({"text": " \n"}, "conversations[3].text: must not be empty"),
        ({"text": "x" * (WIDE + 1)}, "conversations[3].text: must be at most 200 characters"),
        ({"author": "a"}, "conversations[3].text: missing required field"),
        ({"text": "a\x00"}, "conversations[3].text: "),
        ({"text": "a", "timestamp": 5}, "conversations[3].timestamp: "),
        ({"text": "a", "author": 5}, "conversations[3].author: "),
        ({"text": "a", "raw_data": nested(65)}, "conversations[3].raw_data: "),
        ({"text": "a", "raw_data": []}, "conversations[3].raw_data: "),
        ({"text": "a", "idempotency_key": ""}, "conversations[3].idempotency_key: "),
        ({"text": "a", "idempotency_key": "x" * 256}, "conversations[3].idempotency_key: "),
        ({"text": "a", "idempotency_key": "a\nb"}, "conversations[3].idempotency_key: "),
        ({"text": "a", "idempotency_key": 5}, "conversations[3].idempotency_key: "),
        ("a", "conversations[3]: "),
    ],
)
async def test_one_bad_item_is_told_by_its_place_and_nothing_is_stored(
    shared: httpx.AsyncClient, item: Any, told: str
) -> None:
    before = await pending(shared)
    items = [{"text": f"good {number}"} for number in range(5)]
    items[3] = item

    response = await shared.post(BATCH, json={"conversations": items})

    assert_error(response, 400, "invalid_schema", told)
    assert await pending(shared) == before


@on_shared_loop
async def test_keys_inside_a_batch_work_like_the_header(shared: httpx.AsyncClient) -> None:
    alone = (await post_with_key(shared, "in both")).json()["conversation_id"]
    items = [
        {"text": "a", "idempotency_key": "in both"},
        {"text": "b", "idempotency_key": "of the batch"},
        {"text": "c"},
        {"text": "b", "idempotency_key": "of the batch"},
    ]

    first = await submit_batch(shared, items)
    before = await pending(shared)
    second = await submit_batch(shared, items)

    assert first[0] == second[0] == alone
    assert first[1] == first[3] == second[1] == second[3]
    assert first[2] != second[2]
    assert await pending(shared) == before + 1


@on_shared_loop
@pytest.mark.parametrize("earlier", ["stored", "in the same batch"])
async def test_a_conflict_inside_a_batch_is_told_by_its_place_and_stores_nothing(
    shared: httpx.AsyncClient, earlier: str
) -> None:
    key = f"conflict {earlier}"
    items: list[dict[str, Any]] = [{"text": "a"}, {"text": "b", "idempotency_key": key}]
    if earlier == "stored":
        await post_with_key(shared, key, text="another")
    else:
        items.insert(0, {"text": "another", "idempotency_key": key})
    before = await pending(shared)

    response = await shared.post(BATCH, json={"conversations": items})

    place = len(items) - 1
    assert_error(response, 409, "conflict", f"conversations[{place}]")
    assert await pending(shared) == before


@on_shared_loop
async def test_ten_thousand_levels_in_one_item_are_refused(shared: httpx.AsyncClient) -> None:
    deep = '{"a":' * 10_000 + "1" + "}" * 10_000
    body = f'{{"conversations": [{{"text": "a"}}, {{"text": "b", "raw_data": {deep}}}]}}'
    before = await pending(shared)

    assert_error(await post_raw(shared, body, BATCH), 400, "invalid_schema")

    assert await pending(shared) == before


async def test_over_a_million_pending_nothing_is_taken_and_reads_go_on(
    start_app: StartApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.conversations.MAX_PENDING", 3)
    async with start_app(worker_enabled=False) as running:
        client = running.client
        id_ = await submit(client)
        too_many = await client.post(BATCH, json={"conversations": [{"text": "a"}] * 3})
        assert_error(too_many, 503, "unavailable", "may wait for analysis")
        assert await pending(client) == 1
        await submit_batch(client, ["b", "c"])
        full = await client.post(CONVERSATIONS, json={"text": "d"})
        assert_error(full, 503, "unavailable")
        assert await pending(client) == 3
        assert (await show(client, id_))["queue"]["position"] == 1
        await client.delete(f"{CONVERSATIONS}/{id_}")
        await submit(client)
