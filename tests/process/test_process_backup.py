"""Backups of the service at work, by itself and by command, and kills amid them."""

import asyncio
import os
import random
import re
import signal
import sqlite3
import subprocess
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from database import Database
from store import derived
from store.backups import folder as backup_folder
from store.backups import sqlite as backup
from tests.support.factories import insert_insights
from tests.support.forks import Fork, fork
from tests.support.paths import ROOT
from tests.support.service_process import ServiceProcess, until
from tools.torture.restores import kill_services

pytestmark = pytest.mark.slow


async def _backup_stats(service: ServiceProcess) -> dict[str, Any] | None:
    stats: dict[str, Any] = (await service.client.get("/api/v1/stats")).json()
    return stats["backup"]


async def test_the_service_makes_backups_tries_them_and_makes_one_more_when_asked(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "backups"
    async with ServiceProcess(tmp_path, backup_dir=folder, backup_keep=2) as service:
        await service.start()
        await service.post("The parcel is late")

        async def is_tried() -> bool:
            told = await _backup_stats(service)
            return told is not None and told["drill"] is not None

        await until(is_tried, within=30, what="a backup and a drill")
        told = await _backup_stats(service)
        assert told is not None
        assert told["verified"]
        assert told["drill"]["problem"] is None
        assert re.fullmatch(r"[\d-]{10}T[\d:]{8}Z", told["drill"]["at"])
        (first,) = backup_folder.backups_in(folder)

        async def has_another() -> bool:
            answer = await service.client.post("/api/v1/backups")
            assert answer.status_code in (202, 409), answer.text
            return backup_folder.backups_in(folder)[0] != first

        await until(has_another, within=30, what="another backup")
        backup.verify(backup_folder.backups_in(folder)[0])

        # One that is being made ends with the service.
        await service.client.post("/api/v1/backups")
        service.send(signal.SIGTERM)
        await service.ended(within=30)
        assert '"level":"error"' not in service.log


async def test_what_is_ended_with_the_service_is_no_error(tmp_path: Path) -> None:
    """By a signal to all of its processes."""
    async with ServiceProcess(tmp_path, backup_dir=tmp_path / "backups") as service:
        await service.start()
        await service.client.post("/api/v1/backups")
        os.killpg(service.pid, signal.SIGTERM)
        await service.ended(within=30)
        assert '"level":"error"' not in service.log


async def test_a_drill_that_comes_to_nothing_is_an_error_and_rests(tmp_path: Path) -> None:
    """Though the record of an earlier one stands, in which all was well."""
    folder = tmp_path / "backups"
    folder.mkdir()
    week_ago = datetime.now(UTC) - timedelta(days=8)
    earlier = backup_folder.Drill(week_ago, "insights-20200101T000000Z.db", 1.0, None)
    backup_folder.record_drill(folder, earlier)
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "if b'tools.drill' in open('/proc/self/cmdline', 'rb').read():\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    async with ServiceProcess(tmp_path, backup_dir=folder, pythonpath=tmp_path) as service:
        await service.start()

        async def has_failed() -> bool:
            return bool(service.events("backup_failed"))

        await until(has_failed, within=30, what="a drill that fails")
        await asyncio.sleep(3)
        (failed,) = service.events("backup_failed")
        assert failed["reason"] == "the drill failed: tools.drill ended with status -9"
        assert service.events("backup_drill") == []


async def test_a_folder_that_cannot_be_tidied_ends_no_backups(tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    (folder / "insights-20200101T000000Z.db").mkdir(parents=True)  # which no file's removal removes
    async with ServiceProcess(tmp_path, backup_dir=folder, backup_keep=1) as service:
        await service.start()

        def made() -> list[Path]:
            return [path for path in folder.glob("insights-2*Z.db") if path.is_file()]

        async def has_two() -> bool:
            await service.client.post("/api/v1/backups")
            return len(made()) >= 2

        await until(has_two, within=30, what="a second backup after the first one's trouble")
        assert "backup_failed" in service.log


async def test_without_a_folder_nothing_is_made_and_the_answer_says_why(tmp_path: Path) -> None:
    async with ServiceProcess(tmp_path) as service:
        await service.start()
        assert await _backup_stats(service) is None
        answer = await service.client.post("/api/v1/backups")
        assert answer.status_code == 409
        assert "BACKUP_DIR" in answer.json()["details"]


def _command(database: Path, module: str, file: Path) -> Fork:
    return fork(
        module,
        [str(file)],
        folder=ROOT,
        environment={"DATABASE_URL": f"sqlite+aiosqlite:///{database}"},
        log=Path(os.devnull),
    )


def _texts(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return int(connection.execute("SELECT count(*) FROM conversations").fetchone()[0])


async def test_services_that_are_killed_amid_their_backup_leave_none_or_a_whole_one(
    tmp_path: Path,
) -> None:
    file = tmp_path / "made.db"
    async with Database(f"sqlite+aiosqlite:///{file}") as database:
        await derived.ensure(database)
        await insert_insights(database, [{"text": f"parcel {n} is late"} for n in range(2000)])
    tries = await kill_services(file, tmp_path, kills=4, seed=7)
    assert tries.killed == 4
    assert tries.wrong == []


@pytest.mark.slow(longest=True)
async def test_a_kill_amid_a_backup_or_a_restore_leaves_the_old_or_the_new_whole(
    tmp_path: Path,
) -> None:
    folder, database = tmp_path / "backups", tmp_path / "insights.db"
    folder.mkdir()
    copy = folder / "copy.db"
    async with ServiceProcess(tmp_path) as service:
        await service.start()
        await service.post_batch([f"parcel {number} is late" for number in range(200)])
        await asyncio.to_thread(backup.back_up, database, copy)
        await service.post_batch([f"parcel {number} is early" for number in range(100)])
    draw = random.Random(7)
    seen = set()
    for number in range(8):
        making = folder / f"copy{number}.db"
        for command in (("tools.backup", making), ("tools.restore", copy)):
            process = _command(database, *command)
            try:
                await asyncio.to_thread(process.wait, draw.uniform(0.02, 0.6))
            except subprocess.TimeoutExpired:
                process.kill()
                await asyncio.to_thread(process.wait)
        if making.exists():
            backup.verify(making)
        seen.add(_texts(database))
        assert seen <= {200, 300}
    backup.verify(copy)
    assert await asyncio.to_thread(_command(database, "tools.restore", copy).wait) == 0
    assert _texts(database) == 200
