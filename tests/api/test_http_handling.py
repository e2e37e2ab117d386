"""Handling over HTTP: what is asked for, what is answered, and what open pages hear of it."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.conftest import StartApp
from tests.support.http_helpers import (
    CONVERSATIONS,
    ScriptedAnalyser,
    assert_error,
    completed,
    eventually,
    on_shared_loop,
    service,
    submit,
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A service that analyses."""
    async with service(tmp_path_factory.mktemp("shared"), analyser=ScriptedAnalyser()) as client:
        yield client


async def handle(
    client: httpx.AsyncClient, id_: str, state: str, by: str = "ana", **fields: Any
) -> httpx.Response:
    body = {"state": state, "by": by, **fields}
    return await client.post(f"{CONVERSATIONS}/{id_}/handling", json=body)


async def history(client: httpx.AsyncClient, id_: str) -> dict[str, Any]:
    response = await client.get(f"{CONVERSATIONS}/{id_}/handling")
    assert response.status_code == 200, response.text
    return dict(response.json())


def minutes_from_now(moment: str) -> float:
    return (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds() / 60


@on_shared_loop
async def test_a_claim_holds_for_a_quarter_of_an_hour_unless_told_otherwise(
    shared: httpx.AsyncClient,
) -> None:
    id_ = await completed(shared)

    answer = (await handle(shared, id_, "claimed", " ana ")).json()
    longer = (await handle(shared, id_, "claimed", minutes=480, note="hard")).json()

    assert set(answer) == {"conversation_id", "state", "by", "at", "until"}
    assert (answer["conversation_id"], answer["state"], answer["by"]) == (id_, "claimed", "ana")
    held = datetime.fromisoformat(answer["until"]) - datetime.fromisoformat(answer["at"])
    assert held == timedelta(minutes=15)
    assert 479 < minutes_from_now(longer["until"]) <= 480
    found = await history(shared, id_)
    assert [entry["note"] for entry in found.pop("history")] == [None, "hard"]
    assert found == longer


@on_shared_loop
async def test_a_claim_of_another_is_a_conflict_that_says_whose_and_until_when(
    shared: httpx.AsyncClient,
) -> None:
    id_ = await completed(shared)
    until = (await handle(shared, id_, "claimed", "ben")).json()["until"]

    refused = await handle(shared, id_, "claimed", "ana")

    assert_error(refused, 409, "conflict", f"claimed by ben until {until[11:16]}")
    assert (await handle(shared, id_, "claimed", "ana", take_over=True)).json()["by"] == "ana"


@on_shared_loop
async def test_a_snooze_ends_after_minutes_or_at_a_time(shared: httpx.AsyncClient) -> None:
    id_ = await completed(shared)
    until = (datetime.now(UTC) + timedelta(days=89)).replace(microsecond=0)

    at = (await handle(shared, id_, "snoozed", until=until.isoformat())).json()
    after = (await handle(shared, id_, "snoozed", minutes=1440)).json()

    assert datetime.fromisoformat(at["until"]) == until
    assert 1439 < minutes_from_now(after["until"]) <= 1440


@on_shared_loop
async def test_a_snooze_that_has_run_out_is_open_by_itself(shared: httpx.AsyncClient) -> None:
    id_ = await completed(shared)
    until = datetime.now(UTC) + timedelta(milliseconds=300)
    assert (await handle(shared, id_, "snoozed", until=until.isoformat())).status_code == 200

    async def run_out() -> dict[str, Any] | None:
        found = await history(shared, id_)
        return found if found["state"] == "open" else None

    found = await eventually(run_out)
    assert datetime.now(UTC) >= until
    assert (found["state"], found["by"], found["at"], found["until"]) == ("open", None, None, None)
    assert [entry["state"] for entry in found["history"]] == ["snoozed"]


@on_shared_loop
@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"state": "done"}, "state"),
        ({"state": None}, "state"),
        ({"by": ""}, "by"),
        ({"by": "   "}, "by"),
        ({"by": "a\nb"}, "by"),
        ({"by": "a" * 101}, "by"),
        ({"by": 7}, "by"),
        ({"minutes": 0}, "minutes"),
        ({"minutes": 481}, "minutes"),
        ({"minutes": 1.5}, "minutes"),
        ({"minutes": "5"}, "minutes"),
        ({"minutes": True}, "minutes"),
        ({"until": "2099-01-01T00:00:00Z"}, "until"),
        ({"note": "n" * 2001}, "note"),
        ({"note": "\0"}, "note"),
        ({"state": "snoozed"}, "until"),
        ({"state": "snoozed", "minutes": 90 * 24 * 60 + 1}, "minutes"),
        ({"state": "snoozed", "until": "2020-01-01T00:00:00Z"}, "until"),
        ({"state": "snoozed", "until": "2099-01-01T00:00:00Z"}, "until"),
        ({"state": "snoozed", "minutes": 5, "until": "2099-01-01T00:00:00Z"}, "until"),
        ({"state": "answered", "minutes": 5}, "minutes"),
        ({"state": "open", "until": "2099-01-01T00:00:00Z"}, "until"),
    ],
)
async def test_a_mistake_is_told_by_its_field(
    shared: httpx.AsyncClient, wrong: dict[str, Any], place: str
) -> None:
    id_ = await completed(shared)
    body = {"state": "claimed", "by": "ana", **wrong}

    response = await shared.post(f"{CONVERSATIONS}/{id_}/handling", json=body)

    assert assert_error(response, 400, "invalid_schema").startswith(f"{place}: ")
    assert (await history(shared, id_))["history"] == []


