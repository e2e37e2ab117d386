"""python -m tools.rebuild_derived: count all insights and index all words anew.

Only needed after the tables were changed from outside, or after a change to what counts as a word:
the service keeps figures and index right by itself. One transaction, which takes some thirty
seconds for a million insights. A service on SQLite has to be stopped before; one on PostgreSQL
answers 503 to posts meanwhile. Exit status: 0 the figures were right, 1 they were wrong and are
right now, 2 nothing was changed.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from sqlalchemy import URL, make_url

from config import Settings, load_settings
from database import Database
from errors import NotFound, ServiceError
from store import derived


async def rebuild(settings: Settings) -> bool:
    """Whether the figures had been wrong."""
    async with Database(settings.database_url, lock_patience=settings.lock_patience) as database:
        return await derived.rebuild(database)


def _check_exists(url: URL) -> None:
    """Else a name with a slip of the pen would be a new database, with nothing wrong in it."""
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        raise NotFound(f"there is no database {url.database}")


def main() -> int:
    try:
        settings = load_settings()
        _check_exists(make_url(settings.database_url))
        were_wrong = asyncio.run(rebuild(settings))
    except ServiceError as error:
        print(f"Nothing was changed: {error.details}", file=sys.stderr)
        return 2
    print(
        "The figures were wrong. They are right now." if were_wrong else "The figures were right."
    )
    return int(were_wrong)


if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="python -m tools.rebuild_derived", description=__doc__
    ).parse_args()
    sys.exit(main())
