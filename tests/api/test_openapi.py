"""The OpenAPI document tells the truth: what is in it is answered, and nothing else is."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from config import Settings
from main import create_app
from tests.conftest import StartApp
from tests.support.http_helpers import ScriptedAnalyser, served, submit_batch

CONVERSATIONS = "/api/v1/conversations"
# Where a request can break what the document asks for; any text may stand for an id in a path.
CAN_BE_WRONG = {
    f"POST {CONVERSATIONS}",
    f"POST {CONVERSATIONS}/batch",
    "GET /api/v1/insights",
    "GET /api/v1/insights/summary",
    "GET /api/v1/insights/export",
    "GET /api/v1/trends",
    "GET /api/v1/authors",
    "POST /api/v1/plans",
    "GET /api/v1/plans",
}
WITHOUT_END = "GET /api/v1/stream"
ERRORS = {
    400: "invalid_schema",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    408: "timeout",
    409: "conflict",
    413: "payload_too_large",
    429: "rate_limit_exceeded",
    431: "headers_too_large",
    500: "internal_error",
    503: "unavailable",
}
OF_ANY = {408, 413, 431}
"""Whatever is asked for."""
ANSWERS = {
    ("post", CONVERSATIONS): {202, 400, 403, 409, 500, 503},
    ("post", f"{CONVERSATIONS}/batch"): {202, 400, 403, 409, 500, 503},
    ("post", f"{CONVERSATIONS}/retry"): {202, 400, 403, 500, 503},
    ("post", f"{CONVERSATIONS}/{{conversation_id}}/retry"): {202, 400, 403, 404, 409, 500, 503},
    ("get", f"{CONVERSATIONS}/{{conversation_id}}"): {200, 400, 404, 500, 503},
    ("delete", f"{CONVERSATIONS}/{{conversation_id}}"): {204, 400, 403, 404, 500, 503},
    ("get", "/api/v1/insights"): {200, 400, 500, 503},
    ("get", "/api/v1/insights/summary"): {200, 400, 500, 503},
    ("get", "/api/v1/insights/export"): {200, 400, 500, 503},
    ("get", "/api/v1/authors"): {200, 400, 500, 503},
    ("get", "/api/v1/trends"): {200, 400, 500, 503},
    ("get", "/api/v1/stream"): {200, 400, 500, 503},
    ("post", "/api/v1/plans"): {201, 400, 403, 404, 500, 503},
    ("get", "/api/v1/plans"): {200, 400, 500, 503},
    ("get", "/api/v1/plans/{plan_id}"): {200, 400, 404, 500, 503},
    ("post", "/api/v1/plans/{plan_id}/apply"): {202, 400, 403, 404, 409, 500, 503},
    ("post", "/api/v1/plans/{plan_id}/undo"): {202, 400, 403, 404, 409, 500, 503},
    ("get", "/api/v1/stats"): {200, 400, 500, 503},
    ("get", "/health"): {200, 500},
    ("get", "/ready"): {200, 400, 500, 503},
    ("get", "/metrics"): {200, 400, 500},
}


async def _document(client: httpx.AsyncClient) -> dict[str, Any]:
    response = await client.get("/openapi.json")
    assert response.status_code == 200
    return dict(response.json())


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield method, path, operation


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for child in value.values():
            yield from _references(child)
    elif isinstance(value, list):
        for child in value:
            yield from _references(child)


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    return await _document(client)


async def test_the_document_has_the_frame_that_openapi_asks_for(document: dict[str, Any]) -> None:
    assert re.fullmatch(r"3\.1\.\d+", document["openapi"])
    assert document["info"]["title"] == "Insights Platform API"
    assert document["info"]["version"]
    for _, path, operation in _operations(document):
        described = [
            parameter["name"]
            for parameter in operation.get("parameters", [])
            if parameter["in"] == "path"
        ]
        assert described == re.findall(r"\{(\w+)\}", path)
        assert operation["summary"]
        assert operation["description"]


async def test_the_document_begins_with_handing_in_and_reads_before_it_erases(
    document: dict[str, Any],
) -> None:
    named = [operation["operationId"] for _, _, operation in _operations(document)]
    assert named[:2] == ["submit_conversation", "submit_batch"]
    assert named.index("get_conversation") < named.index("erase_conversation")


async def test_each_operation_bears_the_name_of_its_handler(
    start_app: StartApp,
) -> None:
    async with start_app() as running:
        document = await _document(running.client)
    handlers = {
        (method.lower(), route.path): route.endpoint.__name__
        for route in running.app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
    }

    named = {(method, path): each["operationId"] for method, path, each in _operations(document)}
    assert named == {operation: handlers[operation] for operation in named}
    assert len(set(named.values())) == len(named)


async def test_everything_that_is_referred_to_is_there_and_nothing_else(
    document: dict[str, Any],
) -> None:
    referred = set(_references(document))
    assert referred
    for reference in referred:
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert isinstance(found, dict)
    unused = {
        name
        for name in document["components"]["schemas"]
        if f"#/components/schemas/{name}" not in referred
    }
    assert unused == set()


async def test_no_422_is_anywhere(document: dict[str, Any]) -> None:
    text = json.dumps(document)

    assert '"422"' not in text
    assert "HTTPValidationError" not in text
    assert "ValidationError" not in document["components"]["schemas"]


async def test_each_operation_lists_the_answers_that_it_gives(document: dict[str, Any]) -> None:
    listed = {
        (method, path): {int(status) for status in operation["responses"]}
        for method, path, operation in _operations(document)
        if method != "head"
    }

    for operation, statuses in ANSWERS.items():
        assert listed[operation] == statuses | OF_ANY, operation
    assert set(listed) >= set(ANSWERS)


async def test_every_error_is_listed_in_the_one_shape_and_by_its_code(
    document: dict[str, Any],
) -> None:
    for method, path, operation in _operations(document):
        for status, answer in operation["responses"].items():
            if int(status) < 400 or (path, status) == ("/ready", "503"):
                continue
            schema = answer["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/ErrorOut"}, (method, path, status)
            assert answer["description"] == ERRORS[int(status)]
    shape = document["components"]["schemas"]["ErrorOut"]
    assert set(shape["properties"]) == {"error", "details", "retry_after"}
    assert set(shape["required"]) == {"error", "details"}


async def test_limits_and_keys_are_listed_where_they_are_in_force(start_app: StartApp) -> None:
    digest = hashlib.sha256(b"key").hexdigest()
    async with start_app(inbound_rate_limit=100, api_keys=f"a:read:{digest}") as running:
        guarded = await _document(running.client)
    async with start_app(inbound_rate_limit=0) as running:
        open_to_all = await _document(running.client)

    for _, path, operation in _operations(guarded):
        told = {"401", "403", "429"} & operation["responses"].keys()
        some = {"401", "429"} if path == "/metrics" else set()
        assert told == ({"401", "403", "429"} if path.startswith("/api/") else some), path
    for method, path, operation in _operations(open_to_all):
        told = {"401", "403", "429"} & operation["responses"].keys()
        assert told == (set() if method == "get" else {"403"}), path
    schemes = guarded["components"]["securitySchemes"]
    assert {(each["type"], each.get("name")) for each in schemes.values()} == {
        ("http", None),
        ("apiKey", "X-API-Key"),
    }
    assert guarded["security"] == [{name: []} for name in schemes]
    assert "securitySchemes" not in open_to_all["components"]


async def test_the_headers_of_answers_are_listed(document: dict[str, Any]) -> None:
    listed = {
        (method, path, status): set(answer.get("headers", {}))
        for method, path, operation in _operations(document)
        for status, answer in operation["responses"].items()
    }

    batch = f"{CONVERSATIONS}/batch"
    assert listed["post", CONVERSATIONS, "202"] == {"Location", "Idempotent-Replayed"}
    assert listed["post", batch, "202"] == {"Idempotent-Replayed", "Idempotent-Replayed-Items"}
    assert listed["post", batch, "409"] == {"Idempotency-Conflict-Items"}
    assert listed["get", "/api/v1/insights/export", "200"] == {"Content-Disposition"}
    for (_, path, status), headers in listed.items():
        if status == "201":
            assert headers == {"Location"}, path
        if status in ("429", "503") and path != "/ready":
            assert headers == {"Retry-After"}, path
        if status == "500":
            assert headers == {"X-Request-ID"}, path


async def test_what_needs_no_key_is_listed_as_such(start_app: StartApp) -> None:
    digest = hashlib.sha256(b"key").hexdigest()
    async with start_app(api_keys=f"a:read:{digest}") as running:
        document = await _document(running.client)

    open_to_all = {path for _, path, each in _operations(document) if each.get("security") == []}
    assert open_to_all == {"/health", "/ready"}
    answer = document["paths"]["/api/v1/stats"]["get"]["responses"]["401"]
    assert set(answer["headers"]) == {"WWW-Authenticate"}


async def test_the_document_tells_the_limits_of_a_body(start_app: StartApp) -> None:
    async with start_app(max_text_length=77) as running:
        document = await _document(running.client)

    post = document["paths"][CONVERSATIONS]["post"]
    body = post["requestBody"]["content"]["application/json"]["schema"]
    assert post["requestBody"]["required"] is True
    shape = document["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    assert shape["required"] == ["text"]
    assert set(shape["properties"]) == {"text", "author", "timestamp", "raw_data"}
    assert shape["properties"]["text"]["maxLength"] == 77
    assert shape["properties"]["text"]["minLength"] == 1
    (key,) = [one for one in post["parameters"] if one["in"] == "header"]
    assert key["name"] == "Idempotency-Key"
    assert not key.get("required")
    assert (key["schema"]["minLength"], key["schema"]["maxLength"]) == (1, 255)
    batch = document["components"]["schemas"]["BatchIn"]["properties"]["conversations"]
    assert (batch["minItems"], batch["maxItems"]) == (1, 1000)


async def test_the_document_tells_the_parameters_of_the_list(document: dict[str, Any]) -> None:
    parameters = {
        one["name"]: one for one in document["paths"]["/api/v1/insights"]["get"]["parameters"]
    }

    assert {
        "start_time",
        "end_time",
        "limit",
        "min_confidence",
        "sentiment",
        "cluster",
        "author",
        "cursor",
    } <= set(parameters)
    assert {"language", "urgency", "labelled"} <= set(parameters)
    limit = parameters["limit"]["schema"]
    assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, 1000, 100)


# --- made-up requests -----------------------------------------------------------------------------


@pytest.fixture
def address(make_settings: Callable[..., Settings]) -> Iterator[str]:
    """A service with a few conversations, on a real socket."""
    app = create_app(make_settings(max_text_length=1000), analyser=ScriptedAnalyser())
    with served(app) as address:
        yield address


@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.parametrize("mode", ["positive", "negative"])
async def test_requests_of_all_kinds_are_answered_as_the_document_says(
    address: str, mode: str
) -> None:
    from tests.support.made_up_requests import EXAMPLES_PER_OPERATION, operations, try_operation

    async with httpx.AsyncClient(base_url=address, timeout=30) as client:
        document = await _document(client)
        await submit_batch(client, [f"tweet {number}" for number in range(5)])

    tried = {
        operation.label: try_operation(address, operation, mode)
        for operation in operations(document)
        if operation.label != WITHOUT_END
        and (mode == "positive" or operation.label in CAN_BE_WRONG)
    }

    expected = ANSWERS if mode == "positive" else CAN_BE_WRONG
    assert len(tried) >= len(expected) - 1
    assert all(tried[label] == EXAMPLES_PER_OPERATION for label in CAN_BE_WRONG)
