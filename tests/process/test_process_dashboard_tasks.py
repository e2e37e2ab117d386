"""What a support lead does in a day, and in how many clicks. A choice in a list is one."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from tests.support.browser import opened, with_browser
from tests.support.dashboard_service import (
    NEWEST,
    NOW,
    address,
    fail_all,
    get,
    rows,
    settled,
    tile,
)
from tests.support.http_helpers import all_done, submit_batch
from tests.support.service_process import ServiceProcess

pytestmark = [pytest.mark.slow, pytest.mark.shares_a_fixture, with_browser]


class Desk:
    """The page, and how often something on it was clicked."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.clicks = 0

    async def click(self, target: Locator) -> None:
        self.clicks += 1
        await target.click()

    async def choose(self, name: str, value: str) -> None:
        self.clicks += 1
        await self.page.get_by_label(name, exact=True).select_option(value)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shop(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServiceProcess]:
    """Yesterday few parcels were late, today many are."""

    def late(count: int, ago: timedelta, **more: Any) -> list[dict[str, Any]]:
        return [
            {
                "text": f"Terrible, my parcel {number} is late",
                "author": "JigsawLounge" if number % 3 == 0 else f"customer{number}",
                "timestamp": (NOW - ago + timedelta(minutes=number)).isoformat(),
                **more,
            }
            for number in range(count)
        ]

    async with ServiceProcess(tmp_path_factory.mktemp("tasks")) as service:
        await service.start()
        praise = [
            {"text": "Thanks, great!", "timestamp": (NOW - timedelta(hours=hours)).isoformat()}
            # Hourly a week ago: nothing is compared with a time that has gaps.
            for hours in [*range(0, 160, 7), *range(160, 400)]
        ]
        raw = {"url": "https://forum.example/posts/1"}
        await submit_batch(
            service.client,
            [
                *late(40, timedelta(hours=2), raw_data=raw),
                *late(4, timedelta(hours=30)),
                *late(30, timedelta(days=7, minutes=31)),
                *praise,
            ],
        )
        await all_done(service.client, within=30)
        yield service


@asynccontextmanager
async def desk(browser: Browser, shop: ServiceProcess, query: str = "") -> AsyncIterator[Desk]:
    # A zone in which it is about noon, so that today and this week are more than two hours old.
    behind = NOW.hour - 12
    context: dict[str, Any] = {
        "permissions": ["clipboard-read", "clipboard-write"],
        "timezone_id": f"Etc/GMT{behind:+d}" if behind else "UTC",
    }
    async with opened(browser, address(shop) + query, **context) as page:
        await settled(page)
        yield Desk(page)


async def test_which_topic_is_worse_than_yesterday(browser: Browser, shop: ServiceProcess) -> None:
    async with desk(browser, shop) as it:
        worse = it.page.locator("#topics .worse")
        await expect(worse).to_have_text(re.compile(r"\+36 ▲"))
        assert it.clicks == 0
        for column in (".number", ".change", ".topic"):
            edges = await it.page.locator(f"#topics {column}").evaluate_all(
                "all => all.map(one => Math.round(one.getBoundingClientRect().right))"
            )
            assert len(edges) > 1
            assert len(set(edges)) == 1, (column, edges)


async def test_angry_posts_about_delivery_of_three_hours_as_a_file(
    browser: Browser, shop: ServiceProcess
) -> None:
    async with desk(browser, shop) as it:
        await it.choose("Time", "3h")
        await it.click(it.page.get_by_label(re.compile("Negative about delivery problems")))
        await expect(it.page.locator("#list-total")).to_have_text("40")
        async with it.page.expect_download() as started:
            await it.click(it.page.get_by_role("link", name="Export CSV"))
        path = Path(await (await started.value).path())
        assert len(path.read_bytes().splitlines()) == 41  # noqa: ASYNC240
        assert it.clicks == 3


async def test_who_complains_most(browser: Browser, shop: ServiceProcess) -> None:
    async with desk(browser, shop) as it:
        await it.click(it.page.get_by_role("link", name="Figures"))
        first = it.page.locator("#people tbody tr").first
        await expect(first).to_contain_text("JigsawLounge")
        await expect(first.locator("td").first).to_have_text("14")
        assert it.clicks == 1
        others = "Whatever the other filters."
        await expect(it.page.get_by_text(others, exact=True)).to_have_count(0)
    async with desk(browser, shop, "?page=figures&range=3h&sentiment=positive&q=thanks") as it:
        await expect(it.page.get_by_text(others, exact=True)).to_be_visible()
        await it.click(it.page.locator("#people tbody a").first)
        await expect(it.page).to_have_url(re.compile(r"\?range=3h&author=JigsawLounge$"))
        await expect(it.page.locator("#list-total")).to_have_text("14")


