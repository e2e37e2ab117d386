"""The schedule of backups: what it goes by, and what it refuses to do."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from database import Database
from store import backups, derived
from store.backups import folder as backup_folder
from store.backups.manifest import manifest_path
from tests.support.service_process import until
from worker.backups import BackupKeeper


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(f"sqlite+aiosqlite:///{tmp_path}/insights.db") as database:
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
