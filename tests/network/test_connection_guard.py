"""The guard at the connection, over real sockets, with short deadlines and small sizes."""

import asyncio
import json
import resource
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from math import inf
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from api import connection_guard, connections
from api.connection_guard import GuardedProtocol
from api.connections import FILES_BESIDE, Connections, Limits, _peer_name, raise_file_limit
from api.error_responses import add_error_handlers
from tests.support.http_helpers import captured_log, served

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

    @app.get("/events")
    async def events() -> Response:
        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 100_000

        class Told(StreamingResponse):
            async def __call__(self, *args: Any) -> None:
                try:
                    await super().__call__(*args)
                finally:
                    held.ended.append("events")

        return Told(endless())

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


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


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


# --- heads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        HEALTH[:-2] + b"A: " + b"a" * 20_000_000,
        HEALTH[:-2] + b"A: " + b"a" * 70_000 + b"\r\n\r\n",
        HEALTH[:-2] + b"".join(b"%07x: b\r\n" % number for number in range(1000)) * 500,
        HEALTH[:-2] + b"A: b\r\n" * 100 + b"\r\n",
        b"GET /health?" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"A" * 70_000,
        b"\r\n" * 40_000,
    ],
    ids=["endless", "one", "many_endless", "101", "address", "method", "empty_lines"],
)
def test_a_head_that_is_too_large_is_refused(server: Server, head: bytes) -> None:
    answer = server.sent(head).rest()
    if head.startswith(b"A"):  # is no method, whatever follows
        assert answer[9:12] in (b"400", b"431")
    else:
        assert_refused(answer, 431, "headers_too_large")
        assert b"\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n" in answer


def test_a_head_that_is_as_large_as_may_be_is_served(server: Server) -> None:
    client = server.sent(HEALTH[:-2] + b"A: b\r\n" * 99 + b"\r\n")
    assert client.answer() == (200, {"status": "ok"})
    client.send(HEALTH[:-2] + b"A: " + b"a" * (65_536 - len(HEALTH) - 5) + b"\r\n\r\n")
    assert client.answer() == (200, {"status": "ok"})


@pytest.mark.parametrize("before", [b"", HEALTH], ids=["first", "second"])
def test_a_head_that_is_not_complete_in_time_is_refused(server: Server, before: bytes) -> None:
    client = server.client()
    if before:
        client.send(before)
        client.answer()
    for byte in HEALTH[:-2]:  # what comes now and then is no excuse
        client.send(bytes([byte]))
        time.sleep(0.02)
    assert_refused(client.rest(), 408, "timeout")


