"""Handing conversations in over HTTP, following them, retrying and erasing them."""

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import Connection

from analysis.outcomes import Refused
from api.conversations import take_apart
from schemas import BatchIn
from tests.conftest import RunningApp, StartApp
from tests.fakes.grok.replies import Reply
from tests.fakes.grok.server import FakeGrok
from tests.support.http_helpers import (
    CONVERSATIONS,
    NOTHING_DONE,
    STATS,
    ScriptedAnalyser,
    all_done,
    assert_error,
    good,
    grok_settings,
    in_status,
    list_all,
    on_shared_loop,
    run_sql,
    service,
    show,
    submit,
    submit_batch,
)

BATCH = f"{CONVERSATIONS}/batch"
JSON = {"Content-Type": "application/json"}
WIDE = 200


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A service that stores and does not analyse, with room for texts of 200 characters."""
    folder = tmp_path_factory.mktemp("shared")
    async with service(folder, worker_enabled=False, max_text_length=WIDE) as client:
        yield client


async def post_raw(client: httpx.AsyncClient, body: str, path: str = CONVERSATIONS) -> Any:
    return await client.post(path, content=body.encode(), headers=JSON)


def nested(levels: int) -> Any:
    """Objects and lists in turn, so many of them one in another."""
    value: Any = "deep"
    for level in range(levels, 0, -1):
        value = {"in": value} if level % 2 else [value]
    return value


# --- one conversation -----------------------------------------------------------------------------


@on_shared_loop
async def test_an_accepted_conversation_is_answered_with_its_id_and_place(
    shared: httpx.AsyncClient,
) -> None:
    response = await shared.post(CONVERSATIONS, json={"text": "My parcel is late."})

    assert response.status_code == 202
    id_ = response.json()["conversation_id"]
    assert re.fullmatch(r"conv_[0-9a-f]{8}", id_)
    assert response.json() == {
        "status": "accepted",
        "conversation_id": id_,
        "message": "Conversation queued for analysis",
    }
    assert response.headers["location"] == f"/api/v1/conversations/{id_}"
    assert response.headers["content-type"] == "application/json"
    assert (await shared.get(response.headers["location"])).json()["conversation_id"] == id_


@on_shared_loop
async def test_what_was_sent_is_shown_again_in_full(shared: httpx.AsyncClient) -> None:
    raw = {"id": 1, "nested": {"list": [1.5, None, True, "ü"]}, "big": 2**60}
    id_ = await submit(
        shared, "Hello", author="me", timestamp="2025-01-20T10:00:00+02:00", raw_data=raw
    )

    shown = await show(shared, id_)

    created_at = shown.pop("created_at")
    position = shown.pop("queue")
    assert shown == {
        "conversation_id": id_,
        "status": "pending",
        "lane": "live",
        "text": "Hello",
        "author": "me",
        "timestamp": "2025-01-20T08:00:00Z",
        "attempts": 0,
        "last_error": None,
        "raw_data": raw,
        "insight": None,
    }
    assert position["position"] >= 1
    assert position["eta_seconds"] is None
    assert created_at.endswith("Z")
    age = datetime.now(UTC) - datetime.fromisoformat(created_at)
    assert timedelta(0) <= age < timedelta(seconds=5)


@on_shared_loop
async def test_what_was_left_out_is_null_and_the_time_is_now(shared: httpx.AsyncClient) -> None:
    shown = await show(shared, await submit(shared, "Hello"))

    assert shown["author"] is None
    assert shown["raw_data"] is None
    assert shown["timestamp"] == shown["created_at"]


@on_shared_loop
async def test_explicit_nulls_are_as_good_as_left_out(shared: httpx.AsyncClient) -> None:
    id_ = await submit(shared, "Hello", author=None, timestamp=None, raw_data=None)

    shown = await show(shared, id_)

    assert (shown["author"], shown["raw_data"]) == (None, None)
    assert shown["timestamp"] == shown["created_at"]


@on_shared_loop
@pytest.mark.parametrize(
    "extra",
    [
        {"unknown": 1},
        {"status": "completed", "id": "conv_00000000", "attempts": 99},
        {"lane": "bulk"},
        {"conversation_id": "conv_00000000"},
        {"unknown": nested(100)},
    ],
)
async def test_unknown_fields_are_ignored(shared: httpx.AsyncClient, extra: dict[str, Any]) -> None:
    id_ = await submit(shared, "Hello", **extra)

    shown = await show(shared, id_)

    assert id_ != "conv_00000000"
    assert (shown["status"], shown["lane"], shown["attempts"]) == ("pending", "live", 0)


# --- text and author ------------------------------------------------------------------------------


@on_shared_loop
@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("a", "a"),
        ("  a b \n", "a b"),
        ("\t\r\n\u00a0\u2003a\u3000", "a"),
        ("0", "0"),
        ("line\nline", "line\nline"),
        ("Grüße 你好 🚚👨‍👩‍👧 \u202eabc", "Grüße 你好 🚚👨‍👩‍👧 \u202eabc"),
        ("e\u0301", "e\u0301"),
        ("\u200b", "\u200b"),
        ("\x01\x7f", "\x01\x7f"),
        ("'; DROP TABLE conversations; --", "'; DROP TABLE conversations; --"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("\ufffe\uffff", "\ufffe\uffff"),
        ("x" * WIDE, "x" * WIDE),
        ("🚚" * WIDE, "🚚" * WIDE),
        ("  " + "x" * WIDE + "  ", "x" * WIDE),
    ],
)
async def test_text_is_trimmed_and_else_kept_as_it_came(
    shared: httpx.AsyncClient, sent: str, stored: str
) -> None:
    shown = await show(shared, await submit(shared, sent, author=sent))

    assert shown["text"] == stored
    assert shown["author"] == sent


@on_shared_loop
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "text: must not be empty"),
        ("   \n\t\u2003", "text: must not be empty"),
        ("x" * (WIDE + 1), "text: must be at most 200 characters"),
        ("🚚" * (WIDE + 1), "text: must be at most 200 characters"),
        (None, "text: "),
        (5, "text: "),
        (1.5, "text: "),
        (True, "text: "),
        (["a"], "text: "),
        ({"a": "b"}, "text: "),
        ("a\x00b", "text: must not contain the NUL character"),
    ],
)
async def test_a_text_that_cannot_be_taken_is_refused_by_name(
    shared: httpx.AsyncClient, text: Any, told: str
) -> None:
    assert_error(await shared.post(CONVERSATIONS, json={"text": text}), 400, "invalid_schema", told)


async def test_the_length_of_a_text_has_the_documented_default(client: httpx.AsyncClient) -> None:
    taken = await client.post(CONVERSATIONS, json={"text": "x" * 10_000})
    refused = await client.post(CONVERSATIONS, json={"text": "x" * 10_001})

    assert taken.status_code == 202
    assert_error(refused, 400, "invalid_schema", "at most 10000 characters")


@on_shared_loop
@pytest.mark.parametrize(
    ("author", "told"),
    [
        *((nonsense, "author: ") for nonsense in (5, True, ["a"], {"a": 1})),
        ("a\x00b", "author: must not contain the NUL character"),
        ("x" * 501, "author: must be at most 500 characters"),
    ],
)
async def test_an_author_that_cannot_be_taken_is_refused_by_name(
    shared: httpx.AsyncClient, author: Any, told: str
) -> None:
    response = await shared.post(CONVERSATIONS, json={"text": "a", "author": author})

    assert_error(response, 400, "invalid_schema", told)


# --- timestamps -----------------------------------------------------------------------------------


@on_shared_loop
@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("2025-01-20T10:00:00Z", "2025-01-20T10:00:00Z"),
        ("2025-01-20T10:00:00", "2025-01-20T10:00:00Z"),
        ("2025-01-20T10:00:00+00:00", "2025-01-20T10:00:00Z"),
        ("2025-01-20T10:00:00-00:00", "2025-01-20T10:00:00Z"),
        ("2025-01-20T10:00:00+05:30", "2025-01-20T04:30:00Z"),
        ("2025-01-20T10:00:00-0800", "2025-01-20T18:00:00Z"),
        ("2025-01-20T10:00:00+02", "2025-01-20T08:00:00Z"),
        ("2025-01-20T10:00:00.5Z", "2025-01-20T10:00:00.500000Z"),
        ("2025-01-20T10:00:00,123Z", "2025-01-20T10:00:00.123000Z"),
        ("2025-01-20T10:00:00.123456789Z", "2025-01-20T10:00:00.123456Z"),
        ("2025-01-20t10:00:00z", "2025-01-20T10:00:00Z"),
        ("2025-01-20 10:00:00", "2025-01-20T10:00:00Z"),
        ("2025-01-20T10:00Z", "2025-01-20T10:00:00Z"),
        ("2025-01-20T10Z", "2025-01-20T10:00:00Z"),
        ("2025-01-20", "2025-01-20T00:00:00Z"),
        ("20250120T100000Z", "2025-01-20T10:00:00Z"),
        ("2025-W04-1T10:00:00Z", "2025-01-20T10:00:00Z"),
        (" 2025-01-20T10:00:00Z\n", "2025-01-20T10:00:00Z"),
        ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00-01:00", "0001-01-01T01:00:00Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ("9999-12-31T23:59:59+01:00", "9999-12-31T22:59:59Z"),
    ],
)
async def test_a_timestamp_is_shown_in_utc(
    shared: httpx.AsyncClient, sent: str, shown: str
) -> None:
    id_ = await submit(shared, timestamp=sent)

    assert (await show(shared, id_))["timestamp"] == shown


@on_shared_loop
@pytest.mark.parametrize(
    "sent",
    [
        "",
        "now",
        "yesterday",
        "2025-01-20T10:00:00+25:00",
        "2025-13-01T00:00:00Z",
        "2025-02-29T00:00:00Z",
        "2025-01-20T25:00:00Z",
        "2025-01-20T10:00:60Z",
        "2025-01-20T10:00:00 UTC",
        "2025-01-20T10:00:00[Europe/Berlin]",
        "20/01/2025",
        "Mon Jan 20 10:00:00 +0000 2025",
        "1737367200",
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "\u0662\u0660\u0662\u0665-01-20",
        1737367200,
        1737367200.5,
        0,
        True,
        ["2025-01-20T10:00:00Z"],
        {"time": "2025-01-20T10:00:00Z"},
    ],
)
async def test_what_is_no_iso_8601_time_is_refused_by_name(
    shared: httpx.AsyncClient, sent: Any
) -> None:
    response = await shared.post(CONVERSATIONS, json={"text": "a", "timestamp": sent})

    assert_error(response, 400, "invalid_schema", "timestamp: must be an ISO 8601 time")


# --- raw_data -------------------------------------------------------------------------------------


@on_shared_loop
async def test_raw_data_may_be_64_levels_deep(shared: httpx.AsyncClient) -> None:
    id_ = await submit(shared, raw_data=nested(64))

    assert (await show(shared, id_))["raw_data"] == nested(64)


@on_shared_loop
@pytest.mark.parametrize("levels", [65, 66, 100])
async def test_raw_data_of_more_levels_is_refused_by_name(
    shared: httpx.AsyncClient, levels: int
) -> None:
    response = await shared.post(CONVERSATIONS, json={"text": "a", "raw_data": nested(levels)})

    assert_error(response, 400, "invalid_schema", "raw_data: must be at most 64 levels")


@on_shared_loop
@pytest.mark.parametrize("levels", [199, 200, 201, 500, 900])
async def test_raw_data_deeper_than_the_reader_of_json_goes_is_refused_too(
    shared: httpx.AsyncClient, levels: int
) -> None:
    response = await shared.post(CONVERSATIONS, json={"text": "a", "raw_data": nested(levels)})

    assert_error(response, 400, "invalid_schema")


@on_shared_loop
@pytest.mark.parametrize("raw", ['"a"', "5", "[]", '[{"a": 1}]', "true"])
async def test_raw_data_that_is_no_object_is_refused(shared: httpx.AsyncClient, raw: str) -> None:
    response = await post_raw(shared, f'{{"text": "a", "raw_data": {raw}}}')

    assert_error(response, 400, "invalid_schema", "raw_data: ")


@on_shared_loop
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize("shape", ['{{"a": {}}}', '{{"a": [[{}]]}}'])
async def test_numbers_that_json_does_not_have_are_refused(
    shared: httpx.AsyncClient, number: str, shape: str
) -> None:
    response = await post_raw(shared, f'{{"text": "a", "raw_data": {shape.format(number)}}}')

    assert_error(response, 400, "invalid_schema")


@on_shared_loop
@pytest.mark.parametrize(
    "number",
    ["0", "-0.0", "1e308", "5e-324", "9007199254740993", "18446744073709551616", "1" * 400],
)
async def test_numbers_in_raw_data_are_kept_to_the_last_digit(
    shared: httpx.AsyncClient, number: str
) -> None:
    response = await post_raw(shared, f'{{"text": "a", "raw_data": {{"n": {number}}}}}')

    assert response.status_code == 202, response.text
    shown = await show(shared, response.json()["conversation_id"])
    assert shown["raw_data"] == {"n": json.loads(number)}


@on_shared_loop
@pytest.mark.parametrize("digits", [4300, 5000, 20_000])
@pytest.mark.parametrize("key", [None, "digits"])
async def test_a_number_of_thousands_of_digits_is_no_crash(
    shared: httpx.AsyncClient, digits: int, key: str | None
) -> None:
    headers = JSON | ({"Idempotency-Key": f"{key}-{digits}"} if key else {})
    body = f'{{"text": "a", "raw_data": {{"n": {"1" * digits}}}}}'

    response = await shared.post(CONVERSATIONS, content=body.encode(), headers=headers)

    if response.status_code != 202:
        assert_error(response, 400, "invalid_schema")
    else:
        assert (await shared.get(response.headers["location"])).status_code == 200


@on_shared_loop
async def test_odd_strings_in_raw_data_come_back_as_they_were(shared: httpx.AsyncClient) -> None:
    raw = {"": "", "\x00": "\x00", "🚚": "\u2028", "a" * 1000: "\\ud800", "__proto__": {}}

    id_ = await submit(shared, raw_data=raw)

    assert (await show(shared, id_))["raw_data"] == raw


@on_shared_loop
@pytest.mark.parametrize(
    "body",
    [
        r'{"text": "\ud800"}',
        r'{"text": "\udc00\ud800"}',
        r'{"text": "a", "author": "\ud83d"}',
        r'{"text": "a", "raw_data": {"a": "\ud800"}}',
        r'{"text": "a", "raw_data": {"\ud800": 1}}',
    ],
)
async def test_half_a_character_is_refused(shared: httpx.AsyncClient, body: str) -> None:
    assert_error(await post_raw(shared, body), 400, "invalid_schema")


@on_shared_loop
async def test_an_escaped_pair_is_the_character_it_stands_for(shared: httpx.AsyncClient) -> None:
    response = await post_raw(shared, r'{"text": "\ud83d\ude9a"}')

    assert (await show(shared, response.json()["conversation_id"]))["text"] == "🚚"


# --- Idempotency-Key ------------------------------------------------------------------------------


async def post_with_key(client: httpx.AsyncClient, key: str | bytes, **body: Any) -> Any:
    value = key if isinstance(key, bytes) else key.encode()
    return await client.post(
        CONVERSATIONS, json={"text": "a", **body}, headers=[(b"Idempotency-Key", value)]
    )


async def pending(client: httpx.AsyncClient) -> int:
    return sum((await client.get(STATS)).json()["counts"]["pending"].values())


@on_shared_loop
async def test_the_same_key_and_body_store_one_conversation(shared: httpx.AsyncClient) -> None:
    first = await post_with_key(shared, "same", author="me", raw_data={"a": 1, "b": 2})
    before = await pending(shared)

    second = await post_with_key(shared, "same", author="me", raw_data={"b": 2, "a": 1})

    assert second.status_code == 202
    assert second.json() == first.json()
    assert second.headers["location"] == first.headers["location"]
    assert await pending(shared) == before


@on_shared_loop
@pytest.mark.parametrize(
    "change",
    [
        {"text": "b"},
        {"author": "me"},
        {"timestamp": "2025-01-20T10:00:00Z"},
        {"raw_data": {}},
        {"raw_data": {"a": 1}},
    ],
)
async def test_any_difference_in_the_body_is_a_conflict(
    shared: httpx.AsyncClient, change: dict[str, Any]
) -> None:
    key = json.dumps(change)
    first = await post_with_key(shared, key)
    before = await pending(shared)

    assert_error(await post_with_key(shared, key, **change), 409, "conflict")

    assert await pending(shared) == before
    assert (await post_with_key(shared, key)).json() == first.json()


@on_shared_loop
async def test_another_key_stores_another_conversation(shared: httpx.AsyncClient) -> None:
    ids = {(await post_with_key(shared, f"n{n}")).json()["conversation_id"] for n in range(3)}
    ids |= {await submit(shared, "a"), await submit(shared, "a")}

    assert len(ids) == 5


@on_shared_loop
@pytest.mark.parametrize("key", ["x", "x" * 255, "a b", "~!@#$%^&*(){}", "\xe9t\xe9"])
async def test_keys_of_printable_characters_are_taken(shared: httpx.AsyncClient, key: str) -> None:
    first = await post_with_key(shared, key.encode("latin-1"), author="keys")
    second = await post_with_key(shared, key.encode("latin-1"), author="keys")

    assert first.status_code == 202, first.text
    assert first.json() == second.json()


@on_shared_loop
async def test_a_key_in_the_header_is_the_same_as_that_in_a_batch(
    shared: httpx.AsyncClient,
) -> None:
    single = await post_with_key(shared, "clé 😀".encode())
    item = {**json.loads(single.request.content), "idempotency_key": "clé 😀"}
    batch = await shared.post(f"{CONVERSATIONS}/batch", json={"conversations": [item]})

    assert batch.json()["conversation_ids"] == [single.json()["conversation_id"]]


@on_shared_loop
async def test_two_keys_are_refused(shared: httpx.AsyncClient) -> None:
    response = await shared.post(
        CONVERSATIONS,
        json={"text": "x"},
        headers=[("Idempotency-Key", "one"), ("Idempotency-Key", "two")],
    )

    assert_error(response, 400, "invalid_schema", "Idempotency-Key: must be given once")


@on_shared_loop
@pytest.mark.parametrize(
    "key", [b"", b"x" * 256, b"a\tb", b"a\x00b", b"a\x1bb", b"a\x7fb", b"a\x85b", b"\n"]
)
async def test_other_keys_are_refused(shared: httpx.AsyncClient, key: bytes) -> None:
    response = await post_with_key(shared, key)

    assert_error(response, 400, "invalid_schema", "Idempotency-Key: must be 1 to 255 printable")


@on_shared_loop
async def test_a_key_is_free_again_once_its_conversation_is_erased(
    shared: httpx.AsyncClient,
) -> None:
    first = (await post_with_key(shared, "freed")).json()["conversation_id"]
    await shared.delete(f"{CONVERSATIONS}/{first}")

    second = await post_with_key(shared, "freed", author="somebody else")

    assert second.status_code == 202
    assert second.json()["conversation_id"] != first


@on_shared_loop
async def test_posts_with_one_key_at_the_same_time_get_one_id(shared: httpx.AsyncClient) -> None:
    before = await pending(shared)

    answers = await asyncio.gather(*(post_with_key(shared, "at once") for _ in range(30)))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["conversation_id"] for answer in answers}) == 1
    assert await pending(shared) == before + 1


@on_shared_loop
async def test_of_different_bodies_with_one_key_at_the_same_time_one_wins(
    shared: httpx.AsyncClient,
) -> None:
    before = await pending(shared)

    answers = await asyncio.gather(
        *(post_with_key(shared, "contested", author=str(n)) for n in range(20))
    )

    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 19
    assert await pending(shared) == before + 1


# --- batches --------------------------------------------------------------------------------------


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


# --- following one through its life ---------------------------------------------------------------


async def test_a_conversation_is_shown_in_each_state_of_its_life(start_app: StartApp) -> None:
    analyser = ScriptedAnalyser(answer=lambda _text: good(-0.65, ["delivery_problems"], 0.9))
    analyser.hold("mine")
    async with start_app(analyser=analyser) as running:
        client = running.client
        id_ = await submit(client, "mine", author="me")
        processing = await in_status(client, id_, "processing")
        analyser.let_go("mine")
        completed = await in_status(client, id_, "completed")

    assert set(processing) == set(completed)
    assert set(completed) == {
        *("conversation_id", "status", "lane", "text", "author", "timestamp", "created_at"),
        *("attempts", "last_error", "raw_data", "queue", "insight"),
    }
    assert (processing["attempts"], processing["queue"], processing["insight"]) == (1, None, None)
    assert (completed["attempts"], completed["queue"]) == (1, None)
    assert completed["insight"] == {
        "grok_analysis": {
            "sentiment_score": -0.65,
            "clusters": ["delivery_problems"],
            "confidence": 0.9,
            "reasoning": "It says so.",
        },
        "language": "und",
        "urgency": "none",
        "version": 1,
        "labelled": None,
        "handling": NOTHING_DONE,
    }


async def test_a_failed_conversation_says_why(start_app: StartApp) -> None:
    analyser = ScriptedAnalyser(answer=lambda _text: Refused("it may not be said"))
    async with start_app(analyser=analyser) as running:
        shown = await in_status(running.client, await submit(running.client), "failed")

    assert shown["last_error"] == "it may not be said"
    assert (shown["attempts"], shown["queue"], shown["insight"]) == (1, None, None)


@on_shared_loop
async def test_the_place_in_the_queue_counts_live_before_bulk_and_old_before_new(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("queue")
    async with service(folder, worker_enabled=False) as client:
        bulk = await submit_batch(client, ["b1", "b2"])
        live = [await submit(client, "l1"), await submit(client, "l2")]

        queues = [(await show(client, id_))["queue"] for id_ in [*live, *bulk]]

    assert [queue["position"] for queue in queues] == [1, 2, 3, 4]


# --- what failed ----------------------------------------------------------------------------------


async def test_failed_conversations_are_listed_with_their_errors(start_app: StartApp) -> None:
    analyser = ScriptedAnalyser()
    for text in ("bad 0", "bad 1"):
        analyser.script(text, Refused("against the rules"))
    async with start_app(analyser=analyser) as running:
        client = running.client
        ids = await submit_batch(client, ["bad 0", "good", "bad 1"])
        await all_done(client)
        shown = await show(client, ids[2])
        first = (await client.get(f"{CONVERSATIONS}/failed?limit=1")).json()
        cursor = first["metadata"]["next_cursor"]
        second = (await client.get(f"{CONVERSATIONS}/failed?limit=1&cursor={cursor}")).json()

    assert first["conversations"] == [
        {name: value for name, value in shown.items() if name not in ("queue", "insight")}
    ]
    assert first["conversations"][0]["last_error"] == "against the rules"
    assert first["metadata"] == {"total_count": 2, "returned_count": 1, "next_cursor": cursor}
    assert [found["conversation_id"] for found in second["conversations"]] == [ids[0]]
    assert second["metadata"] == {"total_count": 2, "returned_count": 1, "next_cursor": None}


@pytest.mark.parametrize(
    ("query", "field"), [("limit=0", "limit"), ("limit=1001", "limit"), ("cursor=x", "cursor")]
)
async def test_a_bad_query_for_failed_conversations_is_refused(
    client: httpx.AsyncClient, query: str, field: str
) -> None:
    assert_error(await client.get(f"{CONVERSATIONS}/failed?{query}"), 400, "invalid_schema", field)


# --- retrying -------------------------------------------------------------------------------------


async def test_a_failed_conversation_can_be_retried(start_app: StartApp) -> None:
    analyser = ScriptedAnalyser()
    analyser.script("mine", Refused("not now"))
    async with start_app(analyser=analyser) as running:
        client = running.client
        id_ = await submit(client, "mine")
        await in_status(client, id_, "failed")

        response = await client.post(f"{CONVERSATIONS}/{id_}/retry")
        completed = await in_status(client, id_, "completed")

    assert response.status_code == 202
    assert response.json()["status"] == "accepted"
    assert response.json()["conversation_id"] == id_
    assert (completed["attempts"], completed["last_error"]) == (1, None)


async def test_a_retried_conversation_is_as_new(start_app: StartApp, sqlite_url: str) -> None:
    async with start_app(worker_enabled=False) as running:
        client = running.client
        id_ = await submit(client)
        await run_sql(
            sqlite_url,
            "UPDATE conversations SET status = 'failed', attempts = 4, last_error = 'x'",
        )

        await client.post(f"{CONVERSATIONS}/{id_}/retry")
        shown = await show(client, id_)

    assert (shown["status"], shown["attempts"], shown["last_error"]) == ("pending", 0, None)
    assert shown["queue"]["position"] == 1


@pytest.mark.parametrize("status", ["pending", "processing", "completed"])
async def test_only_a_failed_conversation_can_be_retried(
    start_app: StartApp, sqlite_url: str, status: str
) -> None:
    async with start_app(worker_enabled=False) as running:
        id_ = await submit(running.client)
        await run_sql(sqlite_url, "UPDATE conversations SET status = ?, attempts = 2", status)

        response = await running.client.post(f"{CONVERSATIONS}/{id_}/retry")
        shown = await show(running.client, id_)

    assert_error(response, 409, "conflict", status)
    assert (shown["status"], shown["attempts"]) == (status, 2)


async def test_all_failed_conversations_can_be_retried_at_once(start_app: StartApp) -> None:
    analyser = ScriptedAnalyser()
    failing = [f"bad {number}" for number in range(3)]
    for text in failing:
        analyser.script(text, Refused("no"))
    async with start_app(analyser=analyser) as running:
        client = running.client
        await submit_batch(client, [*failing, "good"])
        stats = await all_done(client)
        assert stats["counts"]["failed"]["bulk"] == 3

        first = await client.post(f"{CONVERSATIONS}/retry")
        stats = await all_done(client)
        second = await client.post(f"{CONVERSATIONS}/retry")

    assert (first.status_code, first.json()) == (202, {"status": "accepted", "retried": 3})
    assert (second.status_code, second.json()) == (202, {"status": "accepted", "retried": 0})
    assert stats["counts"]["completed"]["bulk"] == 4
    assert analyser.texts.count("good") == 1


# --- erasing --------------------------------------------------------------------------------------


async def gone(client: httpx.AsyncClient, id_: str) -> None:
    """It is nowhere: not by its id, not in the list, not in a count."""
    assert_error(await client.get(f"{CONVERSATIONS}/{id_}"), 404, "not_found", id_)
    assert_error(await client.delete(f"{CONVERSATIONS}/{id_}"), 404, "not_found", id_)
    assert await list_all(client) == []
    stats = (await client.get(STATS)).json()
    assert all(not count for lanes in stats["counts"].values() for count in lanes.values())
    assert (stats["completed_last_minute"], stats["completed_last_hour"]) == (0, 0)
    assert stats["oldest_pending_seconds"] is None


async def test_a_completed_conversation_is_erased_with_its_insight(
    start_app: StartApp, sqlite_url: str
) -> None:
    async with start_app() as running:
        client = running.client
        id_ = await submit(client, "Thanks, great service!")
        await in_status(client, id_, "completed")

        response = await client.delete(f"{CONVERSATIONS}/{id_}")

        assert (response.status_code, response.content) == (204, b"")
        await gone(client, id_)
    assert await run_sql(sqlite_url, "SELECT * FROM insight_clusters") == []


async def test_a_pending_and_a_failed_conversation_are_erased(start_app: StartApp) -> None:
    analyser = ScriptedAnalyser(answer=lambda _text: Refused("no"))
    async with start_app(analyser=analyser) as running:
        id_ = await submit(running.client)
        await in_status(running.client, id_, "failed")
        assert (await running.client.delete(f"{CONVERSATIONS}/{id_}")).status_code == 204
        await gone(running.client, id_)
    async with start_app(worker_enabled=False) as running:
        id_ = await submit(running.client)
        assert (await running.client.delete(f"{CONVERSATIONS}/{id_}")).status_code == 204
        await gone(running.client, id_)


async def test_one_that_is_being_analysed_is_gone_and_its_late_result_is_dropped(
    start_app: StartApp, sqlite_url: str
) -> None:
    async with FakeGrok() as grok:
        grok.script(Reply.ok().after(0.3))
        async with start_app(**grok_settings(grok)) as running:
            client = running.client
            id_ = await submit(client)
            await grok.saw(1)

            response = await client.delete(f"{CONVERSATIONS}/{id_}")

            assert response.status_code == 204
            await gone(client, id_)
            await grok.idle()
            # The worker is done with the erased one once it is done with the next.
            await in_status(client, next_one := await submit(client, "next"), "completed")
            await client.delete(f"{CONVERSATIONS}/{next_one}")
            await gone(client, id_)
    assert grok.counters.by_status[200] == 2
    assert await run_sql(sqlite_url, "SELECT count(*) FROM insights") == [(0,)]


async def test_a_hanging_analysis_does_not_keep_its_conversation(start_app: StartApp) -> None:
    async with FakeGrok() as grok:
        grok.script(Reply.hang())
        async with start_app(**grok_settings(grok), shutdown_grace=0) as running:
            id_ = await submit(running.client)
            await grok.saw(1)

            assert (await running.client.delete(f"{CONVERSATIONS}/{id_}")).status_code == 204
            await gone(running.client, id_)


async def test_erasing_one_leaves_the_others(start_app: StartApp) -> None:
    async with start_app() as running:
        first, second = await submit_batch(running.client, ["one", "two"])
        await all_done(running.client)

        await running.client.delete(f"{CONVERSATIONS}/{first}")

        (left,) = await list_all(running.client)
    assert left["conversation_id"] == second


async def test_conversations_sent_side_by_side_are_all_analysed(start_app: StartApp) -> None:
    async with start_app() as running:
        ids = await asyncio.gather(*(submit(running.client, f"text {n}") for n in range(100)))
        await all_done(running.client)

        listed = await list_all(running.client)
    assert len(set(ids)) == 100
    assert sorted(insight["conversation_id"] for insight in listed) == sorted(ids)
