"""Answers at the guarded connection: readers that read slowly, or not at all."""

import socket
import time
from contextlib import suppress
from functools import partial

import pytest

from api.connections import Limits
from tests.support.guarded import (
    BIG,
    HEALTH,
    HOST,
    Server,
    are_stalled,
    eventually,
    is_connected,
    running,
    taken_up,
)


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
        eventually(partial(are_stalled, server, 1), "stalled")
        size = server.connections()[0].transport.get_write_buffer_size()
        assert 0 < size <= Limits().write_bytes + 65_536  # and what is no reason to wait
        assert server.connections()[0].answer_bytes == BIG


@pytest.mark.parametrize("path", [b"big", b"events?size=100000", b"events?size=10000"])
def test_a_reader_that_does_not_read_is_closed(server: Server, path: bytes) -> None:
    client = server.sent(b"GET /" + path + b" HTTP/1.1\r\n" + HOST + b"\r\n", small=True)
    client.socket.recv(1)
    eventually(lambda: not is_connected(server, client), "closed")
    if path != b"big":
        eventually(lambda: server.held.ended == ["events"], "the application was told")


def test_a_reader_that_reads_on_slowly_has_no_longer_than_one_that_does_not() -> None:
    """However little is left each time: what waits to be written is in memory meanwhile."""
    with running(write_bytes=BIG) as server:
        client = server.client(small=True)
        connection = taken_up(server, client)
        own = connection.transport.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.send(b"GET /big HTTP/1.1\r\n" + HOST + b"\r\n")
        received = 0
        with suppress(ConnectionError):
            while received < BIG and (data := client.socket.recv(50_000)):
                received += len(data)
                time.sleep(0.01)
    assert received < BIG


def test_what_is_written_of_an_answer_counts_until_it_is_read() -> None:
    """Also the last piece of what the application has given so far."""
    with running(write_bytes=BIG, write_seconds=60) as server:
        server.sent(b"GET /chunk HTTP/1.1\r\n" + HOST + b"\r\n", small=True)
        eventually(partial(are_stalled, server, 1), "stalled")
        assert server.sent(HEALTH).answer() == (200, {"status": "ok"})
        assert sum(each.answer_bytes for each in server.connections()) == BIG


def test_a_reader_that_leaves_the_end_of_its_answer_is_closed(server: Server) -> None:
    """What is left is too little for asyncio to tell the writer to pause."""
    client = server.client(small=True)
    connection = taken_up(server, client)
    connection.transport.set_write_buffer_limits(high=2 * BIG)
    client.send(b"GET /big HTTP/1.1\r\n" + HOST + b"\r\n")
    eventually(lambda: not is_connected(server, client), "closed")


def test_an_answer_that_nobody_reads_does_not_hold_up_the_end_of_the_service() -> None:
    with running(write_seconds=60) as server:
        client = server.client(small=True)
        connection = taken_up(server, client)
        connection.transport.set_write_buffer_limits(high=2 * BIG)
        client.send(b"GET /big HTTP/1.1\r\n" + HOST + b"\r\n")
        eventually(lambda: connection.has_asked and not connection._answering, "answered")
        connection.loop.call_soon_threadsafe(connection.shutdown)
        eventually(lambda: not is_connected(server, client), "closed")


def test_answers_that_wait_have_one_budget_and_the_longest_stalled_gives_way() -> None:
    with running(answers_bytes=2 * BIG + 1, write_seconds=60) as server:
        clients = []
        for number in range(3):
            clients.append(server.sent(b"GET /big HTTP/1.1\r\n" + HOST + b"\r\n", small=True))
            if number < 2:
                eventually(partial(are_stalled, server, number + 1), "stalled")
        eventually(lambda: not is_connected(server, clients[0]), "the first is closed")
        assert is_connected(server, clients[1])
        assert is_connected(server, clients[2])


def test_answers_may_fill_their_budget_to_the_last_byte() -> None:
    with running(answers_bytes=2 * BIG, write_seconds=60) as server:
        for number in range(2):
            server.sent(b"GET /big HTTP/1.1\r\n" + HOST + b"\r\n", small=True)
            eventually(partial(are_stalled, server, number + 1), "stalled")


def test_whoever_lets_most_answers_wait_gives_way_first() -> None:
    with running(answers_bytes=3 * BIG - 1, write_seconds=60) as server:
        request = b"GET /big HTTP/1.1\r\n" + HOST + b"\r\n"
        modest = server.sent(request, small=True, address="127.0.0.2")
        eventually(partial(are_stalled, server, 1), "stalled")
        greedy = server.sent(request, small=True)
        eventually(partial(are_stalled, server, 2), "stalled")
        server.sent(request, small=True)
        eventually(lambda: not is_connected(server, greedy), "the first of two is closed")
        assert is_connected(server, modest)