def test_a_connection_that_says_nothing_is_closed(server: Server) -> None:
    assert server.client().rest() == b""


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"GET /health HTTP/1.1\r\n\r\n", 400, "invalid_schema"),
        (b"GET /health HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400, "invalid_schema"),
        (b"GET /health HTTP/1.0\r\n" + HOST + HOST + b"\r\n", 400, "invalid_schema"),
        (b"GET /health HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "invalid_schema"),
        (b"GET /health HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "invalid_schema"),
        (b"GET /health HTTP/2.0\r\n" + HOST + b"\r\n", 400, "invalid_schema"),
        (b"\x16\x03\x01\x02\x00", 400, "invalid_schema"),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "not_implemented"),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501, "not_implemented"),
        (POST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n", 400, "invalid_schema"),
        (POST + b"Transfer-Encoding: identity\r\n\r\n", 501, "not_implemented"),
        (
            POST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
            501,
            "not_implemented",
        ),
        (
            b"POST /length HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "invalid_schema",
        ),
        (POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na", 400, "invalid_schema"),
        (POST + b"Content-Length: 1, 1\r\n\r\na", 400, "invalid_schema"),
        (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "invalid_schema"),
        (POST + b"Expect: banana\r\nContent-Length: 1\r\n\r\na", 417, "expectation_failed"),
    ],
)
def test_what_is_no_request_for_us_is_refused(
    server: Server, head: bytes, status: int, code: str
) -> None:
    assert_refused(server.sent(head).rest(), status, code)


def test_what_is_no_http_amid_a_body_is_refused(server: Server) -> None:
    client = server.sent(POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", b"zz\r\n")
    assert_refused(client.rest(), 400, "invalid_schema")


# --- bodies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        POST + b"Content-Length: 200\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["declared", "chunked"],
)
def test_a_body_that_is_too_slow_is_refused(server: Server, head: bytes) -> None:
    client = server.sent(head)
    for _ in range(60):
        client.send(b"1\r\na\r\n" if b"chunked" in head else b"a")
        time.sleep(0.02)
        if not client.open():
            return
    assert_refused(client.rest(), 408, "timeout")


def test_a_body_that_is_refused_is_told(server: Server) -> None:
    client = server.sent(POST + b"Content-Length: 5\r\n\r\nabc")
    assert_refused(client.rest(), 408, "timeout")


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_a_slow_body_of_the_pace_that_is_allowed_is_read(server: Server, chunked: bool) -> None:
    """It takes twice as long as one of no size may."""
    kind = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 4000"
    client = server.sent(POST + kind + b"\r\n\r\n")
    for _ in range(20):
        client.send(b"c8\r\n" + b"a" * 200 + b"\r\n" if chunked else b"a" * 200)
        time.sleep(0.04)
    client.send(b"0\r\n\r\n" if chunked else b"")
    assert client.answer() == (200, 4000)


def test_bodies_under_way_have_one_budget_and_the_oldest_gives_way() -> None:
    with running(bodies_bytes=350_000, body_seconds=60) as server:
        head = POST + b"Content-Length: 100001\r\n\r\n"
        first = server.sent(head, b"a" * 100_000)
        eventually(lambda: sum(each.body_bytes for each in server.connections()) == 100_000)
        others = [server.sent(head, b"a" * 100_000) for _ in range(2)]
        assert server.sent(POST + b"Content-Length: 5\r\n\r\nabcde").answer() == (200, 5)
        another = server.sent(head, b"a" * 100_000)
        assert_refused(first.rest(), 503, "unavailable")
        for client in (*others, another):
            client.send(b"a")
            assert client.answer() == (200, 100_001)


def test_whoever_holds_most_gives_way_first() -> None:
    with running(bodies_bytes=300_000, body_seconds=60) as server:
        head = POST + b"Content-Length: 100001\r\n\r\n"
        modest = server.sent(head, b"a" * 50_000, address="127.0.0.2")
        greedy = []
        for number in range(1, 4):
            greedy.append(server.sent(head, b"a" * 100_000))
            held = 50_000 + min(number, 2) * 100_000
            eventually(lambda held=held: sum(c.body_bytes for c in server.connections()) == held)  # type: ignore[misc]
        assert_refused(greedy[0].rest(), 503, "unavailable")
        modest.send(b"a" * 50_001)
        assert modest.answer() == (200, 100_001)


def test_what_bodies_held_is_free_again_when_they_are_answered() -> None:
    with running(bodies_bytes=300_000) as server:
        client = server.client()
        for _ in range(10):
            client.send(POST + b"Content-Length: 100000\r\n\r\n" + b"a" * 100_000)
            assert client.answer() == (200, 100_000)


@pytest.mark.parametrize("around", [b"1;" + b"e" * 1000, b"1", b"trailers"])
def test_what_is_around_the_chunks_of_a_body_is_bounded(server: Server, around: bytes) -> None:
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    if around == b"1":  # one byte a chunk is well
        client = server.sent(head + b"1\r\na\r\n" * 100_000 + b"0\r\n\r\n")
        assert client.answer() == (200, 100_000)
    elif around == b"trailers":
        assert_refused(
            server.sent(head + b"0\r\n" + b"A: b\r\n" * 100_000).rest(), 431, "headers_too_large"
        )
    else:
        endless = head + (around + b"\r\na\r\n") * 1000
        assert_refused(server.sent(endless).rest(), 431, "headers_too_large")


@pytest.mark.parametrize("size", [b"10", b"1000000000000"])
def test_an_answer_before_the_body_has_come_ends_the_connection(
    server: Server, size: bytes
) -> None:
    client = server.sent(b"POST /unread HTTP/1.1\r\n" + HOST)
    client.send(b"Content-Length: " + size + b"\r\n\r\nabc")
    assert client.answer() == (200, "not read")
    assert client.rest() == b""


def test_what_comes_of_a_body_after_its_answer_is_not_kept() -> None:
    with running(linger_seconds=60, body_seconds=60) as server:
        client = server.sent(b"POST /unread HTTP/1.1\r\n" + HOST)
        client.send(b"Content-Length: 1000000\r\n\r\na")
        assert client.answer() == (200, "not read")
        (connection,) = server.connections()
        client.send(b"a" * 100_000)
        eventually(lambda: connection._body_received == 100_001)
        assert connection.body_bytes == 0


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (HEALTH[:-2] + b"A: ", 431, "headers_too_large"),
        (POST + b"Content-Length: 9000000\r\n\r\n", 503, "unavailable"),
        (HEALTH * 50, 503, "unavailable"),
    ],
    ids=["head", "body", "ahead"],
)
def test_who_is_refused_while_sending_can_send_on_and_read_why(
    head: bytes, status: int, code: str
) -> None:
    """A connection that is closed at once would be reset, and the answer lost with some clients."""
    with running(linger_seconds=60, bodies_bytes=300_000) as server:
        client = server.client()
        client.socket.sendall(head + b"a" * 8_000_000)
        answer = b"".join(iter(lambda: client.socket.recv(65_536), b""))
        assert_refused(answer[answer.rindex(b"HTTP/1.1") :], status, code)
        client.socket.sendall(b"a" * 100_000)


