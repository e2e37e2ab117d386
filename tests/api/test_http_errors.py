"""Every error has one shape, tells a person what to do, and gives nothing of the inside away."""

import asyncio
import dataclasses
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from config import Settings
from main import create_app
from tests.conftest import RunningApp, StartApp
from tests.support.http_helpers import (
    ALL_TIME,
    CONVERSATIONS,
    INSIGHTS,
    STATS,
    ScriptedAnalyser,
    assert_error,
    captured_log,
    eventually,
    in_status,
    list_all,
    locked_by_another,
    on_shared_loop,
    run_sql,
    served,
    service,
    submit,
    submit_batch,
)

JSON = {"Content-Type": "application/json"}
OPERATIONS = [
    ("POST", CONVERSATIONS),
    ("POST", f"{CONVERSATIONS}/batch"),
    ("POST", f"{CONVERSATIONS}/retry"),
    ("POST", f"{CONVERSATIONS}/conv_00000000/retry"),
    ("GET", f"{CONVERSATIONS}/conv_00000000"),
    ("DELETE", f"{CONVERSATIONS}/conv_00000000"),
    ("GET", INSIGHTS),
    ("GET", STATS),
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/metrics"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    async with service(tmp_path_factory.mktemp("shared")) as client:
        yield client


@pytest.fixture
def _impatient_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.sqlite.BUSY_TIMEOUT_SECONDS", 0.05)


# --- 400: the body --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [CONVERSATIONS, f"{CONVERSATIONS}/batch"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"text": "a"',
        b'{"text": "a"} {}',
        b"{'text': 'a'}",
        b'{"text": "a",}',
        b"\xff\xfe",
        b'{"text": "\xff"}',
        b'{"text": "tab\tinside"}',
        b'{"text": "\\ud800"}',
        b"text=a",
    ],
)
@on_shared_loop
async def test_malformed_json_is_told_as_such(
    shared: httpx.AsyncClient, path: str, body: bytes
) -> None:
    response = await shared.post(path, content=body, headers=JSON)

    assert_error(response, 400, "invalid_schema", "not valid JSON")


@pytest.mark.parametrize("path", [CONVERSATIONS, f"{CONVERSATIONS}/batch"])
@pytest.mark.parametrize("body", ["[]", '[{"text": "a"}]', '"text"', "5", "null", "true"])
@on_shared_loop
async def test_json_that_is_no_object_is_refused(
    shared: httpx.AsyncClient, path: str, body: str
) -> None:
    response = await shared.post(path, content=body, headers=JSON)

    details = assert_error(response, 400, "invalid_schema", "object")
    assert "ConversationIn" not in details
    assert "BatchIn" not in details


@pytest.mark.parametrize("path", [CONVERSATIONS, f"{CONVERSATIONS}/batch"])
@pytest.mark.parametrize(
    "opening",
    ['{"text": "a", "raw_data": ' + '{"a":', '{"text": "a", "unknown": ' + "[", "[", '{"a":'],
)
@on_shared_loop
async def test_json_ten_thousand_levels_deep_is_refused_and_not_a_crash(
    shared: httpx.AsyncClient, path: str, opening: str
) -> None:
    start = opening.removesuffix("[").removesuffix('{"a":')
    unit = opening[len(start) :]
    end = "}" if start else ""
    body = start + unit * 10_000 + "1" + ("]" if unit == "[" else "}") * 10_000 + end

    assert_error(await shared.post(path, content=body, headers=JSON), 400, "invalid_schema")


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "text/json-like",
        "application/xml; note=application/json",
    ],
)
@pytest.mark.parametrize("path", [CONVERSATIONS, f"{CONVERSATIONS}/batch"])
@on_shared_loop
async def test_a_wrong_content_type_is_refused(
    shared: httpx.AsyncClient, path: str, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}

    response = await shared.post(path, content=b'{"text": "a"}', headers=headers)

    assert_error(response, 400, "invalid_schema", "application/json")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "Application/JSON ; charset=utf-8",
        "application/vnd.tweets+json",
    ],
)
@on_shared_loop
async def test_json_by_any_of_its_names_is_taken(
    shared: httpx.AsyncClient, content_type: str
) -> None:
    response = await shared.post(
        CONVERSATIONS, content=b'{"text": "a"}', headers={"Content-Type": content_type}
    )

    assert response.status_code == 202, response.text


