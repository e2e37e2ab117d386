"""Keys, limits and every other check go by the route that answers, however it was reached."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, unquote

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from api.access import NEVER_SAID, access_of, needs, open_to_all
from api.holding import HeldRequests
from api.path_ids import template_of
from config import Settings
from main import create_app
from tests.support.http_helpers import CONVERSATIONS, STATS, assert_error


@pytest.fixture(autouse=True)
def _answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands are refused here."""
    monkeypatch.setattr(HeldRequests, "seconds", lambda *_: 0.0)


KEY = "a-key-that-may-do-everything"
API_KEYS = f"boss:admin:{hashlib.sha256(KEY.encode()).hexdigest()}"
HEADERS = {"Authorization": f"Bearer {KEY}"}
FOR_ADMINS = {
    ("POST", "/api/v1/backups"),
    ("DELETE", "/api/v1/conversations/{conversation_id}"),
}
OPEN = {
    "/",
    "/dashboard/",
    "/health",
    "/ready",
    "/docs",
    "/openapi.json",
    "/static-offline-docs",
    "/dashboard",
    "/dashboard/{name}",
}
STREAM = "/api/v1/stream"
MADE: dict[str, dict[str, object]] = {
    "/api/v1/rules": {"name": "a", "filter": {"q": "a"}, "set": {"sentiment": "neutral"}},
    "/api/v1/alert-rules": {"name": "a", "kind": "rising"},
    "/api/v1/endpoints": {"name": "a", "kind": "slack", "url": "https://example.com/a"},
    "/api/v1/plans": {"kind": "unlabel", "filter": {"q": "a"}},
}
ID_NAMES = ("plan_id", "rule_id", "endpoint_id")


def under_a_path(app: ASGIApp, root_path: str, *, handed_on: bool = False) -> ASGIApp:
    """As uvicorn does it with `--root-path`, behind a proxy that takes the prefix away or, with
    `handed_on`, does not."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            twice = root_path if handed_on else ""
            path = f"{root_path}{twice}{scope['path']}"
            scope = {**scope, "root_path": root_path, "path": path}
        await app(scope, receive, send)

    return serve


def mounted(app: FastAPI, path: str) -> ASGIApp:
    """As a part of another application, called by its own paths."""
    outer = Starlette(routes=[Mount(path, app)])

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        root_path = scope.get("root_path", "")
        inside = scope["path"].removeprefix(root_path)
        await outer({**scope, "path": f"{root_path}{path}{inside}"}, receive, send)

    return serve


WAYS: dict[str, Callable[[FastAPI], ASGIApp]] = {
    "plainly": lambda app: app,
    "root path": lambda app: under_a_path(app, "/insights"),
    "deep root path": lambda app: under_a_path(app, "/a/b"),
    "root path with a slash": lambda app: under_a_path(app, "/insights/"),
    "root path that a proxy hands on": lambda app: under_a_path(app, "/insights", handed_on=True),
    "root path like one of ours": lambda app: under_a_path(app, "/api"),
    "root path like an open one": lambda app: under_a_path(app, "/health"),
    "mounted": lambda app: mounted(app, "/sub"),
    "mounted where it is open": lambda app: mounted(app, "/health"),
    "mounted under a root path": lambda app: under_a_path(mounted(app, "/sub"), "/insights"),
}


def spellings(path: str) -> Iterator[str]:
    yield path
    yield f"/{path}"  # doubled slashes
    yield path.replace("/", "//")
    yield path[:-1] + f"%{ord(path[-1]):02x}"  # escapes
    yield path[0] + f"%{ord(path[1]):02X}" + path[2:] if len(path) > 1 else path
    yield quote(path, safe="").replace("%2F", "/", 1)
    yield f"{path}/"
    yield f"{path}/."
    yield f"/health/..{path}"
    yield f"/health/%2e%2e{path}"
    yield f"/health;{path}"
    yield f"/dashboard/..{path}"
    yield f"/docs/..%2f{path[1:]}"
    yield path.upper()
    yield f"{path}?/health"


def operations(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path of all there is."""
    for route in app.router.routes:
        assert isinstance(route, Route | Mount)
        path = re.sub(r"\{[a-z_]+_id\}", "conv_00000000", route.path)
        for method in (isinstance(route, Route) and route.methods) or {"GET"}:
            yield method, path.replace("{name}", "page.js")


