"""One request and its answer: the application, with bounds on what it reads and writes."""

import asyncio
from typing import Any, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from api.connections import Limits
from errors import ServiceError

_SMALL_WRITE = 65_536
"""What uvloop takes before it asks to pause: an answer of that size is sent off in one go."""


class BoundedConnection(Protocol):
    """`refusal` is the error that ends the request, once there is one. `hold_answer` and
    `release_answer` count the bytes of an answer that wait for their reader."""

    flow: FlowControl
    has_written: bool

    @property
    def limits(self) -> Limits: ...
    @property
    def refusal(self) -> ServiceError | None: ...
    def abort(self) -> None: ...
    def end_exchange(self, exchange: "Exchange") -> None: ...
    def hold_answer(self, size: int) -> None: ...
    def release_answer(self, size: int) -> None: ...


class Exchange:
    """The ASGI application that answers one request of a connection."""

    __slots__ = ("_app", "_connection", "_cycle", "body_bytes")

    def __init__(
        self, connection: BoundedConnection, cycle: RequestResponseCycle, app: ASGIApp
    ) -> None:
        self._connection = connection
        self._cycle = cycle
        self._app = app
        self.body_bytes = 0

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        cycle = self._cycle
        try:
            await self._app(scope, self._receive, self._send)
        finally:
            self._connection.end_exchange(self)
            if cycle.response_started and not cycle.response_complete:
                # Cut off by the end of the service: what is left of it is no answer any more.
                cycle.disconnected = True
                self._connection.abort()

    async def _receive(self) -> Message:
        message: Message = await self._cycle.receive()  # type: ignore[assignment]
        refusal = self._connection.refusal
        if refusal is None:
            return message
        if self._cycle.response_started:
            return {"type": "http.disconnect"}
        raise refusal

    async def _send(self, message: Message) -> None:
        send: Any = self._cycle.send  # uvicorn's types of messages are not Starlette's
        self._connection.has_written = True
        body = message.get("body", b"")
        if len(body) <= _SMALL_WRITE:
            await send(message)
            if self._cycle.disconnected:
                await asyncio.sleep(0)  # whoever writes without end must hear of it
            return
        connection = self._connection
        size, step = len(body), connection.limits.write_bytes
        connection.hold_answer(size)
        try:
            view = memoryview(body)
            for start in range(0, size, step):
                await send({**message, "body": view[start : start + step], "more_body": True})
                await connection.flow.drain()
                if self._cycle.disconnected:
                    await asyncio.sleep(0)
                    return
            if not message.get("more_body", False):
                await send({**message, "body": b""})
        finally:
            connection.release_answer(size)
