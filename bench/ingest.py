"""ingest: how fast a file of 100,000 tweets is imported, and what live posts feel of it.

The service has its default settings: its limit of 100 requests a second is on, and its worker
analyses meanwhile. `ingest_data.py` is a process of its own. Live posts come at LIVE_RATE a second
before it, while it runs, and after it while the worker still has the backlog; the same once more
with a strict Grok of 0.6 s in place of the offline analyser. In turn, the same rows are sent by the
barest client that there is, as fast as the service takes them in batches of the same size, without
keys.
"""

import csv
import json
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from bench import load, plain_sqlite, samples
from bench.batches import PATH as BATCH_PATH
from bench.client import Connection, build_request
from bench.grok import CONSTANT, strict_grok
from bench.paced_client import WARM_UP_SECONDS
from bench.posts import PATH
from bench.report import Report, Samples, quantile
from bench.servers import ROOT, Server, Servers
from importing.sender import BATCH_ROWS
from tests.fakes.grok.steering import GOOD_KEY

ROWS = 100_000
LIVE_RATE = 20
PHASES = ("idle", "importing", "backlog")
ANALYSERS = ("offline", "Grok")
MOST_OVER_IDLE = 2.0
"""What the p99 of live posts may come to in the other phases."""


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    rows = samples.conversations(ROWS)
    file = _write_csv(servers.folder / "tweets.csv", rows)
    bodies = load.write_bodies(
        servers.folder / "ingest.bodies", samples.bodies(round(LIVE_RATE * 120), seed=2)
    )
    taken: dict[str, list[float]] = defaultdict(list)
    waits: dict[tuple[str, str], list[list[float]]] = defaultdict(list)

    def measure(analyser: str, service: Server) -> _Imported:
        imported = _import_beside_live(service, file, bodies, seconds)
        for phase in PHASES:
            waits[analyser, phase].append(imported.waits[phase])
        return imported

    for _ in range(min(rounds, 3)):
        with servers.service("ingest") as service:
            imported = measure("offline", service)
            taken["rows"].append(ROWS / imported.seconds)
            taken["memory"].append(imported.memory_mb)
            taken["cpu"].append(imported.cpu_seconds / ROWS * 1e6)
            expected = ROWS + imported.live
            name = "every row of the file and every live post is there, once"
            _check_stored(report, service, name, expected)
            started = time.perf_counter()
            _start_import(service, file).wait()
            taken["again"].append(ROWS / (time.perf_counter() - started))
            _check_stored(report, service, "the second run stores nothing", expected)
        with (
            strict_grok(CONSTANT) as grok,
            servers.service(
                "ingest-grok", grok_key=GOOD_KEY, grok_base_url=grok.base_url
            ) as service,
        ):
            measure("Grok", service)
        with servers.service("ingest-bare", inbound_rate_limit=0) as service:
            taken["bare"].append(_send_bare(service, rows))
        report.say(
            f"  {taken['rows'][-1]:7,.0f} rows/s at {taken['memory'][-1]:.0f} MB, again"
            f" {taken['again'][-1]:,.0f}, bare client {taken['bare'][-1]:,.0f}"
        )
        for analyser in ANALYSERS:
            report.say(
                f"  live p99, {analyser}: "
                + ", ".join(
                    f"{phase} {quantile(waits[analyser, phase][-1], 0.99):.1f} ms"
                    for phase in PHASES
                )
            )

    of = {name: Samples(values) for name, values in taken.items()}
    report.add("ingest", "rows imported", of["rows"], "rows/s", at_least=5000)
    report.add("ingest", "of what a bare client reaches", of["rows"].over(of["bare"]))
    report.add("ingest", "rows passed again, all known", of["again"], "rows/s")
    report.add("ingest", "the importer's peak memory", of["memory"], "MB", below=100)
    report.add("ingest", "the importer's CPU per row", of["cpu"], "us")
    for analyser in ANALYSERS:
        live = f"{analyser}: live posts"
        for part in (0.5, 0.99):
            for phase in PHASES:
                figure = _quantile(waits[analyser, phase], part)
                report.add("ingest", f"{live} p{100 * part:g}, {phase}", figure, "ms")
        idle = _quantile(waits[analyser, "idle"], 0.99)
        for phase in PHASES[1:]:
            ratio = _quantile(waits[analyser, phase], 0.99).over(idle)
            name = f"{live} p99, {phase} over idle"
            report.add("ingest", name, ratio, below=MOST_OVER_IDLE)


