"""python -m tools.backup [FILE]: a verified backup of the database, beside live traffic.

Without FILE it is `insights-<time>.db` in BACKUP_DIR, with PostgreSQL `insights-<time>.dump`.
Beside it stands its manifest, `FILE.json`.
Exit status: 0 it is made and verified, 1 not, and then nothing was changed.
"""

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from config import load_settings
from database import Database
from errors import ServiceError
from runtime.plurals import counted
from runtime.signals import ENDED, tidy_when_ended
from store import backups
from store.backups import folder
from store.backups.manifest import BackupFailed, Manifest


def main(arguments: list[str]) -> int:
    is_ended = tidy_when_ended()
    try:
        settings = load_settings()
        database = Database(settings.database_url)
        is_copied = arguments[1:] == ["--copied"]  # by the service, which then runs this
        if len(arguments) > 1 + is_copied or (arguments[:1] and arguments[0].startswith("-")):
            raise BackupFailed("usage: python -m tools.backup [FILE]")
        if arguments:
            target = Path(arguments[0])
        elif settings.backup_dir is not None:
            name = folder.name_of(datetime.now(UTC), sqlite=database.is_sqlite)
            target = settings.backup_dir / name
        else:
            raise BackupFailed("name a FILE, or set BACKUP_DIR")
        os.nice(10)  # the service goes first
        manifest = asyncio.run(_back_up(database, target, is_copied))
    except ServiceError as error:
        if is_ended():
            return ENDED
        print(f"No backup was made: {error.details}", file=sys.stderr)
        return 1
    print(
        f"{target}: {counted(manifest.counts.conversations, 'conversation')} and"
        f" {counted(manifest.counts.insights, 'insight')} in {manifest.size:,} bytes, verified"
    )
    return 0


async def _back_up(database: Database, target: Path, is_copied: bool) -> Manifest:
    try:
        return await backups.back_up(database, target, is_copied=is_copied)
    finally:
        await database.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
