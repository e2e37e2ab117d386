"""Kills while backups are made and restored: the old one or the new one is there, whole."""

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from backends.snapshot import open_read_only
from database import sqlite_url
from tests.support.forks import Fork, fork
from tests.support.paths import ROOT
from tests.support.service_process import ServiceProcess, until

_EARLIEST, _LATEST = 0.1, 1.1
"""When to kill, in parts of the time that the command takes: before, it only begins."""
_SLOWER = 1.02
"""A kill may mean that the machine has become slower."""


@dataclass
class Tries:
    """How many were killed, and how many ended before; what was there afterwards; and what was
    wrong with that, in words."""

    killed: int = 0
    ended: int = 0
    found_old: int = 0
    found_new: int = 0
    wrong: list[str] = field(default_factory=list)


async def kill_restores(database: Path, folder: Path, *, kills: int, seed: int) -> Tries:
    """Restore into copies of `database`, which nobody has open, until so many were killed. What is
    there then must be the copy or the backup."""
    backup, target = folder / "restore-from.db", folder / "restore.db"
    await _status_of("backup", database, backup)
    restored = _count(backup)
    tries, killer = Tries(), _Killer(seed)
    while tries.killed < kills:
        _remove(folder, "restore.db*")
        shutil.copy(database, target)
        with closing(sqlite3.connect(target)) as connection, connection:
            connection.execute(
                "DELETE FROM conversations WHERE id = (SELECT min(id) FROM conversations)"
            )
        before = _count(target)
        await killer.run(tries, "restore", target, backup)
        found = _count(target)
        tries.found_old += found == before
        tries.found_new += found == restored
        if found not in (before, restored):
            tries.wrong.append(f"a killed restore left {found} in place of {before} or {restored}")
    return tries


async def kill_backups(database: Path, folder: Path, *, kills: int, seed: int) -> Tries:
    """Make backups of `database` until so many were killed. What has the name of a backup then must
    be a whole one, or nothing has it."""
    backup = folder / "killed.db"
    tries, killer = Tries(), _Killer(seed)
    while tries.killed < kills:
        _remove(folder, "killed.db*")
        await killer.run(tries, "backup", database, backup)
        if not backup.exists():
            tries.found_old += 1
        elif await _status_of("verify", database, backup):
            tries.wrong.append("a killed backup left one that is not whole")
        else:
            tries.found_new += 1
    return tries


async def kill_services(database: Path, folder: Path, *, kills: int, seed: int) -> Tries:
    """Kill so many services while they copy `database` for their first backup, or have it checked.
    What has the name of a backup then must be a whole one, and their database what it was."""
    home, draw, tries = folder / "serving", random.Random(seed), Tries()
    backups, served = home / "backups", home / "insights.db"
    home.mkdir()
    shutil.copy(database, served)
    before, takes = _count(served), None
    while tries.killed < kills:
        shutil.rmtree(backups, ignore_errors=True)
        async with ServiceProcess(home, backup_dir=backups) as service:
            await service.start()
            begun = time.monotonic()
            if takes is None:
                await until(lambda: _names(backups), within=60, what="a backup")
                takes = time.monotonic() - begun
                tries.ended += 1
            else:
                await asyncio.sleep(draw.uniform(0, takes * _LATEST))
                tries.killed += 1
            service.send(signal.SIGKILL)
            await service.ended(within=30)
        for backup in _names(backups):
            if await _status_of("verify", database, backup):
                tries.wrong.append("a killed service left a backup that is not whole")
        tries.found_new += bool(_names(backups))
        tries.found_old += not _names(backups)
        if (found := _count(served)) != before:
            tries.wrong.append(f"a killed service left {found} in place of {before}")
    return tries


def _names(folder: Path) -> list[Path]:
    return list(folder.glob("insights-*Z.db"))


class _Killer:
    """Lets a command end once, to see how long that takes, and then kills it at any part of it."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._takes: float | None = None

    async def run(self, tries: Tries, tool: str, database: Path, file: Path) -> None:
        process = _start(tool, database, file)
        started = time.monotonic()
        takes = self._takes
        seconds = None if takes is None else takes * self._draw.uniform(_EARLIEST, _LATEST)
        try:
            await asyncio.to_thread(process.wait, seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)
        if process.poll() == 0 or takes is None:
            tries.ended += 1
            self._takes = time.monotonic() - started
        else:
            tries.killed += 1
            self._takes = takes * _SLOWER


def _remove(folder: Path, names: str) -> None:
    for file in folder.glob(names):
        file.unlink()


async def _status_of(tool: str, database: Path, file: Path) -> int:
    return await asyncio.to_thread(_start(tool, database, file).wait)


def _start(tool: str, database: Path, file: Path) -> Fork:
    return fork(
        f"tools.{tool}",
        [str(file)],
        folder=ROOT,
        environment={**os.environ, "DATABASE_URL": sqlite_url(database)},
        log=Path(os.devnull),
    )


def _count(database: Path) -> int | str:
    """How many conversations, or what is the matter with the file."""
    try:
        with open_read_only(database) as connection:
            ((verdict,),) = connection.execute("PRAGMA integrity_check(1)")
            ((count,),) = connection.execute("SELECT count(*) FROM conversations")
    except sqlite3.DatabaseError as error:
        return str(error)
    return int(count) if verdict == "ok" else str(verdict)
