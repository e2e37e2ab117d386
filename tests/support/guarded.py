"""A small service behind the guard at the connection, with short deadlines and small sizes, and
clients of it over real sockets."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from api import connection_guard
from api.connection_guard import GuardedProtocol
from api.connections import Limits
from api.error_responses import add_error_handlers
from tests.support.http_helpers import served

SHORT = {
    "head_seconds": 0.4,
    "body_seconds": 0.4,
    "body_bytes_per_second": 2_000,
    "write_seconds": 0.4,
    "linger_seconds": 0.3,
    "patience_seconds": 0.2,
    "sweep_seconds": 0.02,
    "pipeline_seconds": 0.0,
}
BIG = 8_000_000
"""More than the kernel takes for a client that does not read."""

HOST = b"Host: test\r\n"
HEALTH = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /length HTTP/1.1\r\n" + HOST


class Held:
    """What the app's requests wait for, and what became of them."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.let_go = asyncio.Event()
        self.step = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self.begun.append(name)

    def set(self, event: asyncio.Event) -> None:
        """From the test's thread, once something has begun."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(event.set)


def small_app(held: Held) -> FastAPI:
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/health")
    async def health() -> Response:
        return JSONResponse({"status": "ok"})

    @app.post("/length")
    async def length(request: Request) -> Response:
        return JSONResponse(len(await request.body()))

    @app.post("/unread")
    async def unread() -> Response:
        return JSONResponse("not read")

    @app.get("/ready")
    @app.get("/held")
    async def wait(request: Request) -> Response:
        held.begin(request.url.query)
        await held.let_go.wait()
        return JSONResponse("let go")

    @app.get("/quiet")
    async def quiet() -> Response:
        async def one_and_no_more() -> AsyncIterator[bytes]:
            yield b"x"
            await asyncio.Event().wait()

        return StreamingResponse(one_and_no_more())

    @app.get("/steps")
    async def steps() -> Response:
        async def one_and_then_the_end() -> AsyncIterator[bytes]:
            held.begin("steps")
            await held.step.wait()
            yield b"x"
            await held.let_go.wait()

        return StreamingResponse(one_and_then_the_end())

    @app.get("/big")
    async def big() -> Response:
        return Response(b"x" * BIG)

    @app.get("/chunk")
    async def chunk() -> Response:
        async def one_and_no_end() -> AsyncIterator[bytes]:
            yield b"x" * BIG
            await asyncio.Event().wait()

        return StreamingResponse(one_and_no_end())

    @app.get("/events")
    async def events(size: int) -> Response:
        async def nearly_endless() -> AsyncIterator[bytes]:
            for _ in range(100_000):  # without waiting itself, as is the worst case
                yield bytes(size)
            held.ended.append("nobody told it to end")

        class Told(StreamingResponse):
            async def __call__(self, *args: Any) -> None:
                try:
                    await super().__call__(*args)
                finally:
                    held.ended.append("events")

        return Told(nearly_endless())

    return app


class Client:
    """One connection."""

    def __init__(self, port: int, *, address: str = "127.0.0.1", small: bool = False) -> None:
        self.socket = socket.socket()
        if small:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(10)
        self.socket.bind((address, 0))
        self.socket.connect(("127.0.0.1", port))

    def send(self, data: bytes) -> None:
        with suppress(ConnectionError):
            self.socket.sendall(data)

    def rest(self) -> bytes:
        """All that comes until the connection ends."""
        received = b""
        with suppress(ConnectionError):
            while data := self.socket.recv(1_000_000):
                received += data
        return received

    def answer(self) -> tuple[int, Any]:
        """The next whole answer."""
        received = b""
        while True:
            head, end, body = received.partition(b"\r\n\r\n")
            lengths = [line for line in head.split(b"\r\n") if line.startswith(b"content-length")]
            length = int(lengths[0].partition(b":")[2]) if lengths else 0
            if end and length and len(body) >= length:
                return int(head[9:12]), json.loads(body[:length])
            data = self.socket.recv(65_536)
            assert data, received
            received += data

    def open(self) -> bool:
        self.socket.setblocking(False)
        try:
            return bool(self.socket.recv(1_000_000))
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        finally:
            self.socket.settimeout(10)


class Server:
    def __init__(self, port: int, held: Held, stack: ExitStack) -> None:
        self.port = port
        self.held = held
        self._stack = stack

    def client(self, **options: Any) -> Client:
        client = Client(self.port, **options)
        self._stack.callback(client.socket.close)
        return client

    def sent(self, *data: bytes, **options: Any) -> Client:
        """A connection on which this was sent, and what it was sent goes out one by one."""
        client = self.client(**options)
        for part in data:
            client.send(part)
        return client

    def connections(self) -> Sequence[GuardedProtocol]:
        """Those that the service has taken up by now."""
        known = connection_guard._all_connections.values()
        peers = [peer for each in known for peer in each._peers.values()]
        return [each for peer in peers for each in peer.connections]  # type: ignore[misc]


@contextmanager
def running(**limits: Any) -> Iterator[Server]:
    protocol = type("Short", (GuardedProtocol,), {"limits": Limits(**{**SHORT, **limits})})
    held = Held()
    with ExitStack() as stack:
        address = stack.enter_context(served(small_app(held), http=protocol))
        try:
            yield Server(int(address.rpartition(":")[2]), held, stack)
        finally:
            if held.begun:
                held.set(held.let_go)


def eventually(condition: Callable[[], Any], what: str = "") -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what or condition
        time.sleep(0.01)


def assert_refused(answer: bytes, status: int, code: str) -> dict[str, Any]:
    """It is one answer in the one shape, after which the connection has ended."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:300]
    assert b"connection: close" in head
    assert b"content-type: application/json" in head
    found: dict[str, Any] = json.loads(body)
    assert found["error"] == code
    assert found["details"]
    if status == 503:
        assert found["retry_after"] >= 1
        assert b"retry-after: %d" % found["retry_after"] in head
    return found


def are_stalled(server: Server, count: int) -> bool:
    return sum(each.stalled_since < 1e18 for each in server.connections()) == count


def connection_of(server: Server, client: Client) -> GuardedProtocol | None:
    """What the service has of this client, once it has taken it up."""
    mine = client.socket.getsockname()
    return next((each for each in server.connections() if each.client == mine), None)


def taken_up(server: Server, client: Client) -> GuardedProtocol:
    eventually(lambda: connection_of(server, client), "taken up")
    connection = connection_of(server, client)
    assert connection
    return connection


def is_connected(server: Server, client: Client) -> bool:
    return connection_of(server, client) is not None