@pytest.mark.parametrize("head", [b"A" * 70_000, POST + b"Content-Length: 9000000\r\n\r\n"])
def test_who_is_refused_and_stays_is_closed_all_the_same(head: bytes) -> None:
    with running(bodies_bytes=300_000, body_seconds=60, head_seconds=60) as server:
        client = server.client()
        client.send(head + b"a" * 400_000)
        assert client.rest()
        eventually(lambda: not server.connections(), "closed")


# --- answers --------------------------------------------------------------------------------------


def test_a_large_answer_is_whole(server: Server) -> None:
    answer = server.sent(b"GET /big HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n").rest()
    assert answer.partition(b"\r\n\r\n")[2] == b"x" * BIG


def test_what_answers_held_is_free_again_when_they_are_read(server: Server) -> None:
    client = server.sent(b"GET /big HTTP/1.1\r\n" + HOST + b"\r\n")
    received = 0
    while received < BIG:
        received += len(client.socket.recv(1_000_000))
    (connection,) = server.connections()
    eventually(lambda: not connection.answer_bytes)


def test_no_more_of_an_answer_is_written_than_is_read() -> None:
    with running(write_seconds=60) as server:
        server.sent(b"GET /big HTTP/1.1\r\n" + HOST + b"\r\n", small=True)
        eventually(partial(_are_stalled, server, 1), "stalled")
        size = server.connections()[0].transport.get_write_buffer_size()
        assert 0 < size <= Limits().write_bytes + 65_536  # and what is no reason to wait
        assert server.connections()[0].answer_bytes == BIG


@pytest.mark.parametrize("path", [b"big", b"events"])
def test_a_reader_that_does_not_read_is_closed(server: Server, path: bytes) -> None:
    client = server.sent(b"GET /" + path + b" HTTP/1.1\r\n" + HOST + b"\r\n", small=True)
    client.socket.recv(1)
    eventually(lambda: not _is_connected(server, client), "closed")
    if path == b"events":
        eventually(lambda: server.held.ended == ["events"], "the application was told")


def _are_stalled(server: Server, count: int) -> bool:
    return sum(each.stalled_since < 1e18 for each in server.connections()) == count


def _is_connected(server: Server, client: Client) -> bool:
    mine = client.socket.getsockname()
    return any(each.client == mine for each in server.connections())


