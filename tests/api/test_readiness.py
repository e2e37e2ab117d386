"""Whether the service is alive, and whether it can do its work: /health and /ready."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.readiness import judge_disks
from batch_processor import Worker
from errors import Unavailable
from tests.conftest import StartApp
from tests.fakes.grok.server import FakeGrok
from tests.support.http_helpers import (
    STATS,
    ScriptedAnalyser,
    captured_log,
    eventually,
    grok_settings,
    in_status,
    locked_by_another,
    run_sql,
    show,
    submit,
)

pytestmark = pytest.mark.usefixtures("nothing_cached")


async def ready(client: httpx.AsyncClient) -> tuple[int, dict[str, Any]]:
    response = await client.get("/ready")
    assert set(response.json()) == {"status", "checks"}
    assert set(response.json()["checks"]) == {"database", "worker", "analyser", "disk"}
    return response.status_code, response.json()


# --- /health --------------------------------------------------------------------------------------


async def test_health_says_ok_and_nothing_else(client: httpx.AsyncClient) -> None:
    response = await client.get("/health")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert response.headers["content-type"] == "application/json"


async def test_health_needs_no_database(start_app: StartApp, sqlite_url: str) -> None:
    async with start_app(worker_enabled=False) as running:
        await run_sql(sqlite_url, "ALTER TABLE conversations RENAME TO gone")

        assert (await running.client.get("/health")).status_code == 200


# --- /ready ---------------------------------------------------------------------------------------


async def test_a_service_that_can_do_its_work_is_ready(client: httpx.AsyncClient) -> None:
    checks = {"database": "ok", "worker": "ok", "analyser": "ok", "disk": "ok"}

    assert await ready(client) == (200, {"status": "ready", "checks": checks})


async def test_a_replica_without_a_worker_is_ready(start_app: StartApp) -> None:
    with captured_log() as log:
        async with start_app(worker_enabled=False) as running:
            status, answer = await ready(running.client)
            is_sqlite = running.app.state.services.database.is_sqlite

    assert (status, answer["status"]) == (200, "ready")
    assert len(log.named("nothing_is_analysed")) == is_sqlite, "where no other process can"


async def test_a_database_that_cannot_be_written_is_not_ready(
    start_app: StartApp, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.sqlite.BUSY_TIMEOUT_SECONDS", 0.05)
    async with start_app() as running:
        await in_status(running.client, await submit(running.client, "begun"), "completed")
        async with locked_by_another(sqlite_url):
            status, answer = await ready(running.client)
        assert (status, answer["status"]) == (503, "not_ready")
        assert "locked" in answer["checks"].pop("database")
        assert set(answer["checks"].values()) == {"ok"}

        assert (await ready(running.client))[0] == 200


async def test_a_worker_that_is_gone_is_not_ready(start_app: StartApp) -> None:
    async with start_app() as running:
        (worker,) = [task for task in asyncio.all_tasks() if task.get_name() == "worker"]
        worker.cancel()
        await asyncio.wait([worker], timeout=5)

        status, answer = await ready(running.client)

    assert (status, answer["status"]) == (503, "not_ready")
    assert answer["checks"] == {
        "database": "ok",
        "worker": "The worker has stopped.",
        "analyser": "ok",
        "disk": "ok",
    }


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ZeroDivisionError(), "The worker cannot begin: ZeroDivisionError; the log says more."),
        (Unavailable("The database file is damaged."), "The database file is damaged."),
    ],
)
async def test_a_worker_that_cannot_begin_is_not_ready(
    error: Exception, why: str, start_app: StartApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_worker: Worker) -> None:
        raise error

    monkeypatch.setattr(Worker, "_warm_up", fail)
    async with start_app() as running:
        await eventually(lambda: running.app.state.services.worker.trouble)
        status, answer = await ready(running.client)
        assert (status, answer["checks"]["worker"]) == (503, why)
        monkeypatch.undo()
        running.app.state.services.worker.wake()

        async def is_ready() -> bool:
            return (await running.client.get("/ready")).status_code == 200

        await eventually(is_ready)


async def test_a_worker_that_gets_nowhere_is_not_ready(
    start_app: StartApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.readiness.STALLED_SECONDS", 0.2)
    analyser = ScriptedAnalyser(concurrency=1)
    analyser.hold("slow")
    async with start_app(analyser=analyser) as running:
        client = running.client
        await submit(client, "slow")
        await eventually(lambda: analyser.under_way)
        waiting = await submit(client, "waiting")

        async def is_stalled() -> bool:
            return (await ready(client))[0] == 503

        await eventually(is_stalled)
        _, answer = await ready(client)
        analyser.let_go("slow")
        await in_status(client, waiting, "completed")
        status_after, _ = await ready(client)

    assert "none has finished" in answer["checks"]["worker"]
    assert status_after == 200


@pytest.mark.parametrize("why", ["budget", "pause", "rate"])
async def test_a_worker_that_is_meant_to_wait_is_ready(
    start_app: StartApp, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr("api.readiness.STALLED_SECONDS", 0.05)
    analyser = ScriptedAnalyser(concurrency=1)
    analyser.hold("slow")
    async with start_app(analyser=analyser) as running:
        await submit(running.client, "slow")
        await eventually(lambda: analyser.under_way)
        await submit(running.client, "waiting")
        parts = running.app.state.services
        match why:
            case "budget":
                monkeypatch.setattr(type(parts.call_runner), "out_of_money", True)
            case "pause":
                monkeypatch.setattr(analyser.throttle, "pause_left", lambda: 60.0)
            case "rate":
                monkeypatch.setattr(analyser.throttle, "call_interval", 60.0)
        await eventually(lambda: parts.worker.seconds_since_progress > 0.1)
        status, answer = await ready(running.client)
        analyser.let_go("slow")

    assert (status, answer["checks"]["worker"]) == (200, "ok")


async def test_a_disk_that_is_nearly_full_is_not_ready_but_serves(
    start_app: StartApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.disks.LEAST_FREE", 1.01)
    async with start_app() as running:
        status, answer = await ready(running.client)
        for_traffic = await running.client.get("/ready", params={"for": "traffic"})

    assert (status, answer["status"]) == (503, "not_ready")
    assert answer["checks"]["disk"].startswith("The disk with the database has ")
    assert for_traffic.status_code == 200


def test_the_disk_of_the_backups_is_looked_at_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.disks.LEAST_FREE", 1.01)

    assert judge_disks({"gone": tmp_path / "gone"}) == "ok"
    assert "the backups" in judge_disks({"gone": tmp_path / "gone", "backups": tmp_path})


async def test_an_old_queue_that_moves_is_ready(start_app: StartApp, sqlite_url: str) -> None:
    analyser = ScriptedAnalyser(concurrency=1)
    analyser.hold("slow")
    async with start_app(analyser=analyser) as running:
        await submit(running.client, "slow")
        await eventually(lambda: analyser.under_way)
        await submit(running.client, "old")
        await run_sql(sqlite_url, "UPDATE conversations SET created_at = created_at - 3600000000")

        status, _ = await ready(running.client)
        stats = (await running.client.get(STATS)).json()

        analyser.let_go("slow")
    assert stats["oldest_pending_seconds"] >= 3600
    assert status == 200


async def test_a_grok_that_takes_no_calls_is_not_ready_and_says_why(start_app: StartApp) -> None:
    async with FakeGrok() as grok:
        settings = grok_settings(grok, grok_key="xai-wrong")
        async with start_app(**settings) as running:
            client = running.client
            id_ = await submit(client)

            async def is_blocked() -> bool:
                return (await ready(client))[0] == 503

            await eventually(is_blocked)
            _, answer = await ready(client)
            stats = (await client.get(STATS)).json()

            async def is_pending_again() -> dict[str, Any] | None:
                shown = await show(client, id_)
                return shown if shown["status"] == "pending" else None

            shown = await eventually(is_pending_again)

    reason = "HTTP 400: Incorrect API key provided. You can obtain an API key from"
    assert answer["status"] == "not_ready"
    assert answer["checks"].pop("analyser").startswith(reason)
    assert set(answer["checks"].values()) == {"ok"}
    assert stats["breaker"]["state"] == "open"
    assert stats["breaker"]["reason"].startswith(reason)
    assert 50 < stats["breaker"]["next_probe_seconds"] <= 60
    assert stats["bound_by"] == "breaker"
    assert shown is not None
    assert (shown["attempts"], shown["last_error"]) == (0, None)
