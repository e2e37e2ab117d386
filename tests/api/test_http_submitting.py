"""Handing one conversation in over HTTP: what is taken, and how it is shown again."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support.http_helpers import (
    CONVERSATIONS,
    assert_error,
    on_shared_loop,
    show,
    submit,
)
from tests.support.submitting import JSON, WIDE, nested, post_raw

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
@pytest.mark.parametrize("author", ["", " ", "\u00a0\t"])
async def test_a_blank_author_is_none(shared: httpx.AsyncClient, author: str) -> None:
    id_ = await submit(shared, "Hello", author=author)
    batch = {"conversations": [{"text": "Hello", "author": author}]}
    answer = (await shared.post(f"{CONVERSATIONS}/batch", json=batch)).json()
    for each in (id_, *answer["conversation_ids"]):
        assert (await show(shared, each))["author"] is None


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