@on_shared_loop
async def test_a_missing_field_is_named_as_a_person_would(shared: httpx.AsyncClient) -> None:
    response = await shared.post(CONVERSATIONS, json={"author": "me"})

    assert response.json() == {
        "error": "invalid_schema",
        "details": "Missing required field: text",
    }
    assert_error(response, 400, "invalid_schema")


@on_shared_loop
async def test_an_end_before_the_start_is_refused(shared: httpx.AsyncClient) -> None:
    response = await shared.get(
        INSIGHTS,
        params={"start_time": "2025-01-02T00:00:00Z", "end_time": "2025-01-01T00:00:00Z"},
    )

    assert_error(response, 400, "invalid_schema", "start_time")


# --- 404 and 405 ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/api",
        "/api/v1",
        "/api/v1/nothing",
        "/api/v2/insights",
        "/health/live",
        f"{CONVERSATIONS}/conv_00000000/nothing",
        "/%00",
        "/a%0Ab",
    ],
)
@on_shared_loop
async def test_an_unknown_path_is_not_found(shared: httpx.AsyncClient, path: str) -> None:
    assert_error(await shared.get(path), 404, "not_found")


@pytest.mark.parametrize(
    "id_",
    ["conv_00000000", "conv_ABCDEF01", "conv_1", "1", "%20", "%00", "%F0%9F%9A%9A", "'; --"],
)
@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("DELETE", ""), ("POST", "/retry")])
@on_shared_loop
async def test_an_unknown_conversation_is_not_found(
    shared: httpx.AsyncClient, method: str, id_: str, tail: str
) -> None:
    response = await shared.request(method, f"{CONVERSATIONS}/{id_}{tail}")

    assert_error(response, 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", CONVERSATIONS, {"POST"}),
        ("GET", CONVERSATIONS, {"POST"}),
        ("PATCH", f"{CONVERSATIONS}/conv_00000000", {"GET", "DELETE"}),
        ("PUT", f"{CONVERSATIONS}/conv_00000000/retry", {"POST"}),
        ("POST", INSIGHTS, {"GET"}),
        ("DELETE", STATS, {"GET"}),
        ("POST", "/health", {"GET"}),
        ("POST", "/ready", {"GET"}),
        ("POST", "/metrics", {"GET"}),
    ],
)
@on_shared_loop
async def test_a_wrong_method_is_told_which_ones_there_are(
    shared: httpx.AsyncClient, method: str, path: str, allowed: set[str]
) -> None:
    response = await shared.request(method, path)

    assert_error(response, 405, "method_not_allowed", method)
    told = {name.strip() for name in response.headers["allow"].split(",")}
    assert told - {"HEAD", "OPTIONS"} == allowed


# --- 409 ------------------------------------------------------------------------------------------


@on_shared_loop
async def test_the_same_key_with_another_body_is_a_conflict(shared: httpx.AsyncClient) -> None:
    await shared.post(CONVERSATIONS, json={"text": "a"}, headers={"Idempotency-Key": "k"})

    response = await shared.post(
        CONVERSATIONS, json={"text": "b"}, headers={"Idempotency-Key": "k"}
    )

    assert_error(response, 409, "conflict", "key")


@on_shared_loop
async def test_retrying_what_has_not_failed_is_a_conflict(shared: httpx.AsyncClient) -> None:
    id_ = await submit(shared)
    await in_status(shared, id_, "completed")

    response = await shared.post(f"{CONVERSATIONS}/{id_}/retry")

    assert_error(response, 409, "conflict", "completed")


# --- 413 ------------------------------------------------------------------------------------------


async def test_a_body_at_the_limit_is_taken_and_one_byte_more_is_not(start_app: StartApp) -> None:
    async with start_app(max_body_bytes=100) as running:
        body = json.dumps({"text": "a"}).ljust(100)

        taken = await running.client.post(CONVERSATIONS, content=body, headers=JSON)
        refused = await running.client.post(CONVERSATIONS, content=body + " ", headers=JSON)

    assert taken.status_code == 202, taken.text
    assert_error(refused, 413, "payload_too_large", "100")


async def test_a_streamed_body_is_refused_without_reading_it_whole(start_app: StartApp) -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1
            yield b" " * 100

    async with start_app(max_body_bytes=1000) as running:
        response = await running.client.post(CONVERSATIONS, content=chunks(), headers=JSON)

    assert_error(response, 413, "payload_too_large")
    assert 10 <= sent <= 15