def test_a_reader_that_leaves_the_end_of_its_answer_is_closed(server: Server) -> None:
    """What is left is too little for asyncio to tell the writer to pause."""
    client = server.client(small=True)
    eventually(server.connections)
    (connection,) = server.connections()
    connection.transport.set_write_buffer_limits(high=2 * BIG)
    client.send(b"GET /big HTTP/1.1\r\n" + HOST + b"\r\n")
    eventually(lambda: not server.connections(), "closed")


def test_answers_that_wait_have_one_budget_and_the_longest_stalled_gives_way() -> None:
    with running(answers_bytes=2 * BIG + 1, write_seconds=60) as server:
        clients = []
        for number in range(3):
            clients.append(server.sent(b"GET /big HTTP/1.1\r\n" + HOST + b"\r\n", small=True))
            if number < 2:
                eventually(partial(_are_stalled, server, number + 1), "stalled")
        eventually(lambda: not _is_connected(server, clients[0]), "the first is closed")
        assert _is_connected(server, clients[1])
        assert _is_connected(server, clients[2])


def test_whoever_lets_most_answers_wait_gives_way_first() -> None:
    with running(answers_bytes=3 * BIG - 1, write_seconds=60) as server:
        request = b"GET /big HTTP/1.1\r\n" + HOST + b"\r\n"
        modest = server.sent(request, small=True, address="127.0.0.2")
        eventually(partial(_are_stalled, server, 1), "stalled")
        greedy = server.sent(request, small=True)
        eventually(partial(_are_stalled, server, 2), "stalled")
        server.sent(request, small=True)
        eventually(lambda: not _is_connected(server, greedy), "the first of two is closed")
        assert _is_connected(server, modest)


# --- connections ----------------------------------------------------------------------------------


def test_at_the_cap_the_connection_that_waits_longest_is_closed() -> None:
    with running(connections_per_address=8, head_seconds=60) as server:
        idle = [server.client() for _ in range(8)]
        eventually(lambda: len(server.connections()) == 8)
        assert server.sent(HEALTH).answer() == (200, {"status": "ok"})
        assert idle[0].rest() == b""
        assert all(client.open() for client in idle[1:])


def test_at_the_cap_who_has_asked_for_something_stays_before_who_has_not() -> None:
    with running(connections_per_address=8, head_seconds=60) as server:
        known = server.sent(HEALTH)
        known.answer()
        for _ in range(50):
            server.client()
        eventually(lambda: len(server.connections()) == 8)
        known.send(HEALTH)
        assert known.answer() == (200, {"status": "ok"})


def test_at_the_cap_of_all_an_address_with_many_gives_up_one() -> None:
    with running(connections=16, head_seconds=60) as server:
        other = server.client(address="127.0.0.2")
        idle = [server.client()]
        eventually(lambda: len(server.connections()) == 2)
        idle += [server.client() for _ in range(7)]
        for _ in range(7):
            server.client(address="127.0.0.4")
        eventually(lambda: len(server.connections()) == 16)
        assert server.sent(HEALTH, address="127.0.0.3").answer() == (200, {"status": "ok"})
        assert idle[0].rest() == b""
        assert other.open()


def test_where_all_are_at_work_health_is_still_answered() -> None:
    with running(connections_per_address=8) as server:
        for number in range(8):
            server.sent(b"GET /held?%d HTTP/1.1\r\n" % number + HOST + b"\r\n")
        eventually(lambda: len(server.held.begun) == 8)
        answers = server.sent(HEALTH * 2).rest()
        assert answers.count(b"HTTP/1.1 200 OK") == 1, "then it makes room for the next one"
        refused = server.sent(POST + b"Content-Length: 0\r\n\r\n").rest()
        assert_refused(refused, 503, "unavailable")
        beside = server.sent(POST + b"Content-Length: 0\r\n\r\n", address="127.0.0.2")
        assert beside.answer() == (200, 0)


