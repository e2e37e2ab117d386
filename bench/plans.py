"""plans: 100,000 rows changed by a plan and put back, while posts come in.

One service with its defaults over a database of that many insights. 20 posts a second, first with
nothing else to do, then while a plan makes every insight neutral, then while it is undone. Times
count from when a request was due. SQLite alone: on PostgreSQL no write waits for another.
"""

import http.client
import json
import shutil
import time
from typing import Any

from bench import many_insights
from bench.report import Report, Samples
from bench.servers import Server, Servers
from bench.steady_posts import SteadyPosts, say_taken, write_bodies

PATH = "/api/v1/plans"
ROWS = 100_000
RATE = 20
_WINDOW_SECONDS = 3.0
"""Posts come in windows of so long, until the plan is through."""
_ALL = {"end_time": "2025-05-01T00:00:00Z"}


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    made = servers.folder.parent / f"many-{ROWS}.db"
    many_insights.build_once(f"sqlite+aiosqlite:///{made}", ROWS)
    bodies = write_bodies(servers)
    taken: dict[str, list[float]] = {"idle": [], "applying": [], "undoing": []}
    walks: dict[str, list[float]] = {"apply": [], "undo": []}
    for _ in range(rounds):
        database = servers.new_database("plans")
        shutil.copy(made, database)
        with servers.service("plans", database=database, inbound_rate_limit=0) as service:
            client = SteadyPosts(service, bodies, RATE)
            taken["idle"] += client.taken(client.start(seconds))
            body = {"kind": "label", "filter": _ALL, "set": {"sentiment": "neutral"}, "by": "ana"}
            plan = _ask(service, PATH, body)
            assert plan["matched"] >= ROWS, plan["matched"]
            for what, state in (("apply", "applying"), ("undo", "undoing")):
                plan, walk = _walked(service, plan["plan_id"], what, client, taken[state])
                walks[what].append(walk)
                report.say(f"  {what:5} took {walk:.1f} s: {plan['changed']} rows")
            assert (plan["done"], plan["left_alone"]) == (plan["changed"], 0)
        database.unlink()
    slowest = say_taken(report, taken)
    report.add("plans", f"{ROWS:,} rows changed in", Samples(walks["apply"]), "s", below=15)
    report.add("plans", f"{ROWS:,} rows put back in", Samples(walks["undo"]), "s")
    for name in ("applying", "undoing"):
        ratio = Samples([slowest[name] / slowest["idle"]])
        report.add("plans", f"p99 of a post while {name}, of its idle one", ratio, below=2)


def _walked(
    service: Server, plan_id: str, what: str, client: SteadyPosts, taken: list[float]
) -> tuple[dict[str, Any], float]:
    """The plan, and how many seconds that took; posts are in `taken`."""
    started = time.monotonic()
    _ask(service, f"{PATH}/{plan_id}/{what}", None)
    while True:
        posts = client.start(_WINDOW_SECONDS)
        while posts.poll() is None:
            plan: dict[str, Any] = service.get(f"{PATH}/{plan_id}")
            if plan["state"] in ("applied", "undone", "failed"):
                walk = time.monotonic() - started
                client.taken(posts)
                return plan, walk
            time.sleep(0.2)
        taken += client.taken(posts)


def _ask(service: Server, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body) if body else None, headers)
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
        assert response.status < 300, answer
        return answer
    finally:
        connection.close()
