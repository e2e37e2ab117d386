"""A service's own copy of its SQLite file, which writes go on beside and no snapshot holds up."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from backends import snapshot
from database import Database
from store import backups, derived
from store.backups.manifest import BackupFailed
from tests.support.factories import insert_insights


class _Meanwhile:
    """Once for each step of copying, `act` in the loop of the test."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self._act = act
        self._loop = asyncio.get_running_loop()
        self.steps = 0

    def __call__(self, _descriptor: int) -> Callable[[], None]:
        """In the place of the pace."""

        def step() -> None:
            self.steps += 1
            asyncio.run_coroutine_threadsafe(self._act(), self._loop).result(timeout=30)

        return step


@pytest.fixture
async def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """With two insights; copied page by page."""
    monkeypatch.setattr(snapshot, "_PAGES_OF_A_STEP", 1)
    async with Database(f"sqlite+aiosqlite:///{tmp_path}/insights.db") as database:
        await derived.ensure(database)
        await insert_insights(database, [{"text": "late"}, {"text": "early"}])
        yield database


def _insights(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return int(connection.execute("SELECT count(*) FROM insights").fetchone()[0])


def _copies(folder: Path) -> list[Path]:
    return list(folder.glob("copy*"))


def _fail(connection: Connection) -> None:
    connection.exec_driver_sql("UPDATE conversations SET text = 'undone'")
    raise ValueError("not to be stored")


async def test_a_copy_is_one_file_also_after_it_was_read(
    database: Database, tmp_path: Path
) -> None:
    """A log beside it would need a folder that can be written."""
    copy = tmp_path / "copy.db"
    assert await backups.copy(database, copy)
    await backups.back_up(database, copy, is_copied=True)
    backups.verify(copy)
    assert {each.name for each in _copies(tmp_path)} == {"copy.db", "copy.db.json"}
    rollback_journal = b"\1\1"  # https://www.sqlite.org/fileformat.html, bytes 18 and 19
    assert copy.read_bytes()[18:20] == rollback_journal


async def test_what_is_written_meanwhile_is_in_the_copy(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.db"

    async def write() -> None:
        if meanwhile.steps % 10 == 5:
            await insert_insights(database, [{"text": "one"}, {"text": "more"}])

    meanwhile = _Meanwhile(write)
    monkeypatch.setattr(snapshot, "_Pace", meanwhile)
    assert await backups.copy(database, copy)
    written = (meanwhile.steps + 5) // 10
    assert written > 3
    made = await backups.back_up(database, copy, is_copied=True)
    assert made.counts.insights == made.counts.conversations == 2 + 2 * written
    assert _insights(copy) == made.counts.insights
    assert backups.verify(copy) == made


async def test_the_log_can_be_emptied_meanwhile(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "insights.db-wal"
    sizes: list[int] = []

    async def write_and_checkpoint() -> None:
        if meanwhile.steps in (10, 30):
            await insert_insights(database, [{"text": "one more"}])
            await database.checkpoint_truncate()
            sizes.append(log.stat().st_size)

    meanwhile = _Meanwhile(write_and_checkpoint)
    monkeypatch.setattr(snapshot, "_Pace", meanwhile)
    assert await backups.copy(database, tmp_path / "copy.db")
    assert sizes == [0, 0]
    assert _insights(tmp_path / "copy.db.partial") == 4


async def test_what_is_rolled_back_meanwhile_is_not_in_the_copy(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        if meanwhile.steps == 20:
            with pytest.raises(ValueError, match="not to be stored"):
                await database.write(_fail)

    meanwhile = _Meanwhile(fail)
    monkeypatch.setattr(snapshot, "_Pace", meanwhile)
    copy = tmp_path / "copy.db"
    assert await backups.copy(database, copy)
    assert (await backups.back_up(database, copy, is_copied=True)).counts.insights == 2
    with closing(sqlite3.connect(copy)) as connection:
        assert (
            connection.execute("SELECT 1 FROM conversations WHERE text = 'undone'").fetchall() == []
        )


async def test_rollbacks_without_end_leave_the_copying_to_the_command(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        if meanwhile.steps % 20 == 0:
            with pytest.raises(ValueError, match="not to be stored"):
                await database.write(_fail)

    meanwhile = _Meanwhile(fail)
    monkeypatch.setattr(snapshot, "_Pace", meanwhile)
    assert not await backups.copy(database, tmp_path / "copy.db")
    assert _copies(tmp_path) == []
    monkeypatch.undo()
    assert (await backups.back_up(database, tmp_path / "copy.db")).counts.insights == 2


async def test_a_copy_ends_with_its_task_and_leaves_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), threading.Event()

    async def begin() -> None:
        begun.set()

    def pace(_descriptor: int) -> Callable[[], None]:
        step = meanwhile(_descriptor)

        def first_step() -> None:
            step()
            assert go_on.wait(30)

        return first_step

    meanwhile = _Meanwhile(begin)
    monkeypatch.setattr(snapshot, "_Pace", pace)
    copying = asyncio.create_task(backups.copy(database, tmp_path / "copy.db"))
    await begun.wait()
    copying.cancel()
    asyncio.get_running_loop().call_later(0.05, go_on.set)
    await asyncio.wait([copying])
    assert copying.cancelled()
    assert meanwhile.steps == 1, "it went on"
    assert _copies(tmp_path) == []
    await insert_insights(database, [{"text": "one more"}])


async def test_a_writer_whose_connection_is_replaced_leaves_the_copying_to_the_command(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(_connection: Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async def lose_connection() -> None:
        if meanwhile.steps == 10:
            with pytest.raises(Exception, match="disk I/O"):
                await database.write(break_off)

    meanwhile = _Meanwhile(lose_connection)
    monkeypatch.setattr(snapshot, "_Pace", meanwhile)
    assert not await backups.copy(database, tmp_path / "copy.db")
    assert meanwhile.steps == 10
    await insert_insights(database, [{"text": "one more"}])


async def test_a_copy_for_which_the_disk_lacks_room_is_not_begun(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "_SPARE_BYTES", 2**62)
    with pytest.raises(BackupFailed, match="lacks"):
        await backups.copy(database, tmp_path / "copy.db")
    assert _copies(tmp_path) == []
