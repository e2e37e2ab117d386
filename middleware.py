"""What every request passes on its way in and out, as plain ASGI.

From the outside in: RequestLog (id, log line, metrics, the last resort for bugs), InboundLimit,
KeyCheck, BodyLimit. Each answers errors in the service's one shape.
"""

import asyncio
import math
import re
import time
from collections.abc import Callable
from random import getrandbits

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_keys import ApiKeys
from config import Scope as KeyScope
from errors import RateLimited, ServiceError, TooLarge, Unavailable
from http_errors import error_response
from rate_limiter import Window

log = structlog.get_logger(__name__)

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
    """Gives each request an id, answers it as `X-Request-ID`, logs and counts what became of it."""

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
                message["headers"].append((b"x-request-id", request_id.encode()))
            await send(message)

        task = asyncio.current_task()
        assert task is not None
        self._open_requests.add(task)
        failure: ServiceError | None = None
        try:
            await self._app(scope, receive, send_with_id)
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


class InboundLimit:
    """Answers 429 where `/api` gets more requests than the window lets pass."""

    def __init__(self, app: ASGIApp, *, window: Window) -> None:
        self._app = app
        self._window = window

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/api/"):
            wait = await self._window.try_pass()
            if wait:
                error = RateLimited(
                    "Too many requests in this second.", retry_after=max(1, math.ceil(wait))
                )
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class KeyCheck:
    """Lets requests to `/api` pass only with a key of the scope that the operation needs."""

    def __init__(self, app: ASGIApp, *, api_keys: ApiKeys) -> None:
        self._app = app
        self._api_keys = api_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/api/"):
            try:
                name = self._api_keys.check(_presented_key(scope), _needed_scope(scope["method"]))
                scope["api_key_name"] = name
            except ServiceError as error:
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _presented_key(scope: Scope) -> str:
    """From `Authorization: Bearer <key>` or `X-API-Key: <key>`; empty where there is none."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    kind, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    bearer = kind.lower() == b"bearer"
    key = credentials.strip() if bearer else headers.get(b"x-api-key", b"")
    return key.decode("utf-8", "surrogateescape")


def _needed_scope(method: str) -> KeyScope:
    if method in ("GET", "HEAD", "OPTIONS"):
        return "read"
    return "admin" if method == "DELETE" else "write"


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
