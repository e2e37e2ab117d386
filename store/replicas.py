"""The processes that share a PostgreSQL: who is there, what time it is, and which schema."""

import time
from functools import partial
from typing import NamedTuple
from uuid import uuid4

from sqlalchemy import Connection, delete, func, select, text

import models
from analysis.micros import HOUR, SECOND
from database import Database
from store.bulk_insert import ManyRows
from tables.replicas import replicas

GONE_MICROS = 20 * SECOND
"""A process that has said nothing for so long counts as gone."""
_FORGOTTEN_MICROS = HOUR

_NOW = text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
_REVISION = text("SELECT version_num FROM alembic_version")
_SEEN = ManyRows(replicas, replacing=True)


class Beat(NamedTuple):
    """`analysing` is how many processes analyse, this one included. `clock_ahead` is by how many
    seconds the database's clock is ahead of this machine's."""

    analysing: int
    revision: str
    clock_ahead: float


class ReplicaStore:
    def __init__(self, database: Database, *, analyses: bool) -> None:
        self._database = database
        self._analyses = analyses
        self._id = uuid4().hex

    async def beat(self) -> Beat:
        """Say that this process is there, and set its clock by the database's.

        Raises Unavailable.
        """
        return await self._database.write(partial(self._beat))

    async def leave(self) -> None:
        """Raises Unavailable."""
        mine = delete(replicas).where(replicas.c.id == self._id)
        await self._database.write(lambda connection: connection.execute(mine).rowcount)

    def _beat(self, connection: Connection) -> Beat:
        asked = time.monotonic_ns()
        there = connection.scalar(_NOW)
        heard = time.monotonic_ns()
        assert there is not None
        models.follow_clock(int(there), (asked + heard) // 2)
        now = models.now_micros()
        connection.execute(delete(replicas).where(replicas.c.seen_at < now - _FORGOTTEN_MICROS))
        _SEEN.insert(connection, [(self._id, self._analyses, now)])
        present = select(func.count()).where(
            replicas.c.analyses, replicas.c.seen_at > now - GONE_MICROS
        )
        analysing = connection.scalar(present)
        revision = connection.scalar(_REVISION)
        assert revision is not None
        return Beat(int(analysing or 0), revision, (now - time.time_ns() // 1000) / 1e6)


def count_present(connection: Connection) -> int:
    """How many processes are there, by the database's clock, whether they analyse or not."""
    now = connection.scalar(_NOW)
    assert now is not None
    return (
        connection.scalar(select(func.count()).where(replicas.c.seen_at > now - GONE_MICROS)) or 0
    )
