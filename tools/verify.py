"""python -m tools.verify FILE: whether a backup is as it was made, to the byte.

Exit status: 0 it is, 1 it is not.
"""

import sys
from pathlib import Path

from errors import ServiceError
from runtime.plurals import counted
from store import backups
from store.backups.manifest import BackupFailed


def main(arguments: list[str]) -> int:
    try:
        if len(arguments) != 1 or arguments[0].startswith("-"):
            raise BackupFailed("usage: python -m tools.verify FILE")
        manifest = backups.verify(Path(arguments[0]))
    except ServiceError as error:
        print(f"Not verified: {error.details}", file=sys.stderr)
        return 1
    counts = manifest.counts
    print(
        f"{arguments[0]}: as it was made at {manifest.made_at}, with"
        f" {counted(counts.conversations, 'conversation')} and"
        f" {counted(counts.insights, 'insight')}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
