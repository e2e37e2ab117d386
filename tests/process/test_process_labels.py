"""What people have put right stays, whatever becomes of the process."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.fakes.grok.process import RunningGrok
from tests.support.service_process import ServiceProcess, grok_settings, until

pytestmark = pytest.mark.slow

POSTS = 60


async def test_labels_and_rules_that_were_answered_outlive_kills(
    tmp_path: Path, grok: RunningGrok
) -> None:
    """Labels are given while the process is killed again and again; each that was answered with a
    200 is there in the end, and each insight that came after the rule bears it."""
    async with ServiceProcess(tmp_path, **grok_settings(grok)) as service:
        await service.start()
        rule = {"name": "all", "filter": {"q": "post"}, "set": {"add_cluster": "seen"}}
        assert (await service.client.post("/api/v1/rules", json=rule)).status_code == 201
        ids = await service.post_batch([f"post number {number}" for number in range(POSTS)])
        answered: dict[str, str] = {}

        async def label_all() -> None:
            for number, id_ in enumerate(ids):
                sentiment = ("positive", "negative")[number % 2]
                while id_ not in answered:
                    if await _label(service, id_, sentiment):
                        answered[id_] = sentiment
                    else:
                        await asyncio.sleep(0.02)

        def given(count: int) -> Callable[[], bool]:
            return lambda: len(answered) >= count

        labelling = asyncio.create_task(label_all())
        for part in (1, 2, 3):
            await until(given(part * POSTS // 4), within=60, what="labels")
            await service.kill()
            await service.start()
        async with asyncio.timeout(60):
            await labelling

        range_ = {"start_time": "2000-01-01T00:00:00Z", "end_time": "2100-01-01T00:00:00Z"}
        found = await service.client.get(
            "/api/v1/insights", params={**range_, "labelled": "person", "limit": 1000}
        )
        items = {item["conversation_id"]: item for item in found.json()["insights"]}
        assert items.keys() == answered.keys()
        for id_, sentiment in answered.items():
            analysis = items[id_]["grok_analysis"]
            assert analysis["sentiment_score"] == {"positive": 0.6, "negative": -0.6}[sentiment]
            assert "seen" in analysis["clusters"]


async def _label(service: ServiceProcess, id_: str, sentiment: str) -> bool:
    """Whether it was answered: not between two lives of the service, nor before it is completed."""
    body = {"sentiment": sentiment, "by": "ana"}
    try:
        answer = await service.client.put(f"/api/v1/conversations/{id_}/labels", json=body)
    except httpx.TransportError:
        return False
    assert answer.status_code in (200, 409, 503), answer.text
    return answer.status_code == 200
