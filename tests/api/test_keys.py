"""Who may ask."""

import hashlib
from typing import Any

import httpx
import pytest

from tests.conftest import StartApp
from tests.support.api_keys import API_KEYS, KEYS
from tests.support.http_helpers import CONVERSATIONS, INSIGHTS, STATS, assert_error, captured_log

pytestmark = pytest.mark.usefixtures("holds")
UNKNOWN = f"{CONVERSATIONS}/conv_00000000"
OPERATIONS: list[tuple[str, str, str, Any]] = [
    ("read", "GET", STATS, None),
    ("read", "GET", f"{INSIGHTS}?start_time=2025-01-01&end_time=2025-01-02", None),
    ("read", "GET", UNKNOWN, None),
    ("read", "HEAD", STATS, None),
    ("write", "POST", CONVERSATIONS, {"text": "a"}),
    ("write", "POST", f"{CONVERSATIONS}/batch", {"conversations": [{"text": "a"}]}),
    ("write", "POST", f"{CONVERSATIONS}/retry", None),
    ("write", "POST", f"{UNKNOWN}/retry", None),
    ("admin", "DELETE", UNKNOWN, None),
]
RANK = ["read", "write", "admin"]


@pytest.mark.parametrize("blank", ["", " ", "\t"])
async def test_blanks_after_a_header_are_no_part_of_a_key(start_app: StartApp, blank: str) -> None:
    """As HTTP has it, and the parser does not."""
    async with start_app(api_keys=API_KEYS, worker_enabled=False) as running:
        first, again = [
            await running.client.post(
                CONVERSATIONS,
                json={"text": "where is it"},
                headers=[("X-API-Key", KEYS["write"] + more), ("Idempotency-Key", "7" + more)],
            )
            for more in ("", blank)
        ]
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()


async def test_an_idempotency_key_belongs_to_the_api_key_that_sent_it(start_app: StartApp) -> None:
    async with start_app(api_keys=API_KEYS, worker_enabled=False) as running:

        async def post(scope: str, text: str) -> httpx.Response:
            headers = {"Authorization": f"Bearer {KEYS[scope]}", "Idempotency-Key": "order-7"}
            return await running.client.post(CONVERSATIONS, json={"text": text}, headers=headers)

        async def post_batch(scope: str, text: str) -> httpx.Response:
            return await running.client.post(
                f"{CONVERSATIONS}/batch",
                json={"conversations": [{"text": text, "idempotency_key": "order-7"}]},
                headers={"X-API-Key": KEYS[scope]},
            )

        mine, theirs = await post("write", "where is it"), await post("admin", "all is well")
        assert (mine.status_code, theirs.status_code) == (202, 202)
        mine_id, their_id = (answer.json()["conversation_id"] for answer in (mine, theirs))
        assert mine_id != their_id
        assert (await post("write", "where is it")).json()["conversation_id"] == mine_id
        for scope, text, id_ in (
            ("write", "where is it", mine_id),
            ("admin", "all is well", their_id),
        ):
            answer = await post_batch(scope, text)
            assert answer.json()["conversation_ids"] == [id_]
        assert_error(await post("write", "all is well"), 409, "conflict", "another text")
        place = "conversations[0].idempotency_key: "
        for scope, text in (("write", "all is well"), ("admin", "where is it")):
            refused = await post_batch(scope, text)
            assert_error(refused, 409, "conflict", place)
            assert refused.headers["Idempotency-Conflict-Items"] == "0"


# --- API keys -------------------------------------------------------------------------------------


async def test_stats_tell_what_the_key_that_asks_may_do(start_app: StartApp) -> None:
    async with start_app(api_keys=API_KEYS) as running:
        for scope, key in KEYS.items():
            headers = {"Authorization": f"Bearer {key}"}
            answer = await running.client.get("/api/v1/stats", headers=headers)
            assert answer.json()["key_scope"] == scope
    async with start_app() as running:
        assert (await running.client.get("/api/v1/stats")).json()["key_scope"] is None


