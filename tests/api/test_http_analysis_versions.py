"""GET /api/v1/analysis-versions."""

from typing import Any

import httpx

from tests.conftest import StartApp
from tests.fakes.grok.server import FakeGrok
from tests.support.http_helpers import all_done, grok_settings, submit

PATH = "/api/v1/analysis-versions"


async def versions(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    response = await client.get(PATH)
    assert response.status_code == 200, response.text
    return list(response.json())


async def test_each_start_that_asks_for_something_else_has_a_version_of_its_own(
    start_app: StartApp, grok: FakeGrok
) -> None:
    async with start_app(clusters="praise, other") as running:
        await submit(running.client, "late")
        await all_done(running.client)
        (first,) = await versions(running.client)
    assert first == {
        "version": 1,
        "analyser": "offline",
        "model": first["model"],
        "prompt_version": "",
        "temperature": None,
        "clusters_mode": "open",
        "clusters": ["praise", "other"],
        "first_used": first["first_used"],
        "last_used": first["last_used"],
        "insights": 1,
        "active": True,
    }
    assert first["first_used"] <= first["last_used"]

    async with start_app(**grok_settings(grok), clusters_mode="closed") as running:
        await submit(running.client, "late again")
        await submit(running.client, "and again")
        await all_done(running.client)
        second, _ = await versions(running.client)
        assert (second["version"], second["analyser"], second["insights"]) == (2, "grok", 2)
        assert (second["temperature"], second["clusters_mode"]) == (0.3, "closed")
        assert (second["active"], second["prompt_version"] > "3") == (True, True)

    async with start_app(clusters="praise, other") as running:
        assert [(each["version"], each["active"]) for each in await versions(running.client)] == [
            (2, False),
            (1, True),
        ]


async def test_a_replica_that_only_serves_makes_no_version(start_app: StartApp) -> None:
    async with start_app(worker_enabled=False) as running:
        assert await versions(running.client) == []
