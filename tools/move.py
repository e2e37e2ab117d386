"""python -m tools.move SOURCE_URL TARGET_URL: copy everything from one database into another one.

From SQLite to PostgreSQL or back; the target has to be empty, and the source stays as it is. Stop
the service first: while it has the SQLite file, the command refuses; on PostgreSQL stop every
replica. Then set DATABASE_URL to the target and start it. Exit status: 0 everything is there, 1
not.
"""

import asyncio
import sys

from config import load_settings
from database import Database
from errors import ServiceError
from store.moving import MoveRefused, move


def main(arguments: list[str]) -> int:
    try:
        if len(arguments) != 2 or any(each.startswith("-") for each in arguments):
            raise MoveRefused("usage: python -m tools.move SOURCE_URL TARGET_URL")
        source, target = (
            Database(load_settings(database_url=each).database_url) for each in arguments
        )
        moved = asyncio.run(move(source, target))
    except ServiceError as error:
        print(f"Not moved: {error.details}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Not moved: if the target was empty, make it anew", file=sys.stderr)
        return 1
    for table, count in moved.items():
        print(f"{count:>12,} {table}")
    print(f"All of it is in {target.url.render_as_string(hide_password=True)} as well.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
