"""The Idempotency-Key: a request that is sent again stores nothing new."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.support.http_helpers import CONVERSATIONS, assert_error, on_shared_loop, submit
from tests.support.submitting import pending, post_with_key


@on_shared_loop
async def test_the_same_key_and_body_store_one_conversation(shared: httpx.AsyncClient) -> None:
    first = await post_with_key(shared, "same", author="me", raw_data={"a": 1, "b": 2})
    before = await pending(shared)

    second = await post_with_key(shared, "same", author="me", raw_data={"b": 2, "a": 1})

    assert second.status_code == 202
    assert second.json() == first.json()
    assert second.headers["location"] == first.headers["location"]
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert await pending(shared) == before


@on_shared_loop
async def test_a_batch_tells_which_items_were_stored_before(shared: httpx.AsyncClient) -> None:
    async def post(*numbers: int) -> tuple[str | None, str | None]:
        items = [{"text": "a", "idempotency_key": f"replay-{number}"} for number in numbers]
        answer = await shared.post(f"{CONVERSATIONS}/batch", json={"conversations": items})
        assert set(answer.json()) == {"status", "accepted", "conversation_ids"}
        assert answer.json()["accepted"] == len(numbers)
        headers = answer.headers
        return headers.get("idempotent-replayed"), headers.get("idempotent-replayed-items")

    assert await post(0, 3, 4, 5, 9) == (None, None)
    assert await post(*range(10)) == (None, "0,3-5,9")
    assert await post(*range(10)) == ("true", "0-9")
    assert await post(20, 20) == (None, "1")
    assert await post(20) == ("true", "0")


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
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 29
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


@pytest.mark.parametrize("long", [False, True])
async def test_the_key_of_a_batch_is_that_of_its_items_without_one(
    client: httpx.AsyncClient, long: bool
) -> None:
    raw = {"raw_data": {"x": "x" * 600_000}} if long else {}
    items: list[dict[str, Any]] = [{"text": "a"}, {"text": "b", "idempotency_key": f"own {long}"}]
    items.append({"text": "a", **raw})

    async def send(key: str, *items: dict[str, Any]) -> httpx.Response:
        return await client.post(
            "/api/v1/conversations/batch",
            json={"conversations": items},
            headers={"Idempotency-Key": key},
        )

    first, again = [await send(f"batch {long}", *items) for _ in range(2)]
    ids = first.json()["conversation_ids"]
    assert len(set(ids)) == 3
    assert again.json()["conversation_ids"] == ids
    assert "idempotent-replayed-items" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    other = await send(f"another {long}", *items)
    assert other.headers["idempotent-replayed-items"] == "1"
    assert set(other.json()["conversation_ids"]) & set(ids) == {ids[1]}
    conflict = await send(f"batch {long}", {"text": "c"})
    assert conflict.status_code == 409
    assert conflict.json()["details"].startswith("conversations[0]: The idempotency key was used")
    assert (await send("x" * 256, {"text": "c"})).status_code == 400
