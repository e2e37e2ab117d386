"""A folder of backups: which are in it, how many are kept, and how the last drill went."""

import json
import time
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from itertools import chain
from pathlib import Path

from store.backups.manifest import (
    PARTIAL_SUFFIX,
    BackupFailed,
    Manifest,
    manifest_path,
    read_manifest,
)

SQLITE, DUMP = ".db", ".dump"
_LEFT_AFTER_SECONDS = 3600
"""A file in the making that nothing was added to for so long was left by a broken attempt."""


def name_of(moment: datetime, *, sqlite: bool = True) -> str:
    return f"insights-{moment:%Y%m%dT%H%M%SZ}{SQLITE if sqlite else DUMP}"


def backups_in(folder: Path) -> list[Path]:
    """Those that the service made, the newest first."""
    found = (folder.glob(f"insights-*Z{ending}") for ending in (SQLITE, DUMP))
    return sorted(chain.from_iterable(found), reverse=True)


def prune(folder: Path, keep: int) -> list[Path]:
    """Remove all but the `keep` newest, and what broken attempts left; what was removed. Call it
    once a new backup is verified."""
    broken = folder.glob(f"insights-*{PARTIAL_SUFFIX}")
    removed = [
        *backups_in(folder)[keep:],
        *(path for path in broken if time.time() - path.stat().st_mtime > _LEFT_AFTER_SECONDS),
    ]
    for path in removed:
        path.unlink(missing_ok=True)
        manifest_path(path).unlink(missing_ok=True)
    return removed


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

    at: str
    backup: str
    seconds: float
    problem: str | None


def last_drill(folder: Path) -> Drill | None:
    try:
        stored = json.loads(_drill_path(folder).read_text())
        return Drill(**{each.name: stored[each.name] for each in fields(Drill)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def record_drill(folder: Path, drill: Drill) -> None:
    _drill_path(folder).write_text(json.dumps(asdict(drill)) + "\n")


def _drill_path(folder: Path) -> Path:
    return folder / "drill.json"
