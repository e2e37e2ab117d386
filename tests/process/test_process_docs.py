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


async def test_operations_can_be_tried_from_the_page_and_nothing_is_stopped(
    browser: Browser, address: str
) -> None:
    async with opened(browser, f"{address}/docs") as page:
        for operation, body, status in (
            ("[id$=operations-health]", None, "200"),
            ("[id$=submit_conversation]", '{"text": "My parcel is late."}', "202"),
        ):
            tried = page.locator(operation)
            await tried.click()
            await tried.get_by_role("button", name="Try it out").click()
            if body:
                await tried.locator("textarea.body-param__text").fill(body)
            await tried.get_by_role("button", name="Execute").click()
            answer = tried.locator(".live-responses-table .response-col_status", has_text=status)
            await answer.wait_for()
