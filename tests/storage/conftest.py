"""What several tests of the store begin with, and a SQLite file that another process writes to."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from database import Database
from store.conversations import ConversationStore
from store.ledger import Ledger
from store.queue import WorkQueue
from tests.support.factories import of_another_process

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
    async with Database(quick_url) as database:
        yield database


@pytest.fixture
def store(database: Database) -> ConversationStore:
    return ConversationStore(database)


@pytest.fixture
def queue(database: Database) -> WorkQueue:
    return WorkQueue(database)


@pytest.fixture
def ledger(database: Database) -> Ledger:
    """Without a budget, and empty."""
    return Ledger(database)


@pytest.fixture
async def replicas(database: Database) -> AsyncIterator[list[Database]]:
    """Four `Database`s on one database, as so many processes would have it."""
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(of_another_process(database)) for _ in range(3)]
        yield [database, *others]


@pytest.fixture
async def opened(sqlite_url: str) -> AsyncIterator[Database]:
    async with Database(sqlite_url) as database:
        yield database


@pytest.fixture
def plain_dsn(postgres_url: str) -> str:
    """As asyncpg itself takes it."""
    return postgres_url.replace("postgresql+asyncpg://", "postgresql://")
