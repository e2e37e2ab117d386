"""posts: how many conversations a second are accepted one by one, and what one costs.

64 connections post as fast as they are answered, to the service and to a plain FastAPI app that
stores nothing, in turn. The worker is off, logs go to a file. Then every answer is looked for in
the database. On the way: how many rows share a commit, beside one commit for each row.
"""

from collections import defaultdict

from bench import load, plain_sqlite, samples
from bench.report import Report, Samples
from bench.servers import Server, Servers

CONNECTIONS = 64
WARM_UP_SECONDS = 1.0
PATH = "/api/v1/conversations"
_ANSWERED = f'http_requests_total{{method="POST",route="{PATH}",status="202"}}'


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    load.require_wrk()
    bodies = load.write_bodies(servers.folder / "posts.bodies", samples.bodies(500))
    row = plain_sqlite.rows_of(samples.conversations(1))
    plain_database = plain_sqlite.make_database(servers, "one-row-per-commit")
    taken: dict[str, list[float]] = defaultdict(list)
    counted = 0

    def measure(name: str, server: Server) -> load.Load:
        cpu = server.cpu_seconds()
        seen = load.post(server.url + PATH, bodies, connections=CONNECTIONS, seconds=seconds)
        cpu = server.cpu_seconds() - cpu
        taken[f"{name} rate"].append(seen.per_second)
        taken[f"{name} cpu"].append(cpu / seen.requests * 1e6)
        taken[f"{name} busy"].append(cpu / seen.seconds)
        taken[f"{name} p50"].append(seen.p50_ms)
        taken[f"{name} p99"].append(seen.p99_ms)
        report.say(
            f"  {name:8}{seen.per_second:8,.0f} req/s {taken[f'{name} cpu'][-1]:6.0f} us CPU each"
            f"   p50 {seen.p50_ms:6.2f} ms  p99 {seen.p99_ms:6.2f} ms"
        )
        return seen

    with (
        servers.service("posts", inbound_rate_limit=0, worker_enabled=False) as service,
        servers.plain() as plain,
        plain_sqlite.opened(plain_database) as connection,
    ):
        for server in (service, plain):
            warm = load.post(
                server.url + PATH, bodies, connections=CONNECTIONS, seconds=WARM_UP_SECONDS
            )
            counted += warm.requests if server is service else 0
        for number in range(1, rounds + 1):
            report.say(f"  round {number}")
            commits = service.settled_metric("commits_total")
            rows = service.metric("commit_rows_sum")
            seen = measure("service", service)
            counted += seen.requests
            commits = service.settled_metric("commits_total") - commits
            rows = service.metric("commit_rows_sum") - rows
            taken["rows per commit"].append(rows / commits)
            taken["commits"].append(commits / seen.seconds)
            measure("plain", plain)
            taken["row commits"].append(
                plain_sqlite.commits_per_second(connection, row, min(1.0, seconds))
            )
        answered = round(service.settled_metric(_ANSWERED))
        assert service.database is not None
        database = service.database
    stored = plain_sqlite.count_rows(database)
    most = counted + CONNECTIONS * (rounds + 1)
    complete = answered == stored and counted <= stored <= most
    report.say(
        f"  rows in the database {stored:,}; 202s the service gave {answered:,}; 202s wrk counted"
        f" {counted:,}: {stored - counted} more were under way when wrk's {rounds + 1} runs ended"
        f" (at most {CONNECTIONS} each)"
    )

    of = {name: Samples(values) for name, values in taken.items()}
    add = report.add
    ratio = of["service rate"].over(of["plain rate"])
    add("posts", "rate, of a plain app's", ratio, at_least=0.8)
    add("posts", "rate", of["service rate"], "req/s")
    add("posts", "rate of the plain app", of["plain rate"], "req/s")
    add("posts", "CPU per request", of["service cpu"], "us")
    add("posts", "CPU per request of the plain app", of["plain cpu"], "us")
    add("posts", "CPU per request, of a plain app's", of["service cpu"].over(of["plain cpu"]))
    add("posts", "cores used", of["service busy"])
    for part in ("p50", "p99"):
        add("posts", f"latency {part}", of[f"service {part}"], "ms")
        add("posts", f"latency {part} of the plain app", of[f"plain {part}"], "ms")
    report.check("posts", "every 202 is a row", f"{counted:,} of {counted:,}", complete)
    add("posts", "rows per commit", of["rows per commit"])
    add("posts", "commits", of["commits"], "/s")
    add("posts", "one row per commit, plain sqlite3", of["row commits"], "rows/s")
    add("posts", "rate, of one row per commit's", of["service rate"].over(of["row commits"]))
