"""python -m tools.rebuild_derived: count all insights and index all words anew.

For after a restore of half a backup, or a change to what a word is: the service keeps both right by
itself. It is one transaction, of some thirty seconds for a million insights, in which the service
answers 503 to whoever hands in. Ends with 1 where the figures had been wrong, and are right now.
"""

import asyncio
import sys

from config import load_settings
from database import Database
from errors import ServiceError
from store import derived


async def rebuild(database_url: str) -> bool:
    """Whether the figures had been wrong."""
    database = Database(database_url)
    try:
        await database.open()
        return await derived.rebuild(database)
    finally:
        await database.close()


def main() -> int:
    try:
        were_wrong = asyncio.run(rebuild(load_settings().database_url))
    except ServiceError as error:
        print(f"Nothing was changed: {error.details}", file=sys.stderr)
        return 2
    print(
        "The figures were wrong. They are right now." if were_wrong else "The figures were right."
    )
    return int(were_wrong)


if __name__ == "__main__":
    sys.exit(main())