@pytest.mark.parametrize(("needed", "method", "path", "body"), OPERATIONS)
async def test_an_operation_takes_the_keys_of_its_scope_and_above(
    start_app: StartApp, needed: str, method: str, path: str, body: Any
) -> None:
    async with start_app(api_keys=API_KEYS, worker_enabled=False) as running:
        answers = {
            scope: await running.client.request(
                method, path, json=body, headers={"Authorization": f"Bearer {key}"}
            )
            for scope, key in KEYS.items()
        }

    for scope, answer in answers.items():
        if RANK.index(scope) < RANK.index(needed):
            assert_error(answer, 403, "forbidden", needed)
        else:
            assert answer.status_code in (200, 202, 404, 405), answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": KEYS["admin"]},
        {"Authorization": f"Basic {KEYS['admin']}"},
        {"Authorization": f"Bearer {KEYS['admin']}x"},
        {"Authorization": f"Bearer {KEYS['admin'].upper()}"},
        {"Authorization": f"Bearer {hashlib.sha256(KEYS['admin'].encode()).hexdigest()}"},
        {"X-API-Key": ""},
        {"X-API-Key": "wrong"},
        {"X-API-Key": f"Bearer {KEYS['admin']}"},
        {"Cookie": f"X-API-Key={KEYS['admin']}"},
        {"Authorization": b"Bearer \xff\xfe"},
    ],
)
async def test_without_a_valid_key_nothing_of_the_api_answers(
    start_app: StartApp, headers: dict[str, Any]
) -> None:
    async with start_app(api_keys=API_KEYS, worker_enabled=False) as running:
        for _, method, path, body in OPERATIONS:
            if method == "HEAD":
                continue
            response = await running.client.request(method, path, json=body, headers=headers)

            assert_error(response, 401, "unauthorized")
            assert response.headers["www-authenticate"] == "Bearer"
            assert KEYS["admin"] not in response.text
        assert_error(
            await running.client.get("/api/v1/nothing", headers=headers), 401, "unauthorized"
        )


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEYS['read']}"},
        {"Authorization": f"bearer {KEYS['read']}"},
        {"Authorization": f"BEARER   {KEYS['read']} "},
        {"X-API-Key": KEYS["read"]},
        {"x-api-key": KEYS["read"], "Authorization": "Basic abc"},
    ],
)
async def test_a_key_may_come_in_either_header(
    start_app: StartApp, headers: dict[str, str]
) -> None:
    async with start_app(api_keys=API_KEYS) as running:
        response = await running.client.get(STATS, headers=headers)

    assert response.status_code == 200


async def test_a_refused_request_stores_nothing(start_app: StartApp) -> None:
    async with start_app(api_keys=API_KEYS, worker_enabled=False) as running:
        await running.client.post(CONVERSATIONS, json={"text": "a"})
        await running.client.post(
            CONVERSATIONS, json={"text": "a"}, headers={"X-API-Key": KEYS["read"]}
        )
        stats = await running.client.get(STATS, headers={"X-API-Key": KEYS["read"]})

    assert stats.json()["counts"]["pending"] == {"live": 0, "bulk": 0}


@pytest.mark.parametrize("path", ["/health", "/ready", "/docs", "/openapi.json", "/", "/dashboard"])
async def test_what_is_outside_the_api_needs_no_key(start_app: StartApp, path: str) -> None:
    async with start_app(api_keys=API_KEYS) as running:
        response = await running.client.get(path)

    assert response.status_code in (200, 307)


async def test_one_key_may_be_listed_with_two_scopes(start_app: StartApp) -> None:
    digest = hashlib.sha256(b"shared").hexdigest()
    async with start_app(api_keys=f"a:read:{digest},b:admin:{digest}") as running:
        response = await running.client.delete(UNKNOWN, headers={"X-API-Key": "shared"})

    assert_error(response, 404, "not_found")


async def test_an_open_service_says_so_in_the_log_and_a_closed_one_does_not(
    start_app: StartApp,
) -> None:
    with captured_log() as log:
        async with start_app() as running:
            assert (await running.client.get(STATS)).status_code == 200
    with captured_log() as closed_log:
        async with start_app(api_keys=API_KEYS):
            pass

    (line,) = log.named("api_is_open")
    assert line["level"] == "warning"
    assert "API_KEYS" in line["reason"]
    assert closed_log.named("api_is_open") == []
