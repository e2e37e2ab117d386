"""The disks that the service writes to, and how much room they have."""

import shutil
from pathlib import Path
from typing import NamedTuple

from sqlalchemy.engine import make_url

LEAST_FREE = 0.05
"""Of a disk: below it somebody has to make room while there still is some."""


class Room(NamedTuple):
    """That is free, in bytes and as a share of the disk."""

    free: int
    share: float

    @property
    def is_short(self) -> bool:
        return self.share < LEAST_FREE


def room_in(folder: Path) -> Room | None:
    """None where it cannot be told, such as of a folder that is not there: who writes to it tells.
    A disk that hangs holds up the caller."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return Room(usage.free, usage.free / usage.total if usage.total else 1.0)


def folders_written_to(database_url: str, backup_dir: Path | None) -> dict[str, Path]:
    """By what is in them."""
    url = make_url(database_url)
    found = {}
    if url.get_backend_name() == "sqlite":
        found["database"] = Path(url.database or "").absolute().parent
    if backup_dir is not None:
        found["backups"] = backup_dir
    return found
