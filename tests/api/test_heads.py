"""HEAD is answered as GET is, without the body."""

import json
from collections.abc import Callable

import httpx

from config import Settings
from main import create_app
from tests.conftest import StartApp
from tests.support.http_helpers import (
    ALL_TIME,
    CONVERSATIONS,
    INSIGHTS,
    STATS,
    ScriptedAnalyser,
    captured_log,
    completed,
    served,
)

UNKNOWN = f"{CONVERSATIONS}/conv_00000000"
EXPORT = f"{INSIGHTS}/export"
STREAM = "/api/v1/stream"
OWN = {"x-request-id", "date"}
"""Headers that differ from one answer to the next."""


def headers_of(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in OWN}


async def test_a_head_is_that_of_get(start_app: StartApp) -> None:
    async with start_app(analyser=ScriptedAnalyser()) as running:
        client = running.client
        id_ = await completed(client)
        lists = httpx.QueryParams(ALL_TIME)
        for path in (
            *("/", "/health", "/ready", "/docs", "/openapi.json", "/dashboard"),
            *("/dashboard/page.js", "/nowhere", UNKNOWN, f"{CONVERSATIONS}/{id_}"),
            *(INSIGHTS, f"{INSIGHTS}?{lists}", f"{INSIGHTS}/summary?{lists}", "/api/v1/plans"),
        ):
            get, head = await client.get(path), await client.head(path)
            assert (head.status_code, head.content) == (get.status_code, b""), path
            assert headers_of(head) == headers_of(get), path
        for path in ("/metrics", STATS):  # their figures move on
            assert (await client.head(path)).status_code == 200


async def test_what_get_does_not_take_head_does_not_either(start_app: StartApp) -> None:
    async with start_app() as running:
        for method in ("HEAD", "GET"):
            answer = await running.client.request(method, CONVERSATIONS)
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        told = (await running.client.post(STATS)).headers["allow"]
    assert told == "GET, HEAD"


async def test_a_head_is_logged_as_what_it_is(start_app: StartApp) -> None:
    async with start_app() as running:
        with captured_log() as log:
            await running.client.head(UNKNOWN)
        metrics = (await running.client.get("/metrics")).text
    line = json.loads(log.getvalue())
    assert (line["method"], line["path"], line["status"]) == ("HEAD", UNKNOWN, 404)
    assert f'method="HEAD",route="{CONVERSATIONS}/{{conversation_id}}"' in metrics


def test_on_one_connection_a_head_is_followed_by_other_answers(
    make_settings: Callable[..., Settings],
) -> None:
    app = create_app(make_settings(), analyser=ScriptedAnalyser())
    with served(app) as address, httpx.Client(base_url=address, timeout=30) as client:
        for path in ("/health", f"{INSIGHTS}?{httpx.QueryParams(ALL_TIME)}", "/dashboard"):
            head, get = client.head(path), client.get(path)
            assert headers_of(head) == headers_of(get), path
            assert (head.status_code, head.content) == (200, b"")
            assert get.content
        assert client.head(STREAM).status_code == 200


async def test_a_head_of_what_is_streamed_ends(start_app: StartApp) -> None:
    async with start_app(analyser=ScriptedAnalyser()) as running:
        await completed(running.client)
        stream = await running.client.head(STREAM)
        export = await running.client.head(EXPORT, params=ALL_TIME)
        assert not running.app.state.services.stream._listeners
    assert (stream.status_code, stream.content) == (200, b"")
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert (export.status_code, export.content) == (200, b"")
    assert export.headers["content-type"].startswith("text/csv")
    assert "content-disposition" in export.headers