async def test_this_week_against_the_last(browser: Browser, shop: ServiceProcess) -> None:
    """The calendar's week, against the last one by now."""
    async with desk(browser, shop) as it:
        await it.choose("Time", "week")
        await settled(it.page)
        await expect(it.page.locator("#totals .change").first).to_contain_text("before")
        await expect(it.page.locator(".ghost")).to_be_visible()
        # Early on a Monday, what is 30 hours old is of the week before.
        await expect(it.page.locator("#topics .change").first).to_have_text(re.compile(r"\+1[04]"))
        assert it.clicks == 1


async def test_a_customer_by_part_of_the_name(browser: Browser, shop: ServiceProcess) -> None:
    async with desk(browser, shop) as it:
        await it.page.locator("#search").fill("@jigsaw")
        await it.click(it.page.locator("#suggestions li", has_text="JigsawLounge"))
        await expect(it.page.locator("#list-total")).to_have_text("26")
        assert it.clicks == 1


async def test_what_is_new_this_hour(browser: Browser, shop: ServiceProcess) -> None:
    async with desk(browser, shop) as it:
        new = it.page.locator(".views").get_by_role("link", name="New this hour")
        await expect(new).to_have_text("New this hour1")
        assert it.clicks == 0
        await it.click(new)
        await expect(tile(it.page, "Posts")).to_have_text("1")
        await expect(it.page.locator("#list-total")).to_have_text("1")
        await expect(new).to_have_attribute("aria-current", "true")


async def test_the_machine_and_its_cost(browser: Browser, shop: ServiceProcess) -> None:
    async with desk(browser, shop) as it:
        stats = await get(shop, "stats")
        stats["spending"]["today"]["cost_usd"] = 1.2345
        stats["spending"]["total"]["cost_usd"] = 0.00123
        await it.page.route("**/api/v1/stats", lambda route: route.fulfill(json=stats))
        await it.page.reload()
        sign = it.page.locator("#health")
        await expect(sign).to_have_text("✓ Analysis running · $1.23 today")
        assert it.clicks == 0
        stats["spending"]["daily_budget_usd"] = 5
        await it.page.reload()
        await expect(sign).to_contain_text("$1.23 of $5.00 today")
        await it.click(sign)
        await expect(it.page.locator("#machine")).to_contain_text("Spent in all$0.0012")


async def test_the_original_of_a_post(browser: Browser, shop: ServiceProcess) -> None:
    async with desk(browser, shop) as it:
        await rows(it.page).nth(5).hover()
        original = rows(it.page).nth(5).get_by_label("Open the post where it was written")
        await expect(original).to_have_attribute("href", "https://forum.example/posts/1")
        await expect(original).to_have_attribute("rel", "noreferrer noopener")
        async with it.page.context.expect_page() as opening:
            await it.click(original)
        assert await opening.value is not it.page
        assert it.clicks == 1


async def test_what_is_new_since_the_reader_looked(browser: Browser, shop: ServiceProcess) -> None:
    async with desk(browser, shop, NEWEST) as it:
        assert await it.page.locator("#since").count() == 0
        looked = (NOW - timedelta(hours=3)).timestamp() * 1000
        await it.page.evaluate(f"localStorage.setItem('insights-looked', {looked})")
        # Leaving the page says that it was looked at until then.
        await it.page.add_init_script(
            "localStorage.getItem('insights-looked') &&"
            f" localStorage.setItem('insights-looked', {looked})"
        )
        await it.page.reload()
        await settled(it.page)
        await expect(it.page.locator("#since")).to_have_text("41 since you looked, 3 h ago")
        await expect(it.page.locator(".row.looked .text")).to_have_text("Thanks, great!")
        assert it.clicks == 0


@pytest.mark.parametrize("kind", ["moving", "fixed"])
async def test_this_view_for_a_colleague(browser: Browser, shop: ServiceProcess, kind: str) -> None:
    async with desk(browser, shop) as it:
        await it.click(it.page.locator("#copy" if kind == "moving" else "#copy-fixed"))
        await expect(it.page.locator(".posts .note")).to_contain_text("The link is copied.")
        copied = await it.page.evaluate("navigator.clipboard.readText()")
        assert copied.startswith(address(shop))
        assert ("start_time=" in copied) == (kind == "fixed")
        assert it.clicks == 1


async def test_what_failed_and_why(browser: Browser, tmp_path: Path) -> None:
    async with ServiceProcess(tmp_path, worker_enabled="false") as service:
        await service.start()
        await submit_batch(service.client, ["What became of my refund?"])
        fail_all(service, "timeout after 30 s")
        async with desk(browser, service) as it:
            await expect(it.page.locator("#none-analysed")).to_contain_text("The only post")
            await it.click(it.page.locator("#health", has_text="1 not analysed"))
            await expect(it.page.locator("#failed .error")).to_have_text("Grok took too long.")
            assert it.clicks == 1
