"""What goes wrong inside: a bug is a 500 that the log explains, a locked database a 503."""

import asyncio
import dataclasses
import json
from typing import Any

import pytest

from tests.conftest import RunningApp, StartApp
from tests.support.http_helpers import (
    CONVERSATIONS,
    INSIGHTS,
    STATS,
    assert_error,
    captured_log,
    completed,
    in_status,
    list_all,
    locked_by_another,
    run_sql,
    submit,
)


@pytest.fixture
def _impatient_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.sqlite.BUSY_TIMEOUT_SECONDS", 0.05)


# --- 500 ------------------------------------------------------------------------------------------


class _BrokenStore:
    """A part with a bug in it: whatever is asked of it goes wrong."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("SELECT secret FROM inside.py")


def _break(running: RunningApp, *parts: str) -> None:
    state = running.app.state
    state.services = dataclasses.replace(state.services, **{part: _BrokenStore() for part in parts})


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", CONVERSATIONS, {"text": "a"}),
        ("POST", f"{CONVERSATIONS}/batch", {"conversations": [{"text": "a"}]}),
        ("POST", f"{CONVERSATIONS}/retry", None),
        ("POST", f"{CONVERSATIONS}/conv_00000000/retry", None),
        ("GET", f"{CONVERSATIONS}/conv_00000000", None),
        ("DELETE", f"{CONVERSATIONS}/conv_00000000", None),
        ("GET", f"{INSIGHTS}?start_time=2025-01-01&end_time=2025-01-02", None),
        ("GET", STATS, None),
        ("GET", "/metrics", None),
        ("GET", "/ready", None),
    ],
)
async def test_a_bug_is_answered_with_an_id_under_which_the_log_has_it(
    start_app: StartApp, method: str, path: str, body: Any
) -> None:
    async with start_app(worker_enabled=False) as running:
        _break(running, "conversations", "insights", "figures", "database")
        with captured_log() as log:
            response = await running.client.request(method, path, json=body)

    assert_error(response, 500, "internal_error")
    assert "secret" not in response.text
    (logged,) = log.named("request_failed")
    assert logged["request_id"] == response.headers["x-request-id"]
    assert logged["level"] == "error"
    assert "SELECT secret FROM inside.py" in json.dumps(logged)
    (line,) = log.named("request")
    assert line["status"] == 500


async def test_a_database_in_disarray_is_a_bug_that_gives_no_sql_away(
    start_app: StartApp, sqlite_url: str
) -> None:
    async with start_app(worker_enabled=False) as running:
        await run_sql(sqlite_url, "ALTER TABLE conversations RENAME COLUMN body_hash TO gone")

        response = await running.client.post(CONVERSATIONS, json={"text": "a"})

    assert_error(response, 500, "internal_error")
    assert "body_hash" not in response.text


async def test_the_service_goes_on_after_a_bug(start_app: StartApp) -> None:
    async with start_app() as running:
        whole = running.app.state.services
        _break(running, "conversations")
        await running.client.post(CONVERSATIONS, json={"text": "a"})
        running.app.state.services = whole

        id_ = await submit(running.client)

        await in_status(running.client, id_, "completed")


# --- 503 ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_impatient_database")
async def test_writing_to_a_locked_database_is_unavailable_and_stores_nothing(
    start_app: StartApp, sqlite_url: str
) -> None:
    async with start_app(worker_enabled=False) as running:
        client = running.client
        id_ = await submit(client)
        batch = {"conversations": [{"text": "a"}, {"text": "b"}]}
        async with locked_by_another(sqlite_url):
            answers = [
                await client.post(CONVERSATIONS, json={"text": "a"}),
                await client.post(f"{CONVERSATIONS}/batch", json=batch),
                await client.post(f"{CONVERSATIONS}/retry"),
                await client.post(f"{CONVERSATIONS}/{id_}/retry"),
                await client.delete(f"{CONVERSATIONS}/{id_}"),
            ]
        stats = (await client.get(STATS)).json()

    for answer in answers:
        assert_error(answer, 503, "unavailable", "database is locked")
    assert stats["counts"]["pending"] == {"live": 1, "bulk": 0}


@pytest.mark.usefixtures("_impatient_database")
async def test_reading_goes_on_while_the_database_cannot_be_written(
    start_app: StartApp, sqlite_url: str
) -> None:
    async with start_app() as running:
        id_ = await completed(running.client)
        async with locked_by_another(sqlite_url):
            assert (await running.client.get(f"{CONVERSATIONS}/{id_}")).status_code == 200
            assert len(await list_all(running.client)) == 1
            assert (await running.client.get(STATS)).status_code == 200
            assert (await running.client.get("/metrics")).status_code == 200
            assert (await running.client.get("/health")).status_code == 200


@pytest.mark.usefixtures("_impatient_database")
async def test_many_writers_that_met_a_lock_together_are_each_told_so(
    start_app: StartApp, sqlite_url: str
) -> None:
    async with start_app(worker_enabled=False) as running:
        async with locked_by_another(sqlite_url):
            answers = await asyncio.gather(
                *(running.client.post(CONVERSATIONS, json={"text": str(n)}) for n in range(20))
            )
        afterwards = await running.client.post(CONVERSATIONS, json={"text": "a"})
        stats = (await running.client.get(STATS)).json()

    for answer in answers:
        assert_error(answer, 503, "unavailable")
    assert afterwards.status_code == 202
    assert stats["counts"]["pending"]["live"] == 1
