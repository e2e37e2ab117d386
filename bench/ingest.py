"""ingest: how fast a file of 100,000 tweets is imported, and what live posts feel of it.

The service has its default settings: its limit of 100 requests a second is on, and its worker
analyses meanwhile. `ingest_data.py` is a process of its own. Live posts come at LIVE_RATE a second
before it, while it runs, and after it while the worker still has the backlog. In turn, the same
rows are sent by the barest client that there is, as fast as the service takes them in batches of
the same size, without keys.
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

from bench import load, plain_sqlite, samples
from bench.batches import PATH as BATCH_PATH
from bench.client import Connection, build_request
from bench.paced_client import WARM_UP_SECONDS
from bench.posts import PATH
from bench.report import Report, Samples, quantile
from bench.servers import ROOT, Server, Servers
from importing.sending import BATCH_ROWS

ROWS = 100_000
LIVE_RATE = 20
PHASES = ("idle", "importing", "backlog")
MOST_OVER_IDLE = 2.0
"""What the p99 of live posts may come to in the other phases."""


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    rows = samples.conversations(ROWS)
    file = _write_csv(servers.folder / "tweets.csv", rows)
    bodies = load.write_bodies(
        servers.folder / "ingest.bodies", samples.bodies(round(LIVE_RATE * 120), seed=2)
    )
    taken: dict[str, list[float]] = defaultdict(list)
    waits: dict[str, list[list[float]]] = defaultdict(list)
    for _ in range(min(rounds, 3)):
        with servers.service("ingest") as service:
            live = 0

            def post_for(phase: str, first: int, server: Server = service) -> int:
                waits[phase].append(_post_live(server, bodies, seconds, first=first))
                return round(LIVE_RATE * (seconds + WARM_UP_SECONDS))

            live += post_for("idle", live)
            process, started = _start_import(service, file), time.perf_counter()
            with ThreadPoolExecutor() as thread:
                watched = thread.submit(_watch, process)
                time.sleep(1.0)  # it starts, and reads its file
                live += post_for("importing", live)
                ended, memory, cpu = watched.result()
            live += post_for("backlog", live)
            taken["rows"].append(ROWS / (ended - started))
            taken["memory"].append(memory)
            taken["cpu"].append(cpu / ROWS * 1e6)
            database = service.database
            assert database is not None
            found = plain_sqlite.count_rows(database)
            name = "every row of the file and every live post is there, once"
            report.check("ingest", name, f"{found:,}", found == ROWS + live)
            started = time.perf_counter()
            _start_import(service, file).wait()
            taken["again"].append(ROWS / (time.perf_counter() - started))
            found = plain_sqlite.count_rows(database)
            report.check(
                "ingest", "the second run stores nothing", f"{found:,}", found == ROWS + live
            )
        with servers.service("ingest-bare", inbound_rate_limit=0) as service:
            taken["bare"].append(_send_bare(service, rows))
        report.say(
            f"  {taken['rows'][-1]:7,.0f} rows/s at {taken['memory'][-1]:.0f} MB, again"
            f" {taken['again'][-1]:,.0f}, bare client {taken['bare'][-1]:,.0f}; live p99 "
            + ", ".join(f"{phase} {quantile(waits[phase][-1], 0.99):.1f} ms" for phase in PHASES)
        )

    of = {name: Samples(values) for name, values in taken.items()}
    report.add("ingest", "rows imported", of["rows"], "rows/s", at_least=5000)
    report.add("ingest", "of what a bare client reaches", of["rows"].over(of["bare"]))
    report.add("ingest", "rows passed again, all known", of["again"], "rows/s")
    report.add("ingest", "the importer's peak memory", of["memory"], "MB", below=100)
    report.add("ingest", "the importer's CPU per row", of["cpu"], "us")
    for part in (0.5, 0.99):
        for phase in PHASES:
            name = f"live posts p{100 * part:g}, {phase}"
            report.add("ingest", name, _quantile(waits[phase], part), "ms")
    idle = _quantile(waits["idle"], 0.99)
    for phase in PHASES[1:]:
        ratio = _quantile(waits[phase], 0.99).over(idle)
        report.add("ingest", f"live p99, {phase} over idle", ratio, below=MOST_OVER_IDLE)


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
    and is answered from its forerunner's analysis."""
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
