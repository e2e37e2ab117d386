"""Backups are made beside a writer, verified to the byte, and restored whole or not at all."""

import asyncio
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from backends import snapshot
from backends.file_lock import FileLock
from database import Database
from errors import ServiceError, Unavailable
from store import backups, derived
from store.backups import folder as backup_folder
from store.backups import sqlite as backup
from store.backups.manifest import BackupFailed, read_manifest
from tests.support.factories import insert_insights, run_sql
from tests.support.paths import ROOT


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """A database with twenty insights, which nobody has open."""
    path = tmp_path / "insights.db"
    await _add(path, 20)
    return path


async def _add(path: Path, count: int) -> None:
    async with Database(f"sqlite+aiosqlite:///{path}") as database:
        await derived.ensure(database)
        await insert_insights(
            database, [{"text": f"parcel {number} is late"} for number in range(count)]
        )


def _insights(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM insights").fetchone()[0])


def _run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False, **options
    )


def _folder(within: Path) -> Path:
    folder = within / "backups"
    folder.mkdir()
    return folder


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def _content(path: Path) -> bytes:
    return path.read_bytes()


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_a_backup_is_verified_private_and_says_what_it_holds(
    file: Path, tmp_path: Path
) -> None:
    made = backup.back_up(file, tmp_path / "copy.db")
    assert (made.counts.conversations, made.counts.insights) == (20, 20)
    assert backup.verify(tmp_path / "copy.db") == made
    for name in ("copy.db", "copy.db.json"):
        assert _mode(tmp_path / name) == 0o600


async def test_a_backup_beside_a_writer_is_one_moment_of_it(tmp_path: Path) -> None:
    async with Database(f"sqlite+aiosqlite:///{tmp_path}/insights.db") as database:
        await derived.ensure(database)
        done = asyncio.Event()

        async def write() -> None:
            while not done.is_set():
                await insert_insights(database, [{"text": "late"}, {"text": "early"}])

        writer = asyncio.create_task(write())
        for number in range(3):
            copy = tmp_path / f"copy{number}.db"
            made = await asyncio.to_thread(backup.back_up, tmp_path / "insights.db", copy)
            assert made.counts.conversations == made.counts.completed == made.counts.insights
            assert made.counts.insights % 2 == 0, "a transaction is in it as a whole"
            backup.verify(copy)
        done.set()
        await writer


async def test_what_a_killed_process_left_in_the_log_is_in_the_backup(
    file: Path, tmp_path: Path
) -> None:
    script = f"""
import asyncio, os
from database import Database
from tests.support.factories import insert_insights
async def main():
    database = Database("sqlite+aiosqlite:///{file}")
    await database.open()
    await insert_insights(database, [{{"text": "one more"}}])
    os._exit(1)
asyncio.run(main())
"""
    _run("-c", script)
    assert file.with_name("insights.db-wal").stat().st_size > 0
    assert backup.back_up(file, tmp_path / "copy.db").counts.insights == 21


