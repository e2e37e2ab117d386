"""A folder of backups: which are in it, how many are kept, and how the last drill went."""

import errno
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryFile

from errors import StartRefused
from store.backups.manifest import (
    PARTIAL_SUFFIX,
    BackupFailed,
    Manifest,
    manifest_path,
    read_manifest,
)

SQLITE, DUMP = ".db", ".dump"
DRILL_PREFIX = "drill-"
"""Of the folders in which backups are tried."""
_NAME = "insights-%Y%m%dT%H%M%SZ"
_PARTIAL = f"insights-*{PARTIAL_SUFFIX}*"
_LEFT_AFTER_SECONDS = 3600
"""What is being made and was not added to for so long was left by a broken attempt."""
_AHEAD = timedelta(hours=1)
"""What is dated later than so long from now was made while the clock was ahead."""


_MISTAKES = {
    errno.EACCES, errno.EPERM, errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.ELOOP,
    errno.ENAMETOOLONG,
}  # fmt: skip
"""Which no waiting mends."""


def check_folder(folder: Path, database: Path | None = None) -> None:
    """Make the folder where it is not there, and a file in it that has no name. Raises StartRefused
    for a mistake, such as a `database` file, named by its real path, that `prune` would take for
    one of its own. A disk in trouble keeps nobody from serving: each backup that fails tells of it.
    """
    if database is not None and _is_in_the_way(database, folder.resolve()):
        raise StartRefused(
            f"BACKUP_DIR: the database {database} has a name that backups have there, and would be"
            " removed as an old one: name it otherwise, or move it"
        )
    try:
        folder.mkdir(exist_ok=True)  # without those above it: their disk may not be mounted
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error.errno not in _MISTAKES:
            return
        raise StartRefused(
            f"BACKUP_DIR: no backup can be made in {folder}: {error.strerror}"
        ) from error


def _is_in_the_way(database: Path, folder: Path) -> bool:
    if not database.is_relative_to(folder):
        return False
    first = Path(database.relative_to(folder).parts[0])
    return _made_at(first) is not None or any(map(first.match, (_PARTIAL, f"{DRILL_PREFIX}*")))


def is_mount_point(folder: Path) -> bool:
    return os.path.ismount(folder.resolve())


def name_of(moment: datetime, *, sqlite: bool = True) -> str:
    return f"{moment:{_NAME}}{_ending(sqlite)}"


def _ending(sqlite: bool) -> str:
    return SQLITE if sqlite else DUMP


def backups_in(folder: Path, *, sqlite: bool = True) -> list[Path]:
    """Those that the service made of this kind of database, and that no service has open, the
    newest first; last those of `dated_ahead`."""

    def order(path: Path) -> tuple[bool, datetime]:
        moment = _moment_of(path)
        return not _is_ahead(moment), moment

    named = filter(_made_at, folder.glob(f"insights-*Z{_ending(sqlite)}"))
    return sorted((path for path in named if not _is_open(path)), key=order, reverse=True)


def _is_open(path: Path) -> bool:
    """Or was when its process was killed: a backup as it was made has no log."""
    return path.with_name(path.name + "-wal").exists()


def dated_ahead(folder: Path, *, sqlite: bool = True) -> list[Path]:
    """Backups with a name that is later than an hour from now: nobody knows when they were made."""
    return [path for path in backups_in(folder, sqlite=sqlite) if _is_ahead(_moment_of(path))]


def _is_ahead(moment: datetime) -> bool:
    return moment > datetime.now(UTC) + _AHEAD


def _moment_of(path: Path) -> datetime:
    moment = _made_at(path)
    assert moment is not None
    return moment


def _made_at(path: Path) -> datetime | None:
    """By its name; None where somebody else gave it one."""
    try:
        return datetime.strptime(path.stem, _NAME).replace(tzinfo=UTC)
    except ValueError:
        return None


def prune(made: Path, keep: int, every: timedelta) -> list[Path]:
    """Remove all but `keep` backups of the kind and in the folder of `made`, and what broken
    attempts left; what was removed. Call it once `made` is verified: it stays, whatever the clock
    does.

    The newest of each period of length `every` stays before any other of its period does: however
    many are made at once, they take the place of none that is of an earlier period.
    """
    folder = made.parent
    found = backups_in(folder, sqlite=made.suffix == SQLITE)
    found.sort(key=lambda path: path != made)
    newest_of = {_period(path, every): path for path in reversed(found)}
    first = set(newest_of.values())
    ordered = sorted(found, key=lambda path: path not in first)
    removed = [*ordered[keep:], *filter(_is_left, folder.glob(_PARTIAL))]
    for path in removed:
        path.unlink(missing_ok=True)
        manifest_path(path).unlink(missing_ok=True)
    tried = list(filter(_is_left, folder.glob(f"{DRILL_PREFIX}*/")))
    for path in tried:
        shutil.rmtree(path)
    return [*removed, *tried]


def _is_left(path: Path) -> bool:
    try:
        newest = max(each.stat().st_mtime for each in (path, *path.rglob("*")))
    except FileNotFoundError:  # somebody is at work there
        return False
    return abs(time.time() - newest) > _LEFT_AFTER_SECONDS  # or the clock was ahead


def _period(path: Path, every: timedelta) -> int:
    return int(_moment_of(path).timestamp() // every.total_seconds())


def newest(folder: Path, *, sqlite: bool = True) -> Manifest | None:
    """Of those that are as long as their manifest says, and that no clock ahead has dated."""
    for path in backups_in(folder, sqlite=sqlite):
        try:
            manifest = read_manifest(path)
            if path.stat().st_size == manifest.size and not _is_ahead(manifest.moment):
                return manifest
        except (BackupFailed, OSError, ValueError, TypeError):  # also a time that cannot be read
            continue
    return None


@dataclass(frozen=True, slots=True)
class Drill:
    """A backup restored into a folder of its own. `problem` is None where all went well."""

    at: datetime
    backup: str
    seconds: float
    problem: str | None


def last_drill(folder: Path, *, sqlite: bool = True) -> Drill | None:
    """Of this kind of database; None where its time is an hour ahead: it may be long ago."""
    try:
        stored = json.loads(_drill_path(folder).read_text())
        found = {each.name: stored[each.name] for each in fields(Drill)}
        drill = Drill(**found | {"at": datetime.fromisoformat(found["at"])})
        counts = Path(drill.backup).suffix == _ending(sqlite) and not _is_ahead(drill.at)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return drill if counts else None


def record_drill(folder: Path, drill: Drill) -> None:
    stored = asdict(drill) | {"at": drill.at.isoformat(timespec="seconds")}
    _drill_path(folder).write_text(json.dumps(stored) + "\n")


def _drill_path(folder: Path) -> Path:
    return folder / "drill.json"
