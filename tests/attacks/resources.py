"""Attacks on memory, time and connections: what a client can make the service hold."""

import itertools
import socket
import time
from contextlib import suppress

from tests.attacks.client import (
    ALL_TIME,
    BATCH,
    CONVERSATIONS,
    INSIGHTS,
    Check,
    Client,
    closed_within,
    connect,
    fill,
    head,
    held,
    path_of,
    wait_for_analysis,
)
from tests.attacks.target import ATTACKER, FAIR, READER, Target

# As long in JSON as a text can be: each of these characters is written as six.
_LONG = "\x01" * 9_900
_ROWS_OF_LONG = 600
_HEAD_SECONDS = 10.0
_WRITE_SECONDS = 15.0
_ROOM_SECONDS = 3.0
"""For a machine that has other things to do when a deadline comes."""
_STOP_AT_MIB = 700.0
"""An attack that has shown its point goes no further."""


# --- answers that nobody reads --------------------------------------------------------------------


def _stalled(target: Target, request: bytes, count: int) -> list[Check]:
    with held([]) as readers:
        for _ in range(count):
            with suppress(OSError):
                reader = connect(target.port, receive_bytes=4096)
                readers.append(reader)
                reader.sendall(request)
            time.sleep(0.03)
            if target.memory_mib > _STOP_AT_MIB:
                break
        return [_closed_without_reading(readers, _WRITE_SECONDS + _ROOM_SECONDS)]


def _closed_without_reading(connections: list[socket.socket], seconds: float) -> Check:
    """Each within so many seconds of the last byte that was written to it. Looks from outside,
    since whoever reads is no stalled reader any more."""
    ports = {connection.getsockname()[1] for connection in connections}
    started = now = time.monotonic()
    moved: dict[int, tuple[int, float]] = {}
    late: set[int] = set()
    while not late:
        unread = {port: size for port, size in _written_here().items() if port in ports}
        if not unread:
            break
        now = time.monotonic()
        for port, size in unread.items():
            if port not in moved or moved[port][0] != size:
                moved[port] = size, now
        late = {port for port in unread if now - moved[port][1] > seconds}
        time.sleep(0.5)
    seen = f"{len(late)} of {len(ports)} open" if late else f"after {now - started:.0f} s"
    return Check(f"closed {seconds:.0f} s after the last write", seen, not late)


