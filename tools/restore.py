"""python -m tools.restore FILE: put a backup in the place of the database.

The service has to be stopped before. What was there is kept as `.before-restore`, or where that is
there already as `.before-restore-2`, and so on. Killed at any moment, this leaves the old database
or the new one, whole; what it was making is removed, or where it could not, by the next restore.
Exit status: 0 it is restored, 1 not, and then nothing was changed.
"""

import asyncio
import sys
from pathlib import Path

from config import load_settings
from database import Database
from errors import ServiceError
from runtime.plurals import counted
from runtime.signals import ENDED, tidy_when_ended
from store import backups
from store.backups.manifest import BackupFailed, Counts, NotOpened


def main(arguments: list[str]) -> int:
    is_ended = tidy_when_ended()
    try:
        if len(arguments) != 1 or arguments[0].startswith("-"):
            raise BackupFailed("usage: python -m tools.restore FILE")
        database = Database(load_settings().database_url)
        restored = asyncio.run(backups.restore(Path(arguments[0]), database))
    except NotOpened as error:
        print(f"Restored, but {error.details}", file=sys.stderr)
        return 1
    except ServiceError as error:
        if is_ended():
            return ENDED
        print(f"Nothing was restored: {error.details}", file=sys.stderr)
        return 1
    _print("before", restored.before)
    _print("now", restored.after)
    if restored.kept is not None:
        print(f"What was there is kept in {restored.kept}")
    if restored.trouble is not None:
        print(f"That cannot be restored: {restored.trouble}")
    return 0


def _print(when: str, counts: Counts | None) -> None:
    if counts is None:
        print(f"{when:>6}: no database that could be read")
    else:
        print(
            f"{when:>6}: {counted(counts.conversations, 'conversation')},"
            f" {counted(counts.insights, 'insight')}, {counted(counts.calls, 'call')}"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