@asynccontextmanager
async def reached(
    app: FastAPI, way: Callable[[FastAPI], ASGIApp]
) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(way(app), raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client


def request(client: httpx.AsyncClient, method: str, path: str, **rest: Any) -> httpx.Request:
    """With the path as it is written, which httpx would tidy up."""
    made = client.build_request(method, "/", **rest)
    raw, _, query = path.partition("?")
    made.url = made.url.copy_with(raw_path=f"{raw}?{query}".encode())
    return made


async def status_of(app: ASGIApp, method: str, path: str) -> int:
    """Of the answer to such a request without a body. Thousands are sent, and what httpx does for
    each takes as long as what the service does."""
    raw, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "headers": [(b"host", b"test"), (b"accept", b"*/*")],
        "scheme": "http",
        "path": unquote(raw),
        "raw_path": raw.encode(),
        "query_string": query.encode(),
        "server": ("test", None),
        "client": ("127.0.0.1", 123),
        "root_path": "",
    }
    asked, answered = [{"type": "http.request"}], asyncio.Event()
    statuses: list[int] = []

    async def receive() -> Any:
        if asked:
            return asked.pop()
        await answered.wait()  # the client stays until then
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        elif not message.get("more_body", False):
            answered.set()

    await app(scope, receive, send)
    assert answered.is_set()
    (status,) = statuses
    return status


def test_every_route_says_who_may_reach_it(make_settings: Callable[..., Settings]) -> None:
    app = create_app(make_settings())
    open_paths = set()
    for route in app.router.routes:
        access = access_of(route)
        assert access is not NEVER_SAID, route
        assert isinstance(route, Route | Mount)
        assert template_of(route.path) == (route.path, []), "all ids must lead to one route"
        if access.open:
            open_paths.add(route.path)
            continue
        assert isinstance(route, Route)
        assert route.methods
        (method,) = route.methods
        expected = "read" if method == "GET" else "write"
        if (method, route.path) in FOR_ADMINS or route.path.startswith("/api/v1/endpoints"):
            expected = "admin"
        assert access.scope == expected
        assert access.limited is (route.path != "/metrics")
    assert open_paths == OPEN


@pytest.mark.parametrize("way", WAYS)
async def test_no_way_and_no_spelling_leads_past_the_keys(
    make_settings: Callable[..., Settings], way: str
) -> None:
    app = create_app(make_settings(api_keys=API_KEYS, worker_enabled=False))
    way_in = WAYS[way](app)
    async with reached(app, WAYS[way]) as client:
        for method, path in operations(app):
            plain = await client.send(request(client, method, path))
            is_open = path in OPEN or path == "/dashboard/page.js"
            if is_open:
                assert plain.status_code not in (401, 403), (method, path)
            else:
                assert_error(plain, 401, "unauthorized")
                if path != STREAM:  # which would never end
                    with_key = await client.send(request(client, method, path, headers=HEADERS))
                    assert with_key.status_code not in (401, 403), (method, path)
                for spelling in spellings(path):
                    status = await status_of(way_in, method, spelling)
                    # What the pages' routes answer is a file's name that there is not.
                    assert status in (401, 404, 405), (method, spelling)
        stats = await client.get(STATS, headers=HEADERS)

    if way != "mounted where it is open":
        assert stats.json()["counts"]["pending"] == {"live": 0, "bulk": 0}


