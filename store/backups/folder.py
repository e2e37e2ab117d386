"""A folder of backups: which are in it, how many are kept, and how the last drill went."""

import errno
import json
import shutil
import time
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from itertools import chain
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
_LEFT_AFTER_SECONDS = 3600
"""What is being made and was not added to for so long was left by a broken attempt."""


_MISTAKES = {
    errno.EACCES, errno.EPERM, errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.ELOOP,
    errno.ENAMETOOLONG,
}  # fmt: skip
"""Which no waiting mends."""


def check_folder(folder: Path) -> None:
    """Make the folder where it is not there, and a file in it that has no name. Raises StartRefused
    for a mistake. A disk in trouble keeps nobody from serving: each backup that fails tells of it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error.errno not in _MISTAKES:
            return
        raise StartRefused(
            f"BACKUP_DIR: no backup can be made in {folder}: {error.strerror}"
        ) from error


def name_of(moment: datetime, *, sqlite: bool = True) -> str:
    return f"{moment:{_NAME}}{SQLITE if sqlite else DUMP}"


def backups_in(folder: Path) -> list[Path]:
    """Those that the service made, the newest first."""
    found = chain.from_iterable(folder.glob(f"insights-*Z{ending}") for ending in (SQLITE, DUMP))
    return sorted(filter(_made_at, found), reverse=True)


def _made_at(path: Path) -> datetime | None:
    """By its name; None where somebody else gave it one."""
    try:
        return datetime.strptime(path.stem, _NAME).replace(tzinfo=UTC)
    except ValueError:
        return None


def prune(folder: Path, keep: int, every: timedelta) -> list[Path]:
    """Remove all but `keep` backups, and what broken attempts left; what was removed. Call it once
    a new backup is verified.

    The newest of each period of length `every` stays before any other of its period does: however
    many are made at once, they take the place of none that is of an earlier period.
    """
    found = backups_in(folder)
    newest_of = {_period(path, every): path for path in reversed(found)}
    first = set(newest_of.values())
    ordered = sorted(found, key=lambda path: path not in first)
    removed = [*ordered[keep:], *filter(_is_left, folder.glob(f"insights-*{PARTIAL_SUFFIX}*"))]
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
    return time.time() - newest > _LEFT_AFTER_SECONDS


def _period(path: Path, every: timedelta) -> int:
    moment = _made_at(path)
    assert moment is not None
    return int(moment.timestamp() // every.total_seconds())


def newest(folder: Path) -> Manifest | None:
    for path in backups_in(folder):
        try:
            return read_manifest(path)
        except BackupFailed:
            continue
    return None


@dataclass(frozen=True, slots=True)
class Drill:
    """A backup restored into a folder of its own. `problem` is None where all went well."""

    at: datetime
    backup: str
    seconds: float
    problem: str | None


def last_drill(folder: Path) -> Drill | None:
    try:
        stored = json.loads(_drill_path(folder).read_text())
        found = {each.name: stored[each.name] for each in fields(Drill)}
        return Drill(**found | {"at": datetime.fromisoformat(found["at"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def record_drill(folder: Path, drill: Drill) -> None:
    stored = asdict(drill) | {"at": drill.at.isoformat(timespec="seconds")}
    _drill_path(folder).write_text(json.dumps(stored) + "\n")


def _drill_path(folder: Path) -> Path:
    return folder / "drill.json"
