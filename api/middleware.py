"""The layers that every request passes on its way in and out, as plain ASGI.

From the outside in: RequestLog (id, log line, metrics, the last resort for bugs), Admission (which
route will answer; key, limit and scope, or where there are no keys whether a browser asks for a
page of another site), BodyLimit. Each answers errors in the service's one shape.
"""

import asyncio
import re
import time
from collections.abc import Callable
from random import getrandbits

import structlog
from starlette._utils import get_route_path
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import Access, find_access
from api.connections import network_of
from api.error_responses import error_response
from api.holding import HeldRequests
from api.inbound_limits import InboundLimits
from api.keys import ApiKeys, check_scope
from api.path_ids import template_of, template_of_route
from api.web_pages import WebPages
from config import ApiKey
from errors import (
    Forbidden,
    InvalidInput,
    RateLimited,
    ServiceError,
    TooLarge,
    Unauthorized,
    Unavailable,
)

log = structlog.get_logger(__name__)

_CACHE_HEADERS = {b"cache-control", b"etag"}
_MOST_HOSTS_CACHED = 100
_SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class OpenRequests:
    """The requests under way, so that shutdown can end those that would outlast it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending = False

    def add(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)

    def remove(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)

    @property
    def ending(self) -> bool:
        return self._ending

    def end(self) -> None:
        self._ending = True
        for task in self._tasks:
            task.cancel()


class RequestLog:
    """Gives each request an id, answers it as `X-Request-ID`, logs and counts the outcome.

    Answers without a caching header get `no-store`, and all get `nosniff`. HEAD is answered as GET
    is, without the body.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        observe: Callable[[str, str, int, float], None],
        open_requests: OpenRequests,
    ) -> None:
        """`observe` gets the method, the route's template, the status and the seconds taken."""
        self._app = app
        self._observe = observe
        self._open_requests = open_requests
        self._log = log.bind()  # binding once spares each request the set-up

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        given = dict(scope["headers"]).get(b"x-request-id")
        request_id = (
            given.decode() if given and _REQUEST_ID.fullmatch(given) else f"{getrandbits(64):016x}"
        )
        scope["request_id"] = request_id
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                names = {name for name, _ in headers}
                if names.isdisjoint(_CACHE_HEADERS):
                    headers.append((b"cache-control", b"no-store"))
                if b"x-content-type-options" not in names:
                    headers.append((b"x-content-type-options", b"nosniff"))
                headers.append((b"x-request-id", request_id.encode()))
            await send(message)

        task = asyncio.current_task()
        assert task is not None
        self._open_requests.add(task)
        failure: ServiceError | None = None
        app = _as_get(self._app) if scope["method"] == "HEAD" else self._app
        try:
            await app(scope, receive, send_with_id)
        except asyncio.CancelledError:
            if not self._open_requests.ending:
                raise
            task.uncancel()
            failure = Unavailable("The service is shutting down.", retry_after=5)
        except ClientDisconnect:
            status = 499  # nobody is left to be told; the number is nginx's for this
        except Exception:
            self._log.exception("request_failed", request_id=request_id, path=scope["path"])
            failure = ServiceError("Something went wrong inside; the log has it under this id.")
        finally:
            self._open_requests.remove(task)
        if failure and not status:
            await error_response(failure)(scope, receive, send_with_id)
        seconds = time.perf_counter() - started
        route = getattr(scope.get("route"), "path", "other")
        self._observe(scope["method"], route, status, seconds)
        self._log.info(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            ms=round(seconds * 1000, 2),
            request_id=request_id,
        )


def _as_get(app: ASGIApp) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        # A copy: the server has to know that no body will follow the head.
        as_get = {**scope, "method": "GET", "is_head": True}
        try:
            await app(as_get, receive, send_without_body)
        finally:
            scope.update(as_get, method="HEAD")  # with the route, for the log

    return answer


