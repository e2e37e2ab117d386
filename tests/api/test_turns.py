"""What takes memory or time is done a few at a time: the rest waits, and keeps nobody waiting."""

import asyncio
import json
import sys
import threading
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from api import conversations
from api.bodies import LongBody
from tests.conftest import StartApp
from tests.support.api_keys import API_KEYS, with_key
from tests.support.http_helpers import ALL_TIME, CONVERSATIONS, INSIGHTS, assert_error

BATCH = f"{CONVERSATIONS}/batch"
JSON = {"Content-Type": "application/json"}
ONE = {"text": "a"}
LARGE = "x" * 70_000


async def expect_to_wait(
    client: httpx.AsyncClient, asked: Coroutine[Any, Any, httpx.Response]
) -> asyncio.Task[httpx.Response]:
    """It is not answered while others are."""
    waiting = asyncio.create_task(asked)
    for _ in range(10):
        response = await client.get("/api/v1/trends", headers=with_key("read"))
        assert response.status_code == 200, response.text
    assert not waiting.done()
    return waiting


@pytest.mark.parametrize(
    ("turns", "path", "query"),
    [
        ("large_reads", INSIGHTS, ALL_TIME),
        ("large_reads", f"{CONVERSATIONS}/failed", {}),
        ("costly_reads", INSIGHTS, {**ALL_TIME, "q": "late"}),
        ("costly_reads", f"{INSIGHTS}/export", ALL_TIME),
    ],
)
async def test_a_page_waits_where_as_many_are_being_made_as_may_be(
    start_app: StartApp, turns: str, path: str, query: dict[str, str]
) -> None:
    async with start_app() as running, AsyncExitStack() as under_way:
        taken = getattr(running.app.state.services, turns)
        for _ in range(4):
            await under_way.enter_async_context(taken.hold("another"))

        waiting = await expect_to_wait(running.client, running.client.get(path, params=query))
        taken.give_back()
        assert (await waiting).status_code == 200
        await taken.take("another")


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (INSIGHTS, {"q": "late"}),
        (f"{INSIGHTS}/export", {}),
        (f"{INSIGHTS}/summary", {"author": "kim", "start_time": "2026-01-01T00:00:00Z"}),
    ],
)
async def test_a_key_that_asks_for_much_keeps_no_other_waiting(
    start_app: StartApp, path: str, query: dict[str, str]
) -> None:
    """Of all that waits each key has its turn."""
    query = {**ALL_TIME, "end_time": "2026-01-02T00:00:00Z", **query}
    async with start_app(api_keys=API_KEYS) as running:
        client, taken = running.client, running.app.state.services.costly_reads
        begin, through = asyncio.Event(), 0

        async def read() -> None:
            nonlocal through
            async with taken.hold("team write"):
                await begin.wait()
                await asyncio.sleep(0.01)
                through += 1

        async with asyncio.TaskGroup() as others:
            for _ in range(200):
                others.create_task(read())
            await asyncio.sleep(0)
            asked = client.get(path, params=query, headers=with_key("read"))
            waiting = await expect_to_wait(client, asked)
            begin.set()
            assert (await waiting).status_code == 200
            assert through < 100


async def test_a_search_takes_no_turn_from_other_pages(start_app: StartApp) -> None:
    async with start_app() as running, AsyncExitStack() as under_way:
        for _ in range(4):
            turn = running.app.state.services.costly_reads.hold("another")
            await under_way.enter_async_context(turn)

        page = await running.client.get(INSIGHTS, params=ALL_TIME)

    assert page.status_code == 200


async def test_plans_are_previewed_one_by_one_and_no_search_waits_for_them(
    start_app: StartApp,
) -> None:
    plan = {"kind": "unlabel", "filter": {"author": "kim"}}
    async with start_app() as running:
        client = running.client
        async with running.app.state.services.plan_previews.hold("another"):
            waiting = await expect_to_wait(client, client.post("/api/v1/plans", json=plan))
            found = await client.get(INSIGHTS, params={**ALL_TIME, "q": "late"})
            assert found.status_code == 200
            assert not waiting.done()
        assert (await waiting).status_code == 201


