"""An empty SQLite database. A copy of it spares a test the upgrade, which is tested apart."""

import asyncio
import atexit
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from database import Database


@cache
def newest_schema() -> Path:
    """The file; it is made once in each process, and goes with it."""
    folder = Path(tempfile.mkdtemp(prefix="newest_schema"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = folder / "insights.db"

    async def make() -> None:
        database = Database(f"sqlite+aiosqlite:///{file}")
        await database.open()
        await database.close()

    with ThreadPoolExecutor(1) as thread:  # whoever asks may be in an event loop
        thread.submit(asyncio.run, make()).result()
    return file


def copy_where_new(url: str) -> None:
    """Put one where the database of this address is to be, unless there is one, or no folder."""
    kind, _, name = url.partition(":///")
    file = Path(name)
    if kind.startswith("sqlite") and file.parent.is_dir() and not file.exists():
        shutil.copy(newest_schema(), file)
