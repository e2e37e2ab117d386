"""Every error has one shape, tells a person what to do, and gives nothing of the inside away."""

import asyncio
import re
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from tests.conftest import StartApp
from tests.support.http_helpers import (
    ALL_TIME,
    CONVERSATIONS,
    INSIGHTS,
    STATS,
    ScriptedAnalyser,
    assert_error,
    completed,
    eventually,
    on_shared_loop,
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
        ("PUT", f"{CONVERSATIONS}/batch", {"POST"}),
        ("PUT", f"{CONVERSATIONS}/failed", {"GET"}),
        ("GET", f"{CONVERSATIONS}/batch", {"POST"}),
        ("GET", f"{CONVERSATIONS}/retry", {"POST"}),
        ("DELETE", f"{CONVERSATIONS}/failed", {"GET"}),
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
    id_ = await completed(shared)

    response = await shared.post(f"{CONVERSATIONS}/{id_}/retry")

    assert_error(response, 409, "conflict", "completed")


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