async def test_large_answers_are_made_one_after_the_other(
    start_app: StartApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And read when it is their turn: meanwhile nothing of them is in memory."""
    async with start_app() as running:
        client, parts = running.client, running.app.state.services
        locations = []
        for filler in ("x" * 300_000, LARGE):
            answer = await client.post(CONVERSATIONS, json={**ONE, "raw_data": {"x": filler}})
            locations.append(answer.headers["Location"])
        large, smaller = locations
        find, reads = parts.conversations.find, []

        async def note(id_: str) -> Any:
            found = await find(id_)
            reads.append((len(found.raw_data), parts.large_answers.locked()))
            return found

        monkeypatch.setattr(parts.conversations, "find", note)
        async with parts.large_answers:
            waiting = await expect_to_wait(client, client.get(large))
            assert len((await client.get(smaller)).json()["raw_data"]["x"]) == len(LARGE)
            assert not waiting.done()
            reads.clear()
        assert len((await waiting).json()["raw_data"]["x"]) == 300_000
        assert reads == [(300_008, True)]


@pytest.mark.parametrize("path", [CONVERSATIONS, BATCH])
async def test_a_body_waits_while_others_of_its_size_are_read(
    start_app: StartApp, path: str
) -> None:
    def body(filler: str) -> dict[str, Any]:
        one = {"text": "late", "raw_data": {"x": filler}}
        return one if path == CONVERSATIONS else {"conversations": [one]}

    async with start_app() as running:
        parts, client = running.app.state.services, running.client
        for budget, waits, goes in (
            (parts.large_bodies, LARGE, "small"),
            (parts.small_bodies, "small", LARGE),
        ):
            async with budget.hold(10**9):
                waiting = await expect_to_wait(client, client.post(path, json=body(waits)))
                assert (await client.post(path, json=body(goes))).status_code == 202
                assert not waiting.done()
            assert (await waiting).status_code == 202


@pytest.mark.parametrize("path", [CONVERSATIONS, BATCH])
@pytest.mark.parametrize("raw", [["x" * 600_000], [0] * 30_000], ids=["bytes", "values"])
async def test_a_body_that_takes_long_to_read_is_read_in_pieces_on_a_thread(
    start_app: StartApp, monkeypatch: pytest.MonkeyPatch, path: str, raw: list[Any]
) -> None:
    """Whatever is done about it is, and turns are short meanwhile."""
    seen = []

    class Noted(LongBody[Any]):
        def __init__(self, *args: Any, **more: Any) -> None:
            seen.append(("read", threading.current_thread(), sys.getswitchinterval()))
            super().__init__(*args, **more)

        def to_new(self, *args: Any) -> Any:
            seen.append(("to_new", threading.current_thread(), sys.getswitchinterval()))
            return super().to_new(*args)

        def free(self) -> None:
            seen.append(("free", threading.current_thread(), sys.getswitchinterval()))
            assert self._json is not None
            super().free()

    monkeypatch.setattr(conversations, "LongBody", Noted)
    usual = sys.getswitchinterval()
    one = {"text": "late", "raw_data": {"x": raw}, "idempotency_key": "1"}
    async with start_app() as running:
        body = one if path == CONVERSATIONS else {"conversations": [one]}
        answer = await running.client.post(path, json=body)
        assert answer.status_code == 202
        (id_,) = answer.json().get("conversation_ids") or [answer.json()["conversation_id"]]
        shown = await running.client.get(f"{CONVERSATIONS}/{id_}")

    assert shown.json()["raw_data"] == {"x": raw}
    assert [what for what, _, _ in seen] == ["read", "to_new", "free"]
    assert all(thread is not threading.main_thread() for _, thread, _ in seen)
    assert all(turn < usual / 2 for _, _, turn in seen)
    assert sys.getswitchinterval() == usual


async def test_a_large_body_that_is_refused_is_told_why_as_a_small_one_is(
    start_app: StartApp,
) -> None:
    told = []
    async with start_app(worker_enabled=False) as running:
        for filler in ([], [0] * 30_000):
            item = {"text": "a", "raw_data": {"x": filler}}
            bodies: dict[str, Any] = {
                "conversations[1].text": {"conversations": [item, {**item, "text": ""}]},
                "conversations[1]:": {"conversations": [item, 1]},
                "conversations:": {"conversations": {"0": item}},
                "live lane": {"conversations": [item, *[ONE] * 10], "lane": "live"},
                "lane": {"conversations": [item], "lane": "slow"},
                "raw_data": {**item, "raw_data": [filler]},
                "author": {**item, "author": {"name": filler}},
                "timestamp": {**item, "timestamp": 1},
                "finite": {**item, "raw_data": {"x": filler, "y": 1e999}},
                "text": {"raw_data": {"x": filler}},
                "The body: Input should be an object": [item, filler],
            }
            sentences = []
            for place, body in bodies.items():
                path = BATCH if "conversations" in body else CONVERSATIONS
                content = json.dumps(body).replace("Infinity", "1e999")
                response = await running.client.post(path, content=content, headers=JSON)
                sentences.append(assert_error(response, 400, "invalid_schema", place))
            told.append(sentences)
            response = await running.client.post(
                BATCH,
                content=json.dumps({"conversations": [item]})[:-1],
                headers=JSON,
            )
            assert_error(response, 400, "invalid_schema", "not valid JSON")
    assert told[0] == told[1]
