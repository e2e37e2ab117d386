"""Backups, made beside live traffic, verified, restored and tried.

manifest.py   what stands beside each: its SHA-256 and what was counted in it
sqlite.py     a snapshot of the file        postgres.py   by pg_dump and pg_restore
folder.py     a folder of backups: which are kept
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from database import Database
from errors import ServiceError
from store.backups import folder, postgres, sqlite
from store.backups.folder import Drill
from store.backups.manifest import BackupFailed, Manifest, Restored


async def copy(database: Database, target: Path) -> bool:
    """Have the service that has the database open copy it, for `back_up` to verify. False where
    `back_up` has to copy by itself. Raises BackupFailed."""
    return database.is_sqlite and await sqlite.copy(database, target)


async def back_up(database: Database, target: Path, *, is_copied: bool = False) -> Manifest:
    """Make a verified backup; the service may be at work. With `is_copied`, of what `copy` has
    left. Raises BackupFailed."""
    if database.is_sqlite:
        return sqlite.back_up(sqlite.path_of(database), target, is_copied=is_copied)
    return await postgres.back_up(database, target)


def verify(path: Path) -> Manifest:
    """The manifest of a backup that is as it was made, to the byte. Raises BackupFailed."""
    return postgres.verify(path) if _begins_with(postgres.MAGIC, path) else sqlite.verify(path)


async def restore(path: Path, database: Database) -> Restored:
    """Put the backup in the place of the database, which nobody may have open. Raises BackupFailed,
    Unavailable and StartRefused, and then nothing was changed; NotOpened."""
    if _begins_with(postgres.MAGIC if database.is_sqlite else sqlite.MAGIC, path):
        raise BackupFailed(f"{path} is a backup of the other kind of database: see tools.move")
    if database.is_sqlite:
        return await sqlite.restore(path, sqlite.path_of(database))
    return await postgres.restore(path, database)


def _begins_with(magic: bytes, path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError:  # which is told by whoever reads on
        return False


async def drill(into: Path, *, sqlite: bool = True) -> Drill:
    """Restore the folder's newest backup of this kind of database elsewhere, compare it with its
    manifest, and record how it went. Of one of PostgreSQL the rows are counted that it would
    restore. Raises BackupFailed where there is none, and where the folder cannot be written."""
    try:
        return await _drill(into, is_sqlite=sqlite)
    except OSError as error:
        raise BackupFailed(f"{into}: {error}") from error


async def _drill(into: Path, *, is_sqlite: bool) -> Drill:
    begun = time.monotonic()
    found = folder.backups_in(into, sqlite=is_sqlite)
    if not found:
        raise BackupFailed(f"there is no backup in {into}")
    problem = None
    try:
        if _begins_with(postgres.MAGIC, found[0]):
            postgres.verify(found[0])
        else:
            with TemporaryDirectory(prefix=folder.DRILL_PREFIX, dir=into) as temporary:
                await sqlite.restore(found[0], Path(temporary) / "insights.db")
    except ServiceError as error:
        problem = error.details
    result = Drill(
        at=datetime.now(UTC).replace(microsecond=0),
        backup=found[0].name,
        seconds=round(time.monotonic() - begun, 3),
        problem=problem,
    )
    folder.record_drill(into, result)
    return result
