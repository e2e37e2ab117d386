"""Searches made to be slow, in the running service: they end, and nobody else waits for them."""

import asyncio
from datetime import timedelta
from functools import cache
from pathlib import Path
from unittest.mock import patch
from urllib.parse import quote

import httpx
import pytest

from analysis.words import words_of
from database import Database
from store import derived
from tests.support.factories import NOON, insert_insights
from tests.support.http_helpers import assert_error
from tests.support.service_process import ServiceProcess, until

pytestmark = [pytest.mark.slow, pytest.mark.shares_a_fixture]

ROWS = 5000
TEXT = "a " * 5000
# All that a search may ask for: phrases of one word that each text holds at 5,000 places.
SEARCH = " ".join(f'"{"a " * words}"' for words in (10, 9, 8, 7, 6, 5, 4))
RANGE = "start_time=2020-01-01&end_time=2030-01-01"
SLOW = f"/api/v1/insights?{RANGE}&limit=1&q={quote(SEARCH)}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with a database of texts for which searching takes long."""
    folder = tmp_path_factory.mktemp("searches")

    async def fill() -> None:
        async with Database(f"sqlite+aiosqlite:///{folder}/insights.db") as database:
            await derived.ensure(database)
            for first in range(0, ROWS, 500):
                moments = [NOON + timedelta(seconds=first + number) for number in range(500)]
                await insert_insights(database, [{"text": TEXT, "timestamp": at} for at in moments])

    with patch("store.derived.word_index.words_of", cache(words_of)):  # one text has one answer
        asyncio.run(fill())
    return folder


async def others_are_served(client: httpx.AsyncClient) -> None:
    for path in ("/api/v1/stats", "/ready", f"/api/v1/insights?{RANGE}&limit=5"):
        response = await client.get(path, timeout=5)
        assert response.status_code == 200, response.text
    response = await client.post("/api/v1/conversations", json={"text": "late"}, timeout=5)
    assert response.status_code == 202, response.text


async def ask_and_go(port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {SLOW} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await writer.drain()
    await asyncio.sleep(0.5)
    writer.close()


async def test_a_slow_search_is_stopped_and_others_are_served_meanwhile(folder: Path) -> None:
    async with ServiceProcess(folder) as service:
        await service.start()
        searches = [asyncio.create_task(service.client.get(SLOW)) for _ in range(8)]
        await asyncio.sleep(0.3)
        await others_are_served(service.client)
        answers = await asyncio.gather(*searches)
        # What one that was stopped has counted is kept, so a later one may come to its end.
        stopped = [answer for answer in answers if answer.status_code != 200]
        assert stopped
        for answer in stopped:
            assert_error(answer, 503, "unavailable", "too long")
        await others_are_served(service.client)


async def test_nothing_is_searched_for_clients_that_have_gone(folder: Path) -> None:
    async with ServiceProcess(folder) as service:
        await service.start()
        await asyncio.gather(*(ask_and_go(service.port) for _ in range(4)))

        def given_up() -> bool:
            return sum(line["status"] == 499 for line in service.events("request")) == 4

        await until(given_up, within=30, what="four searches given up")
        await others_are_served(service.client)
        quick = f"/api/v1/insights?{RANGE}&limit=1&q=late"
        assert (await service.client.get(quick, timeout=10)).status_code == 200
