"""reads: what dashboards ask, at each of several sizes, one client, over HTTP.

Beside it, in turn: Python's sqlite3 and json in this process for the same page, without a service
around it, and the total as one would count it without rollups. Then the same while 100 posts a
second come in and are analysed, and an export of everything with the memory that it takes.
"""

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from bench import load, many_insights, samples
from bench.client import Connection, build_request
from bench.many_insights import END, FREQUENT_WORD, RARE_CLUSTER, USUAL_WORD
from bench.posts import PATH as POST_PATH
from bench.report import Report, Samples, quantile
from bench.servers import ROOT, Server, Servers
from models import to_micros

PATH = "/api/v1/insights"
RATE = 100

WHOLE = {"start_time": "2024-12-01T00:00:00Z", "end_time": "2025-05-01T00:00:00Z"}


def last(**duration: float) -> dict[str, str]:
    start = END - timedelta(**duration)
    return {"start_time": start.isoformat(), "end_time": END.isoformat()}


REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "last hour": (PATH, last(hours=1)),
    "whole range": (PATH, WHOLE),
    "negative from 0.8": (PATH, {**WHOLE, "sentiment": "negative", "min_confidence": 0.8}),
    "30 days from 0.83": (PATH, {**last(days=30, minutes=7), "min_confidence": 0.83}),
    "rare cluster": (PATH, {**WHOLE, "cluster": RARE_CLUSTER}),
    "frequent cluster": (PATH, {**WHOLE, "cluster": "topic_00"}),
    "an author": (PATH, {**WHOLE, "author": "customer20"}),
    "frequent language": (PATH, {**WHOLE, "language": "en"}),
    "rare language": (PATH, {**WHOLE, "language": "sv"}),
    "urgent now": (PATH, {**WHOLE, "urgency": "now"}),
    "not urgent": (PATH, {**WHOLE, "urgency": "none"}),
    "labelled by a person": (PATH, {**WHOLE, "labelled": "person"}),
    "cluster in a language": (PATH, {**WHOLE, "cluster": "topic_00", "language": "de"}),
    "q": (PATH, {**WHOLE, "q": USUAL_WORD}),
    "q, every third": (PATH, {**WHOLE, "q": FREQUENT_WORD}),
    "q and negative": (PATH, {**WHOLE, "q": USUAL_WORD, "sentiment": "negative"}),
    "limit 1000": (PATH, {**WHOLE, "limit": 1000}),
    "deep page": (PATH, WHOLE),  # far down
    "summary, 30 days": (f"{PATH}/summary", {**last(days=30, minutes=7), "interval": "hour"}),
    "summary, from 0.8": (
        f"{PATH}/summary",
        {**last(days=30, minutes=7), "interval": "hour", "min_confidence": 0.8},
    ),
    "summary of a cluster": (
        f"{PATH}/summary",
        {**last(days=30, minutes=7), "interval": "day", "cluster": "topic_10"},
    ),
    **{
        f"summary, {name}": (
            f"{PATH}/summary",
            {**last(days=30, minutes=7), "interval": "hour", **conditions},
        )
        for name, conditions in {
            "a language": {"language": "en"},
            "urgent now": {"urgency": "now"},
            "not urgent": {"urgency": "none"},
            "by a person": {"labelled": "person"},
            "cluster in a language": {"cluster": "topic_00", "language": "de"},
        }.items()
    },
    "trends 15m": ("/api/v1/trends", {"window": "15m", "as_of": "2025-03-31T14:37:12Z"}),
    "trends 1h": ("/api/v1/trends", {"window": "1h", "as_of": "2025-03-31T14:37:12Z"}),
    "trends 24h": ("/api/v1/trends", {"window": "24h", "as_of": "2025-03-31T14:37:12Z"}),
    "stats": ("/api/v1/stats", {}),
}


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    count = rounds * 40
    all_taken: list[dict[str, Taken]] = []
    for size in servers.sizes:
        report.say(f"  {size:,} insights")
        with on_many(servers, size) as service:
            taken = _measure(service, count)
            all_taken.append(taken)
            for name, each in taken.items():
                _say(report, name, each)
            if size == max(servers.sizes):
                _judge(report, size, taken, all_taken[0])
                if servers.postgres is None:
                    _beside(report, service, size, count)
                _under_load(report, servers, service, count, taken)
                _export(report, service, size)


