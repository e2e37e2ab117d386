"""What takes memory or time is done a few at a time: the rest waits, and keeps nobody waiting."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import httpx
import pytest

from api import conversations
from tests.conftest import StartApp
from tests.support.http_helpers import ALL_TIME, CONVERSATIONS, INSIGHTS

BATCH = f"{CONVERSATIONS}/batch"
LARGE = "x" * 70_000


async def expect_to_wait(
    client: httpx.AsyncClient, asked: Coroutine[Any, Any, httpx.Response]
) -> asyncio.Task[httpx.Response]:
    """It is not answered while others are."""
    waiting = asyncio.create_task(asked)
    for _ in range(10):
        response = await client.get("/api/v1/trends")
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
            await under_way.enter_async_context(taken)
        assert taken.locked()

        waiting = await expect_to_wait(running.client, running.client.get(path, params=query))
        taken.release()
        assert (await waiting).status_code == 200
        await taken.acquire()


async def test_a_search_takes_no_turn_from_other_pages(start_app: StartApp) -> None:
    async with start_app() as running, AsyncExitStack() as under_way:
        for _ in range(4):
            await under_way.enter_async_context(running.app.state.services.costly_reads)

        page = await running.client.get(INSIGHTS, params=ALL_TIME)

    assert page.status_code == 200


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
async def test_a_body_that_takes_long_to_read_is_read_on_a_thread(
    start_app: StartApp, monkeypatch: pytest.MonkeyPatch, path: str, raw: list[Any]
) -> None:
    threads = []

    def noted(real: Callable[..., Any], *args: Any, **more: Any) -> Any:
        threads.append(threading.current_thread())
        return real(*args, **more)

    for part in ("parse_body", "_all_of"):  # the second one for batches alone
        monkeypatch.setattr(conversations, part, partial(noted, getattr(conversations, part)))
    one = {"text": "late", "raw_data": {"x": raw}}
    async with start_app() as running:
        body = one if path == CONVERSATIONS else {"conversations": [one]}
        assert (await running.client.post(path, json=body)).status_code == 202

    assert threads
    assert threading.main_thread() not in threads