@pytest.mark.parametrize("way", WAYS)
async def test_no_way_and_no_spelling_leads_past_the_limit(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    # A clock that stands still: all of this is in one second.
    standing = {"clock": lambda: 1000.0}
    monkeypatch.setattr("rate_limiter.SlidingWindow.__init__.__kwdefaults__", standing)
    app = create_app(make_settings(inbound_rate_limit=5, worker_enabled=False))
    way_in = WAYS[way](app)
    async with reached(app, WAYS[way]) as client:
        answers = [(await client.get(STATS)).status_code for _ in range(5)]
        for method, path in operations(app):
            if path.startswith("/api/"):
                answers += [
                    await status_of(way_in, method, spelling) for spelling in spellings(path)
                ]

    assert answers[:5] == [200] * 5
    assert set(answers[5:]) <= {404, 429}
    assert answers.count(429) >= len(list(operations(app))) / 3


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_open_is_open_on_every_way(
    make_settings: Callable[..., Settings], way: str
) -> None:
    app = create_app(make_settings(api_keys=API_KEYS, worker_enabled=False))
    async with reached(app, WAYS[way]) as client:
        for path in ("/health", "/ready", "/docs", "/dashboard", "/dashboard/page.js"):
            assert (await client.get(path)).status_code == 200, path


async def test_a_route_that_names_no_scope_is_closed_as_soon_as_there_are_keys(
    make_settings: Callable[..., Settings],
) -> None:
    async def forgotten(_request: Request) -> Response:
        return PlainTextResponse("secret")

    app = create_app(make_settings(api_keys=API_KEYS))
    app.router.routes.append(Route("/forgotten", forgotten))
    app.router.routes.append(Mount("/other", PlainTextResponse("secret")))
    async with reached(app, WAYS["plainly"]) as client:
        for path in ("/forgotten", "/other/x"):
            assert_error(await client.get(path), 401, "unauthorized")
            assert_error(await client.get(path, headers=HEADERS), 403, "forbidden")


async def test_the_mark_of_a_handler_is_the_last_word() -> None:
    @needs("write")
    async def handler(_request: Request) -> Response:
        return PlainTextResponse("")

    assert access_of(Route("/x", handler)).scope == "write"
    assert access_of(Mount("/y", open_to_all()(PlainTextResponse("")))).open


@pytest.mark.parametrize(
    ("way", "before"),
    [
        ("plainly", ""),
        ("root path", "/insights"),
        ("root path with a slash", "/insights"),
        ("root path that a proxy hands on", "/insights"),
        ("deep root path", "/a/b"),
        ("mounted", "/sub"),
        ("mounted under a root path", "/insights/sub"),
    ],
)
async def test_what_a_client_is_sent_to_is_under_the_same_path(
    make_settings: Callable[..., Settings], way: str, before: str
) -> None:
    app = create_app(make_settings(worker_enabled=False))
    async with reached(app, WAYS[way]) as client:
        accepted = await client.post(CONVERSATIONS, json={"text": "a"})
        made = [await client.post(path, json=body) for path, body in MADE.items()]
        home = await client.get("/")
        document = (await client.get("/openapi.json")).json()

    id_ = accepted.json()["conversation_id"]
    assert accepted.headers["location"] == f"{before}{CONVERSATIONS}/{id_}"
    for path, created in zip(MADE, made, strict=True):
        assert created.status_code == 201
        (id_,) = (created.json()[name] for name in ID_NAMES if created.json().get(name))
        assert created.headers["location"] == f"{before}{path}/{id_}"
    outside = httpx.URL(f"https://example.org{before}/")
    assert outside.join(home.headers["location"]).path == f"{before}/dashboard"
    assert document.get("servers", []) == ([{"url": before}] if before else [])


async def test_a_root_path_without_a_slash_at_its_end_leads_to_the_page(
    make_settings: Callable[..., Settings],
) -> None:
    """Where a proxy hands it on, as somebody types it."""
    app = create_app(make_settings(worker_enabled=False))

    async def typed(scope: Scope, receive: Receive, send: Send) -> None:
        where = {"root_path": "/insights", "path": "/insights/insights"}
        await app({**scope, **where} if scope["type"] == "http" else scope, receive, send)

    async with reached(app, lambda _: typed) as client:
        home = await client.get("/insights")

    assert home.status_code == 307
    outside = httpx.URL("https://example.org/insights")
    assert outside.join(home.headers["location"]).path == "/insights/dashboard"


async def test_a_root_path_that_is_no_ascii_is_escaped(
    make_settings: Callable[..., Settings],
) -> None:
    app = create_app(make_settings(worker_enabled=False))
    async with reached(app, lambda app: under_a_path(app, "/büro")) as client:
        accepted = await client.post(CONVERSATIONS, json={"text": "a"})

    assert accepted.headers["location"].startswith("/b%C3%BCro/api/v1/")