def on_many(servers: Servers, size: int) -> Any:
    """On a database that is made once and kept, in the folder that all runs share."""
    if servers.postgres is not None:
        url = f"{servers.postgres}_{size}"
    else:
        url = f"sqlite+aiosqlite:///{file_of(servers, size)}"
    many_insights.build_once(url, size)
    return servers.service(
        f"reads-{size}",
        database=file_of(servers, size),
        database_url=url,
        inbound_rate_limit=0,
    )


def file_of(servers: Servers, size: int) -> Path:
    return servers.folder.parent / f"reads-{size}.db"


class Taken(NamedTuple):
    """Milliseconds: CPU of a request, the very first one, and all others, sorted. And the bytes of
    an answer."""

    cpu: float
    first: float
    times: list[float]
    size: int


def _measure(service: Server, count: int) -> dict[str, Taken]:
    taken: dict[str, Taken] = {}
    with Connection(service.port) as connection:
        for name, (path, parameters) in REQUESTS.items():
            if name == "deep page":
                parameters = {**parameters, "cursor": _deep_cursor(connection)}
            request = build_request("GET", f"{path}?{urlencode(parameters)}")
            first, *_ = (time_of(connection, request) for _ in range(5))
            cpu = service.cpu_seconds()
            times = sorted(time_of(connection, request) for _ in range(count))
            cpu = 1000 * (service.cpu_seconds() - cpu) / count
            answer = connection.ask(request)
            assert answer.status == 200, (name, answer)
            taken[name] = Taken(cpu, first, times, len(answer.body))
    return taken


def time_of(connection: Connection, request: bytes) -> float:
    started = time.perf_counter()
    connection.ask(request)
    return 1000 * (time.perf_counter() - started)


def _deep_cursor(connection: Connection) -> str:
    """Where page number 5,000 begins, or half of all where there are not so many."""
    path = f"{PATH}?{urlencode({**WHOLE, 'limit': 1})}"
    total = connection.ask(build_request("GET", path)).json()["metadata"]["total_count"]
    part = min(0.5, 500_000 / total)
    middle = END - timedelta(days=many_insights.DAYS * part)
    path = f"{PATH}?{urlencode({**WHOLE, 'end_time': middle.isoformat(), 'limit': 1})}"
    return str(connection.ask(build_request("GET", path)).json()["metadata"]["next_cursor"])


def _say(report: Report, name: str, taken: Taken) -> None:
    shown = "  ".join(f"p{100 * part:g} {quantile(taken.times, part):6.2f}" for part in (0.5, 0.99))
    report.say(f"    {name:22} {shown} ms, CPU {taken.cpu:5.2f} ms, first {taken.first:6.2f} ms")


def _judge(
    report: Report, size: int, taken: dict[str, Taken], of_smallest: dict[str, Taken]
) -> None:
    subject = f"reads {size:,}"
    for name, (cpu, first, times, length) in taken.items():
        page = REQUESTS[name][0] == PATH and name != "limit 1000"
        p50, p99 = quantile(times, 0.5), quantile(times, 0.99)
        report.add(subject, f"{name}, p50", Samples([p50]), "ms", below=4 if page else 10)
        report.add(subject, f"{name}, p99", Samples([p99]), "ms", below=25)
        report.add(subject, f"{name}, the first time", Samples([first]), "ms")
        report.add(subject, f"{name}, CPU", Samples([cpu]), "ms")
        smallest = of_smallest[name]
        # A last hour with four insights costs less than one with a hundred.
        if page and taken is not of_smallest and 0.9 < length / smallest.size < 1.1:
            ratio = Samples([p50 / quantile(smallest.times, 0.5)])
            report.add(subject, f"{name}, of the smallest size's", ratio, below=1.5)


# --- beside it ------------------------------------------------------------------------------------

_COLUMNS = (
    "conversation_id, timestamp, text, author, sentiment_score, clusters, confidence, reasoning"
)
_PLAIN = {
    "whole range": "",
    "negative from 0.8": "AND sentiment_score < -0.1 AND confidence >= 0.8",
    "limit 1000": "",
}


