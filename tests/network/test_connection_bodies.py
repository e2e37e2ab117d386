"""Bodies and requests sent ahead at the guarded connection."""

import time
from math import inf

import pytest

from tests.support.guarded import HEALTH, HOST, POST, Server, assert_refused, eventually, running


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


def test_a_declared_body_has_the_time_of_its_size_and_no_more_for_what_has_come(
    server: Server,
) -> None:
    client = server.sent(POST + b"Content-Length: 1000\r\n\r\n")  # 0.4 s, and 0.5 s for its size
    for _ in range(20):
        client.send(b"a" * 50)
        time.sleep(0.0625)
    assert_refused(client.rest(), 408, "timeout")


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


def test_bodies_may_fill_their_budget_to_the_last_byte() -> None:
    with running(bodies_bytes=100_000) as server:
        client = server.sent(POST + b"Content-Length: 100000\r\n\r\n" + b"a" * 100_000)
        assert client.answer() == (200, 100_000)


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


def test_who_sends_the_rest_of_a_body_after_its_answer_may_go_on() -> None:
    with running(linger_seconds=60, body_seconds=60) as server:
        client = server.sent(b"POST /unread HTTP/1.1\r\n" + HOST)
        client.send(b"Content-Length: 10\r\n\r\nabc")
        assert client.answer() == (200, "not read")
        (connection,) = server.connections()
        eventually(lambda: connection._close_at < inf)
        client.send(b"a" * 7)
        eventually(lambda: connection._close_at == inf)
        client.send(HEALTH)
        assert client.answer() == (200, {"status": "ok"})


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


# --- requests sent ahead --------------------------------------------------------------------------


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


def test_each_time_that_requests_are_sent_ahead_has_a_deadline_of_its_own(server: Server) -> None:
    client = server.client()
    for _ in range(2):
        client.send(HEALTH * 3)
        received = b""
        while received.count(b'{"status":"ok"}') < 3:
            data = client.socket.recv(65_536)
            assert data, received
            received += data
        time.sleep(0.5)  # longer than all that are sent ahead together may take


def test_a_body_between_requests_is_read_whole(server: Server) -> None:
    one = POST + b"Content-Length: 5\r\n\r\nabcde"
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: trailer\r\n\r\n"
    client = server.sent((one + chunked + HEALTH) * 20)
    received = b""
    while received.count(b"HTTP/1.1 200 ") < 60 or not received.endswith(b"}"):
        received += client.socket.recv(1_000_000)