class _Imported(NamedTuple):
    """What one import took, and of each phase the sorted waits of live posts in milliseconds."""

    seconds: float
    memory_mb: float
    cpu_seconds: float
    live: int
    waits: dict[str, list[float]]


def _import_beside_live(service: Server, file: Path, bodies: Path, seconds: float) -> _Imported:
    waits: dict[str, list[float]] = {}
    live = 0

    def post(phase: str) -> None:
        nonlocal live
        waits[phase] = _post_live(service, bodies, seconds, first=live)
        live += round(LIVE_RATE * (seconds + WARM_UP_SECONDS))

    post("idle")
    process, started = _start_import(service, file), time.perf_counter()
    with ThreadPoolExecutor() as thread:
        watched = thread.submit(_watch, process)
        time.sleep(1.0)  # it starts, and reads its file
        post("importing")
        ended, memory, cpu = watched.result()
    post("backlog")
    return _Imported(ended - started, memory, cpu, live, waits)


def _check_stored(report: Report, service: Server, name: str, expected: int) -> None:
    assert service.database is not None
    found = plain_sqlite.count_rows(service.database)
    report.check("ingest", name, f"{found:,}", found == expected)


def _quantile(rounds: list[list[float]], part: float) -> Samples:
    """Of each round, and of all of them together."""
    together = sorted(chain.from_iterable(rounds))
    return Samples([quantile(values, part) for values in rounds], quantile(together, part))


def _write_csv(path: Path, rows: list[dict[str, object]]) -> Path:
    """As X numbers tweets: ids grow with time."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["tweet_id", "author_id", "created_at", "text", "lang", "likes"])
        for number, row in enumerate(rows):
            id_ = 570_000_000_000_000_000 + number * 4_194_304 + number % 4096
            writer.writerow([id_, row["author"], row["timestamp"], row["text"], "en", number % 7])
    return path


def _start_import(service: Server, file: Path) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name[:4] != "API_"}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "ingest_data.py"), str(file), "--url", service.url],
        cwd=file.parent,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _watch(process: subprocess.Popen[bytes]) -> tuple[float, float, float]:
    """When it ended, its peak memory in MB, its CPU in seconds."""
    memory, stat = 0.0, ""
    while process.poll() is None:
        with suppress(OSError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            if found := re.search(r"VmHWM:\s+(\d+) kB", status):
                memory = int(found[1]) * 1024 / 1e6
            stat = Path(f"/proc/{process.pid}/stat").read_text()
        time.sleep(0.02)
    ticks = sum(map(int, stat.rpartition(")")[2].split()[11:13]))
    return time.perf_counter(), memory, ticks / os.sysconf("SC_CLK_TCK")


def _post_live(server: Server, bodies: Path, seconds: float, *, first: int) -> list[float]:
    """Sorted, in milliseconds. The texts are those from the `first` on, so that none comes twice
    and is answered from the analysis of an earlier one."""
    command = [sys.executable, "-m", "bench.paced_client", str(server.port), PATH, str(LIVE_RATE)]
    command += [str(seconds), str(bodies), str(first)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout
    return sorted(1000 * each for each in json.loads(output)["taken"])


def _send_bare(service: Server, rows: list[dict[str, object]]) -> float:
    """Rows a second over one connection."""
    requests = [
        build_request(
            "POST",
            BATCH_PATH,
            json.dumps({"conversations": rows[start : start + BATCH_ROWS]}).encode(),
        )
        for start in range(0, len(rows), BATCH_ROWS)
    ]
    with Connection(service.port) as connection:
        started = time.perf_counter()
        for request in requests:
            assert connection.ask(request).status == 202
        return len(rows) / (time.perf_counter() - started)
