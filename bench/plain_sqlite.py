"""Rows written into the service's own table by Python's sqlite3 alone, each commit synced to disk.

Nothing that stores the same rows as safely in one process can be much faster.
"""

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.servers import Servers
from store.ids import RunningIds

_COLUMNS = "id text author timestamp raw_data status created_at lane".split()
_INSERT = (
    f"INSERT INTO conversations ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' for _ in _COLUMNS)})"
)


def make_database(servers: Servers, name: str) -> Path:
    """An empty database with the service's tables and indexes, made by the service."""
    with servers.service(name, worker_enabled=False) as server:
        assert server.database is not None
        return server.database


@contextmanager
def opened(database: Path) -> Iterator[sqlite3.Connection]:
    """With the settings that make a commit survive a power cut."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")
        yield connection


def rows_of(conversations: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """All but the id, ready to be written."""
    return [
        (
            each["text"],
            each["author"],
            int(datetime.fromisoformat(each["timestamp"]).timestamp() * 1_000_000),
            json.dumps(each["raw_data"]),
            "pending",
            time.time_ns() // 1000,
            "bulk",
        )
        for each in conversations
    ]


def commits_per_second(
    connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]], seconds: float
) -> float:
    """How often `rows` can be written under new ids, in one commit each time.

    Only the database's own time counts, not the making of ids.
    """
    commits, taken = 0, 0.0
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        group = [(id_, *row) for id_, row in zip(_IDS.draw(len(rows)), rows, strict=True)]
        started = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_INSERT, group)
        connection.execute("COMMIT")
        taken += time.perf_counter() - started
        commits += 1
    return commits / taken


_IDS = RunningIds()  # as the service's own, and the same for both


def count_rows(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM conversations").fetchone()
    return int(count)
