"""The documentation's page in a real Chromium, under the policy that it is served with."""

from collections.abc import Callable, Iterator

import pytest
from playwright.async_api import Browser

from config import Settings
from main import create_app
from tests.support.browser import opened, with_browser
from tests.support.http_helpers import served

pytestmark = [pytest.mark.slow, pytest.mark.shares_a_fixture, with_browser]


@pytest.fixture
def address(make_settings: Callable[..., Settings]) -> Iterator[str]:
    with served(create_app(make_settings(worker_enabled=False))) as address:
        yield address


async def test_an_operation_can_be_tried_and_nothing_is_stopped(
    browser: Browser, address: str
) -> None:
    async with opened(browser, f"{address}/docs") as page:
        await page.locator("#operations-operations-health").click()
        await page.get_by_role("button", name="Try it out").click()
        await page.get_by_role("button", name="Execute").click()
        await page.locator(".live-responses-table .response-col_status", has_text="200").wait_for()


async def test_a_conversation_can_be_handed_in_from_the_page(
    browser: Browser, address: str
) -> None:
    async with opened(browser, f"{address}/docs") as page:
        await page.locator("[id$=submit_conversation]").click()
        await page.get_by_role("button", name="Try it out").click()
        await page.locator("textarea.body-param__text").fill('{"text": "My parcel is late."}')
        await page.get_by_role("button", name="Execute").click()
        await page.locator(".live-responses-table .response-col_status", has_text="202").wait_for()
