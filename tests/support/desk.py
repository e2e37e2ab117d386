"""What people do at the desk of the dashboard, and what the API says of it afterwards."""

import re
from datetime import timedelta
from typing import Any

from playwright.async_api import Page, expect

from tests.support.dashboard_service import NOW, get, query, settled
from tests.support.http_helpers import all_done, eventually, submit_batch
from tests.support.service_process import ServiceProcess


async def post(
    service: ServiceProcess, author: str, texts: list[str], *, ago: timedelta = timedelta()
) -> None:
    """As many minutes older than `ago` as they stand in the list."""
    await submit_batch(
        service.client,
        [
            {
                "text": text,
                "author": author,
                "timestamp": (NOW - ago - timedelta(minutes=1 + number)).isoformat(),
            }
            for number, text in enumerate(texts)
        ],
    )
    await all_done(service.client, within=30)


async def handle(service: ServiceProcess, id_: str, **body: Any) -> None:
    answer = await service.client.post(f"/api/v1/conversations/{id_}/handling", json=body)
    assert answer.status_code == 200, answer.text


async def claim(service: ServiceProcess, id_: str, by: str, **more: Any) -> None:
    await handle(service, id_, state="claimed", by=by, take_over=True, **more)


def to_answer(author: str) -> str:
    return query(order="priority", author=author)


async def at_work(page: Page, name: str) -> None:
    """As somebody who has given their name before."""
    await page.evaluate("name => localStorage.setItem('insights-name', name)", name)
    await page.reload()
    await keys_work(page)


async def keys_work(page: Page) -> None:
    """They are loaded after the first sight."""
    await settled(page)

    async def is_answered() -> bool:
        await page.keyboard.press("?")
        return await page.locator("#keys").is_visible()

    await eventually(is_answered, within=30)
    await page.keyboard.press("Escape")
    await expect(page.locator("#keys")).to_have_count(0)


async def said(page: Page, text: str | re.Pattern[str]) -> None:
    await expect(page.locator("#toast")).to_contain_text(text)


async def handled(service: ServiceProcess, author: str) -> dict[str, str]:
    times = {"start_time": "2000-01-01T00:00:00Z", "end_time": "2100-01-01T00:00:00Z"}
    found = await get(service, "insights", author=author, **times)
    return {each["conversation_id"]: each["handling"]["state"] for each in found["insights"]}


async def until_judged(service: ServiceProcess, author: str, *, neutral: int, others: int) -> None:
    """Wait for so many of the author's posts to have the score 0, and so many another one."""

    async def is_so() -> bool:
        scores = await judged(service, author)
        return scores.pop(0.0, 0) == neutral and sum(scores.values()) == others

    await eventually(is_so, what=f"{neutral} neutral, {others} others")


async def judged(service: ServiceProcess, author: str) -> dict[float, int]:
    """How many posts have which score."""
    times = {"start_time": "2000-01-01T00:00:00Z", "end_time": "2100-01-01T00:00:00Z"}
    found = await get(service, "insights", author=author, **times)
    scores = [each["grok_analysis"]["sentiment_score"] for each in found["insights"]]
    return {score: scores.count(score) for score in set(scores)}