class Admission:
    """Refuses who may not reach the route that will answer.

    Where there are no keys, that is what a browser sends for other people's pages. Then come the
    key, the limits and the key's scope: the key first, so that requests without one take nothing
    from others. Handlers find the key as `scope["api_key"]`, None where the API is open.
    """

    def __init__(
        self, app: ASGIApp, *, api_keys: ApiKeys, limits: InboundLimits | None, pages: WebPages
    ) -> None:
        self._app = app
        self._api_keys = api_keys
        self._limits = limits
        self._held = HeldRequests()
        self._routes = _Routes()
        self._web = None if api_keys else _WebCheck(pages)
        self._closed = bool(api_keys or limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["api_key"] = None
            access = self._routes.access(scope)
            try:
                if self._web and not access.any_host:
                    self._web.check(scope)
                if not access.open and self._closed:
                    await self._admit(scope, access)
                elif self._limits:
                    await self._let_in(scope, receive, access)
            except ServiceError as error:
                refused = await self._put_off(error, scope, receive)
                await error_response(refused)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _put_off(self, error: ServiceError, scope: Scope, receive: Receive) -> ServiceError:
        """What to answer, after a while where too much was asked for: its body may be refused
        meanwhile."""
        if isinstance(error, RateLimited):
            try:
                await self._held.hold(network_of(_address(scope)), receive)
            except ServiceError as meanwhile:
                return meanwhile
        return error

    async def _let_in(self, scope: Scope, receive: Receive, access: Access) -> None:
        """What needs no key: at once, or where too much is asked for, late. Whoever has answers put
        off has no other at once, or the first of each second would come together."""
        address = network_of(_address(scope))
        assert self._limits is not None
        if self._held.waits(address) or not await self._limits.passes_openly():
            await self._held.hold(address, receive, access.most_held)

    async def _admit(self, scope: Scope, access: Access) -> None:
        """Raises Unauthorized, RateLimited or Forbidden."""
        key: ApiKey | None = None
        if self._api_keys:
            try:
                key = self._api_keys.identify(_presented_key(scope))
            except Unauthorized:
                if self._limits:
                    await self._limits.stranger(_address(scope))
                raise
        if self._limits and access.limited:
            await self._limits.request(key)
        if key is not None:
            check_scope(key, access.scope)
        scope["api_key"] = key


class _Routes:
    """The `Access` of the route that will answer a request."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Access] = {}
        """By method and path, with a blank for each id: only of paths that are a route's own."""

    def access(self, scope: Scope) -> Access:
        asked = scope["method"], template_of(get_route_path(scope))[0]
        access = self._found.get(asked)
        if access is None:
            routes = scope["app"].router.routes
            access = find_access(routes, scope)
            if any(_is_exactly(route, *asked) for route in routes):
                self._found[asked] = access
        return access


def _is_exactly(route: BaseRoute, method: str, template: str) -> bool:
    return (
        isinstance(route, Route)
        and template_of_route(route.path)[0] == template
        and method in (route.methods or ())
    )


class _WebCheck:
    """Refuses requests that a browser sends for other people's pages."""

    def __init__(self, pages: WebPages) -> None:
        self._pages = pages
        self._served: set[bytes] = set()

    def check(self, scope: Scope) -> None:
        """Raises InvalidInput or Forbidden."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        host = headers.get(b"host")
        if host is None:
            return  # HTTP/1.0, which no browser speaks
        if host not in self._served:
            self._check_host(host)
        if scope["method"] in _SAFE_METHODS:
            return
        origin, fetch_site = headers.get(b"origin"), headers.get(b"sec-fetch-site")
        if (origin is not None or fetch_site is not None) and not self._pages.may_write(
            host.decode("latin-1"),
            origin=None if origin is None else origin.decode("latin-1"),
            fetch_site=None if fetch_site is None else fetch_site.decode("latin-1"),
        ):
            raise Forbidden(
                "A web page of another origin may not write: name its host in ALLOWED_HOSTS."
            )

    def _check_host(self, host: bytes) -> None:
        if not self._pages.serves(host.decode("latin-1")):
            raise InvalidInput(
                "Without API keys this Host is not served: name it in ALLOWED_HOSTS, or set keys."
            )
        if len(self._served) < _MOST_HOSTS_CACHED:
            self._served.add(host)


def _address(scope: Scope) -> str:
    return (scope.get("client") or ("",))[0]


def _presented_key(scope: Scope) -> str:
    """From `Authorization: Bearer <key>` or `X-API-Key: <key>`, without the blanks around it, which
    the parser leaves at its end; empty where there is none."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    kind, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    bearer = kind.lower() == b"bearer"
    key = credentials if bearer else headers.get(b"x-api-key", b"")
    return key.strip().decode("utf-8", "surrogateescape")


class BodyLimit:
    """Answers 413 to a body over `max_bytes`, as soon as that is known: without reading on."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"")
        if declared.isdigit():  # the server sees to it that no more comes than was declared
            if int(declared) > self._max_bytes:
                await error_response(self._error())(scope, receive, send)
            else:
                await self._app(scope, receive, send)
            return
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise self._error()
            return message

        await self._app(scope, receive_counted, send)

    def _error(self) -> TooLarge:
        return TooLarge(f"The body is larger than {self._max_bytes} bytes.")
