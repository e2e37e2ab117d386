"""Server-sent events over a real socket."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import ClientDisconnect
from starlette.types import Message

from api.insights import _Stream
from config import load_settings
from database import Database
from main import create_app
from tests.support.factories import (
    insert_insights,
)
from tests.support.http_helpers import (
    assert_error,
    eventually,
    list_all,
    served,
    submit,
)

STREAM = "/api/v1/stream"


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    url = f"sqlite+aiosqlite:///{tmp_path}/insights.db"
    return create_app(load_settings(database_url=url, inbound_rate_limit=0, _env_file=None))


@pytest.fixture
def address(app: FastAPI) -> Iterator[str]:
    with served(app) as address:
        yield address


@asynccontextmanager
async def events_of(address: str, **headers: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """`insight` events with their ids."""
    async with (
        httpx.AsyncClient(base_url=address, timeout=20) as client,
        client.stream("GET", STREAM, headers=headers) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-store"

        async def parsed() -> AsyncIterator[dict[str, Any]]:
            event: dict[str, str] = {}
            async for line in response.aiter_lines():
                name, _, value = line.partition(": ")
                if name:
                    event[name] = value
                elif "data" in event:
                    assert event["event"] == "insight"
                    yield {"id": event["id"], **json.loads(event["data"])}
                    event = {}
                else:
                    event = {}

        yield parsed()


async def test_what_a_stream_sends_from_is_closed_as_soon_as_sending_fails() -> None:
    closed = False

    async def content() -> AsyncGenerator[bytes]:
        nonlocal closed
        try:
            yield b"something"
        finally:
            closed = True

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise OSError("the client has gone")

    stream = _Stream(content())  # kept here: not closed by nobody knowing it any more
    with pytest.raises((OSError, ClientDisconnect)):
        await stream({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send)
    assert closed


async def test_a_completed_conversation_comes_as_it_is_listed(address: str) -> None:
    async with (
        httpx.AsyncClient(base_url=address, timeout=30) as client,
        events_of(address) as events,
    ):
        id_ = await submit(client, "Zeile 1\nline 2 🙂 é", author="ann")
        async with asyncio.timeout(40):
            heard = await anext(events)
        assert heard.pop("id") == "1"
        assert [heard] == await list_all(client)
        assert heard["conversation_id"] == id_


async def test_a_listener_resumes_after_its_last_event(address: str) -> None:
    async with httpx.AsyncClient(base_url=address, timeout=30) as client:
        ids = [await submit(client, f"text {number}") for number in range(5)]
        await eventually(lambda: _all_listed(client, 5))
        async with events_of(address, **{"Last-Event-ID": "2"}) as events, asyncio.timeout(40):
            assert [(await anext(events))["conversation_id"] for _ in range(3)] == ids[2:]


async def _all_listed(client: httpx.AsyncClient, count: int) -> bool:
    return len(await list_all(client)) == count


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30])
async def test_a_last_event_id_that_is_none_of_ours_is_told(address: str, last: str) -> None:
    async with httpx.AsyncClient(base_url=address, timeout=30) as client:
        response = await client.get(STREAM, headers={"Last-Event-ID": last})
    assert_error(response, 400, "invalid_schema", "last-event-id")


async def test_open_streams_end_at_once_at_shutdown(app: FastAPI) -> None:
    """Also those of clients that do not read."""
    ended: list[float] = []

    async def listen(address: str, ready: asyncio.Event) -> None:
        async with events_of(address) as events:
            ready.set()
            async for _ in events:
                pass
        ended.append(time.monotonic())

    with served(app) as address:
        ready = [asyncio.Event() for _ in range(10)]
        listening = [asyncio.create_task(listen(address, each)) for each in ready]
        for each in ready:
            await asyncio.wait_for(each.wait(), 10)
        app.state.services.stream.close()
        async with asyncio.timeout(5):
            await asyncio.gather(*listening)
    assert len(ended) == 10


async def test_what_another_process_writes_comes_too(
    fresh_postgres_url: str,
) -> None:
    """As in a replica that only serves, beside one that works."""
    settings = load_settings(
        database_url=fresh_postgres_url, worker_enabled=False, inbound_rate_limit=0, _env_file=None
    )
    with served(create_app(settings)) as address:
        async with (
            Database(fresh_postgres_url) as other,
            events_of(address) as events,
            asyncio.timeout(40),
        ):
            (id_,) = await insert_insights(other, [{}])
            assert (await anext(events))["conversation_id"] == id_
