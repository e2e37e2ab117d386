"""HTTP as ASGI has it: reading a body, noticing who leaves, sending, breaking off."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


class Protocol(HttpToolsProtocol):
    """Notes when a request came in, as `arrived` in its scope: before the application has had its
    turn, which may be after that of others."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["arrived"] = time.monotonic()  # type: ignore[typeddict-unknown-key]


def headers_of(scope: Scope) -> dict[str, str]:
    """Names in lower case."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


async def read_body(receive: Receive) -> bytes | None:
    """The whole body, None if the client left before its end."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += bytes(message["body"])
        if not message["more_body"]:
            return body


async def client_stays(receive: Receive, seconds: float) -> bool:
    """Wait this long; False as soon as the client has gone."""
    if seconds <= 0.0:
        return True
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return True
    return False


async def reset_connection(receive: Receive, send: Send) -> None:
    # ASGI has no word for this: `send` is a method of uvicorn's request cycle, which holds the
    # transport. Returning before it has noticed would make it answer 500.
    cast(Any, send).__self__.transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


async def respond(send: Send, status: int, headers: Headers, data: bytes) -> None:
    await _start(send, status, headers, len(data))
    await send({"type": "http.response.body", "body": data})


async def respond_json(send: Send, status: int, value: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await respond(send, status, headers, json.dumps(value).encode())


async def respond_halfway(receive: Receive, send: Send, headers: Headers, data: bytes) -> None:
    """A 200 whose connection is reset in the middle of the body."""
    await _start(send, 200, headers, len(data))
    await send({"type": "http.response.body", "body": data[: len(data) // 2], "more_body": True})
    await reset_connection(receive, send)


async def _start(send: Send, status: int, headers: Headers, length: int) -> None:
    headers = [
        *headers,
        (b"content-length", b"%d" % length),
        (b"x-request-id", str(uuid.uuid4()).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
