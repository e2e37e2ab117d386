"""What the edge sees to on every answer: whose page asks, how the answer may be kept, what a page
may do. Which names and origins pass is in `test_web_pages.py`."""

import asyncio
import hashlib
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.routing import Mount, Route

from api import middleware
from api.cached_value import CachedValue
from api.web_pages import WebPages
from config import Settings
from main import create_app
from tests.conftest import StartApp
from tests.support.http_helpers import (
    ALL_TIME,
    CONVERSATIONS,
    INSIGHTS,
    STATS,
    assert_error,
    captured_log,
    submit,
)

EVIL = {"Host": "evil.example"}
FOREIGN = {"Origin": "https://evil.example"}
UNKNOWN = f"{CONVERSATIONS}/conv_00000000"
KEY = "a-key"
API_KEYS = f"boss:admin:{hashlib.sha256(KEY.encode()).hexdigest()}"
WRITES: list[tuple[str, str, Any]] = [
    ("POST", CONVERSATIONS, {"text": "a"}),
    ("POST", f"{CONVERSATIONS}/batch", {"conversations": [{"text": "a"}]}),
    ("POST", f"{CONVERSATIONS}/retry", None),
    ("POST", f"{UNKNOWN}/retry", None),
    ("DELETE", UNKNOWN, None),
]


# --- whose page asks ------------------------------------------------------------------------------


async def test_without_keys_a_name_that_another_may_own_is_served_nothing(
    start_app: StartApp,
) -> None:
    async with start_app(worker_enabled=False) as running:
        for route in running.app.router.routes:
            assert isinstance(route, Route | Mount)
            methods = (isinstance(route, Route) and route.methods) or {"GET"}
            for method in methods:
                answer = await running.client.request(method, route.path, headers=EVIL)
                if route.path in ("/health", "/ready"):
                    assert answer.status_code == 200
                elif method == "HEAD":
                    assert answer.status_code == 400
                else:
                    assert_error(answer, 400, "invalid_schema", "ALLOWED_HOSTS")
        stats = (await running.client.get(STATS)).json()

    assert stats["counts"]["pending"] == {"live": 0, "bulk": 0}


async def test_a_name_in_allowed_hosts_is_served(start_app: StartApp) -> None:
    async with start_app(allowed_hosts="evil.example, other.example") as running:
        assert (await running.client.get(STATS, headers=EVIL)).status_code == 200
        forwarded = {"Host": "third.example", "X-Forwarded-Host": "evil.example"}
        refused = await running.client.get(STATS, headers=forwarded)

    assert_error(refused, 400, "invalid_schema", "ALLOWED_HOSTS")


def test_of_all_the_names_that_are_served_few_are_remembered() -> None:
    check = middleware._WebCheck(WebPages([]))
    for number in range(1000):
        check.check({"method": "GET", "headers": [(b"host", b"localhost:%d" % number)]})
    assert len(check._served) == 100


@pytest.mark.parametrize("headers", [FOREIGN, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}])
@pytest.mark.parametrize(("method", "path", "body"), WRITES)
async def test_without_keys_no_page_of_another_origin_writes(
    client: httpx.AsyncClient, method: str, path: str, body: Any, headers: dict[str, str]
) -> None:
    refused = await client.request(method, path, json=body, headers=headers)

    assert_error(refused, 403, "forbidden", "origin")
    assert sum((await client.get(STATS)).json()["counts"]["pending"].values()) == 0
    assert (await client.get(STATS, headers=headers)).status_code == 200


async def test_the_pages_of_the_service_itself_write(client: httpx.AsyncClient) -> None:
    own = {"Origin": "http://test", "Sec-Fetch-Site": "same-origin"}

    response = await client.post(CONVERSATIONS, json={"text": "a"}, headers=own)

    assert response.status_code == 202


async def test_with_a_key_neither_the_host_nor_the_origin_matters(start_app: StartApp) -> None:
    """No page can send another's key along."""
    headers = {**EVIL, **FOREIGN, "X-API-Key": KEY}
    async with start_app(api_keys=API_KEYS) as running:
        taken = await running.client.post(CONVERSATIONS, json={"text": "a"}, headers=headers)
        refused = await running.client.post(CONVERSATIONS, json={"text": "a"}, headers=EVIL)

    assert taken.status_code == 202
    assert_error(refused, 401, "unauthorized")


async def test_the_start_of_an_open_service_says_who_can_reach_it(start_app: StartApp) -> None:
    with captured_log() as log:
        async with start_app(allowed_hosts="insights.example.org"):
            pass

    (line,) = log.named("api_is_open")
    assert line["reason"] == line["reason"].upper()
    for part in ("API_KEYS", "EVERYBODY", "LOCALHOST", "INSIGHTS.EXAMPLE.ORG", "BIND"):
        assert part in line["reason"]


# --- how an answer may be kept --------------------------------------------------------------------


