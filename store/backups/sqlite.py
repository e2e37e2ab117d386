"""Backups of a SQLite file: made beside live traffic, verified, and restored."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

from backends import snapshot
from backends.file_lock import LOCK_SUFFIX, FileLock
from database import Database, sqlite_url
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
    manifest_path,
    partial_path,
    read_unchanged,
    write_manifest,
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
    if not is_copied and not source.is_file():
        raise BackupFailed(f"there is no database {source}")
    with failures_of(target):
        partial = partial_path(target) if is_copied else begin_file(target)
        try:
            if not is_copied:
                _check_room(target.parent, snapshot.size_of(source))
                snapshot.copy_database(source, partial)
            manifest = _describe_whole(partial)
            finish_file(partial, target, manifest)
        finally:
            partial.unlink(missing_ok=True)
    return manifest


def _describe_whole(path: Path, *, of_this_version: bool = True) -> Manifest:
    """Raises BackupFailed where SQLite's own check finds something wrong in the file, too."""
    if problems := snapshot.problems_of(path):
        raise BackupFailed(f"{path} is damaged: {problems[0]}")
    return describe(path, *_read_through(path, of_this_version=of_this_version))


def verify(path: Path) -> Manifest:
    """The manifest of a backup that is as it was made, to the byte: the bytes in which SQLite's own
    check found nothing wrong. Raises BackupFailed."""
    with failures_of(path):
        manifest = read_unchanged(path)
        if _read_through(path)[1] != manifest.counts:
            raise BackupFailed(f"{path} holds other counts than its manifest")
    return manifest


def _read_through(path: Path, *, of_this_version: bool = True) -> tuple[str, Counts]:
    """The schema's revision, and what is in the file. Raises BackupFailed where the counts
    contradict each other, or this version does not know the schema, unless that may be a newer
    one."""
    with _reading(path) as connection:
        revision = str(connection.scalar(text("SELECT version_num FROM alembic_version")))
        if of_this_version:
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
        return sqlite3.connect(snapshot.read_only_address(path), uri=True)

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
            owner = _owner_of(database)
            _give(Path(f"{database}{LOCK_SUFFIX}"), owner)
            _remove(restoring)  # what one that was killed has left
            # Twice: derived data are made in one transaction, whose log may grow as large.
            _check_room(database.parent, 2 * manifest.size)
            await _unpack(path, restoring)
            _give(restoring, owner)
            restored = _take_over(restoring, database, manifest.counts)
            return replace(restored, trouble=_describe_kept(restored.kept, owner))
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


def _describe_kept(kept: Path | None, owner: os.stat_result) -> str | None:
    """Write its manifest, so that it can be restored as well; else why that cannot be."""
    if kept is None:
        return None
    if (log := kept.with_name(kept.name + "-wal")).exists():
        return f"a part of it is in {log}"
    try:
        with failures_of(kept):
            write_manifest(_describe_whole(kept, of_this_version=False), manifest_path(kept))
            _give(manifest_path(kept), owner)
    except BackupFailed as error:
        return error.details
    except SystemExit:  # all is in place, and that has to be told
        return "the command was told to end before it was checked"
    return None


def _owner_of(database: Path) -> os.stat_result:
    return (database if database.exists() else database.parent).stat()


def _give(path: Path, owner: os.stat_result) -> None:
    """What root has made is for its owner alone, and that has to be the service's user."""
    if os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)


def _check_room(folder: Path, needed: int) -> None:
    if missing := snapshot.missing_bytes(folder, needed):
        raise BackupFailed(f"the disk of {folder} lacks {missing:,} bytes for it")


async def _unpack(path: Path, target: Path) -> None:
    """The service's own code opens it, and so upgrades it where it is of an earlier version."""
    snapshot.copy_file(path, target)
    async with Database(sqlite_url(target)) as copy:
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
