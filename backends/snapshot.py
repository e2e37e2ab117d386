"""Copies of a SQLite file: made beside its writer, checked, and put in the place of a database.

Blocking: call these in a thread. SQLite's own work lets go of the interpreter's lock.
"""

import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

MODE = 0o600
_SPARE_BYTES = 32 * 1024 * 1024
"""Left free on the disk, since the service goes on writing to it."""
_STEPS_OF_COPYING = 250
"""Of SQLite's machine: some twenty rows, so that parts are not much longer than they should be."""
_PART_BYTES = 128 * 1024
"""A commit waits for what the disk is at."""
_LONGEST_REST_SECONDS = 0.5
_PAGES_OF_A_STEP = 32
"""A write waits for the step that is under way: some 0.2 ms."""
_ASK_AGAIN_SECONDS = 0.001
"""Of the writer, while it is in a transaction."""
_MOST_BEGINNINGS = 3


def copy_database(source: Path, target: Path) -> None:
    """Fill the empty file `target` with one consistent snapshot of `source`, whose writer goes on
    meanwhile, and has the disk for half of the time at least. Its log cannot be emptied before the
    end. Raises sqlite3.Error."""
    with open_read_only(source) as connection, target.open("rb") as copy:
        pace = _Pace(copy.fileno())

        def progress() -> int:
            pace()
            return 0  # anything else would end the copying

        connection.set_progress_handler(progress, _STEPS_OF_COPYING)
        connection.execute("VACUUM INTO ?", (str(target),))


def copy_beside_writes(
    writer: sqlite3.Connection, target: Path, goes_on: Callable[[], bool]
) -> bool:
    """Fill the empty file `target` through the connection that writes, from a thread of its own:
    with what is committed at the end, since SQLite copies once more what that connection changes
    meanwhile. No transaction outlasts a step, so that checkpoints go on, and the log stays short.

    A rollback makes SQLite begin anew. False where that came too often or `goes_on` was false;
    `target` is worth nothing then. Raises sqlite3.Error.
    """
    if sqlite3.threadsafety < 3:  # a build whose threads do not take turns with a connection
        return False
    beginnings, furthest = 0, 0

    def progress(_status: int, remaining: int, pages: int) -> None:
        nonlocal beginnings, furthest
        beginnings += pages - remaining < furthest
        furthest = pages - remaining
        if beginnings > _MOST_BEGINNINGS or not goes_on():
            raise _GivenUp
        pace()

    with (
        closing(sqlite3.connect(target, isolation_level=None)) as connection,
        target.open() as copy,
    ):
        pace = _Pace(copy.fileno())
        # Nobody misses a copy that is cut short, and `pace` puts it on disk.
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        try:
            writer.backup(
                connection, pages=_PAGES_OF_A_STEP, progress=progress, sleep=_ASK_AGAIN_SECONDS
            )
        except _GivenUp:
            return False
    with closing(sqlite3.connect(target, isolation_level=None)) as connection:
        # Else whoever reads it has to write the files of a log beside it.
        connection.execute("PRAGMA journal_mode=DELETE")
    return True


class _GivenUp(Exception):
    """The copying was."""


class _Pace:
    """Called again and again while a file grows: puts each part of it on disk, and then leaves the
    disk to others for as long as that took. All at once would hold up each commit of the writer for
    seconds, since a file system that writes its journal first writes what is new in other files."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._synced = 0

    def __call__(self) -> None:
        size = os.fstat(self._descriptor).st_size
        if size - self._synced >= _PART_BYTES:
            begun = time.monotonic()
            os.fdatasync(self._descriptor)
            time.sleep(min(time.monotonic() - begun, _LONGEST_REST_SECONDS))
            self._synced = size


@contextmanager
def open_read_only(path: Path) -> Iterator[sqlite3.Connection]:
    address = read_only_address(path)
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
        yield connection


def read_only_address(path: Path) -> str:
    """For SQLite, as a URI, whatever letters are in the path."""
    return f"file:{quote(bytes(path.resolve()))}?mode=ro"


def size_of(source: Path) -> int:
    """An upper bound of a copy's size, in bytes; 0 where the file was removed under its service."""
    log = source.with_name(source.name + "-wal")
    return sum(each.stat().st_size for each in (source, log) if each.exists())


def missing_bytes(folder: Path, needed: int) -> int:
    """How many bytes the disk lacks for a file of `needed`; 0 where there is room."""
    return max(0, needed + _SPARE_BYTES - shutil.disk_usage(folder).free)


def problems_of(path: Path) -> list[str]:
    """What SQLite finds wrong with the file, at most a hundred; nothing where it is whole."""
    try:
        with open_read_only(path) as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
            orphans = connection.execute("PRAGMA foreign_key_check").fetchmany(100)
    except sqlite3.Error as error:
        return [str(error)]
    return [line for line in found if line != "ok"] + [
        f"a row of {table} refers to one of {parent} that is gone"
        for table, _, parent, _ in orphans
    ]


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def put_in_place(new: Path, target: Path, kept: Path | None) -> None:
    """Make `new`, on the same file system and open to nobody, the database at `target`. What is
    there, if anything, is `kept` then. `target` is at every moment the old database, whole, or the
    new one.

    The caller holds the lock of `target`.
    """
    if kept is not None:
        _fold_log(target, kept)
        spare = kept.with_name(kept.name + ".new")
        spare.unlink(missing_ok=True)
        os.link(target, spare)
        spare.replace(kept)
    _remove_sidecars(target)
    sync(new)
    new.replace(target)
    sync(target.parent)


def _fold_log(path: Path, kept: Path) -> None:
    """Move the write-ahead log into the file, which can be read alone then. Where it is too damaged
    for that, or another program has it open, its log is put beside what is `kept`."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=DELETE").fetchall()
    except sqlite3.DatabaseError:
        log = path.with_name(path.name + "-wal")
        if log.exists():
            copy_file(log, kept.with_name(kept.name + "-wal"))


def _remove_sidecars(path: Path) -> None:
    """A log that is left would be replayed onto the new file."""
    for suffix in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Put a file or a folder on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_file(source: Path, target: Path) -> None:
    """As it is, for its owner alone; not on disk yet when this returns."""
    target.unlink(missing_ok=True)
    descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, MODE)
    with open(descriptor, "wb") as copy, source.open("rb") as original:
        shutil.copyfileobj(original, copy, 1024 * 1024)
