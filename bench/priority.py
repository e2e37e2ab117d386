"""priority: what a desk asks for at each of several sizes, one client, over HTTP: pages in the
order of priority, what is open with other conditions, and the figures of handling.

Then two agents who press claim for the same conversation at once, again and again; and what the
key of the priority adds to settling, beside the same without it.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any
from unittest import mock
from urllib.parse import urlencode

from analysis.outcomes import Analysis, Complete
from bench import reads, samples
from bench.client import Connection, build_request
from bench.many_insights import FREQUENT_WORD, USUAL_WORD
from bench.report import Report, Samples, quantile
from bench.servers import Servers
from database import Database
from models import Lane
from store.conversations import ConversationStore, NewConversation
from store.derived import priority
from store.queue import WorkQueue

_CONVERSATIONS = "/api/v1/conversations"
_OPEN = {"handling": "open"}
_BY_PRIORITY = {"order": "priority"}


def _window(**conditions: Any) -> dict[str, Any]:
    """The last 48 hours of the data."""
    return {**reads.last(hours=48), **_BY_PRIORITY, **conditions}


def _open(**conditions: Any) -> dict[str, Any]:
    return {**reads.WHOLE, **_OPEN, **conditions}


PAGES: dict[str, dict[str, Any]] = {
    "by priority": _window(),
    "by priority, negative": _window(sentiment="negative"),
    "by priority, rare topic": _window(cluster="topic_20"),
    "by priority, frequent topic": _window(cluster="topic_00"),
    "by priority, urgent now": _window(urgency="now"),
    "by priority, words": _window(q=USUAL_WORD),
    "by priority, in every third": _window(q=FREQUENT_WORD),
    "newest first": {**reads.WHOLE},
    "open": _open(),
    "open, negative": _open(sentiment="negative"),
    "open, from 0.83": _open(min_confidence=0.83),
    "open, a topic": _open(cluster="topic_00"),
    "open, a language": _open(language="sv"),
    "open, urgent, negative": _open(urgency="now", sentiment="negative"),
    "open, an author": _open(author="customer20"),
    "open, words": _open(q=USUAL_WORD),
    "answered": {**reads.WHOLE, "handling": "answered"},
    "answered, a topic": {**reads.WHOLE, "handling": "answered", "cluster": "topic_00"},
}
SUMMARIES: dict[str, dict[str, Any]] = {
    "30 days": {**reads.last(days=30, minutes=7), "interval": "hour"},
    "whole range": {**reads.WHOLE, "interval": "day"},
    "open": {**reads.last(days=30, minutes=7), **_OPEN, "interval": "hour"},
    "a topic": {**reads.last(days=30, minutes=7), "cluster": "topic_00", "interval": "day"},
}


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    for size in servers.sizes:
        report.say(f"  {size:,} insights")
        with reads.on_many(servers, size) as service, Connection(service.port) as connection:
            for name, parameters in PAGES.items():
                _ask(report, connection, size, name, (reads.PATH, parameters), rounds, below=4)
            for name, parameters in SUMMARIES.items():
                path = f"{reads.PATH}/summary"
                asked = (path, parameters)
                _ask(report, connection, size, f"summary, {name}", asked, rounds, below=10)
    _claims(report, servers, rounds * 2000)
    _settling(report, servers, rounds)


def _ask(
    report: Report,
    connection: Connection,
    size: int,
    name: str,
    asked: tuple[str, dict[str, Any]],
    rounds: int,
    below: float,
) -> None:
    path, parameters = asked
    request = build_request("GET", f"{path}?{urlencode(parameters)}")
    first, *_ = (reads.time_of(connection, request) for _ in range(5))
    times = sorted(reads.time_of(connection, request) for _ in range(rounds * 20))
    answer = connection.ask(request)
    assert answer.status == 200, (name, answer)
    metadata = answer.json().get("metadata", {})
    told = f", {metadata['total_count']:,} match" if metadata else ""
    p50, p99 = quantile(times, 0.5), quantile(times, 0.99)
    report.say(f"    {name:28} p50 {p50:6.2f}  p99 {p99:6.2f} ms, first {first:7.2f} ms{told}")
    report.add(f"priority {size:,}", f"{name}, p50", Samples([p50]), "ms", below=below)


def _claims(report: Report, servers: Servers, times: int) -> None:
    """Both requests of a round are sent before either is answered."""
    with (
        servers.service("claims", inbound_rate_limit=0, analyzer="offline") as service,
        Connection(service.port) as ana,
        Connection(service.port) as ben,
    ):
        ids = [_completed(ana, body) for body in samples.bodies(10)]
        answers: Counter[tuple[int, ...]] = Counter()
        started = time.perf_counter()
        for number in range(times):
            path = f"{_CONVERSATIONS}/{ids[number % len(ids)]}/handling"
            agents = ((ana, "ana"), (ben, "ben")) if number % 2 else ((ben, "ben"), (ana, "ana"))
            for connection, by in agents:
                body = json.dumps({"state": "claimed", "by": by}).encode()
                connection.send(build_request("POST", path, body))
            answers[tuple(sorted(_received(connection) for connection, _ in agents))] += 1
            ana.ask(build_request("POST", path, b'{"state": "open", "by": "cem"}'))
        taken = time.perf_counter() - started
        histories = [
            ana.ask(build_request("GET", f"{_CONVERSATIONS}/{id_}/handling")).json()["history"]
            for id_ in ids
        ]
    report.say(f"  {times:,} times two claims at once in {taken:.1f} s: {dict(answers)}")
    report.check("claims", "exactly one has it", str(dict(answers)), set(answers) == {(200, 409)})
    lines = sum(map(len, histories))
    report.check("claims", "lines of the history", f"{lines:,}", lines == 2 * times)


def _completed(connection: Connection, body: bytes) -> str:
    id_ = connection.ask(build_request("POST", _CONVERSATIONS, body)).json()["conversation_id"]
    found = build_request("GET", f"{_CONVERSATIONS}/{id_}")
    while connection.ask(found).json()["status"] != "completed":
        time.sleep(0.01)
    return str(id_)


def _received(connection: Connection) -> int:
    while (answer := connection.receive_some()) is None:
        pass
    return answer.status


# --- what the key costs ---------------------------------------------------------------------------

_SETTLED = 1000
_IN_A_CALL = 10


def _settling(report: Report, servers: Servers, rounds: int) -> None:
    """In this process: the same conversations settled with the key and, in turn, without it."""
    taken: dict[bool, list[float]] = {True: [], False: []}
    for number in range(2 * rounds):
        with_key = bool(number % 2)
        file = servers.new_database(f"settling-{number}")
        with nullcontext() if with_key else _without_key():
            taken[with_key].append(asyncio.run(_settle(f"sqlite+aiosqlite:///{file}")))
    per_row = [Samples([1e6 * each / _SETTLED for each in taken[key]]) for key in (False, True)]
    ratio = per_row[1].over(per_row[0])
    report.say(
        f"  settling without the key {per_row[0].show('us')}, with it {per_row[1].show('us')}"
    )
    report.add("settling", "with the key of the priority, of without", ratio, below=1.1)


@contextmanager
def _without_key() -> Iterator[None]:
    def fill_in(_connection: Any, rows: list[dict[str, Any]], *_: Any) -> set[priority.Post]:
        for row in rows:
            row |= {"repeats": 0, "rising": 0, "priority": None}
        return set()

    with (
        mock.patch.object(priority, "complete_rows", fill_in),
        mock.patch.object(priority, "add"),
    ):
        yield


async def _settle(url: str) -> float:
    """Seconds for settling, ten in a transaction; a tenth of the authors come again."""
    async with Database(url) as database:
        draw = random.Random(7)
        items = [
            NewConversation(each["text"], author=f"customer{draw.randrange(_SETTLED)}")
            for each in samples.conversations(_SETTLED)
        ]
        await ConversationStore(database).accept(items, lane=Lane.BULK)
        queue = WorkQueue(database)
        claim = await queue.claim(
            [Lane.BULK], look=_SETTLED, take=lambda waiting: waiting, lease=timedelta(minutes=5)
        )
        results = [
            (item, Complete(Analysis(draw.uniform(-1, 1), ("late", "price"), 0.9, "It is late.")))
            for item in claim.items
        ]
        started = time.perf_counter()
        for first in range(0, _SETTLED, _IN_A_CALL):
            await queue.settle(results[first : first + _IN_A_CALL])
        return time.perf_counter() - started
