"""What tests of processes share: a fake Grok, and for those of the page one browser in each test
process and a service for each file."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from importing.sample import SAMPLE
from tests.fakes.grok.process import RunningGrok, grok_process
from tests.support.browser import chromium, opened
from tests.support.dashboard_service import HOSTILE, NEWEST, NOW, OWN, Open, address
from tests.support.http_helpers import all_done, submit_batch
from tests.support.service_process import ServiceProcess


@pytest.fixture
def grok() -> Iterator[RunningGrok]:
    """One in a process of its own, that answers at once and well. A file whose Grok is slower or
    worse has its own."""
    with grok_process() as grok:
        yield grok


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Each page that a test opens in it has a context of its own: nothing is left to the next."""
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def service(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServiceProcess]:
    """With the sample of a day, hostile texts, and enough for several pages, all analysed."""
    async with ServiceProcess(tmp_path_factory.mktemp("dashboard"), own_authors=OWN) as service:
        await service.start()
        sample = [
            {
                "text": item.text,
                "author": item.author,
                "timestamp": (NOW - timedelta(minutes=item.minutes_ago)).isoformat(),
                "raw_data": {"likes": 3, "<b>": "</dd><script>window.hacked = 1</script>"},
            }
            for item in SAMPLE
        ]
        hostile = [
            {"text": text, "author": "<i>mallory</i>", "timestamp": NOW.isoformat()}
            for text in HOSTILE
        ]
        more = [
            {
                "text": f"Parcel {number} is late, this is terrible.",
                "author": f"customer{number % 7}",
                "timestamp": (NOW - timedelta(hours=26, seconds=number)).isoformat(),
            }
            for number in range(140)
        ]
        await submit_batch(service.client, [*sample, *hostile, *more])
        await all_done(service.client, within=30)
        yield service


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def idle(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServiceProcess]:
    """A service that analyses nothing, so that what is in its queue is the tests' to say."""
    folder = tmp_path_factory.mktemp("idle")
    async with ServiceProcess(folder, worker_enabled="false") as service:
        await service.start()
        yield service


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def desk(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServiceProcess]:
    """A service without anything, where each test posts under a name of its own."""
    async with ServiceProcess(tmp_path_factory.mktemp("desk")) as service:
        await service.start()
        yield service


@pytest.fixture
def open_page(browser: Browser, service: ServiceProcess) -> Open:
    """The dashboard of `service`; in the end nothing has gone wrong in it."""

    def open_page(query: str = NEWEST, **context: Any) -> AbstractAsyncContextManager[Page]:
        return opened(browser, f"{address(service)}{query}", **context)

    return open_page