def _beside(report: Report, service: Server, size: int, count: int) -> None:
    start, stop = to_micros(END) - many_insights.DAYS * 86_400_000_000, to_micros(END)
    with closing(sqlite3.connect(_path_of(service))) as database:
        for name, extra in _PLAIN.items():
            limit = REQUESTS[name][1].get("limit", 100)
            where = f"WHERE timestamp BETWEEN {start} AND {stop} {extra}"
            page = f"SELECT {_COLUMNS} FROM insights {where} ORDER BY timestamp DESC LIMIT {limit}"
            counted = f"SELECT count(*) FROM insights {where}"
            request = build_request("GET", f"{PATH}?{urlencode(REQUESTS[name][1])}")
            plain = _cpu_of(lambda page=page: _as_json(database, page), count)
            counting = _cpu_of(lambda counted=counted: database.execute(counted).fetchone(), 5)
            cpu = service.cpu_seconds()
            with Connection(service.port) as connection:
                for _ in range(count):
                    connection.ask(request)
            ours = 1000 * (service.cpu_seconds() - cpu) / count
            add, subject = report.add, f"reads {size:,}"
            add(subject, f"{name}, CPU of plain sqlite3's page", Samples([ours / plain]))
            both = Samples([ours / (plain + counting)])
            add(subject, f"{name}, CPU of plain sqlite3's page and total", both, below=3)
            add(subject, f"{name}, a total counted by scan", Samples([counting]), "ms")
            report.say(
                f"    {name:22} ours {ours:.2f}, plain page {plain:.2f},"
                f" plain total {counting:.2f} ms of CPU"
            )


def _path_of(service: Server) -> Path:
    assert service.database is not None
    return service.database


def _as_json(database: sqlite3.Connection, statement: str) -> str:
    names = ("sentiment_score", "clusters", "confidence", "reasoning")
    rows = []
    for id_, timestamp, text, author, score, clusters, *rest in database.execute(statement):
        analysis = dict(zip(names, (score, json.loads(clusters), *rest), strict=True))
        row = {"conversation_id": id_, "timestamp": timestamp, "text": text, "author": author}
        rows.append({**row, "grok_analysis": analysis})
    return json.dumps(rows)


def _cpu_of(work: Any, count: int) -> float:
    work()
    before = time.process_time()
    for _ in range(count):
        work()
    return 1000 * (time.process_time() - before) / count


# --- while others write ---------------------------------------------------------------------------


def _under_load(
    report: Report, servers: Servers, service: Server, count: int, idle: dict[str, Taken]
) -> None:
    seconds = 60.0
    bodies = load.write_bodies(
        servers.folder / "reads.bodies", samples.bodies(round(RATE * (seconds + 5)))
    )
    command = [sys.executable, "-m", "bench.paced_client", str(service.port), POST_PATH, str(RATE)]
    command += [str(seconds), str(bodies), "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT) as posting:
        time.sleep(2)
        busy = _measure(service, count)
        posting.terminate()
    report.say(f"  while {RATE} posts a second come in")
    for name, taken in busy.items():
        _say(report, name, taken)
        p99 = Samples([quantile(taken.times, 0.99)])
        report.add("reads, busy", f"{name}, p99", p99, "ms", below=25)
        report.add(
            "reads, busy",
            f"{name}, p99 of idle",
            p99.over(Samples([quantile(idle[name].times, 0.99)])),
        )
        ratio = Samples([quantile(taken.times, 0.5) / quantile(idle[name].times, 0.5)])
        report.add("reads, busy", f"{name}, p50 of idle", ratio)


def _export(report: Report, service: Server, size: int) -> None:
    before, started, received = service.peak_memory_mb(), time.perf_counter(), 0
    url = f"{service.url}{PATH}/export?{urlencode({**WHOLE, 'format': 'ndjson'})}"
    with subprocess.Popen(["curl", "-sN", url], stdout=subprocess.PIPE) as curl:
        assert curl.stdout is not None
        while chunk := curl.stdout.read(1 << 20):
            received += chunk.count(b"\n")
    taken = time.perf_counter() - started
    grown = service.peak_memory_mb() - before
    report.say(f"  export of {received:,}: {taken:.1f} s, {grown:.1f} MB more memory")
    report.check("reads", "everything is exported", f"{received:,}", received >= size)
    report.add("reads", f"export of {size:,}", Samples([taken]), "s", below=60)
    report.add("reads", "memory that exporting adds", Samples([grown]), "MB", below=20)
