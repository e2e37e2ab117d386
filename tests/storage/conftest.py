"""A SQLite file that another process writes to."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from database import Database

Locks = Callable[[], Any]


@pytest.fixture
def quick_url(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """With a patience of 50 ms."""
    monkeypatch.setattr("backends.sqlite.BUSY_TIMEOUT_SECONDS", 0.05)
    return sqlite_url


@pytest.fixture
def locked(tmp_path: Path) -> Locks:
    """`with locked(): ...` while another process writes to the file."""

    @contextmanager
    def lock() -> Iterator[None]:
        with closing(sqlite3.connect(tmp_path / "insights.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    return lock


@pytest.fixture
async def quick(quick_url: str) -> AsyncIterator[Database]:
    database = Database(quick_url)
    await database.open()
    yield database
    await database.close()
