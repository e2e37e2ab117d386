"""Heads of requests at the guarded connection, and what is logged of refusals."""

import time

import pytest

from tests.support.guarded import HEALTH, HOST, POST, Server, assert_refused, eventually, running
from tests.support.http_helpers import captured_log


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