def test_connections_beyond_the_cap_that_say_nothing_keep_no_health_check_out() -> None:
    with running(connections_per_address=8, spare_connections=2, head_seconds=60) as server:
        for number in range(8):
            server.sent(b"GET /held?%d HTTP/1.1\r\n" % number + HOST + b"\r\n")
        eventually(lambda: len(server.held.begun) == 8)
        for _ in range(20):
            server.client()
        assert server.sent(HEALTH).answer() == (200, {"status": "ok"})
        assert len(server.connections()) <= 11


def test_connections_beyond_the_cap_that_are_refused_do_not_gather() -> None:
    with running(connections_per_address=8, spare_connections=2, linger_seconds=60) as server:
        for number in range(8):
            server.sent(b"GET /held?%d HTTP/1.1\r\n" % number + HOST + b"\r\n")
        eventually(lambda: len(server.held.begun) == 8)
        refused = [server.sent(POST + b"Content-Length: 0\r\n\r\n") for _ in range(10)]
        assert server.sent(HEALTH).answer() == (200, {"status": "ok"})
        assert len(server.connections()) <= 11
        assert not refused[0].rest().startswith(b"HTTP/1.1 2")


def test_connections_beyond_the_cap_that_wait_for_an_answer_do_not_gather() -> None:
    with running(connections_per_address=8, spare_connections=2) as server:
        for number in range(8):
            server.sent(b"GET /held?%d HTTP/1.1\r\n" % number + HOST + b"\r\n")
        eventually(lambda: len(server.held.begun) == 8)
        for _ in range(10):
            server.sent(b"GET /ready HTTP/1.1\r\n" + HOST + b"\r\n")
        assert server.sent(HEALTH).answer() == (200, {"status": "ok"})
        assert len(server.connections()) <= 11


def test_at_the_cap_a_slow_body_gives_way() -> None:
    with running(connections_per_address=8, body_seconds=60) as server:
        for _ in range(8):
            server.sent(POST + b"Content-Length: 5\r\n\r\nabc")
        eventually(lambda: all(each.body_bytes for each in server.connections()))
        time.sleep(0.3)
        assert server.sent(POST + b"Content-Length: 2\r\n\r\nab").answer() == (200, 2)


def test_an_ipv6_network_is_one_address() -> None:
    assert _peer_name("2001:db8:1:2:3::1") == _peer_name("2001:db8:1:2:ffff::2%eth0")
    assert _peer_name("2001:db8:1:2::1") != _peer_name("2001:db8:1:3::1")
    assert _peer_name("::ffff:10.0.0.1") == _peer_name("10.0.0.1")


def test_the_soft_limit_of_files_is_raised() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
        assert raise_file_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 512
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_there_are_fewer_connections_than_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "raise_file_limit", lambda: 512)
    assert Connections(Limits(), asyncio.get_running_loop())._most == 512 - FILES_BESIDE


# --- what works as before -------------------------------------------------------------------------


def test_requests_sent_together_are_answered_in_order_and_parsed_one_by_one() -> None:
    with running(head_seconds=60, body_seconds=60, write_seconds=60) as server:
        client = server.sent(b"GET /held HTTP/1.1\r\n" + HOST + b"\r\n" + HEALTH * 2000)
        eventually(lambda: server.held.begun)
        (connection,) = server.connections()
        assert not connection.pipeline
        assert connection.body_bytes >= 1000 * len(HEALTH), "it counts as what is under way"
        server.held.set(server.held.let_go)
        received = b""
        while received.count(b'{"status":"ok"}') < 2000:
            data = client.socket.recv(1_000_000)
            assert data, received[-300:]
            received += data
        assert received.index(b"let go") < received.index(b"ok")
        eventually(lambda: connection.body_bytes == 0)


