"""uvicorn's HTTP protocol with bounds, in bytes and in time, on what a client can make it hold.

    uvicorn main:app --http api.connection_guard:GuardedProtocol

The head of a request, its body and each write of the answer have a size or a rate, and a deadline.
One request of a connection is read at a time: what is sent after it waits, unparsed. A refusal has
the one shape of our errors, is followed by the end of the connection, and is logged. uvicorn calls
the methods that are overridden here; `api/connections.py` has the bounds that all share.
"""

import asyncio
import re
import socket
from math import inf
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from runtime.quick_imports import quick_imports

with quick_imports():
    import httptools
    from uvicorn.config import Config
    from uvicorn.protocols.http.httptools_impl import (
        STATUS_LINE,
        HttpToolsProtocol,
        RequestResponseCycle,
    )
    from uvicorn.server import ServerState

    from api.connections import Connections, Limits, Peer
    from api.error_responses import ExpectationFailed, NotImplementedHere, error_response
    from api.exchange import Exchange
    from errors import HeadersTooLarge, InvalidInput, RequestTimeout, ServiceError, Unavailable

_CHUNKED_SLICE = 1024
"""Bytes of a chunked body parsed at a time: few requests that follow it are parsed too early."""

_CHUNK_OVERHEAD = 16
"""Bytes on the wire for each byte of a chunked body, at most: 5 where each has its own chunk."""

_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:", re.IGNORECASE)

_HEALTH_CHECKS = {b"/health", b"/ready"}

_ANY_ANSWER = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
"""What the application's answers carry too."""

_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=:%\[\]-]*")

_all_connections: WeakKeyDictionary[ServerState, Connections] = WeakKeyDictionary()


