"""Backups of a SQLite file: made beside live traffic, verified, and restored."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

from backends import snapshot
from backends.file_lock import FileLock
from database import Database
from store import derived
from store.backups.manifest import (
    BackupFailed,
    Counts,
    Manifest,
    Restored,
    begin_file,
    check_revision,
    count,
    describe,
    failures_of,
    finish_file,
    free_name,
    partial_path,
    read_unchanged,
)

MAGIC = b"SQLite format 3\0"
"""How a file of SQLite begins: https://www.sqlite.org/fileformat.html#magic_header_string"""
_RESTORING_SUFFIX = ".restoring"


async def copy(database: Database, target: Path) -> bool:
    """Have the service's own connection make the copy that `back_up` then verifies. False where
    that came to nothing, and `back_up` is to make it. Raises BackupFailed."""
    with failures_of(target):
        partial = begin_file(target)
        is_made = False
        try:
            _check_room(target.parent, snapshot.size_of(path_of(database)))
            is_made = await database.copy_into(partial)
        finally:
            if not is_made:
                partial.unlink(missing_ok=True)
        return is_made


def back_up(source: Path, target: Path, *, is_copied: bool = False) -> Manifest:
    """Make a verified backup of the database at `source`, whose service may be at work, or of what
    `copy` has left. Blocking; the processor is left to others most of the time.

    Raises BackupFailed where `target` exists or the disk has no room, and where the copy is not
    whole.
    """
    if not source.is_file():
        raise BackupFailed(f"there is no database {source}")
    with failures_of(target):
        partial = partial_path(target) if is_copied else begin_file(target)
        try:
            if not is_copied:
                _check_room(target.parent, snapshot.size_of(source))
                snapshot.copy_database(source, partial)
            if problems := snapshot.problems_of(partial):
                raise BackupFailed(f"{partial} is damaged: {problems[0]}")
            manifest = describe(partial, *_read_through(partial))
            finish_file(partial, target, manifest)
        finally:
            partial.unlink(missing_ok=True)
    return manifest


def verify(path: Path) -> Manifest:
    """The manifest of a backup that is as it was made, to the byte: the bytes in which SQLite's own
    check found nothing wrong. Raises BackupFailed."""
    with failures_of(path):
        manifest = read_unchanged(path)
        if _read_through(path)[1] != manifest.counts:
            raise BackupFailed(f"{path} holds other counts than its manifest")
    return manifest


def _read_through(path: Path) -> tuple[str, Counts]:
    """The schema's revision, and what is in the file. Raises BackupFailed where this version does
    not know the schema, or the counts contradict each other."""
    with _reading(path) as connection:
        revision = str(connection.scalar(text("SELECT version_num FROM alembic_version")))
        check_revision(path, revision)
        counts = count(connection)
    if counts.completed != counts.insights:
        raise BackupFailed(
            f"{path} has {counts.completed} completed conversations and {counts.insights} insights"
        )
    return revision, counts


@contextmanager
def _reading(path: Path) -> Iterator[Connection]:
    def connect() -> Any:
        return sqlite3.connect(f"file:{path}?mode=ro", uri=True)

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    with engine.connect() as connection:
        yield connection


# --- restoring ------------------------------------------------------------------------------------


async def restore(path: Path, database: Path) -> Restored:
    """Put the backup at `path` in the place of the database, upgraded and with all that is derived
    made anew. Killed at any moment, this leaves the old database or the new one, whole.

    Raises BackupFailed, Unavailable where a service has the file, and StartRefused.
    """
    manifest = verify(path)
    lock = FileLock(str(database))
    await lock.acquire(patience=0)
    restoring = database.with_name(database.name + _RESTORING_SUFFIX)
    try:
        with failures_of(database):
            # Twice: derived data are made in one transaction, whose log may grow as large.
            _check_room(database.parent, 2 * manifest.size)
            _remove(restoring)
            await _unpack(path, restoring)
            return _take_over(restoring, database, manifest.counts)
    finally:
        _remove(restoring)
        lock.release()


def _take_over(restoring: Path, database: Path, expected: Counts) -> Restored:
    with _reading(restoring) as connection:
        after = count(connection)
    if after != expected:
        raise BackupFailed(f"the counts changed while it was restored, from {expected} to {after}")
    kept = free_name(database) if database.exists() else None
    before = _counts_of(database)
    snapshot.put_in_place(restoring, database, kept)
    return Restored(before, after, kept)


def _check_room(folder: Path, needed: int) -> None:
    if missing := snapshot.missing_bytes(folder, needed):
        raise BackupFailed(f"the disk of {folder} lacks {missing:,} bytes for it")


async def _unpack(path: Path, target: Path) -> None:
    """The service's own code opens it, and so upgrades it where it is of an earlier version."""
    snapshot.copy_file(path, target)
    async with Database(f"sqlite+aiosqlite:///{target}") as copy:
        await derived.remake(copy)
        await copy.checkpoint_truncate()


def _counts_of(path: Path) -> Counts | None:
    try:
        with _reading(path) as connection:
            return count(connection)
    except DBAPIError:
        return None


def path_of(database: Database) -> Path:
    assert database.url.database is not None
    return Path(database.url.database).resolve()


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal", "-lock"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