@on_shared_loop
async def test_what_is_missing_or_no_json_is_told(shared: httpx.AsyncClient) -> None:
    path = f"{CONVERSATIONS}/{await completed(shared)}/handling"

    nobody = await shared.post(path, json={"state": "claimed"})
    form = await shared.post(path, data={"state": "claimed", "by": "ana"})

    assert_error(nobody, 400, "invalid_schema", "Missing required field: by")
    assert_error(form, 400, "invalid_schema", "Content-Type")


@on_shared_loop
async def test_an_unknown_conversation_is_not_found(shared: httpx.AsyncClient) -> None:
    for id_ in ("conv_00000000", "nonsense"):
        assert_error(await handle(shared, id_, "answered"), 404, "not_found")
        path = f"{CONVERSATIONS}/{id_}/handling"
        assert_error(await shared.get(path), 404, "not_found")


async def test_what_is_not_completed_cannot_be_handled_yet(start_app: StartApp) -> None:
    async with start_app(worker_enabled=False) as running:
        id_ = await submit(running.client)
        assert_error(await handle(running.client, id_, "answered"), 409, "conflict", "pending")


async def test_the_history_keeps_the_name_of_the_api_key(
    start_app: StartApp, tmp_path: Path
) -> None:
    keys = {name: f"{name}-key" for name in ("desk", "viewer")}
    configured = ",".join(
        f"{name}:{scope}:{hashlib.sha256(keys[name].encode()).hexdigest()}"
        for name, scope in (("desk", "write"), ("viewer", "read"))
    )
    async with start_app(api_keys=configured, analyser=ScriptedAnalyser()) as running:
        client = running.client
        client.headers["X-API-Key"] = keys["desk"]
        id_ = await completed(client)
        await handle(client, id_, "answered")

        client.headers["X-API-Key"] = keys["viewer"]
        (entry,) = (await history(client, id_))["history"]
        assert (entry["by"], entry["key"]) == ("ana", "desk")
        assert_error(await handle(client, id_, "open"), 403, "forbidden")


@on_shared_loop
async def test_open_pages_hear_of_each_change_and_of_no_earlier_one(
    shared: httpx.AsyncClient,
) -> None:
    app = shared._transport.app  # type: ignore[attr-defined]  # of the service in this process
    id_ = await completed(shared)
    await handle(shared, id_, "claimed")
    pages = [app.state.services.stream.listen(None) for _ in range(2)]
    for page in pages:
        await anext(page)

    answered = (await handle(shared, id_, "answered", "ben")).json()

    async with asyncio.timeout(10):
        for page in pages:
            (event,) = [part async for part in _handling_events(page, 1)]
            assert event == answered
            await page.aclose()


@on_shared_loop
async def test_who_listens_looks_again_as_soon_as_a_conversation_is_erased(
    shared: httpx.AsyncClient,
) -> None:
    """SQLite gives the numbers of its changes again."""
    app = shared._transport.app  # type: ignore[attr-defined]  # of the service in this process
    id_ = await completed(shared)
    look = app.state.services.stream._look
    look.clear()
    assert (await shared.delete(f"/api/v1/conversations/{id_}")).status_code == 204
    assert look.is_set()


async def _handling_events(page: Any, count: int) -> AsyncIterator[Any]:
    heard = 0
    async for content in page:
        for part in content.split(b"\n\n"):
            name, _, data = part.partition(b"\ndata: ")
            if name == b"event: handling":
                yield json.loads(data)
                heard += 1
                if heard == count:
                    return