async def test_a_flipped_byte_anywhere_is_noticed(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    whole = backup.back_up(file, copy)
    content = copy.read_bytes()
    draw = random.Random(7)
    for place in [0, len(content) - 1, *(draw.randrange(len(content)) for _ in range(40))]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        copy.write_bytes(flipped)
        with pytest.raises(BackupFailed):
            backup.verify(copy)
    copy.write_bytes(content)
    assert backup.verify(copy) == whole


async def test_a_restored_database_is_the_backup_and_the_old_one_is_kept(
    file: Path, tmp_path: Path
) -> None:
    copy = _folder(tmp_path) / "copy.db"
    backup.back_up(file, copy)
    await _add(file, 5)
    restored = await backup.restore(copy, file)
    assert restored.before is not None
    assert (restored.before.insights, restored.after.insights) == (25, 20)
    assert restored.kept is not None
    assert (_insights(file), _insights(restored.kept)) == (20, 25)
    assert _mode(file) == 0o600
    assert _files(tmp_path) == {
        "backups",
        "insights.db",
        "insights.db-lock",
        "insights.db.before-restore",
        "insights.db.before-restore.json",
    }
    await _add(file, 1)  # the service's own code opens it
    assert _insights(file) == 21


async def test_another_restore_keeps_what_the_first_one_kept(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    backup.back_up(file, copy)
    await _add(file, 5)
    kept = [(await backup.restore(copy, file)).kept for _ in range(3)]
    names = [path.name for path in kept if path is not None]
    assert names == [f"insights.db.before-restore{number}" for number in ("", "-2", "-3")]
    assert [_insights(tmp_path / name) for name in names] == [25, 20, 20]


async def test_a_restored_database_has_its_derived_data_made_anew(
    file: Path, tmp_path: Path
) -> None:
    async with Database(f"sqlite+aiosqlite:///{file}") as database:
        await run_sql(database, text("UPDATE insight_rollups SET negative = negative + 1"))
    backup.back_up(file, tmp_path / "copy.db")
    await backup.restore(tmp_path / "copy.db", file)
    async with Database(f"sqlite+aiosqlite:///{file}") as database:
        assert not await derived.rebuild(database), "nothing is wrong any more"


async def test_the_log_of_the_old_database_is_not_replayed_onto_the_new(
    file: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    backup.back_up(file, copy)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE insights SET text = 'changed'")
        connection.commit()
        # As after a kill: the log is there and not folded in.
        for suffix in ("", "-wal"):
            snapshot.copy_file(Path(f"{file}{suffix}"), tmp_path / f"left{suffix}")
    for suffix in ("", "-wal"):
        (tmp_path / f"left{suffix}").rename(f"{file}{suffix}")
    restored = await backup.restore(copy, file)
    query = "SELECT DISTINCT text = 'changed' FROM insights"
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute(query).fetchall() == [(0,)]
    assert restored.kept is not None
    with closing(sqlite3.connect(restored.kept)) as connection:
        assert connection.execute(query).fetchall() == [(1,)], "what was there is kept whole"


async def test_a_restore_into_an_empty_folder_needs_no_database(file: Path, tmp_path: Path) -> None:
    backup.back_up(file, tmp_path / "copy.db")
    (tmp_path / "new").mkdir()
    restored = await backup.restore(tmp_path / "copy.db", tmp_path / "new" / "insights.db")
    assert (restored.before, restored.kept) == (None, None)
    assert _insights(tmp_path / "new" / "insights.db") == 20


def _damage(copy: Path) -> None:
    copy.write_bytes(copy.read_bytes()[:-5000])


def _make_newer(copy: Path) -> None:
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    manifest = copy.with_name(copy.name + ".json")
    was = read_manifest(copy)
    manifest.write_text(manifest.read_text().replace(was.sha256, snapshot.sha256_of(copy)))


def _lose_manifest(copy: Path) -> None:
    copy.with_name(copy.name + ".json").unlink()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_damage, "SHA-256"),
        (_make_newer, "newer version: schema 9999"),
        (_lose_manifest, "has no manifest copy.db.json"),
        (Path.unlink, "there is no backup"),
    ],
)
async def test_what_cannot_be_trusted_is_refused_and_nothing_changes(
    file: Path, tmp_path: Path, change: Callable[[Path], None], sentence: str
) -> None:
    copy = _folder(tmp_path) / "copy.db"
    backup.back_up(file, copy)
    change(copy)
    before, content = _files(tmp_path), _content(file)
    with pytest.raises(BackupFailed, match=sentence):
        await backup.restore(copy, file)
    assert (_files(tmp_path), _content(file)) == (before, content)


async def test_a_database_that_a_service_has_is_not_replaced(file: Path, tmp_path: Path) -> None:
    backup.back_up(file, tmp_path / "copy.db")
    lock = FileLock(str(file))
    await lock.acquire(patience=0)
    try:
        with pytest.raises(Unavailable, match="another process has this file open"):
            await backup.restore(tmp_path / "copy.db", file)
    finally:
        lock.release()