def test_what_is_sent_behind_a_request_waits_for_its_answer_without_a_deadline(
    server: Server,
) -> None:
    client = server.sent(b"GET /held HTTP/1.1\r\n" + HOST + b"\r\n" + HEALTH)
    eventually(lambda: server.held.begun)
    time.sleep(1)  # twice what a head or a body may take
    server.held.set(server.held.let_go)
    client.send(HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    answers = client.rest()
    assert answers.count(b"HTTP/1.1 200 OK") == 3, answers


def test_requests_sent_ahead_leave_time_for_others() -> None:
    with running(pipeline_seconds=60, body_seconds=60) as server:
        client = server.sent(HEALTH * 3)
        assert client.answer() == (200, {"status": "ok"})
        (connection,) = server.connections()
        assert connection.body_bytes == 2 * len(HEALTH)
        assert server.sent(HEALTH).answer() == (200, {"status": "ok"})
        assert connection.body_bytes == 2 * len(HEALTH)


def test_thousands_of_requests_sent_ahead_have_a_deadline_together(server: Server) -> None:
    answers = server.sent(HEALTH * 6000).rest()
    assert 0 < answers.count(b"HTTP/1.1 200 OK") < 6000
    assert_refused(answers[answers.rindex(b"HTTP/1.1") :], 408, "timeout")


def test_a_body_between_requests_is_read_whole(server: Server) -> None:
    one = POST + b"Content-Length: 5\r\n\r\nabcde"
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: trailer\r\n\r\n"
    client = server.sent((one + chunked + HEALTH) * 20)
    received = b""
    while received.count(b"HTTP/1.1 200 ") < 60 or not received.endswith(b"}"):
        received += client.socket.recv(1_000_000)


def test_a_head_may_come_in_any_parts(server: Server) -> None:
    request = POST + b"Content-Length: 5\r\n\r\nabcde"
    for at in range(1, len(request)):
        client = server.sent(request[:at])
        time.sleep(0.002)
        client.send(request[at:] + request)
        assert client.answer()[0] == 200
        client.socket.close()


def test_100_continue_is_said(server: Server) -> None:
    client = server.sent(POST + b"Expect: 100-Continue\r\nContent-Length: 5\r\n\r\n")
    assert client.socket.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"abcde")
    assert client.answer() == (200, 5)


def test_http_1_0_is_spoken(server: Server) -> None:
    answer = server.sent(b"GET /health HTTP/1.0\r\n\r\n").rest()
    assert answer.endswith(b'{"status":"ok"}')


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
def test_upgrades_are_ignored_and_their_bodies_are_bodies(server: Server, protocol: bytes) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\n"
    client = server.sent(POST + upgrade + b"Content-Length: 5\r\n\r\nabcde")
    assert client.answer() == (200, 5)
    client.send(HEALTH[:-2] + upgrade + b"\r\n")
    assert client.answer() == (200, {"status": "ok"})
    client = server.sent(POST + b"Connection: Upgrade\r\nUpg")
    time.sleep(0.1)
    client.send(b"rade: " + protocol + b"\r\nContent-Length: 5\r\n\r\nabcde")
    assert_refused(client.rest(), 501, "not_implemented")
    client = server.sent(HEALTH[:-2] + b"Connection: Upgrade\r\nUpg")
    time.sleep(0.1)
    client.send(b"rade: " + protocol + b"\r\n\r\n")
    assert client.answer() == (200, {"status": "ok"})


# --- the log --------------------------------------------------------------------------------------


def test_refusals_are_logged_once_a_minute_for_each_kind_with_their_number() -> None:
    with captured_log() as log, running(log_seconds=0.5) as server:
        for _ in range(5):
            server.sent(b"nonsense\r\n\r\n").rest()
        server.sent(HEALTH[:-2] + b"A: b\r\n" * 100 + b"\r\n").rest()
        eventually(lambda: sum(each["count"] for each in log.named("connection_guard")) == 6)
    told = [(each["kind"], each["count"]) for each in log.named("connection_guard")]
    assert told[0] == ("invalid_http", 1)
    assert ("headers_too_large", 1) in told
    assert len([kind for kind, _ in told if kind == "invalid_http"]) <= 3
    assert all(each["address"] == "127.0.0.1" for each in log.named("connection_guard"))
    assert "Invalid HTTP request" not in log.getvalue()


# --- clients that end their side ------------------------------------------------------------------


