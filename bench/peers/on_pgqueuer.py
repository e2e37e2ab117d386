"""PgQueuer: `uvicorn bench.peers.on_pgqueuer:app`, and this module run as its worker.

By its documentation of performance: a pool for those who enqueue, a connection of its own for the
queue manager, `pgq autovac`, `batch_size` above the default for short jobs.
"""

import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import uvloop
from fastapi import FastAPI
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job as Queued
from pgqueuer.queries import Queries

from bench.peers.front import CONNECTIONS, DATABASE, Grok, Job, front

_STORE = """
INSERT INTO results VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING
"""
_state: dict[str, asyncpg.Pool] = {}
_queries: dict[str, Queries] = {}


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(DATABASE, min_size=1, max_size=CONNECTIONS) as pool:
        _state["pool"] = pool
        _queries["queue"] = Queries(AsyncpgPoolDriver(pool))
        yield


async def _enqueue(jobs: Sequence[Job]) -> None:
    count = len(jobs)
    payloads: list[bytes | None] = [json.dumps(job).encode() for job in jobs]
    await _queries["queue"].enqueue(["analyse"] * count, payloads, [0] * count)


async def _find(id_: str) -> dict[str, Any] | None:
    row = await _state["pool"].fetchrow("SELECT * FROM results WHERE id = $1", id_)
    return dict(row) if row else None


app = front(_lifespan, _enqueue, _find)


async def work(at_once: int) -> None:
    connection = await asyncpg.connect(DATABASE)
    async with asyncpg.create_pool(DATABASE, min_size=1, max_size=CONNECTIONS) as pool:
        queue = PgQueuer(AsyncpgDriver(connection))
        grok = Grok()

        @queue.entrypoint("analyse")
        async def analyse(queued: Queued) -> None:
            assert queued.payload
            await pool.execute(_STORE, *await grok.judge(json.loads(queued.payload)))

        await queue.run(batch_size=25, max_concurrent_tasks=at_once)


if __name__ == "__main__":
    uvloop.run(work(int(sys.argv[1])))
