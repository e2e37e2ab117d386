"""Procrastinate: `uvicorn bench.peers.on_procrastinate:app`, and its worker by `procrastinate`.

By its documentation: an asynchronous task, a connector with a pool, sub-workers for tasks that wait
for others, and a periodic task that retries what dead workers have left, here every minute.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from procrastinate import App, JobContext, PsycopgConnector
from psycopg.rows import dict_row

from bench.peers.front import CONNECTIONS, DATABASE, Grok, Job, front

_STORE = """
INSERT INTO results VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING
"""
_connector = PsycopgConnector(conninfo=DATABASE, min_size=1, max_size=CONNECTIONS)
tasks = App(connector=_connector)
_grok = Grok()


@tasks.task
async def analyse(job: Job) -> None:
    row = await _grok.judge(job)
    async with _connector.pool.connection() as connection:
        await connection.execute(_STORE, row)


@tasks.periodic(cron="* * * * *")
@tasks.task(queueing_lock="retry_stalled", pass_context=True)
async def retry_stalled(_context: JobContext, timestamp: int) -> None:
    for job in await tasks.job_manager.get_stalled_jobs():
        await tasks.job_manager.retry_job(job)


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    async with tasks.open_async():
        yield


async def _enqueue(jobs: Sequence[Job]) -> None:
    await analyse.batch_defer_async(*({"job": job} for job in jobs))


async def _find(id_: str) -> Mapping[str, Any] | None:
    async with _connector.pool.connection() as connection:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute("SELECT * FROM results WHERE id = %s", (id_,))
        return await cursor.fetchone()


app = front(_lifespan, _enqueue, _find)
