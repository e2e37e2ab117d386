"""Three replicas at work while something goes wrong: nothing is lost, doubled or falsely failed."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from signal import SIGTERM
from typing import Any

import pytest

from tests.fakes.grok.process import RunningGrok, grok_process
from tests.support.fleet import fleet
from tests.support.own_postgres import commit_on_both, own_postgres, standby_of
from tests.support.servers import postgres_pooler
from tests.support.service_process import ServiceProcess, steer, until

pytestmark = pytest.mark.slow

IN_FLIGHT = 10
"""The most calls of one replica at once, that one which dies can leave."""


@pytest.fixture
def grok() -> Iterator[RunningGrok]:
    with grok_process("--latency", "0.2") as grok:
        yield grok


def _clock(ahead: str) -> list[str]:
    """The command that gives a program a clock which is ahead by so much."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("the machine has no libfaketime to set clocks with")
    return ["env", f"LD_PRELOAD={found[0]}", f"FAKETIME={ahead}", "DONT_FAKE_MONOTONIC=1"]


@pytest.mark.slow(longest=True)
async def test_clocks_that_differ_bill_nothing_twice(
    tmp_path: Path, grok: RunningGrok, fresh_postgres_url: str
) -> None:
    await steer(grok, "defaults", latency=4)
    clocks = [_clock(ahead) for ahead in ("+45s", "-45s", "+200s")]
    async with fleet(
        tmp_path, grok, fresh_postgres_url, wrappers=clocks, grok_rate_limit=100
    ) as replicas:
        for replica in replicas.replicas:
            assert replica.events("clock_differs"), "its clock is as the database's"
        await replicas.post(60, each_second=12)
        await replicas.settle()
        await replicas.expect_nothing_lost_or_paid_twice()


async def test_a_server_that_starts_anew_and_then_gives_way_to_its_standby_loses_nothing(
    tmp_path: Path, grok: RunningGrok
) -> None:
    with own_postgres() as primary, standby_of(primary) as standby:
        await commit_on_both(primary)
        both = "&".join(f"host=127.0.0.1:{server.port}" for server in (primary, standby))
        address = f"postgresql+asyncpg://postgres@/postgres?{both}&target_session_attrs=read-write"
        async with fleet(
            tmp_path, grok, standby.url, through=address, grok_rate_limit=100
        ) as replicas:
            async with replicas.load(each_second=20):
                await replicas.accept(20)
                await asyncio.to_thread(primary.control, "-m", "immediate", "stop")
                await replicas.refuse()
                await asyncio.to_thread(primary.start)
                await replicas.accept(20)
                await asyncio.to_thread(primary.control, "-m", "immediate", "stop")
                await replicas.refuse()
                await asyncio.to_thread(standby.control, "promote")
                await replicas.accept(20)
            await replicas.settle()
            await replicas.expect_nothing_lost_or_paid_twice()


async def _end(replica: ServiceProcess) -> None:
    replica.send(SIGTERM)
    await replica.ended(within=30)


async def _are_too_old(replicas: Sequence[ServiceProcess]) -> bool:
    answers = [await each.client.get("/ready", params={"for": "traffic"}) for each in replicas]
    return all(each.status_code == 503 and "newer" in each.text for each in answers)


async def test_an_upgrade_amid_the_work_loses_nothing(
    tmp_path: Path, grok: RunningGrok, fresh_postgres_url: str
) -> None:
    async with fleet(tmp_path, grok, fresh_postgres_url, grok_rate_limit=100) as replicas:
        *old, new = replicas.replicas
        async with replicas.load(each_second=10):
            await replicas.accept(20)
            await _end(new)
            new.app = "tests.support.newer_app:app"
            await new.start()
            assert new.events("database_upgraded")
            await until(lambda: _are_too_old(old), within=30, what="old ones say what they are")
            before = set(replicas.accepted)
            await replicas.accept(20)
            await asyncio.gather(*map(_end, old))
            await replicas.accept(5)
        await replicas.settle()
        await replicas.expect_nothing_lost_or_paid_twice()
        for each in old:
            assert each.completed()
            assert each.completed() <= before


async def test_a_pooler_in_session_mode_changes_nothing(
    tmp_path: Path, grok: RunningGrok, fresh_postgres_url: str
) -> None:
    settings: dict[str, Any] = {"grok_rate_limit": 100, "database_pool": 3}  # it gives 15 sessions
    with postgres_pooler(fresh_postgres_url, "session") as pooled:
        async with fleet(
            tmp_path, grok, fresh_postgres_url, through=pooled, **settings
        ) as replicas:
            await replicas.post(100, each_second=20)
            await replicas.settle()
            await replicas.expect_nothing_lost_or_paid_twice()


async def test_each_dies_in_turn_and_comes_back(
    tmp_path: Path, grok: RunningGrok, fresh_postgres_url: str
) -> None:
    async with fleet(tmp_path, grok, fresh_postgres_url, grok_rate_limit=100) as replicas:
        async with replicas.load(each_second=20):
            for replica in replicas.replicas:
                await replicas.accept(15)
                await replica.kill()
                await replicas.accept(15)
                await replica.start()
        await replicas.outlive_leases()
        await replicas.settle()
        await replicas.expect_nothing_lost_or_paid_twice(cut_off=3 * IN_FLIGHT)
