"""How many connections may be open, and clients that end their side of one."""

import asyncio
import resource
import socket
import struct
import threading
import time
from functools import partial
from math import inf

import pytest
import uvicorn
from uvicorn.server import ServerState

from api import connections
from api.connection_guard import GuardedProtocol
from api.connections import FILES_BESIDE, Connections, Limits, network_of, raise_file_limit
from tests.support.guarded import (
    BIG,
    HEALTH,
    HOST,
    POST,
    Client,
    Held,
    Server,
    are_stalled,
    assert_refused,
    eventually,
    running,
    small_app,
)


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
        assert len(server.connections()) <= 10


def test_connections_beyond_the_cap_that_are_refused_do_not_gather() -> None:
    with running(connections_per_address=8, spare_connections=2, linger_seconds=60) as server:
        for number in range(8):
            server.sent(b"GET /held?%d HTTP/1.1\r\n" % number + HOST + b"\r\n")
        eventually(lambda: len(server.held.begun) == 8)
        refused = [server.sent(POST + b"Content-Length: 0\r\n\r\n") for _ in range(10)]
        assert server.sent(HEALTH).answer() == (200, {"status": "ok"})
        assert len(server.connections()) <= 10
        assert not refused[0].rest().startswith(b"HTTP/1.1 2")


def test_connections_beyond_the_cap_that_wait_for_an_answer_do_not_gather() -> None:
    with running(connections_per_address=8, spare_connections=2) as server:
        for number in range(8):
            server.sent(b"GET /held?%d HTTP/1.1\r\n" % number + HOST + b"\r\n")
        eventually(lambda: len(server.held.begun) == 8)
        for _ in range(10):
            server.sent(b"GET /ready HTTP/1.1\r\n" + HOST + b"\r\n")
        assert server.sent(HEALTH).answer() == (200, {"status": "ok"})
        assert len(server.connections()) <= 10


def test_at_the_cap_a_slow_body_gives_way() -> None:
    with running(connections_per_address=8, body_seconds=60) as server:
        for _ in range(8):
            server.sent(POST + b"Content-Length: 5\r\n\r\nabc")
        eventually(lambda: all(each.body_bytes for each in server.connections()))
        time.sleep(0.3)
        assert server.sent(POST + b"Content-Length: 2\r\n\r\nab").answer() == (200, 2)


def test_who_has_gone_before_being_taken_up_has_asked_for_nothing(server: Server) -> None:
    """Else whoever resets each connection at once has the service work for nobody."""
    server.sent(HEALTH).answer()
    stands_still, goes_on = threading.Event(), threading.Event()

    def stand_still() -> None:
        stands_still.set()
        goes_on.wait(10)

    server.connections()[0].loop.call_soon_threadsafe(stand_still)
    assert stands_still.wait(10)
    gone = server.sent(b"GET /held?gone HTTP/1.1\r\n" + HOST + b"\r\n")
    gone.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gone.socket.close()
    goes_on.set()
    assert server.sent(HEALTH).answer() == (200, {"status": "ok"})
    assert server.held.begun == []
    eventually(lambda: len(server.connections()) == 2, "it is let go of")


async def test_a_unix_socket_has_no_address_and_is_served() -> None:
    config = uvicorn.Config(small_app(Held()), log_config=None)
    config.load()
    ours, theirs = socket.socketpair()
    connection = partial(GuardedProtocol, config, ServerState(), {})
    await asyncio.get_running_loop().connect_accepted_socket(connection, theirs)
    reader, writer = await asyncio.open_connection(sock=ours)
    writer.write(HEALTH)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.close()
    await writer.wait_closed()


def test_an_ipv6_network_is_one_address() -> None:
    assert network_of("2001:db8:1:2:3::1") == network_of("2001:db8:1:2:ffff::2%eth0")
    assert network_of("2001:db8:1:2::1") != network_of("2001:db8:1:3::1")
    assert network_of("::ffff:10.0.0.1") == network_of("10.0.0.1")


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
        eventually(partial(are_stalled, server, 1), "stalled")
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
