"""What a backup is: a file and, beside it, a manifest in JSON with its SHA-256 and what was counted
in it. The manifest is written first, and the file gets its name last: a file that has its name is
whole.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain
from itertools import count as count_from
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError

from backends import snapshot
from backends.errors import cause_of
from database import UNDER_WAY
from errors import ServiceError, Unavailable
from models import SCHEMA_REVISION, Status, calls, conversations, daily_usage, insights

PARTIAL_SUFFIX = ".partial"
"""Of a file that is being made."""
_KEPT_SUFFIX = ".before-restore"


class BackupFailed(ServiceError):
    """Nothing was changed. `details` says why."""

    code = "conflict"


class NotOpened(ServiceError):
    """The backup is in the place of the database, but something is wrong with it."""

    code = "conflict"

    def __init__(self, problem: str, kept: Path | None) -> None:
        where = "" if kept is None else f". What was there is kept in {kept}"
        super().__init__(problem + where)


@dataclass(frozen=True, slots=True)
class Counts:
    """What is in a database. Money is in ticks: 1 USD is 10,000,000,000."""

    conversations: int
    completed: int
    insights: int
    newest_insight: int
    calls: int
    cost_usd_ticks: int
    cost_of_days_usd_ticks: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """`made_at` is in UTC; `size` in bytes."""

    made_at: str
    size: int
    sha256: str
    schema_revision: str
    counts: Counts

    @property
    def moment(self) -> datetime:
        return datetime.fromisoformat(self.made_at)


def describe(path: Path, revision: str, counts: Counts) -> Manifest:
    """The manifest of a file that has just been made."""
    return Manifest(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        size=path.stat().st_size,
        sha256=snapshot.sha256_of(path),
        schema_revision=revision,
        counts=counts,
    )


def begin_file(target: Path) -> Path:
    """An empty file for the owner alone, which `finish_file` gives the name of `target`. Raises
    OSError, and BackupFailed where there is no such folder, or such a file already, or where its
    manifest would take the place of a file that is none."""
    if not target.parent.is_dir():  # made anew it would be on the disk of the system
        raise BackupFailed(f"the folder {target.parent} is not there: is its disk mounted?")
    if target.exists():
        raise BackupFailed(f"{target} exists already")
    if manifest_path(target).exists() and _manifest_in(manifest_path(target)) is None:
        raise BackupFailed(f"{manifest_path(target)} exists already, and is no manifest")
    partial = partial_path(target)
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, snapshot.MODE))
    return partial


def partial_path(target: Path) -> Path:
    return target.with_name(target.name + PARTIAL_SUFFIX)


def finish_file(partial: Path, target: Path, manifest: Manifest) -> None:
    snapshot.sync(partial)
    write_manifest(manifest, manifest_path(target))
    partial.rename(target)
    snapshot.sync(target.parent)


def read_unchanged(path: Path) -> Manifest:
    """The manifest of a backup whose bytes are those that it names. Raises BackupFailed."""
    manifest = read_manifest(path)
    if path.stat().st_size != manifest.size or snapshot.sha256_of(path) != manifest.sha256:
        raise BackupFailed(f"{path} is not as it was made: its SHA-256 differs from the manifest's")
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Of the backup at `path`. Raises BackupFailed."""
    if not path.is_file():
        raise BackupFailed(f"there is no backup {path}")
    beside = manifest_path(path)
    if not beside.is_file():
        raise BackupFailed(f"{path} has no manifest {beside.name}")
    if (manifest := _manifest_in(beside)) is None:
        raise BackupFailed(f"{beside}, the manifest of {path}, cannot be read")
    return manifest


def _manifest_in(path: Path) -> Manifest | None:
    try:
        stored = json.loads(path.read_text())
        return Manifest(**{**stored, "counts": Counts(**stored["counts"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def manifest_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def write_manifest(manifest: Manifest, path: Path) -> None:
    partial = partial_path(path)
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, snapshot.MODE)
    with open(descriptor, "w") as file:
        json.dump(asdict(manifest), file, indent=1)
        file.write("\n")
    snapshot.sync(partial)
    partial.replace(path)


def check_revision(path: Path, revision: str) -> None:
    """Raises BackupFailed where this version does not know the schema of `path`."""
    if revision == UNDER_WAY:
        raise BackupFailed(f"{path}: a move into it has not come to its end")
    if revision > SCHEMA_REVISION:
        raise BackupFailed(
            f"{path} is of a newer version: schema {revision}, and this one knows {SCHEMA_REVISION}"
        )


def free_name(replaced: Path) -> Path:
    """For what a restore keeps: that of an earlier one stays."""
    first = replaced.with_name(replaced.name + _KEPT_SUFFIX)
    later = (first.with_name(f"{first.name}-{number}") for number in count_from(2))
    return next(path for path in chain([first], later) if _is_free(path))


def _is_free(path: Path) -> bool:
    """Also of a log and a manifest, which would be taken for those of the new file."""
    return not any(path.with_name(path.name + suffix).exists() for suffix in ("", "-wal", ".json"))


@contextmanager
def failures_of(target: Path | str) -> Iterator[None]:
    """As BackupFailed, in one line."""
    try:
        yield
    except (OSError, DBAPIError, sqlite3.Error) as error:
        raise BackupFailed(f"{target}: {cause_of(error)}") from error
    except Unavailable as error:
        cause = error.__cause__
        raise BackupFailed(f"{target}: {cause_of(cause) if cause else error.details}") from error


def count(connection: Connection) -> Counts:
    def scalar(statement: Any) -> int:
        return int(connection.scalar(statement) or 0)

    rows = select(func.count())
    return Counts(
        conversations=scalar(rows.select_from(conversations)),
        completed=scalar(
            rows.select_from(conversations).where(conversations.c.status == Status.COMPLETED.value)
        ),
        insights=scalar(rows.select_from(insights)),
        newest_insight=scalar(select(func.max(insights.c.id))),
        calls=scalar(rows.select_from(calls)),
        cost_usd_ticks=scalar(select(func.sum(calls.c.cost_usd_ticks))),
        cost_of_days_usd_ticks=scalar(select(func.sum(daily_usage.c.cost_usd_ticks))),
    )


@dataclass(frozen=True, slots=True)
class Restored:
    """`before` is None where there was no database, or none that could be read. `kept` is where it
    is now, and `trouble` why that cannot be restored, where it cannot."""

    before: Counts | None
    after: Counts
    kept: Path | None
    trouble: str | None = None
