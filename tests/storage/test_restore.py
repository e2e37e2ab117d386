"""What a restore leaves behind: for the service's user, for a way back, and where it is ended."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from backends import snapshot
from database import Database, sqlite_url
from store import backups, derived
from store.backups import sqlite as backup
from store.backups.manifest import BackupFailed, manifest_path
from tests.support.factories import insert_insights
from tests.support.paths import ROOT

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


async def _add(path: Path, count: int) -> None:
    async with Database(sqlite_url(path)) as database:
        await derived.ensure(database)
        await insert_insights(
            database, [{"text": f"parcel {number} is late"} for number in range(count)]
        )


def _insights(path: Path) -> int:
    with snapshot.open_read_only(path) as connection:
        return int(connection.execute("SELECT count(*) FROM insights").fetchone()[0])


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A database with three insights, which nobody has open."""
    path = tmp_path / "insights.db"
    await _add(path, 3)
    return path


@pytest.fixture
def copy(file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "copy.db"
    backup.back_up(file, path)
    return path


def _command(name: str, file: Path, copy: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"tools.{name}", str(copy)],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": sqlite_url(file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# --- any path -------------------------------------------------------------------------------------


async def test_any_letters_in_a_path_are_taken_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "a%20b #1?"
    folder.mkdir()
    file, copy = folder / "in%73ights.db", folder / "copy #2.db"
    await _add(file, 3)
    made = backup.back_up(file, copy)
    assert backups.verify(copy) == made
    await _add(file, 1)
    restored = await backup.restore(copy, file)
    assert restored.before is not None
    assert (restored.before.insights, restored.after.insights) == (4, 3)
    assert _insights(file) == 3
    assert _files(tmp_path) == {folder.name}, "nothing was made under another name"


# --- whose it is ----------------------------------------------------------------------------------


@needs_root
async def test_what_root_restores_belongs_to_the_owner_of_the_file_before(
    file: Path, copy: Path, tmp_path: Path
) -> None:
    os.chown(file, 4321, 4322)
    (tmp_path / "insights.db-lock").unlink()
    kept = (await backup.restore(copy, file)).kept
    assert kept is not None
    lock = tmp_path / "insights.db-lock"
    for path in (file, lock, kept, manifest_path(kept)):
        assert (path.stat().st_uid, path.stat().st_gid) == (4321, 4322), path


@needs_root
async def test_what_root_restores_into_an_empty_folder_belongs_to_the_folder_s_owner(
    copy: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    os.chown(folder, 4321, 4322)
    await backup.restore(copy, folder / "insights.db")
    assert _files(folder) == {"insights.db", "insights.db-lock"}
    for path in folder.iterdir():
        assert (path.stat().st_uid, path.stat().st_gid) == (4321, 4322), path


# --- the way back ---------------------------------------------------------------------------------


async def test_what_was_kept_can_be_restored(file: Path, copy: Path) -> None:
    await _add(file, 2)
    first = await backup.restore(copy, file)
    assert first.kept is not None
    assert first.trouble is None
    back = _command("restore", file, first.kept)
    said, _ = back.communicate()
    assert back.returncode == 0
    assert "now: 5 conversations, 5 insights" in said
    assert _insights(file) == 5


async def test_what_was_kept_of_a_newer_version_is_for_that_version(file: Path, copy: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    restored = await backup.restore(copy, file)
    assert restored.kept is not None
    assert restored.trouble is None
    with pytest.raises(BackupFailed, match="newer version: schema 9999"):
        backup.verify(restored.kept)


def _damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    file.write_bytes(content)


async def test_what_was_kept_damaged_is_said_to_be(file: Path, copy: Path) -> None:
    _damage(file)
    process = _command("restore", file, copy)
    said, _ = process.communicate()
    assert process.returncode == 0
    assert f"That cannot be restored: {file}.before-restore is damaged" in said
    assert not manifest_path(file.with_name("insights.db.before-restore")).exists()
    assert _insights(file) == 3


@contextmanager
def _read_by_another_program(file: Path) -> Iterator[None]:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM insights").fetchone()
        yield


async def test_a_log_that_cannot_be_folded_in_goes_to_the_file_that_is_kept_then(
    file: Path, copy: Path, tmp_path: Path
) -> None:
    """And not to the one that an earlier restore has kept."""
    await backup.restore(copy, file)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    with _read_by_another_program(file):
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("UPDATE insights SET text = 'changed'")
        restored = await backup.restore(copy, file)
    second = tmp_path / "insights.db.before-restore-2"
    assert restored.kept == second
    assert restored.trouble == f"a part of it is in {second}-wal"
    assert not (tmp_path / "insights.db.before-restore-wal").exists()
    whole = tmp_path / "whole.db"
    backup.back_up(second, whole)
    await backup.restore(whole, file)
    with snapshot.open_read_only(file) as connection:
        changed = connection.execute("SELECT count(*) FROM insights WHERE text = 'changed'")
        assert changed.fetchone() == (3,)


async def test_a_log_that_is_left_of_an_earlier_one_is_not_taken_for_that_of_the_kept_file(
    file: Path, copy: Path, tmp_path: Path
) -> None:
    (tmp_path / "insights.db.before-restore-wal").touch()
    restored = await backup.restore(copy, file)
    assert restored.kept == tmp_path / "insights.db.before-restore-2"


# --- where it is ended ----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_restore_that_is_told_to_end_leaves_nothing(
    file: Path, copy: Path, tmp_path: Path, number: signal.Signals
) -> None:
    before = _files(tmp_path)
    status, said = 0, ""
    while status == 0:  # it may have come to its end before
        for left in tmp_path.glob("insights.db.before*"):
            left.unlink()
        process = _command("restore", file, copy)
        while process.poll() is None and not list(tmp_path.glob("*.restoring*")):
            time.sleep(0.001)
        process.send_signal(number)
        _, said = process.communicate()
        status = process.returncode
    assert status == 128 + signal.SIGTERM
    assert "Traceback" not in said
    assert _files(tmp_path) - before <= {"insights.db.before-restore"}


async def test_a_restore_that_is_told_to_end_when_all_is_in_place_says_so(
    file: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_of: Path) -> None:
        sys.exit(1)

    monkeypatch.setattr(snapshot, "problems_of", end)
    restored = await backup.restore(copy, file)
    assert (restored.kept, restored.trouble) == (
        file.with_name("insights.db.before-restore"),
        "the command was told to end before it was checked",
    )


async def test_what_a_killed_restore_left_is_removed_by_the_next(
    file: Path, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / "insights.db.restoring-wal"
    left.touch()
    monkeypatch.setattr(snapshot, "missing_bytes", lambda *_of: int(left.exists()))
    await backup.restore(copy, file)  # and has that room
    assert not left.exists()
