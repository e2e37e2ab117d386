"""A plan goes on after `kill -9` where it was: no row is left out, and none is changed twice."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from database import Database
from tests.support.factories import NOON, insert_insights
from tests.support.service_process import ServiceProcess, until

pytestmark = pytest.mark.slow

PATH = "/api/v1/plans"
ROWS = 3000
SERVED = (
    "SELECT conversation_id, sentiment_score, clusters, confidence, labelled, label,"
    " model_sentiment_score, model_clusters, model_confidence FROM insights ORDER BY id",
    "SELECT * FROM insight_clusters ORDER BY 1, 2, 3",
    "SELECT * FROM insight_rollups ORDER BY 1, 2, 3, 4",
    "SELECT * FROM labels ORDER BY 1, 2",
)


async def test_a_plan_and_its_undoing_survive_kills(tmp_path: Path) -> None:
    async with Database(f"sqlite+aiosqlite:///{tmp_path}/insights.db") as database:
        await insert_insights(
            database,
            [
                {
                    "timestamp": NOON - timedelta(minutes=number),
                    "sentiment_score": -0.5 - number % 5 / 10,
                }
                for number in range(ROWS)
            ],
        )
    async with ServiceProcess(tmp_path) as service:
        await service.start()
        before = [service.query(statement) for statement in SERVED]
        body = {"kind": "label", "filter": {"sentiment": "negative"}, "by": "ana"}
        body |= {"set": {"sentiment": "neutral", "clusters": ["praise"]}}
        plan_id = (await service.client.post(PATH, json=body)).json()["plan_id"]

        plan = await _through_kills(service, plan_id, "apply")
        assert (plan["state"], plan["done"], plan["changed"]) == ("applied", ROWS, ROWS)
        assert service.query("SELECT count(*), count(DISTINCT conversation_id) FROM label_log") == [
            (ROWS, ROWS)
        ]
        assert service.query("SELECT DISTINCT sentiment_score, labelled FROM insights") == [
            (0.0, "person")
        ]

        plan = await _through_kills(service, plan_id, "undo")
        assert (plan["state"], plan["done"], plan["left_alone"]) == ("undone", ROWS, 0)
        assert [service.query(statement) for statement in SERVED] == before


async def _through_kills(service: ServiceProcess, plan_id: str, what: str) -> dict[str, Any]:
    """The plan at the end of a walk that was killed when it was asked for, and on its way."""

    async def shown() -> dict[str, Any]:
        return dict((await service.client.get(f"{PATH}/{plan_id}")).json())

    async def has_begun() -> bool:
        return bool((await shown())["done"])

    async def end() -> dict[str, Any] | None:
        plan = await shown()
        return plan if plan["state"] in ("applied", "undone") else None

    response = await service.client.post(f"{PATH}/{plan_id}/{what}")
    assert response.status_code == 202
    await service.kill()
    ((state, done),) = service.query("SELECT state, done FROM plans")
    assert state in ("applying", "undoing")
    assert done < ROWS
    await service.start()
    await until(has_begun, within=30, what="a step")
    await service.kill()
    await service.start()
    found: dict[str, Any] = await until(end, within=60, what=f"{what} is through")
    return found