def ended(client: Client) -> Client:
    client.socket.shutdown(socket.SHUT_WR)
    return client


@pytest.mark.parametrize(
    "request_",
    [HEALTH, POST + b"Content-Length: 4\r\n\r\nbody", POST + b"Connection: close\r\n\r\n"],
    ids=["get", "post", "close"],
)
def test_who_ends_its_side_after_a_request_gets_the_answer(server: Server, request_: bytes) -> None:
    answer = ended(server.sent(request_)).rest()
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_who_ends_its_side_while_the_service_works_gets_the_answer() -> None:
    with running(half_closed_seconds=60) as server:
        client = ended(server.sent(b"GET /held HTTP/1.1\r\n" + HOST + b"\r\n"))
        eventually(lambda: server.held.begun)
        (connection,) = server.connections()
        eventually(lambda: connection._gone_at < inf, "the end of its side has come")
        connection.timeout_keep_alive = 60  # it is not kept for another request
        server.held.set(server.held.let_go)
        assert client.rest().endswith(b'"let go"')


def test_who_ends_its_side_after_several_requests_gets_all_answers(server: Server) -> None:
    answers = ended(server.sent(HEALTH * 20 + HEALTH[:-2])).rest()  # the last one is not whole
    assert answers.count(b"HTTP/1.1 200 ") == 20


def test_who_ends_its_side_reads_a_long_answer_to_its_end_at_its_own_pace() -> None:
    with running(half_closed_seconds=0.3, write_seconds=60) as server:
        client = ended(server.sent(b"GET /big HTTP/1.1\r\n" + HOST + b"\r\n"))
        eventually(partial(_are_stalled, server, 1), "stalled")
        (connection,) = server.connections()
        eventually(lambda: connection._gone_at < inf, "the end of its side has come")
        at_first = connection._gone_at
        eventually(lambda: connection._gone_at > at_first + 0.4)  # longer than one that is gone
        assert len(client.rest()) > BIG


@pytest.mark.parametrize("request_", [HEALTH[:-2], POST + b"Content-Length: 4\r\n\r\nbod"])
def test_who_ends_its_side_amid_a_request_is_let_go(server: Server, request_: bytes) -> None:
    assert ended(server.sent(request_)).rest() == b""


@pytest.mark.parametrize("path", [b"/held", b"/quiet"])
def test_who_ends_its_side_and_hears_nothing_counts_as_gone(path: bytes) -> None:
    with running(half_closed_seconds=0.1) as server:
        client = ended(server.sent(b"GET %b HTTP/1.1\r\n" % path + HOST + b"\r\n"))
        assert b"\r\n0\r\n" not in client.rest()
        eventually(lambda: not server.connections())


def test_who_ends_its_side_stays_as_long_as_it_is_sent_something() -> None:
    with running(half_closed_seconds=60) as server:
        client = server.sent(b"GET /steps HTTP/1.1\r\n" + HOST + b"\r\n")
        eventually(lambda: server.held.begun)
        (connection,) = server.connections()
        ended(client)
        eventually(lambda: connection._gone_at < inf, "the end of its side has come")
        time.sleep(0.1)  # what was written before has been seen
        before = connection._gone_at
        server.held.set(server.held.step)
        eventually(lambda: connection._gone_at > before)
        server.held.set(server.held.let_go)
        assert client.rest().endswith(b"\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "rest",
    [b"", HEALTH, HEALTH[:-2], POST + b"Content-Length: 9\r\n\r\nabc"],
    ids=["nothing", "whole", "head", "body"],
)
def test_who_ends_its_side_is_let_go_once_it_has_its_answers(rest: bytes) -> None:
    """At once: what is left of a request will never come."""
    patient = {"half_closed_seconds": 60, "head_seconds": 60, "body_seconds": 60}
    with running(**patient, pipeline_seconds=0.2) as server:
        client = ended(server.sent(HEALTH + rest))
        answers = client.rest()
    assert answers.count(b"HTTP/1.1 200 ") == (2 if rest == HEALTH else 1)