async def test_a_streamed_body_within_the_limit_is_taken(start_app: StartApp) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for part in (b'{"te', b'xt": ', b'"a"}'):
            yield part

    async with start_app(max_body_bytes=1000) as running:
        response = await running.client.post(CONVERSATIONS, content=chunks(), headers=JSON)

    assert response.status_code == 202, response.text


@pytest.fixture
def address(make_settings: Callable[..., Settings]) -> Iterator[str]:
    """A service with a small body limit, on a real socket."""
    with served(create_app(make_settings(max_body_bytes=1000))) as address:
        yield address


async def _raw(address: str, head: str, body: bytes, *, times: int = 1) -> bytes:
    """What a server answers to a client that never ends its body."""
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(5):
            writer.write(head.replace("\n", "\r\n").encode())
            for _ in range(times):
                writer.write(body)
            return await reader.readuntil(b"}")
    finally:
        writer.close()


async def test_too_large_a_length_is_refused_before_the_body_has_come(address: str) -> None:
    head = f"""POST {CONVERSATIONS} HTTP/1.1
Host: test
Content-Type: application/json
Content-Length: 1000000000

"""
    answer = await _raw(address, head, b'{"text": "')

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"error":"payload_too_large"' in answer


async def test_an_endless_chunked_body_is_refused_while_it_comes(address: str) -> None:
    head = f"""POST {CONVERSATIONS} HTTP/1.1
Host: test
Content-Type: application/json
Transfer-Encoding: chunked

"""
    answer = await _raw(address, head, b"64\r\n" + b" " * 100 + b"\r\n", times=12)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"error":"payload_too_large"' in answer


# --- 500 ------------------------------------------------------------------------------------------


