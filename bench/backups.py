"""backups: a backup beside posts, and the way back from it.

One service with its defaults over a copy of the largest database of `reads`. 50 posts a second,
first with nothing else to do, then while the service makes the backup that it was asked for: copies
the database, and has `tools.backup` check the copy and count its rows. Times count from when a
request was due. Then `tools.restore`, and 200 from `/health` on what it restored. SQLite alone:
PostgreSQL has tools of its own.
"""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

from bench.client import Connection, build_request
from bench.many_insights import build_once
from bench.reads import file_of
from bench.report import Report, Samples
from bench.servers import ROOT, Servers, inherited
from bench.steady_posts import SteadyPosts, say_taken, write_bodies
from store.backups.folder import Drill, backups_in, name_of, record_drill
from store.backups.folder import newest as newest_backup
from store.backups.manifest import Counts, Manifest, manifest_path, write_manifest

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
        shutil.copy(made, database)
        os.sync()
        folder = _folder_that_is_up_to_date(database.with_suffix(".backups"))
        before = newest_backup(folder)
        with servers.service(
            "backups", database=database, inbound_rate_limit=0, backup_dir=folder, backup_keep=1
        ) as service:
            posts = SteadyPosts(service, bodies, RATE)
            taken["idle"] += posts.taken(posts.start(seconds))
            begun = time.time()
            with Connection(service.port) as connection:
                assert connection.ask(build_request("POST", "/api/v1/backups")).status == 202
            while newest_backup(folder) == before:
                taken["beside"] += posts.taken(posts.start(_WINDOW_SECONDS))
        (backup,) = backups_in(folder)
        walks["backup"].append(backup.stat().st_ctime - begun)  # of the rename
        walks["restore"].append(_seconds_of("restore", backup, database))
        with servers.service("restored", database=database) as restored:
            walks["start"].append(restored.start_seconds)
        shutil.rmtree(folder)
        for left in database.parent.glob(f"{database.stem}.*"):
            left.unlink()
    slowest = say_taken(report, taken)
    report.add("backups", f"{size:,} insights", Samples(walks["backup"]), "s", below=60)
    ratio = Samples([slowest["beside"] / slowest["idle"]])
    report.add("backups", "p99 of a post meanwhile, of its idle one", ratio, below=2)
    back = [sum(both) for both in zip(walks["restore"], walks["start"], strict=True)]
    report.add("backups", "restored, and answering 200", Samples(back), "s", below=90)


def _folder_that_is_up_to_date(folder: Path) -> Path:
    """With a backup and a drill of this moment, so that the service begins none by itself."""
    now = datetime.now(UTC)
    folder.mkdir()
    backup = folder / name_of(now)
    backup.touch()
    counts = Counts(**dict.fromkeys((field.name for field in fields(Counts)), 0))
    write_manifest(Manifest(now.isoformat(), 0, "", "", counts), manifest_path(backup))
    record_drill(folder, Drill(now, backup.name, 0.0, None))
    return folder


def _seconds_of(tool: str, backup: Path, database: Path) -> float:
    started = time.monotonic()
    environment = inherited() | {"DATABASE_URL": f"sqlite+aiosqlite:///{database}"}
    command = [sys.executable, "-m", f"tools.{tool}", str(backup)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started
