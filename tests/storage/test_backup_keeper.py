"""The schedule of backups: what it goes by, and what it refuses to do."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from database import Database, sqlite_url
from errors import StartRefused
from store import backups, derived
from store.backups import folder as backup_folder
from store.backups.manifest import manifest_path
from tests.support.service_process import until
from worker.backups import BackupKeeper


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    folder = tmp_path / "a%20b #1"  # which the command has to be told in other letters
    folder.mkdir()
    async with Database(sqlite_url(folder / "insights.db")) as database:
        await derived.ensure(database)
        yield database


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder


async def _until_logged(logs: list[EventDict], event: str, times: int = 1) -> None:
    def is_logged() -> bool:
        return sum(line["event"] == event for line in logs) >= times

    await until(is_logged, within=30, what=event)


def _keeper(database: Database, into: Path) -> BackupKeeper:
    """That has no drill to make."""
    drill = backup_folder.Drill(datetime.now(UTC), "insights-x.db", 1.0, None)
    backup_folder.record_drill(into, drill)
    return BackupKeeper(database, into, every=timedelta(days=1), keep=3)


async def test_a_clock_that_was_ahead_stops_no_backups_and_is_told_once(
    database: Database, into: Path
) -> None:
    ahead = into / "insights-20990104T000000Z.db"
    await backups.back_up(database, ahead)
    manifest = manifest_path(ahead)
    manifest.write_text(manifest.read_text().replace('"made_at": "20', '"made_at": "30'))
    keeper = _keeper(database, into)
    with capture_logs() as logs:
        keeper.start()
        for made in (1, 2):
            await _until_logged(logs, "backup_made", made)
            await asyncio.sleep(1.1)  # else it has the name of the one before
            keeper.make_soon()
        await keeper.stop()
    assert ahead.exists(), "two of three are kept beside it"
    told = [line for line in logs if line["event"] == "backup_dated_ahead"]
    assert [line["file"] for line in told] == [ahead.name]
    assert "clock was ahead" in told[0]["reason"]


async def test_a_folder_that_is_gone_is_not_made_anew(database: Database, into: Path) -> None:
    keeper = _keeper(database, into)
    await keeper.check_folder()
    shutil.rmtree(into)
    with capture_logs() as logs:
        keeper.start()
        await _until_logged(logs, "backup_failed")
        await keeper.stop()
    assert f"the folder {into} is not there: is its disk mounted?" in [
        line.get("reason") for line in logs
    ]
    assert into.name not in os.listdir(into.parent)


async def test_the_folder_under_a_disk_that_is_gone_gets_no_backup(
    database: Database, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = _keeper(database, into)
    monkeypatch.setattr(os.path, "ismount", lambda path: path == into)
    await keeper.check_folder()
    monkeypatch.undo()
    with capture_logs() as logs:
        keeper.start()
        await _until_logged(logs, "backup_failed")
        await keeper.stop()
    assert f"the disk that was mounted at {into} is gone" in [line.get("reason") for line in logs]
    assert backup_folder.backups_in(into) == []


async def test_a_database_by_the_name_of_a_backup_keeps_the_service_from_its_start(
    into: Path,
) -> None:
    link, live = into.parent / "live.db", into / "insights-20260101T000000Z.db"
    link.symlink_to(live)
    database = Database(f"sqlite+aiosqlite:///{link}")
    with pytest.raises(StartRefused, match=str(live)):
        await _keeper(database, into).check_folder()
    await database.close()
