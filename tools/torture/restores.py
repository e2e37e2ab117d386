"""Kills while a backup is being restored: the database from before or the restored one is there."""

import asyncio
import os
import random
import shutil
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path

from tests.support.paths import ROOT


async def kill_restores(database: Path, folder: Path, *, kills: int, seed: int) -> list[str]:
    """Restores into copies of `database`, which nobody has open; what is wrong afterwards, in
    words."""
    draw = random.Random(seed)
    backup = folder / "restore-from.db"
    await _run("backup", database, str(backup))
    wrong = []
    for count in range(kills):
        target = folder / f"restore-{count}.db"
        shutil.copy(database, target)
        with closing(sqlite3.connect(target)) as connection, connection:
            connection.execute(
                "DELETE FROM conversations WHERE id = (SELECT min(id) FROM conversations)"
            )
        before, restored = _count(target), _count(backup)
        await _run("restore", target, str(backup), kill_after=draw.uniform(0.3, 2.0))
        found = _count(target)
        if found not in (before, restored):
            wrong.append(f"a killed restore left {found} in place of {before} or {restored}")
    return wrong


async def _run(tool: str, database: Path, *arguments: str, kill_after: float | None = None) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"tools.{tool}", *arguments),
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": f"sqlite+aiosqlite:///{database}"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    with suppress(TimeoutError):
        async with asyncio.timeout(kill_after):
            await process.wait()
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _count(database: Path) -> int | str:
    """How many conversations, or what is the matter with the file."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            ((verdict,),) = connection.execute("PRAGMA integrity_check(1)")
            ((count,),) = connection.execute("SELECT count(*) FROM conversations")
    except sqlite3.DatabaseError as error:
        return str(error)
    return int(count) if verdict == "ok" else str(verdict)
