"""A SQLite file, or its lock, that is moved, replaced, removed or damaged under the service."""

import os
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from backends.errors import DAMAGED
from database import Database
from errors import Unavailable
from store import backups
from tests.support.factories import accept
from tests.support.stored import count

LOST = r"moved, replaced or removed"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "insights.db"


async def _fail(database: Database) -> None:
    """As on a full disk: the next write has another connection."""
    with pytest.raises(DBAPIError):
        await database.write(lambda connection: connection.execute(text("SELECT * FROM nowhere")))


@pytest.mark.parametrize("failed", [False, True])
async def test_a_file_that_is_replaced_takes_no_more_and_a_copy_saves_what_it_held(
    failed: bool, sqlite_url: str, path: Path, tmp_path: Path
) -> None:
    other, copy = tmp_path / "other.db", tmp_path / "copy.db"
    async with Database(f"sqlite+aiosqlite:///{other}") as database:
        await accept(database)
    database = Database(sqlite_url)
    await database.open()
    for _ in range(3):
        await accept(database)
    if failed:
        await _fail(database)
    os.rename(other, path)
    with pytest.raises(Unavailable, match=LOST):
        await accept(database)
    with pytest.raises(Unavailable, match=LOST):
        await database.check_writable()
    copy.touch()
    assert await database.copy_into(copy)
    died = _as_a_kill_leaves_it(path)
    await database.close()
    async with Database(f"sqlite+aiosqlite:///{died}") as found:
        assert await count(found) == 1, "the log of the one before was not written into it"
    async with Database(f"sqlite+aiosqlite:///{copy}") as saved:
        assert await count(saved) == 3


def _as_a_kill_leaves_it(path: Path) -> Path:
    """A copy of all its files."""
    folder = path.parent / "died"
    folder.mkdir()
    for each in path.parent.glob(f"{path.name}*"):
        shutil.copy(each, folder)
    return folder / path.name


@pytest.mark.parametrize("failed", [False, True])
async def test_a_file_that_is_removed_takes_no_more_and_a_backup_has_what_it_held(
    failed: bool, sqlite_url: str, path: Path, tmp_path: Path
) -> None:
    backup = tmp_path / "backup.db"
    async with Database(sqlite_url) as database:
        await accept(database)
        if failed:
            await _fail(database)
        os.unlink(path)
        with pytest.raises(Unavailable, match=LOST):
            await accept(database)
        assert "insights.db" not in os.listdir(path.parent)
        assert await backups.copy(database, backup)
        made = await backups.back_up(database, backup, is_copied=True)
    assert made.counts.conversations == 1


async def test_where_the_lock_is_removed_the_first_one_takes_no_more(
    sqlite_url: str, path: Path
) -> None:
    """Whoever comes next has the file."""
    async with Database(sqlite_url) as database:
        await accept(database)
        os.unlink(f"{path}-lock")
        async with Database(sqlite_url) as second:
            await accept(second)
            with pytest.raises(Unavailable, match=LOST):
                await accept(database)
            assert await count(second) == 2


async def test_a_damaged_file_is_told_as_such(sqlite_url: str, path: Path) -> None:
    async with Database(sqlite_url) as database:
        await accept(database)
    with closing(sqlite3.connect(path)) as plain:
        (page,) = plain.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'conversations'"
        ).fetchone()
        (size,) = plain.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    async with Database(sqlite_url) as damaged:
        with pytest.raises(Unavailable, match=re.escape(DAMAGED)):
            await damaged.read(lambda connection: connection.execute(_ALL).all())


_ALL = text("SELECT * FROM conversations")
