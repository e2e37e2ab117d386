"""python -m tools.drill: restore the newest backup of BACKUP_DIR elsewhere, and compare it with its
manifest; of one of PostgreSQL the rows are counted that it would restore.

The service does this once a week by itself. Exit status: 0 all was well, 1 not.
"""

import argparse
import asyncio
import os
import sys

from config import load_settings
from database import Database
from errors import ServiceError
from runtime.signals import ENDED, tidy_when_ended
from store import backups
from store.backups.manifest import BackupFailed


def main() -> int:
    os.nice(10)  # the service goes first
    is_ended = tidy_when_ended()
    try:
        settings = load_settings()
        if settings.backup_dir is None:
            raise BackupFailed("BACKUP_DIR is not set")
        is_sqlite = Database(settings.database_url).is_sqlite
        drill = asyncio.run(backups.drill(settings.backup_dir, sqlite=is_sqlite))
    except ServiceError as error:
        if is_ended():
            return ENDED
        print(f"No drill: {error.details}", file=sys.stderr)
        return 1
    print(f"{drill.backup}: {drill.problem or 'equal to its manifest'}, in {drill.seconds} s")
    return int(drill.problem is not None)


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m tools.drill", description=__doc__).parse_args()
    sys.exit(main())