def _written_here() -> dict[int, int]:
    """Ports of this machine whose peer, also here, has the connection established; the bytes that
    the peer has written and that have not been taken."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in itertools.islice(table, 1, None)]
    return {
        int(row[2].partition(":")[2], 16): int(row[4].partition(":")[0], 16)
        for row in rows
        if row[3] == "01"
    }


def long_texts(target: Target) -> None:
    texts = [f"w{number} {_LONG}" for number in range(_ROWS_OF_LONG)]
    fill(target.port, target.key(FAIR), texts, at_once=30)
    wait_for_analysis(target.port, target.key(FAIR))


def stalled_streams(target: Target) -> list[Check]:
    request = head("GET", "/api/v1/stream", "Last-Event-ID: 0", key=target.key(READER))
    return _stalled(target, request, 60)


def stalled_lists(target: Target) -> list[Check]:
    path = path_of(INSIGHTS, limit=1000, **ALL_TIME)
    return _stalled(target, head("GET", path, key=target.key(READER)), 30)


def stalled_exports(target: Target) -> list[Check]:
    path = path_of(f"{INSIGHTS}/export", format="ndjson", **ALL_TIME)
    return _stalled(target, head("GET", path, key=target.key(READER)), 40)


def stalled_conversations(target: Target) -> list[Check]:
    """One long conversation, asked for again and again in one connection, no answer ever read."""
    with Client(target.port, target.key(FAIR)) as client:
        id_ = client.post(_LONG, raw_data={"more": "\x01" * 300_000})
    request = head("GET", f"{CONVERSATIONS}/{id_}", key=target.key(READER))
    return _stalled(target, request * 50, 10)


def many_streams(target: Target) -> list[Check]:
    """More streams than there are places, none of them slow."""
    request = head("GET", "/api/v1/stream", key=target.key(READER))
    with held([]) as streams:
        statuses = []
        for _ in range(130):
            try:
                stream = connect(target.port)
                streams.append(stream)
                stream.sendall(request)
                statuses.append(stream.recv(100).split()[1])
            except (OSError, IndexError):
                statuses.append(b"none")
            time.sleep(0.015)
        most = statuses.count(b"200")
    return [Check("at most 100 streams", str(most), 0 < most <= 100)]


# --- heads ----------------------------------------------------------------------------------------


def _endless(target: Target, opening: bytes, piece: bytes) -> list[Check]:
    """Send `piece` again and again until the other side has had enough. It may take in for a
    moment what it throws away, so that its answer is read rather than lost to a reset."""
    with held([connect(target.port)]) as (attacker,):
        attacker.sendall(opening)
        started = time.monotonic()
        cut_off = False
        while not cut_off and time.monotonic() < started + 8 and target.memory_mib < _STOP_AT_MIB:
            try:
                attacker.sendall(piece)
            except OSError:
                cut_off = True
            time.sleep(0.005)
        took = time.monotonic() - started
    seen = f"after {took:.1f} s" if cut_off else f"still taken after {took:.1f} s"
    return [Check("cut off in 5 s", seen, cut_off and took <= 5)]


def many_headers(target: Target) -> list[Check]:
    """Small headers without end, in one request that never begins."""
    piece = b"".join(b"%07x: b\r\n" % number for number in range(20_000))
    return _endless(target, head("GET", "/health", ended=False) + b"\r\n", piece)


def endless_header(target: Target) -> list[Check]:
    """One header whose value does not end."""
    return _endless(target, head("GET", "/health", "A: b", ended=False), b"a" * 2**18)


def endless_target(target: Target) -> list[Check]:
    """A request line that does not end."""
    return _endless(target, b"GET /", b"a" * 2**18)


def endless_trailers(target: Target) -> list[Check]:
    """Headers after a chunked body: a second place where heads come in."""
    fields = ("Content-Type: application/json", "Transfer-Encoding: chunked")
    opening = head("POST", CONVERSATIONS, *fields, key=target.key(ATTACKER))
    piece = b"".join(b"x%06x: b\r\n" % number for number in range(20_000))
    return _endless(target, opening + b"2\r\n{}\r\n0\r\n", piece)


def large_heads(target: Target) -> list[Check]:
    """Whole heads beyond what is taken: one large header, and too many."""
    checks = []
    for name, fields in {
        "100 kB": ["A: " + "b" * 100_000],
        "200 headers": [f"X-{number}: b" for number in range(200)],
    }.items():
        with held([connect(target.port)]) as (attacker,):
            answer = b""
            with suppress(OSError):
                attacker.sendall(head("GET", "/health", *fields))
                answer = attacker.recv(100)
        checks.append(Check(f"431 for {name}", answer[9:12].decode(), answer[9:12] == b"431"))
    return checks


# --- bodies and connections that do not end -------------------------------------------------------


def _body_head(target: Target, length: int) -> bytes:
    fields = ("Content-Type: application/json", f"Content-Length: {length}")
    return head("POST", BATCH, *fields, key=target.key(ATTACKER))


def withheld_bodies(target: Target) -> list[Check]:
    """Bodies of 2 MiB of which one byte is kept back: as many as can be begun."""
    length = 2 * 2**20
    payload = _body_head(target, length) + b" " * (length - 1)
    with held([]) as senders:
        for _ in range(400):
            with suppress(OSError):
                sender = connect(target.port)
                senders.append(sender)
                sender.sendall(payload)
            time.sleep(0.011)
            if target.memory_mib > _STOP_AT_MIB:
                break
        # 64 MB may be under way at a time; each has 10 s, and 50 kB/s on top.
        return [Check("held at once", *_at_most(len(senders), 64, senders))]


def _at_most(count: int, most: int, connections: list[socket.socket]) -> tuple[str, bool]:
    time.sleep(1)
    unanswered = 0
    for connection in connections:
        connection.setblocking(False)
        try:
            connection.recv(100)
        except BlockingIOError:
            unanswered += 1
        except OSError:
            pass
    return f"{unanswered} of {count} unanswered", unanswered <= most


def slow_bodies(target: Target) -> list[Check]:
    """Small bodies that are never finished."""
    return _waiting(target, _body_head(target, 1000) + b"{", 60, _HEAD_SECONDS + 1)


def dripping_bodies(target: Target) -> list[Check]:
    """Bodies of which a byte comes now and then: each is something, together it is nothing."""
    with held([]) as senders:
        for _ in range(20):
            sender = connect(target.port)
            senders.append(sender)
            sender.sendall(_body_head(target, 50_000) + b" ")
            time.sleep(0.011)
        stop = time.monotonic() + _HEAD_SECONDS + 1 + _ROOM_SECONDS
        while time.monotonic() < stop:
            for sender in senders:
                with suppress(OSError):
                    sender.send(b" ")
            time.sleep(0.5)
        return [closed_within(senders, 1)]


def chunked_bodies(target: Target) -> list[Check]:
    """A body of chunks without an end, larger than any body may be."""
    fields = ("Content-Type: application/json", "Transfer-Encoding: chunked")
    opening = head("POST", BATCH, *fields, key=target.key(ATTACKER))
    return _endless(target, opening, b"10000\r\n" + b" " * 0x10000 + b"\r\n")


def idle_connections(target: Target) -> list[Check]:
    """Connections that say nothing."""
    return _waiting(target, b"", 600, _HEAD_SECONDS)


def idle_heads(target: Target) -> list[Check]:
    """Connections that have begun a head, and go on with it a byte at a time."""
    opening = head("GET", "/health", "A: b", ended=False)
    with held([]) as senders:
        for _ in range(60):
            sender = connect(target.port)
            senders.append(sender)
            sender.sendall(opening)
        stop = time.monotonic() + _HEAD_SECONDS
        while time.monotonic() < stop:
            for sender in senders:
                with suppress(OSError):
                    sender.send(b"b")
            time.sleep(1)
        return [closed_within(senders, _ROOM_SECONDS)]


def _waiting(target: Target, opening: bytes, count: int, seconds: float) -> list[Check]:
    with held([]) as connections:
        for _ in range(count):
            with suppress(OSError):
                connection = connect(target.port)
                connections.append(connection)
                if opening:
                    connection.sendall(opening)
                    time.sleep(0.011)
        return [closed_within(connections, seconds + _ROOM_SECONDS)]


def pipelined(target: Target) -> list[Check]:
    """Thousands of requests in one breath on one connection, no answer read."""
    return _stalled(target, head("GET", "/health") * 5_000, 10)