async def test_nothing_is_overwritten(file: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("mine")
    with pytest.raises(BackupFailed, match="exists already"):
        backup.back_up(file, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "mine"


async def test_a_manifest_takes_the_place_of_no_other_file(file: Path, tmp_path: Path) -> None:
    (tmp_path / "tuesday.json").write_text('{"my": "own"}')
    with pytest.raises(BackupFailed, match=r"tuesday\.json exists already"):
        backup.back_up(file, tmp_path / "tuesday")
    assert (tmp_path / "tuesday.json").read_text() == '{"my": "own"}'
    backup.back_up(file, tmp_path / "wednesday")
    (tmp_path / "wednesday").unlink()
    backup.back_up(file, tmp_path / "wednesday")  # what an attempt that was killed has left
    (tmp_path / "wednesday.json").write_text("[]")
    with pytest.raises(BackupFailed, match=r"wednesday\.json, the manifest .* cannot be read"):
        backup.verify(tmp_path / "wednesday")


async def test_a_disk_without_room_is_told_before_anything_is_written(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "size_of", lambda _source: 1 << 60)
    with pytest.raises(BackupFailed, match=r"lacks 1,1.* bytes"):
        backup.back_up(file, _folder(tmp_path) / "copy.db")
    assert _files(tmp_path / "backups") == set()


async def test_a_disk_that_fills_up_meanwhile_leaves_nothing_behind(
    file: Path, tmp_path: Path
) -> None:
    folder = _folder(tmp_path)
    ended = _run(
        *("-m", "tools.backup", str(folder / "copy.db")),
        env={
            "DATABASE_URL": f"sqlite+aiosqlite:///{file}",
            "PYTHONDONTWRITEBYTECODE": "1",  # which would be cut short as well, and stay so
        },
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("No backup was made: ")
    assert len(ended.stderr.splitlines()) == 1
    assert _files(folder) == set()


async def test_a_drill_restores_the_newest_backup_and_says_how_it_went(
    file: Path, tmp_path: Path
) -> None:
    folder = _folder(tmp_path)
    backup.back_up(file, folder / "insights-20260101T000000Z.db")
    assert (await backups.drill(folder)).problem is None
    newest = folder / "insights-20260102T000000Z.db"
    backup.back_up(file, newest)
    _damage(newest)
    drill = await backups.drill(folder)
    assert drill.backup == newest.name
    assert "SHA-256" in (drill.problem or "")
    assert backup_folder.last_drill(folder) == drill


def test_a_drill_that_is_told_to_end_leaves_nothing(file: Path, tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    backup.back_up(file, folder / "insights-20260101T000000Z.db")
    before = _files(folder)
    status = 0
    while status == 0:
        drill = subprocess.Popen(
            [sys.executable, "-m", "tools.drill"],
            cwd=ROOT,
            env={**os.environ, "BACKUP_DIR": str(folder)},
        )
        while drill.poll() is None and not list(folder.glob("drill-*/*")):
            time.sleep(0.001)
        drill.terminate()
        status = drill.wait()
        (folder / "drill.json").unlink(missing_ok=True)  # of one that has come to its end before
    assert status == 128 + signal.SIGTERM
    assert _files(folder) == before


async def test_a_drill_where_nothing_can_be_written_says_so(file: Path, tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    backup.back_up(file, folder / "insights-20260101T000000Z.db")
    (folder / "drill.json").mkdir()
    with pytest.raises(ServiceError, match=r"drill\.json"):
        await backups.drill(folder)


def test_no_folder_is_made_for_a_backup(file: Path, tmp_path: Path) -> None:
    gone = tmp_path / "usb" / "backups"
    for arguments in ((), (str(gone / "tuesday.db"),)):
        ended = _run(
            *("-m", "tools.backup", *arguments),
            env={
                **os.environ,
                "DATABASE_URL": f"sqlite+aiosqlite:///{file}",
                "BACKUP_DIR": str(gone),
            },
        )
        assert ended.returncode == 1
        assert ended.stderr == (
            f"No backup was made: the folder {gone} is not there: is its disk mounted?\n"
        )
    assert not gone.parent.exists()


async def test_a_backup_of_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="there is no database"):
        backup.back_up(tmp_path / "insights.db", tmp_path / "copy.db")
