"""Several processes on PostgreSQL: each text is analysed once, and survivors take over."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any

import asyncpg
import pytest

from tests.fakes.grok.process import RunningGrok
from tests.support.service_process import ServiceProcess, grok_settings, look, steer, until

pytestmark = pytest.mark.slow

LEASE_SECONDS = 30


async def _query(url: str, statement: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


@pytest.mark.slow(longest=True)
async def test_two_workers_on_postgres_share_the_work_and_one_outlives_the_other(
    tmp_path: Path, grok: RunningGrok, fresh_postgres_url: str
) -> None:
    url = fresh_postgres_url
    settings = grok_settings(grok, database_url=url, grok_rate_limit=100, poll_interval=0.2)
    async with AsyncExitStack() as stack:
        first, second, api = [
            await stack.enter_async_context(
                ServiceProcess(tmp_path, name=name, worker_enabled=name != "api", **settings)
            )
            for name in ("first", "second", "api")
        ]
        # All at once on an empty database: each would make the tables.
        await asyncio.gather(first.start(), second.start(), api.start())

        await steer(grok, "defaults", latency=0.1)
        ids: list[str] = []
        for batch in range(3):
            ids += await api.post_batch([f"shared {batch}-{number}" for number in range(100)])
        await until(
            lambda: len(first.completed() | second.completed()) == 300,
            within=90,
            what="all completed",
        )
        done = first.completed(), second.completed()
        print(f"\ncompleted: {len(done[0])} by the first, {len(done[1])} by the second worker")
        assert done[0] | done[1] == set(ids)
        assert not done[0] & done[1]
        assert min(map(len, done)) >= 30, "one did nearly all of the work"
        assert not api.completed()
        texts = await look(grok, "texts")
        assert len(texts["sent"]) == 300
        assert set(texts["sent"].values()) == set(texts["billed"].values()) == {1}

        # The second dies with ten calls in flight, while the first waits for ten answers too.
        await steer(grok, "reset")
        await steer(grok, "defaults", latency=3)
        held = await api.post_batch([f"held {number}" for number in range(20)])

        async def all_in_flight() -> bool:
            return bool((await look(grok, "counters"))["in_flight"] == 20)

        await until(all_in_flight, within=30, what="ten calls in flight at each worker")
        await second.kill()
        await steer(grok, "defaults", latency=0)
        # As if most of the leases' time had passed already.
        await _query(
            url,
            f"UPDATE conversations SET leased_until = leased_until - {LEASE_SECONDS - 10} * 1000000"
            " WHERE status = 'processing'",
        )
        later = await api.post_batch([f"later {number}" for number in range(20)])
        await until(
            lambda: first.completed() >= set(later), within=8, what="new work does not wait"
        )
        await until(
            lambda: first.completed() >= set(held), within=40, what="the first completed the rest"
        )
        # Their leases began at different moments, so one look may find a part of them.
        assert sum(event["back_to_pending"] for event in first.events("orphans_rescued")) == 10
        assert first.completed() == done[0] | set(held) | set(later)
        texts = await look(grok, "texts")
        sent_twice = {text for text, times in texts["sent"].items() if times > 1}
        rescued = await _query(url, "SELECT text FROM conversations WHERE deaths > 0")
        assert sent_twice == {text for (text,) in rescued}
        assert len(sent_twice) == 10
        assert max(texts["sent"].values()) == 2
        assert await _query(
            url,
            "SELECT count(*), count(DISTINCT conversation_id) FROM insights",
        ) == [(340, 340)]
        assert await _query(url, "SELECT count(*) FROM conversations") == [(340,)]


async def test_a_worker_that_slept_past_its_lease_writes_nothing(
    tmp_path: Path, grok: RunningGrok, fresh_postgres_url: str
) -> None:
    url = fresh_postgres_url
    settings = grok_settings(grok, database_url=url, grok_rate_limit=100)
    async with (
        ServiceProcess(tmp_path, name="sleeper", **settings) as sleeper,
        ServiceProcess(tmp_path, name="other", **settings) as other,
    ):
        await sleeper.start()
        await steer(grok, "defaults", latency=1)
        ids = await sleeper.post_batch([f"slept over {number}" for number in range(10)])

        async def in_flight() -> bool:
            return bool((await look(grok, "counters"))["in_flight"] == 10)

        await until(in_flight, within=30, what="ten calls in flight")
        sleeper.send(SIGSTOP)
        await steer(grok, "defaults", latency=0)
        await _query(url, "UPDATE conversations SET leased_until = 0")
        await other.start()
        await until(lambda: other.completed() == set(ids), within=30, what="taken over")
        insights = await _query(url, "SELECT * FROM insights ORDER BY id")

        sleeper.send(SIGCONT)
        await until(
            lambda: len(sleeper.events("result_dropped")) == 10, within=30, what="it woke up"
        )
        assert sleeper.completed() == set()
        assert await _query(url, "SELECT * FROM insights ORDER BY id") == insights
        assert await _query(url, "SELECT DISTINCT status, attempts, deaths FROM conversations") == [
            ("completed", 2, 1)
        ]