class _Refused(Exception):
    """Stops the parser: the client has been told why."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection. Times are the event loop's."""

    limits: ClassVar[Limits] = Limits()
    peer: Peer

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        if server_state not in _all_connections:
            _all_connections[server_state] = Connections(self.limits, self.loop)
        self._all = _all_connections[server_state]
        self.ws_protocol_class = None  # a WebSocket would be a connection without a guard
        self.body_bytes = 0
        self.answer_bytes = 0
        self._for_health_checks = False
        self._deaf = False  # what comes is thrown away, by `_parse`
        self._half_closed = False  # nothing more will come
        self._gone_at = inf
        self.has_written = False
        self._close_at = inf
        self._refusal: ServiceError | None = None
        self._exchange: Exchange | None = None
        self._head_since = 0.0
        self._head_bytes = 0
        self._in_body = False
        self._body_since = inf
        self._body_left: int | None = 0  # None where it is chunked
        self._body_seconds = 0.0
        self._body_received = 0
        self._body_wire_bytes = 0
        self._unparsed = b""
        self._ahead_since = inf
        self._paused_since = inf
        self._leftover = 0
        self._leftover_since = inf

    # --- the connection -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_since = self.loop.time()
        self._for_health_checks = not self._all.enter(self, self.client)
        if self.client is None and transport.get_extra_info("socket").family != socket.AF_UNIX:
            transport.abort()  # reset by now, though what it asked for could still be read

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._deaf = True
        self._drop_unparsed()
        self._all.leave(self)

    def abort(self) -> None:
        self.transport.abort()

    def shutdown(self) -> None:
        super().shutdown()
        if self.transport.is_closing():  # an answer that nobody reads does not hold up the end
            self._close_at = self.loop.time() + self.limits.linger_seconds

    @property
    def has_asked(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None

    @property
    def _answering(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    @property
    def receiving_since(self) -> float:
        return inf if self._deaf else self._body_since

    @property
    def stalled_since(self) -> float:
        return self._paused_since

    def check(self, now: float) -> None:
        limits = self.limits
        self._check_writing(now)
        if self._half_closed and (self.has_written or self._leftover):
            self.has_written = False
            self._gone_at = now + limits.half_closed_seconds
        if now >= min(self._close_at, self._gone_at):
            self.transport.abort()
        elif self._deaf or self.transport.is_closing():
            return
        elif self in self.peer.waiting:
            if now - self._head_since <= limits.head_seconds:
                return
            if self._head_bytes:
                error = RequestTimeout("The head of the request took too long.")
                self._refuse("slow_head", error)
            else:
                self._all.note("idle_connection", self.peer)
                self.transport.close()
        elif self._in_body:  # else it is the client that waits
            received = self._body_received / limits.body_bytes_per_second
            late = now - self._body_since - self._body_seconds
            if late > (received if self._body_left is None else 0.0):
                self._refuse("slow_body", RequestTimeout("The body of the request took too long."))

    def _check_writing(self, now: float) -> None:
        size = self.transport.get_write_buffer_size()
        if not size:
            self._leftover_since = inf
        elif self._leftover_since == inf or size < self._leftover:
            self._leftover_since = now
        self._leftover = size
        paused = self._paused_since < inf
        since = self._paused_since if paused else self._leftover_since
        if now - since > self.limits.write_seconds:
            self._all.note("slow_reader", self.peer)
            self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._paused_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._paused_since = inf

    # --- what comes in ------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._head_since == inf:
            self._head_since = self.loop.time()
        if self._unparsed:
            self._keep_unparsed(data)
        else:
            self._parse(data)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio takes either
        """Whether to keep the connection, for the answers to what has come whole."""
        if self._deaf or self._in_body or not (self._answering or self._unparsed):
            return False
        self._half_closed = True
        self._gone_at = self.loop.time() + self.limits.half_closed_seconds
        return True

    def _parse(self, data: bytes) -> None:
        """Give the parser one request at a time: as much of it as is known to be of one."""
        at, end = 0, len(data)
        while at < end and not self._deaf:
            if not self._in_body and self._answering:
                self._keep_unparsed(data[at:])
                return
            stop = self._end_of_part(data, at)
            if self._deaf:
                return
            part = data if stop - at == end else data[at:stop]
            if not self._in_body and b"pgrade" in part:
                # The parser would take the body for what the client says in another protocol.
                part = _UPGRADE.sub(b"\r\nIgnored-Upgrade:", part)
            try:
                self.parser.feed_data(part)
            except httptools.HttpParserUpgrade as upgrade:
                self._all.note("upgrade_ignored", self.peer)
                stop = at + upgrade.args[0]
            except httptools.HttpParserError:
                if not self._deaf:
                    self._refuse("invalid_http", InvalidInput("The request is not valid HTTP."))
            at = stop

    def _end_of_part(self, data: bytes, at: int) -> int:
        end = len(data)
        if not self._in_body:
            stop = data.find(b"\r\n\r\n", at) + 4
            stop = end if stop < 4 else stop
            self._head_bytes += stop - at
            if self._head_bytes > self.limits.head_bytes:
                self._refuse_headers(f"over {self.limits.head_bytes} bytes")
            return stop
        if self._body_left is not None:
            stop = min(at + self._body_left, end)
            self._body_left -= stop - at
            return stop
        stop = min(at + _CHUNKED_SLICE, end)
        self._body_wire_bytes += stop - at
        if self._body_wire_bytes > self.limits.head_bytes + _CHUNK_OVERHEAD * self._body_received:
            self._refuse_headers(f"over {self.limits.head_bytes} bytes around the body's chunks")
        return stop

    def _refuse_headers(self, problem: str) -> None:
        self._refuse("headers_too_large", HeadersTooLarge(f"The request's headers are {problem}."))

    def _keep_unparsed(self, data: bytes) -> None:
        if not self._unparsed:
            self._body_since = self.loop.time()
        self.flow.pause_reading()
        self._unparsed += data
        self._all.hold_body(self, len(data))

    def _drop_unparsed(self) -> bytes:
        data, self._unparsed = self._unparsed, b""
        self._all.release_body(self, len(data))
        return data

    def _parse_on(self) -> None:
        if self._deaf or not self._unparsed:
            return
        self._unset_keepalive_if_required()
        now = self.loop.time()
        self._ahead_since = min(self._ahead_since, now)
        if now - self._ahead_since > self.limits.body_seconds:
            self._refuse("slow_pipeline", RequestTimeout("The requests sent ahead took too long."))
            return
        self._head_since, self._body_since = now, inf
        self._parse(self._drop_unparsed())
        if not self._unparsed:
            self._ahead_since = inf
            if self._half_closed and (self._in_body or not self._answering):
                self.transport.close()  # the rest of it will never come

    # --- what the parser finds ----------------------------------------------------------------

    def on_headers_complete(self) -> None:
        declared = self._check_head()
        super().on_headers_complete()
        if self._for_health_checks:
            self.cycle.keep_alive = False
        self.peer.waiting.pop(self, None)
        self._in_body = True
        self._body_left = declared
        if declared != 0:
            self._body_received = self._body_wire_bytes = 0
            self._body_since = self.loop.time()
            size = declared or 0
            self._body_seconds = self.limits.body_seconds + size / self.limits.body_bytes_per_second

    def _check_head(self) -> int | None:
        """The body's size, None where it is chunked. Raises _Refused."""
        hosts = 0
        declared: int | None = 0
        chunked = False
        error: ServiceError | None = None
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
                if not _HOST.fullmatch(value):
                    error = InvalidInput("The Host header is not a host.")
            elif name == b"content-length":
                declared = int(value)
            elif name == b"transfer-encoding":
                if value.strip().lower() != b"chunked":
                    error = NotImplementedHere("No Transfer-Encoding but chunked is known here.")
                chunked = True
            elif name == b"expect" and value.strip().lower() != b"100-continue":
                error = ExpectationFailed("Nothing but 100-continue can be expected here.")
        version = self.parser.get_http_version()
        if hosts > 1 or (hosts == 0 and version != "1.0"):
            error = InvalidInput("A request must have one Host header.")
        elif version not in ("1.0", "1.1"):
            error = InvalidInput("HTTP/1.0 and HTTP/1.1 are spoken here.")
        elif chunked and version == "1.0":
            error = InvalidInput("HTTP/1.0 has no Transfer-Encoding.")
        if len(self.headers) > self.limits.headers:
            self._refuse_headers(f"more than {self.limits.headers}")
            raise _Refused
        if self.parser.should_upgrade() and declared != 0:  # its head came in parts
            error = NotImplementedHere("No other protocol is known here.")
        if error is not None:
            self._refuse(error.code, error)
            raise _Refused
        if self._for_health_checks and self.url.partition(b"?")[0] not in _HEALTH_CHECKS:
            error = Unavailable("Too many connections are open.", retry_after=5)
            self._refuse("too_many_connections", error)
            raise _Refused
        return None if chunked else declared

    def on_body(self, body: bytes) -> None:
        size = len(body)
        self._body_received += size
        if self.cycle.response_started:  # nobody will read it
            return
        super().on_body(body)
        if self._exchange is not None:
            self._exchange.body_bytes += size
        self._all.hold_body(self, size)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_body = False
        self._body_since = inf
        self._head_bytes = 0
        if self.cycle.response_complete:
            self._close_at = inf
            self._wait_for_head(self.loop.time())

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._exchange = Exchange(self, cycle, app)
        super()._start_asgi_task(cycle, self._exchange)  # type: ignore[arg-type]  # Starlette's types

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._deaf or self.transport.is_closing() or not self.cycle.response_complete:
            return
        if self._in_body:  # the client may still be sending, and hears the answer when it is done
            self._close_at = self.loop.time() + self.limits.linger_seconds
        else:
            self._wait_for_head(inf)
            if self._unparsed:
                self.loop.call_later(self.limits.pipeline_seconds, self._parse_on)
            elif self._half_closed:
                self.transport.close()  # once the answer is sent

    def _wait_for_head(self, since: float) -> None:
        """`since` is `inf` where uvicorn's own timer for idle connections is running."""
        self._head_since = since
        self.peer.waiting[self] = None

    # --- refusing -----------------------------------------------------------------------------

    def refuse_body(self) -> None:
        self._refuse(None, Unavailable("Too many bodies are under way.", retry_after=2))

    def _refuse(self, kind: str | None, error: ServiceError) -> None:
        """Answer with this error and hear no more: at once, or from within the application where it
        has the request already."""
        if kind is not None:
            self._all.note(kind, self.peer)
        self._deaf = True
        self._body_since = inf
        self._drop_unparsed()
        if not self._answering:
            self.transport.write(self._rendered(error))
            self.linger()
            return
        self._refusal = error
        cycle = self.cycle
        cycle.keep_alive = False
        cycle.transport = _LingeringTransport(self)  # type: ignore[assignment]  # all that it uses
        cycle.message_event.set()

    def _rendered(self, error: ServiceError) -> bytes:
        response = error_response(error)
        headers = [*self.server_state.default_headers, *_ANY_ANSWER, *response.raw_headers]
        lines = [b"%b: %b\r\n" % header for header in [*headers, (b"connection", b"close")]]
        return b"".join([STATUS_LINE[response.status_code], *lines, b"\r\n", bytes(response.body)])

    @property
    def refusal(self) -> ServiceError | None:
        return self._refusal

    def linger(self) -> None:
        """End the answer, and the connection once the client has: one that is closed while it sends
        may lose the answer."""
        if self.transport.is_closing():
            return
        self._deaf = True
        self._close_at = self.loop.time() + self.limits.linger_seconds
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    # --- for the exchange ---------------------------------------------------------------------

    def end_exchange(self, exchange: Exchange) -> None:
        self._all.release_body(self, exchange.body_bytes)
        if self._exchange is exchange:
            self._exchange = None

    def hold_answer(self, size: int) -> None:
        self._all.hold_answer(self, size)

    def release_answer(self, size: int) -> None:
        self._all.release_answer(self, size)


class _LingeringTransport:
    """What a request that was refused writes to."""

    def __init__(self, connection: GuardedProtocol) -> None:
        self._connection = connection

    def write(self, data: bytes) -> None:
        self._connection.transport.write(data)

    def is_closing(self) -> bool:
        return self._connection.transport.is_closing()

    def close(self) -> None:
        self._connection.linger()
