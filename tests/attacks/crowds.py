"""Attacks by the number of connections: hundreds on which one asks again as soon as it is answered,
and as many as can be made of which none waits for its answer."""

import os
import socket
import struct
import time
from selectors import EVENT_READ, DefaultSelector

from tests.attacks.client import Check, connect, head, held
from tests.attacks.target import Target


def crowded_health(target: Target) -> list[Check]:
    return _crowd(target, head("GET", "/health"), most=1000)


def crowded_readiness(target: Target) -> list[Check]:
    return _crowd(target, head("GET", "/ready"), most=250)


def crowded_wrong_keys(target: Target) -> list[Check]:
    return _crowd(target, head("GET", "/api/v1/stats", key="wrong"), most=250)


def one_that_resets(target: Target) -> list[Check]:
    return _resets(target, at_once=1)


def many_that_reset(target: Target) -> list[Check]:
    return _resets(target, at_once=50)


def _crowd(target: Target, request: bytes, *, most: int) -> list[Check]:
    answers = 0
    selector = DefaultSelector()
    with held([]) as crowd:
        started = time.monotonic()
        for _ in range(400):
            connection = connect(target.port)
            crowd.append(connection)
            selector.register(connection, EVENT_READ)
            connection.sendall(request)
            time.sleep(0.002)
        while time.monotonic() < started + 6:
            for ready, _ in selector.select(0.1):
                asking = ready.fileobj
                assert isinstance(asking, socket.socket)
                if received := asking.recv(65_536):
                    if received.startswith(b"HTTP/"):  # its end may come by itself
                        answers += 1
                        asking.sendall(request)
                else:
                    selector.unregister(asking)
        a_second = answers / (time.monotonic() - started)
    return [Check(f"at most {most} answers a second", f"{a_second:.0f}/s", 0 < a_second < most)]


_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing drops what is unsent and unread, and tells the other side so."""


def _resets(target: Target, *, at_once: int) -> list[Check]:
    """Connect, ask without a key, and reset, as fast as it goes."""
    request = head("GET", "/api/v1/stats")
    before = _files_of(target)
    asked = 0
    stop = time.monotonic() + 6
    while time.monotonic() < stop:
        with held([]) as some:
            for _ in range(at_once):
                connection = connect(target.port)
                some.append(connection)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                connection.sendall(request)
                asked += 1
    stop = time.monotonic() + 5
    while (left := _files_of(target) - before) > 20 and time.monotonic() < stop:
        time.sleep(0.1)
    return [Check("nothing is kept of them", f"{asked / 6:,.0f}/s, {left} files more", left <= 20)]


def _files_of(target: Target) -> int:
    return len(os.listdir(f"/proc/{target.pid}/fd"))
