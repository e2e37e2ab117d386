"""backups: a backup beside posts, and the way back from it.

One service with its defaults over a copy of the largest database of `reads`. 50 posts a second,
first with nothing else to do, then while `tools.backup` copies the database, checks the copy and
counts its rows, which is what the service itself runs. Times count from when a request was due.
Then `tools.restore`, and 200 from `/health` on what it restored. SQLite alone: PostgreSQL has tools
of its own.
"""

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.many_insights import build_once
from bench.reads import file_of
from bench.report import Report, Samples
from bench.servers import ROOT, Servers, inherited
from bench.steady_posts import SteadyPosts, say_taken, write_bodies

RATE = 50
_WINDOW_SECONDS = 2.0
"""Posts come in windows of so long, the last of which outlives the backup."""


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    size = max(servers.sizes)
    made = file_of(servers, size)
    build_once(f"sqlite+aiosqlite:///{made}", size)
    bodies = write_bodies(servers)
    taken: dict[str, list[float]] = {"idle": [], "beside": []}
    walks: dict[str, list[float]] = {"backup": [], "restore": [], "start": []}
    for _ in range(rounds):
        database = servers.new_database("backups")
        backup = database.with_suffix(".backup.db")
        shutil.copy(made, database)
        os.sync()
        with (
            servers.service("backups", database=database, inbound_rate_limit=0) as service,
            ThreadPoolExecutor(1) as beside,
        ):
            posts = SteadyPosts(service, bodies, RATE)
            taken["idle"] += posts.taken(posts.start(seconds))
            command = beside.submit(_seconds_of, "backup", backup, database)
            while not command.done():
                taken["beside"] += posts.taken(posts.start(_WINDOW_SECONDS))
            walks["backup"].append(command.result())
        walks["restore"].append(_seconds_of("restore", backup, database))
        with servers.service("restored", database=database) as restored:
            walks["start"].append(restored.start_seconds)
        for left in database.parent.glob(f"{database.stem}.*"):
            left.unlink()
    slowest = say_taken(report, taken)
    report.add("backups", f"{size:,} insights", Samples(walks["backup"]), "s", below=60)
    ratio = Samples([slowest["beside"] / slowest["idle"]])
    report.add("backups", "p99 of a post meanwhile, of its idle one", ratio, below=2)
    back = [sum(both) for both in zip(walks["restore"], walks["start"], strict=True)]
    report.add("backups", "restored, and answering 200", Samples(back), "s", below=90)


def _seconds_of(tool: str, backup: Path, database: Path) -> float:
    started = time.monotonic()
    environment = inherited() | {"DATABASE_URL": f"sqlite+aiosqlite:///{database}"}
    command = [sys.executable, "-m", f"tools.{tool}", str(backup)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started