class _BrokenStore:
    """A part with a bug in it: whatever is asked of it goes wrong."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("SELECT secret FROM inside.py")


def _break(running: RunningApp, *parts: str) -> None:
    state = running.app.state
    state.services = dataclasses.replace(state.services, **{part: _BrokenStore() for part in parts})


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", CONVERSATIONS, {"text": "a"}),
        ("POST", f"{CONVERSATIONS}/batch", {"conversations": [{"text": "a"}]}),
        ("POST", f"{CONVERSATIONS}/retry", None),
        ("POST", f"{CONVERSATIONS}/conv_00000000/retry", None),
        ("GET", f"{CONVERSATIONS}/conv_00000000", None),
        ("DELETE", f"{CONVERSATIONS}/conv_00000000", None),
        ("GET", f"{INSIGHTS}?start_time=2025-01-01&end_time=2025-01-02", None),
        ("GET", STATS, None),
        ("GET", "/metrics", None),
        ("GET", "/ready", None),
    ],
)
async def test_a_bug_is_answered_with_an_id_under_which_the_log_has_it(
    start_app: StartApp, method: str, path: str, body: Any
) -> None:
    async with start_app(worker_enabled=False) as running:
        _break(running, "conversations", "insights", "figures", "database")
        with captured_log() as log:
            response = await running.client.request(method, path, json=body)

    assert_error(response, 500, "internal_error")
    assert "secret" not in response.text
    (logged,) = log.named("request_failed")
    assert logged["request_id"] == response.headers["x-request-id"]
    assert logged["level"] == "error"
    assert "SELECT secret FROM inside.py" in json.dumps(logged)
    (line,) = log.named("request")
    assert line["status"] == 500


async def test_a_database_in_disarray_is_a_bug_that_gives_no_sql_away(
    start_app: StartApp, sqlite_url: str
) -> None:
    async with start_app(worker_enabled=False) as running:
        await run_sql(sqlite_url, "ALTER TABLE conversations RENAME COLUMN body_hash TO gone")

        response = await running.client.post(CONVERSATIONS, json={"text": "a"})

    assert_error(response, 500, "internal_error")
    assert "body_hash" not in response.text


async def test_the_service_goes_on_after_a_bug(start_app: StartApp) -> None:
    async with start_app() as running:
        whole = running.app.state.services
        _break(running, "conversations")
        await running.client.post(CONVERSATIONS, json={"text": "a"})
        running.app.state.services = whole

        id_ = await submit(running.client)

        await in_status(running.client, id_, "completed")


# --- 503 ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_impatient_database")
async def test_writing_to_a_locked_database_is_unavailable_and_stores_nothing(
    start_app: StartApp, sqlite_url: str
) -> None:
    async with start_app(worker_enabled=False) as running:
        client = running.client
        id_ = await submit(client)
        batch = {"conversations": [{"text": "a"}, {"text": "b"}]}
        async with locked_by_another(sqlite_url):
            answers = [
                await client.post(CONVERSATIONS, json={"text": "a"}),
                await client.post(f"{CONVERSATIONS}/batch", json=batch),
                await client.post(f"{CONVERSATIONS}/retry"),
                await client.post(f"{CONVERSATIONS}/{id_}/retry"),
                await client.delete(f"{CONVERSATIONS}/{id_}"),
            ]
        stats = (await client.get(STATS)).json()

    for answer in answers:
        assert_error(answer, 503, "unavailable", "database is locked")
    assert stats["counts"]["pending"] == {"live": 1, "bulk": 0}


@pytest.mark.usefixtures("_impatient_database")
async def test_reading_goes_on_while_the_database_cannot_be_written(
    start_app: StartApp, sqlite_url: str
) -> None:
    async with start_app() as running:
        id_ = await submit(running.client)
        await in_status(running.client, id_, "completed")
        async with locked_by_another(sqlite_url):
            assert (await running.client.get(f"{CONVERSATIONS}/{id_}")).status_code == 200
            assert len(await list_all(running.client)) == 1
            assert (await running.client.get(STATS)).status_code == 200
            assert (await running.client.get("/metrics")).status_code == 200
            assert (await running.client.get("/health")).status_code == 200


@pytest.mark.usefixtures("_impatient_database")
async def test_many_writers_that_met_a_lock_together_are_each_told_so(
    start_app: StartApp, sqlite_url: str
) -> None:
    async with start_app(worker_enabled=False) as running:
        async with locked_by_another(sqlite_url):
            answers = await asyncio.gather(
                *(running.client.post(CONVERSATIONS, json={"text": str(n)}) for n in range(20))
            )
        afterwards = await running.client.post(CONVERSATIONS, json={"text": "a"})
        stats = (await running.client.get(STATS)).json()

    for answer in answers:
        assert_error(answer, 503, "unavailable")
    assert afterwards.status_code == 202
    assert stats["counts"]["pending"]["live"] == 1


# --- the id of a request --------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["abc", "A-b.c_9", "x" * 64])
@on_shared_loop
async def test_a_sensible_request_id_comes_back(shared: httpx.AsyncClient, given: str) -> None:
    response = await shared.get("/health", headers={"X-Request-ID": given})

    assert response.headers.get_list("x-request-id") == [given]


@pytest.mark.parametrize(
    "given",
    [b"", b"x" * 65, b"a b", b'a"b', b"<script>", b"\xc3\xa9", b"a\tb", b"a{b}", b"a/b", b"a,b"],
)
@on_shared_loop
async def test_a_hostile_request_id_is_replaced(shared: httpx.AsyncClient, given: bytes) -> None:
    response = await shared.get("/health", headers=[(b"X-Request-ID", given)])

    (answered,) = response.headers.get_list("x-request-id")
    assert answered.encode() != given
    assert re.fullmatch(r"[0-9a-f]{16}", answered)


@on_shared_loop
async def test_each_request_without_an_id_gets_another_one(shared: httpx.AsyncClient) -> None:
    ids = {(await shared.get("/health")).headers["x-request-id"] for _ in range(50)}

    assert len(ids) == 50


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
@on_shared_loop
async def test_every_answer_carries_the_request_id(
    shared: httpx.AsyncClient, method: str, path: str
) -> None:
    response = await shared.request(method, path, headers={"X-Request-ID": "mine"})

    assert response.headers["x-request-id"] == "mine"


# --- slow callers ---------------------------------------------------------------------------------


@on_shared_loop
async def test_an_error_of_one_caller_is_not_anothers(shared: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(shared.post(CONVERSATIONS, json={"text": "a" if n % 2 else ""}) for n in range(40))
    )

    assert [answer.status_code for answer in answers] == [400, 202] * 20


async def test_requests_are_answered_while_an_analysis_takes_long(start_app: StartApp) -> None:
    analyser = ScriptedAnalyser()
    analyser.hold("slow")
    async with start_app(analyser=analyser) as running:
        await submit_batch(running.client, ["slow"] * 10)
        await eventually(lambda: analyser.under_way == 10)

        response = await running.client.get(INSIGHTS, params=ALL_TIME)
        await submit(running.client, "another")

        analyser.let_go("slow")
    assert response.status_code == 200
