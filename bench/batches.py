"""batches: how many rows a second are accepted a thousand at a time.

2 and 4 connections post batches of 1,000 conversations; in turn, Python's sqlite3 alone writes
1,000 such rows per synced commit into the same tables. Both begin each round with an empty
database. Then every accepted row is looked for.
"""

import json
import shutil
from collections import defaultdict

from bench import load, plain_sqlite, samples
from bench.report import Report, Samples
from bench.servers import Servers

ROWS = 1000
BODIES = 20
CONNECTIONS = (2, 4)
WARM_UP_SECONDS = 1.0
PATH = "/api/v1/conversations/batch"
_ANSWERED = f'http_requests_total{{method="POST",route="{PATH}",status="202"}}'


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    load.require_wrk()
    batches = [samples.conversations(ROWS, seed=seed) for seed in range(BODIES)]
    bodies = load.write_bodies(
        servers.folder / "batches.bodies",
        [json.dumps({"conversations": each}).encode() for each in batches],
    )
    rows = plain_sqlite.rows_of(batches[0])
    empty = plain_sqlite.make_database(servers, "empty")
    taken: dict[str, list[float]] = defaultdict(list)
    accepted = stored = 0

    for number in range(rounds):
        with servers.service("batches", inbound_rate_limit=0, worker_enabled=False) as service:
            url = service.url + PATH
            load.post(url, bodies, connections=CONNECTIONS[0], seconds=WARM_UP_SECONDS)
            for connections in CONNECTIONS if number % 2 else reversed(CONNECTIONS):
                cpu = service.cpu_seconds()
                seen = load.post(url, bodies, connections=connections, seconds=seconds)
                cpu = service.cpu_seconds() - cpu
                taken[f"rows {connections}"].append(seen.per_second * ROWS)
                taken[f"cpu {connections}"].append(cpu / (seen.requests * ROWS) * 1e6)
                taken[f"p99 {connections}"].append(seen.p99_ms)
            accepted += round(service.settled_metric(_ANSWERED)) * ROWS
            assert service.database is not None
            database = service.database
        stored += plain_sqlite.count_rows(database)
        copy = servers.folder / "plain.db"
        shutil.copy(empty, copy)
        with plain_sqlite.opened(copy) as connection:
            commits = plain_sqlite.commits_per_second(connection, rows, min(1.0, seconds))
        taken["plain"].append(commits * ROWS)
        for path in (database, copy):
            path.unlink()
        shown = "  ".join(
            f"{count} connections {taken[f'rows {count}'][-1]:7,.0f}" for count in (2, 4)
        )
        report.say(f"  {shown}  plain sqlite3 {commits * ROWS:7,.0f} rows/s")

    of = {name: Samples(values) for name, values in taken.items()}
    for count in CONNECTIONS:
        ratio = of[f"rows {count}"].over(of["plain"])
        add = report.add
        add("batches", f"rows with {count} connections, of plain sqlite3's", ratio, at_least=0.7)
        add("batches", f"rows with {count} connections", of[f"rows {count}"], "rows/s")
        add("batches", f"CPU per row with {count} connections", of[f"cpu {count}"], "us")
        add("batches", f"latency p99 with {count} connections", of[f"p99 {count}"], "ms")
    report.add("batches", "rows of plain sqlite3", of["plain"], "rows/s")
    report.check("batches", "every row of a 202 is there", f"{stored:,}", stored == accepted)
