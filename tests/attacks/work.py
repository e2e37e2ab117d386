"""Attacks by work: what a client can make the service do for it."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.attacks.client import (
    ALL_TIME,
    BATCH,
    CONVERSATIONS,
    INSIGHTS,
    Check,
    Client,
    connect,
    fill,
    flood,
    head,
    held,
    path_of,
    wait_for_analysis,
)
from tests.attacks.target import ATTACKER, FAIR, READER, Target


def wrong_keys(target: Target) -> list[Check]:
    """Requests with a wrong key, as fast as they go."""

    def ask(client: Client) -> int:
        time.sleep(0.004)
        return client.ask("GET", "/api/v1/nothing")[0]

    statuses = flood(6, 2, ask, port=target.port, key="wrong")
    return [Check("no request served", _told(statuses), not statuses.keys() - {0, 401, 429})]


def _told(statuses: dict[int, int]) -> str:
    return ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))


def greedy_key(target: Target) -> list[Check]:
    """One key that asks for all that is to be had: others keep their half."""

    def ask(client: Client) -> int:
        return client.ask("POST", CONVERSATIONS, b'{"text": "more"}')[0]

    statuses = flood(6, 3, ask, port=target.port, key=target.key(ATTACKER))
    return [Check("held back", _told(statuses), statuses[429] > 0)]


def readiness_flood(target: Target) -> list[Check]:
    return _operations(target, "/ready")


def metrics_flood(target: Target) -> list[Check]:
    """With a large queue, whose figures cost something."""
    rows = [f"row {number}" for number in range(40_000)]
    fill(target.port, target.key(FAIR), rows, at_once=1000)
    return _operations(target, "/metrics")


def _operations(target: Target, path: str) -> list[Check]:
    statuses = flood(6, 4, lambda client: client.ask("GET", path)[0], port=target.port, key=None)
    wanted = {200, 503, 429} if path == "/ready" else {401, 429}
    return [Check(f"{path} without a key", _told(statuses), not statuses.keys() - wanted)]


def row_flood(target: Target) -> list[Check]:
    """Batches of as many rows as can be, within the limit of requests."""
    body = b'{"conversations": [%s]}' % b",".join([b'{"text": "x"}'] * 1000)
    started = time.monotonic()
    statuses = flood(
        5, 2, lambda c: c.ask("POST", BATCH, body)[0], port=target.port, key=target.key(ATTACKER)
    )
    a_second = statuses[202] * 1000 / (time.monotonic() - started)
    return [Check("10,000 rows a second", f"{a_second:,.0f}/s", 0 < a_second <= 12_000)]


def live_rows(target: Target) -> list[Check]:
    """Batches in the lane that goes first."""
    rows = [{"text": "x"}] * 11
    with Client(target.port, target.key(ATTACKER)) as client:
        status, _ = client.ask("POST", BATCH, {"lane": "live", "conversations": rows})
    return [Check("11 live rows", str(status), status == 400)]


def emoji(target: Target) -> list[Check]:
    """Texts of nothing but emoji before an ordinary post of another client."""
    draw = random.Random(1)
    signs = [chr(code) for code in range(0x1F600, 0x1F640)]
    texts = ["".join(draw.choices(signs, k=10_000)) for _ in range(20)]
    fill(target.port, target.key(ATTACKER), texts, at_once=10, lane="live")
    with Client(target.port, target.key(FAIR)) as client:
        started = time.monotonic()
        shown = client.completed(client.post("my parcel is late"), within=15)
        took = time.monotonic() - started
    return [Check("a post beside it in 10 s", f"{shown['status']}, {took:.1f} s", took <= 10)]


def large_json(target: Target) -> list[Check]:
    """Bodies of as many values as may be, sent and read by many at once; then one of more."""
    values = ",".join(['{"": "0123456789"}'] * 99_000)
    body = b'{"text": "x", "raw_data": {"": [%s]}}' % values.encode()
    too_many = b'{"text": "x", "raw_data": {"": [%s]}}' % b",".join([b"{}"] * 680_000)

    def post(body: bytes) -> tuple[int, Any]:
        with Client(target.port, target.key(ATTACKER), timeout=50) as client:
            return client.ask("POST", CONVERSATIONS, body)

    def read(id_: str) -> int:
        request = head("GET", f"{CONVERSATIONS}/{id_}", "Connection: close", key=target.key(READER))
        with held([connect(target.port)]) as (reader,):
            reader.settimeout(30)
            reader.sendall(request)
            return sum(map(len, iter(lambda: reader.recv(1_000_000), b"")))

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(post, [body] * 20))
        ids = [answer["conversation_id"] for status, answer in answers if status == 202]
        sizes = list(pool.map(read, ids * 2))
        refused = sum(status == 400 for status, _ in pool.map(post, [too_many] * 20))
    whole = sum(size > len(values) * 0.9 for size in sizes)
    return [
        Check("posts of 2 MB", f"{len(ids)} of 20", len(ids) == 20),
        Check("read whole", f"{whole} of 40", whole == 40),
        Check("too many values refused", f"{refused} of 20", refused == 20),
    ]


def word_texts(target: Target) -> None:
    """Texts that are found by a long phrase of one word."""
    texts = [f"w{number} " + "a " * 4_990 for number in range(600)]
    fill(target.port, target.key(FAIR), texts, at_once=40)
    wait_for_analysis(target.port, target.key(FAIR))


def long_phrases(target: Target) -> list[Check]:
    """Four searches for a phrase of 250 words, whose clients leave after a second."""
    phrase = '"' + " ".join(["a"] * 250) + '"'
    request = head("GET", path_of(INSIGHTS, q=phrase, limit=1, **ALL_TIME), key=target.key(READER))

    def leave() -> None:
        with held([connect(target.port)]) as (searcher,):
            searcher.sendall(request)
            time.sleep(1)

    searchers = [threading.Thread(target=leave) for _ in range(4)]
    for searcher in searchers:
        searcher.start()
    for searcher in searchers:
        searcher.join()
    return [_read_meanwhile(target)]


def many_searches(target: Target) -> list[Check]:
    """Searches that find everything, from clients that wait for them."""
    path = path_of(INSIGHTS, q="a", limit=1, **ALL_TIME)
    done = threading.Event()

    def search() -> None:
        with Client(target.port, target.key(READER)) as client:
            while not done.is_set():
                client.ask("GET", path)

    searchers = [threading.Thread(target=search) for _ in range(6)]
    for searcher in searchers:
        searcher.start()
    time.sleep(0.5)
    check = _read_meanwhile(target)
    done.set()
    for searcher in searchers:
        searcher.join()
    return [check]


def _read_meanwhile(target: Target) -> Check:
    """Whether somebody else's list comes within 3 s."""
    with Client(target.port, target.key(FAIR), timeout=20) as client:
        started = time.monotonic()
        status, _ = client.ask("GET", path_of(INSIGHTS, limit=1, **ALL_TIME))
        took = time.monotonic() - started
    return Check("a list beside it in 3 s", f"{status}, {took:.1f} s", status == 200 and took <= 3)
