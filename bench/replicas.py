"""replicas: on PostgreSQL, how soon one analyses what another accepts, and what two can accept.

Where one only answers requests and the other only analyses, an insight takes as long as what Grok
takes, and the rest that is told here. Then 48 connections post as fast as they are answered, all of
them to one process or half of them to each of two, in turn. Commits wait for the disk, as they do
by default.
"""

import json
import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench import load, samples, visible
from bench.client import Connection
from bench.posts import PATH
from bench.report import Report, Samples
from bench.servers import Server, Servers
from tests.fakes.grok.process import grok_process
from tests.fakes.grok.steering import GOOD_KEY
from tests.support.servers import postgres_database, postgres_server

CONNECTIONS = 48


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    load.require_wrk()
    with postgres_server() as address:
        with postgres_database(address, durable=True) as url:
            _how_soon(report, servers, url, visible.TRIES_PER_ROUND * rounds)
        with postgres_database(address, durable=True) as url:
            _how_many(report, servers, url, rounds, seconds)


def _how_soon(report: Report, servers: Servers, url: str, tries: int) -> None:
    shared: dict[str, Any] = {"database_url": url, "inbound_rate_limit": 0}
    beyond, floor = [], []
    with (
        grok_process("--latency", str(visible.GROK_SECONDS)) as grok,
        servers.service("replicas-api", worker_enabled=False, **shared) as api,
        servers.service(
            "replicas-worker", grok_key=GOOD_KEY, grok_base_url=grok.base_url, **shared
        ),
        Connection(urlsplit(grok.control_url).port or 0) as to_grok,
    ):
        for conversation in samples.conversations(tries + 1):
            whole = visible.time_to_insight(api, json.dumps(conversation).encode())
            beyond.append(1000 * (whole - visible.time_grok(to_grok)))
            floor.append(1000 * visible.time_post_and_get(api))
    beyond, floor = beyond[1:], floor[1:]  # the first is a cold one
    report.say(f"  another's insight, beyond Grok's own time: {Samples(beyond).show('ms')}")
    report.add("replicas", "another's insight, beyond Grok's time", Samples(beyond), "ms", below=50)
    report.add("replicas", f"worst of {tries}", Samples([max(beyond)]), "ms")
    report.add("replicas", "one POST and one GET", Samples(floor), "ms")


def _how_many(report: Report, servers: Servers, url: str, rounds: int, seconds: float) -> None:
    bodies = load.write_bodies(servers.folder / "replicas.bodies", samples.bodies(500))
    shared: dict[str, Any] = {"database_url": url, "inbound_rate_limit": 0, "worker_enabled": False}
    rates: dict[int, list[float]] = defaultdict(list)
    with (
        servers.service("replicas-first", **shared) as first,
        servers.service("replicas-second", **shared) as second,
    ):
        for _ in range(rounds):
            for some in ([first], [first, second]):
                rate = _rate(some, bodies, seconds)
                rates[len(some)].append(rate)
                report.say(f"  {len(some)} of them: {rate:8,.0f} req/s")
    one, two = Samples(rates[1]), Samples(rates[2])
    report.add("replicas", "one accepts", one, "req/s")
    report.add("replicas", "two accept", two, "req/s")
    report.add("replicas", "two, of what one accepts", two.over(one), at_least=1.0)


def _rate(some: Sequence[Server], bodies: Path, seconds: float) -> float:
    """Requests a second of all of them together."""
    rates: list[float] = []

    def post(server: Server) -> None:
        each = CONNECTIONS // len(some)
        seen = load.post(server.url + PATH, bodies, connections=each, seconds=seconds)
        rates.append(seen.per_second)

    threads = [threading.Thread(target=post, args=[server]) for server in some]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rates) == len(some)
    return sum(rates)
