"""A SQLite file belongs to one process: the next one waits for it to end, however it ends."""

import asyncio
import subprocess
import sys
from pathlib import Path
from signal import SIGTERM

import pytest

from tests.fakes.grok.process import RunningGrok
from tests.support.paths import ROOT
from tests.support.service_process import ServiceProcess, grok_settings, look, steer, until

pytestmark = pytest.mark.slow


async def _launch_waiting(service: ServiceProcess) -> None:
    service.launch()
    await until(
        lambda: service.events("database_file_is_taken"), within=30, what="it waits for the file"
    )


async def _in_flight(grok: RunningGrok, calls: int) -> None:
    async def reached() -> bool:
        return bool((await look(grok, "counters"))["in_flight"] == calls)

    await until(reached, within=30, what=f"{calls} calls in flight")


async def test_after_a_kill_the_one_that_waits_has_the_file_and_what_was_in_flight(
    tmp_path: Path, grok: RunningGrok
) -> None:
    settings = grok_settings(grok, grok_rate_limit=100, shutdown_grace=60)
    async with (
        ServiceProcess(tmp_path, name="first", **settings) as first,
        ServiceProcess(tmp_path, name="second", **settings) as second,
    ):
        await first.start()
        await steer(grok, "defaults", latency=30)
        ids = await first.post_batch([f"held {number}" for number in range(15)])
        await _in_flight(grok, 10)
        await _launch_waiting(second)
        ids.append(await first.post("while another one waits"))
        await steer(grok, "defaults", latency=0)

        await first.kill()
        await second.ready()

        await until(lambda: len(second.completed()) == 16, within=30, what="all completed")
        assert second.completed() == set(ids)
        assert second.count("deaths = 1") == 10
        assert second.query("PRAGMA integrity_check") == [("ok",)]
        insights = second.query("SELECT count(*), count(DISTINCT conversation_id) FROM insights")
        assert insights == [(16, 16)]
    sent = (await look(grok, "texts"))["sent"]
    assert sum(times > 1 for times in sent.values()) == 10
    assert max(sent.values()) == 2


async def test_a_service_that_is_replaced_hands_over_in_order(
    tmp_path: Path, grok: RunningGrok
) -> None:
    """As `docker compose up` does: the old one has its signal, and the new one starts."""
    settings = grok_settings(grok, grok_rate_limit=100)
    async with (
        ServiceProcess(tmp_path, name="old", **settings) as old,
        ServiceProcess(tmp_path, name="new", **settings) as new,
    ):
        await old.start()
        await steer(grok, "defaults", latency=3)
        ids = await old.post_batch([f"text {number}" for number in range(30)])
        await _in_flight(grok, 10)
        old.send(SIGTERM)  # which waits for its calls, while the new one starts
        new.launch()
        await old.ended(within=30)
        await new.ready()
        ids.append(await new.post("after the change"))
        done_by_old = old.completed()
        await until(
            lambda: len(done_by_old | new.completed()) == 31, within=30, what="all completed"
        )

        assert done_by_old | new.completed() == set(ids)
        assert not done_by_old & new.completed()
        assert len(done_by_old) >= 10
        assert new.events("orphans_rescued") == []
        assert new.count("deaths > 0 OR attempts <> 1") == 0
    assert set((await look(grok, "texts"))["sent"].values()) == {1}


async def test_a_file_that_stays_taken_is_told_in_one_line(tmp_path: Path) -> None:
    async with (
        ServiceProcess(tmp_path, name="first") as first,
        ServiceProcess(tmp_path, name="second", shutdown_grace=0) as second,
    ):
        await first.start()
        second.launch()
        assert await second.ended(within=30) not in (0, -9, -15)
        (line,) = second.events("start_refused")
        assert line["level"] == "critical"
        assert f"{tmp_path}/insights.db" in line["reason"]
        assert "postgresql+asyncpg://" in line["reason"]
        assert "\n" not in line["reason"]
        assert "Traceback" not in second.log
        assert second.log.count("postgresql+asyncpg://") == 1
        await first.post("nothing has become of the first")
        assert first.count() == 1


async def test_one_that_waits_for_the_file_can_be_stopped(tmp_path: Path) -> None:
    async with (
        ServiceProcess(tmp_path, name="first") as first,
        ServiceProcess(tmp_path, name="second", shutdown_grace=60) as second,
    ):
        await first.start()
        await _launch_waiting(second)
        second.send(SIGTERM)
        assert await second.ended(within=30) in (0, -SIGTERM, 128 + SIGTERM)
        loud = [line for line in second.events() if line["level"] in ("error", "critical")]
        assert loud == []
        assert first.running


async def test_a_command_that_writes_waits_for_the_file_as_well(tmp_path: Path) -> None:
    async with ServiceProcess(tmp_path) as service:
        await service.start()
        url = f"sqlite+aiosqlite:///{service.database_file}"
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "tools.rebuild_derived"],
            cwd=ROOT,
            env={"DATABASE_URL": url, "SHUTDOWN_GRACE": "0", "PATH": "/usr/bin"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 2
        assert f"{service.database_file}" in done.stderr.splitlines()[-1]
        assert "another process" in done.stderr.splitlines()[-1]
