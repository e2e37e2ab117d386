"""python -m tools.migrate: make the schema, or upgrade it to this version's, and end.

The service does the same when it starts. This is for those who upgrade before they start anything.
Exit status: 0 the schema is this version's, 2 nothing was changed.
"""

import argparse
import asyncio
import sys

from config import Settings, load_settings
from database import Database
from errors import ServiceError
from models import SCHEMA_REVISION
from store import derived


async def migrate(settings: Settings) -> None:
    """Raises StartRefused where the database cannot be had, or is newer."""
    async with Database(settings.database_url, lock_patience=settings.lock_patience) as database:
        await derived.ensure(database)


def main() -> int:
    try:
        asyncio.run(migrate(load_settings()))
    except ServiceError as error:
        print(f"Nothing was changed: {error.details}", file=sys.stderr)
        return 2
    print(f"The schema is {SCHEMA_REVISION}.")
    return 0


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m tools.migrate", description=__doc__).parse_args()
    sys.exit(main())