async def test_no_answer_is_kept_or_taken_for_what_it_is_not(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock that stands still: what is refused does not depend on how fast the machine is.
    standing = {"clock": lambda: 1000.0}
    monkeypatch.setattr("rate_limiter.SlidingWindow.__init__.__kwdefaults__", standing)
    app = create_app(make_settings(max_body_bytes=100, inbound_rate_limit=12))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        id_ = await submit(client)
        answers = [
            await client.get(f"{CONVERSATIONS}/{id_}"),
            await client.get(INSIGHTS, params=ALL_TIME),
            await client.get(f"{INSIGHTS}/export", params=ALL_TIME),
            await client.get(INSIGHTS),
            await client.get(UNKNOWN),
            await client.put(STATS),
            await client.post(CONVERSATIONS, content=b" " * 101),
            await client.post(CONVERSATIONS, json={}, headers=FOREIGN),
            await client.get(STATS, headers=EVIL),
            await client.delete(f"{CONVERSATIONS}/{id_}"),
            *[await client.get(STATS) for _ in range(20)],
            await client.get("/health"),
            await client.get("/ready"),
            await client.get("/metrics"),
            await client.get("/nothing"),
        ]

    expected = {200, 204, 400, 403, 404, 405, 413, 429}
    assert {answer.status_code for answer in answers} == expected
    for answer in answers:
        assert answer.headers.get_list("cache-control") == ["no-store"], answer.request.url
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]


@pytest.mark.parametrize("path", ["/docs", "/dashboard"])
async def test_no_page_is_framed_or_runs_what_it_does_not_bring(
    client: httpx.AsyncClient, path: str
) -> None:
    response = await client.get(path)

    assert response.status_code == 200
    policy = dict(
        part.split(" ", 1) for part in response.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in policy["script-src"]
    assert "http" not in response.headers["content-security-policy"]
    assert response.headers.get_list("x-content-type-options") == ["nosniff"]
    inline = re.findall(r"<script[^>]*>(.+?)</script>", response.text, re.DOTALL)
    assert len(policy["script-src"].split("'sha256-")) - 1 == len(
        [it for it in inline if it.strip()]
    )


async def test_the_documentation_asks_for_its_files_under_any_path(
    client: httpx.AsyncClient,
) -> None:
    page = (await client.get("/docs")).text

    addresses = re.findall(r"""(?:src|href|spec-url)="([^"]+)"|url: '([^']+)'""", page)
    named = [one or other for one, other in addresses]
    assert "./openapi.json" in named
    for address in named:
        assert not address.startswith(("/", "http"))
        answer = await client.get(f"/{address}")
        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"


# --- cached values --------------------------------------------------------------------------------


async def test_who_asks_together_or_soon_after_gets_one_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("api.cached_value.time.monotonic", lambda: now)
    asked = 0
    cached = CachedValue[int]()

    async def find_out() -> int:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return asked

    together = await asyncio.gather(*(cached.get(find_out) for _ in range(20)))
    now = 100.99
    soon = await cached.get(find_out)
    now = 101.0
    later = await cached.get(find_out)

    assert together == [1] * 20
    assert (soon, later) == (1, 2)


async def test_who_goes_away_or_fails_leaves_nothing_behind() -> None:
    cached = CachedValue[int]()

    async def fail() -> int:
        raise RuntimeError

    async def never() -> int:
        await asyncio.Event().wait()
        return 0

    async def good() -> int:
        return 5

    with pytest.raises(RuntimeError):
        await cached.get(fail)
    gone = asyncio.create_task(cached.get(never))
    waiting = asyncio.create_task(cached.get(good))
    await asyncio.sleep(0)
    gone.cancel()

    assert await waiting == 5


async def test_a_flood_of_ready_and_metrics_asks_the_database_once(
    start_app: StartApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.cached_value.SECONDS", 60.0)
    async with start_app() as running:
        parts = running.app.state.services
        asked = []
        for owner, name in (
            (parts.database, "check_writable"),
            (parts.figures, "stalled_seconds"),
            (parts.figures, "all"),
        ):
            real = getattr(owner, name)

            async def counted(name: str = name, real: Any = real) -> Any:
                asked.append(name)
                return await real()

            monkeypatch.setattr(owner, name, counted)
        paths = ["/ready", "/metrics", "/ready?for=traffic"] * 30
        answers = await asyncio.gather(*(running.client.get(path) for path in paths))

    assert {answer.status_code for answer in answers} == {200}
    assert {"all", "check_writable"} <= set(asked)
    assert len(asked) == len(set(asked))


async def test_what_balances_the_load_does_not_hear_of_those_who_analyse(
    start_app: StartApp,
) -> None:
    async with start_app() as running:
        (worker,) = [task for task in asyncio.all_tasks() if task.get_name() == "worker"]
        worker.cancel()
        await asyncio.wait([worker], timeout=5)

        in_all = await running.client.get("/ready")
        for_traffic = await running.client.get("/ready?for=traffic")
        nonsense = await running.client.get("/ready?for=nothing")

    assert in_all.status_code == 503
    assert (for_traffic.status_code, for_traffic.json()) == (
        200,
        {"status": "ready", "checks": {"database": "ok"}},
    )
    assert_error(nonsense, 400, "invalid_schema", "for")


async def test_with_keys_the_metrics_take_one(start_app: StartApp) -> None:
    async with start_app(api_keys=API_KEYS) as running:
        assert_error(await running.client.get("/metrics"), 401, "unauthorized")
        answer = await running.client.get("/metrics", headers={"X-API-Key": KEY})

    assert answer.status_code == 200
    assert "http_requests_total" in answer.text
