"""Several processes on PostgreSQL, one of which is frozen, of another version, or only answers."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any

import asyncpg
import pytest

from store.derived import _ORDER_LOCK
from tests.fakes.grok.process import RunningGrok, grok_process
from tests.support.service_process import ServiceProcess, grok_settings, steer, until

pytestmark = pytest.mark.slow


async def _connect(url: str) -> asyncpg.Connection:
    return await asyncpg.connect(url.replace("+asyncpg", ""))


async def test_one_that_is_frozen_amid_a_result_holds_the_others_up_for_seconds_only(
    tmp_path: Path, fresh_postgres_url: str
) -> None:
    settings: dict[str, Any] = {"database_url": fresh_postgres_url, "analyzer": "offline"}
    connection = await _connect(fresh_postgres_url)
    async with (
        ServiceProcess(tmp_path, name="frozen", **settings) as frozen,
        ServiceProcess(tmp_path, name="other", **settings) as other,
    ):
        await frozen.start()
        # A turn that nobody gives up, until the one that waits for it is frozen.
        await connection.execute("SELECT pg_advisory_lock($1)", _ORDER_LOCK)
        await frozen.post_batch(["The parcel is late"])
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"

        async def waits() -> bool:
            return bool(await connection.fetchval(waiting))

        await until(waits, within=30, what="a result waits for its turn")
        frozen.send(SIGSTOP)
        await connection.execute("SELECT pg_advisory_unlock($1)", _ORDER_LOCK)

        await other.start()
        started = time.monotonic()
        ids = await other.post_batch([f"The parcel {number} is late" for number in range(20)])

        async def settled() -> bool:
            found = await connection.fetchval(
                "SELECT count(*) FROM insights WHERE conversation_id = ANY($1)", ids
            )
            return bool(found == len(ids))

        await until(settled, within=30, what="the other goes on")
        print(f"\nthe other went on after {time.monotonic() - started:.1f} s")

        frozen.send(SIGCONT)
        pending = "SELECT count(*) FROM conversations WHERE status <> 'completed'"

        async def all_done() -> bool:
            return not await connection.fetchval(pending)

        await until(all_done, within=40, what="it goes on once it is thawed")
        assert await connection.fetchval("SELECT count(*) FROM insights") == 21
    await connection.close()


@pytest.fixture(scope="module")
def grok() -> Iterator[RunningGrok]:
    with grok_process() as running:
        yield running


async def test_one_of_an_older_version_leaves_the_work_to_newer_ones(
    tmp_path: Path, grok: RunningGrok, fresh_postgres_url: str
) -> None:
    connection = await _connect(fresh_postgres_url)
    settings = grok_settings(grok, database_url=fresh_postgres_url, grok_rate_limit=100)
    async with ServiceProcess(tmp_path, **settings) as service:
        await service.start()
        await steer(grok, "reset")
        await steer(grok, "defaults", latency=1)
        await service.post_batch([f"asked before {number}" for number in range(5)])
        await asyncio.sleep(0.5)
        # As a version does that changes what this one needs, though it should not.
        await connection.execute("ALTER TABLE insights RENAME TO insights_of_later")
        await connection.execute("UPDATE alembic_version SET version_num = '9999'")

        async def tells() -> bool:
            response = await service.client.get("/ready", params={"for": "traffic"})
            return bool(response.status_code == 503 and "newer" in response.text)

        await until(tells, within=30, what="it says that it is too old")
        await service.post_batch([f"asked after {number}" for number in range(5)])
        await asyncio.sleep(1)
        statuses = "SELECT status, count(*) FROM conversations GROUP BY status"
        found = dict(await connection.fetch(statuses))
        assert found.get("failed", 0) == 0
        assert found["pending"] >= 5, "it claims what it could not store"

        await connection.execute("ALTER TABLE insights_of_later RENAME TO insights")
        await until(
            lambda: len(service.completed()) == 5,
            within=30,
            what="what was paid for is stored as soon as it can be",
        )
    await connection.close()


async def test_what_one_accepts_another_begins_at_once(
    tmp_path: Path, fresh_postgres_url: str
) -> None:
    settings: dict[str, Any] = {
        "database_url": fresh_postgres_url,
        "analyzer": "offline",
        "poll_interval": 3600,
    }
    async with (
        ServiceProcess(tmp_path, name="api", worker_enabled="false", **settings) as api,
        ServiceProcess(tmp_path, name="worker", **settings) as worker,
    ):
        await api.start()
        await worker.start()
        for number in range(3):
            ids = await api.post_batch([f"The parcel {number} is late"])

            def completed(ids: list[str] = ids) -> bool:
                return worker.completed() >= set(ids)

            await until(completed, within=30, what="it does not wait for the next poll")
        stats = (await api.client.get("/api/v1/stats")).json()
        assert stats["replicas"] == {"analysing": 1, "redis": None}
