"""The dashboard of a real service in a real Chromium: what its tests share beside fixtures."""

import re
import sqlite3
from contextlib import AbstractAsyncContextManager, closing
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import httpx
from playwright.async_api import Locator, Page, expect

from tests.support.service_process import ServiceProcess

expect.set_options(timeout=40_000)  # a machine that is busy is asked less often

HOSTILE = [
    '<script>window.hacked = 1</script><img src="x" onerror="window.hacked = 1">',
    "\"><svg onload='window.hacked = 1'>{{7*7}}${7*7}",
    '=HYPERLINK("http://example.com","late parcel")',
    "طلبي متأخر منذ أسبوع ولا أحد يرد",
    "أين طردي؟ \u202e reversed \u202c 👩‍👩‍👧‍👦 delivery",
    "broken " * 400,
]
# Around everything that the tests post, and fixed, so that page and API are asked the same.
NOW = datetime.now(UTC).replace(microsecond=0)
WHOLE = {
    "start_time": (NOW - timedelta(days=3)).isoformat().replace("+00:00", "Z"),
    "end_time": (NOW + timedelta(days=1)).isoformat().replace("+00:00", "Z"),
}

OWN = "Shop"
"""The company's own account."""

NEWEST = "?order=newest"
"""The list of all posts; the desk's own address lists those to answer."""


class Open(Protocol):
    def __call__(
        self, query: str = NEWEST, **context: Any
    ) -> AbstractAsyncContextManager[Page]: ...


def address(service: ServiceProcess) -> str:
    return f"http://127.0.0.1:{service.port}/dashboard"


def query(**parameters: str) -> str:
    return f"?{httpx.QueryParams(parameters)}"


async def get(service: ServiceProcess, path: str, **parameters: Any) -> Any:
    response = await service.client.get(f"/api/v1/{path}", params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


def tile(page: Page, name: str) -> Locator:
    """The figure of one of the totals."""
    return page.locator(f"#totals [data-name='{name}'] .figure")


def rows(page: Page) -> Locator:
    return page.locator("#list > li")


async def settled(page: Page) -> None:
    """Everything that was asked for is there."""
    await expect(page.locator("#page")).not_to_have_attribute("aria-busy", "true")


async def number_of(locator: Locator) -> int:
    await expect(locator).to_have_text(re.compile(r"^[\d,]+$"))
    return int((await locator.inner_text()).replace(",", ""))


async def is_live(page: Page) -> None:
    await expect(page.locator("#live")).to_have_text("● Live")


async def parameter(page: Page, name: str) -> str | None:
    return await page.evaluate("name => new URLSearchParams(location.search).get(name)", name)


def fail_all(service: ServiceProcess, reason: str, *, attempts: int = 3) -> None:
    """As the worker does it with what waits."""
    with closing(sqlite3.connect(service.database_file)) as connection, connection:
        connection.execute(
            "UPDATE conversations SET status = 'failed', attempts = ?, last_error = ?"
            " WHERE status = 'pending'",
            (attempts, reason),
        )
