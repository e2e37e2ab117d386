"""Posts at a steady pace, as a process of its own, and tells how long each answer took.

    python -m bench.paced_client PORT PATH RATE SECONDS BODIES [FIRST]

A request's time counts from the moment it was due, not from when a connection was free for it: an
answer that holds up the next ones shows in all of them. Plain sockets and select(), since the
timers of event loops round to whole milliseconds. Writes one line of JSON.
"""

import gc
import json
import sys
import time
from collections import deque
from pathlib import Path
from select import select

from bench.client import Connection, build_request

CONNECTIONS = 16
WARM_UP_SECONDS = 0.5


def main() -> None:
    port, path, rate, seconds, bodies_file, *rest = sys.argv[1:]
    bodies = Path(bodies_file).read_bytes().splitlines()
    first = int(rest[0]) if rest else 0
    warm_up = round(WARM_UP_SECONDS * float(rate))
    requests = [
        build_request("POST", path, bodies[(first + number) % len(bodies)])
        for number in range(warm_up + round(float(rate) * float(seconds)))
    ]
    connections = [Connection(int(port)) for _ in range(CONNECTIONS)]
    gc.collect()
    gc.disable()
    taken, late = post_all(connections, requests, 1 / float(rate))
    print(json.dumps({"taken": taken[warm_up:], "late": late[warm_up:]}))


def post_all(
    connections: list[Connection], requests: list[bytes], interval: float
) -> tuple[list[float], list[float]]:
    """Of each request in turn: seconds from due to answered, and from due to sent."""
    clock = time.perf_counter
    taken = [0.0] * len(requests)
    late = [0.0] * len(requests)
    free = deque(connections)
    busy: dict[Connection, int] = {}
    start = clock() + 0.1
    sent = answered = 0
    while answered < len(requests):
        while free and sent < len(requests) and start + sent * interval <= clock():
            connection = free.popleft()
            connection.send(requests[sent])
            late[sent] = clock() - (start + sent * interval)
            busy[connection] = sent
            sent += 1
        wait = None
        if free and sent < len(requests):
            wait = max(0.0, start + sent * interval - clock())
        readable, _, _ = select(busy, [], [], wait)
        now = clock()
        for connection in readable:
            answer = connection.receive_some()
            if answer is not None:
                assert answer.status == 202, answer
                number = busy.pop(connection)
                taken[number] = now - (start + number * interval)
                free.append(connection)
                answered += 1
    return taken, late


if __name__ == "__main__":
    main()
