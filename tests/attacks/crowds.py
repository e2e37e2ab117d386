"""Attacks by hundreds of connections, on each of which one asks again as soon as it is answered."""

import socket
import time
from selectors import EVENT_READ, DefaultSelector

from tests.attacks.client import Check, connect, head, held
from tests.attacks.target import Target


def crowded_health(target: Target) -> list[Check]:
    return _crowd(target, head("GET", "/health"), most=1300)


def crowded_readiness(target: Target) -> list[Check]:
    return _crowd(target, head("GET", "/ready"), most=450)


def crowded_wrong_keys(target: Target) -> list[Check]:
    return _crowd(target, head("GET", "/api/v1/stats", key="wrong"), most=300)


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
                if asking.recv(65_536):
                    answers += 1
                    asking.sendall(request)
                else:
                    selector.unregister(asking)
        a_second = answers / (time.monotonic() - started)
    return [Check(f"at most {most} answers a second", f"{a_second:.0f}/s", 0 < a_second < most)]
