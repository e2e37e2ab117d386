"""The dashboard where it has to share: a host with other services, a browser with other tabs."""

import asyncio
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.support.browser import opened, with_browser
from tests.support.dashboard_service import is_live, rows, tile
from tests.support.http_helpers import all_done, eventually, submit
from tests.support.path_proxy import PathProxy, path_proxy
from tests.support.service_process import ServiceProcess

pytestmark = [pytest.mark.slow, pytest.mark.shares_a_fixture, with_browser]

TABS = 10  # more than the six connections that a browser has to a host


@pytest.mark.parametrize("root_path", ["", "/insights"])
async def test_behind_a_proxy_under_a_path_it_is_whole(
    browser: Browser, tmp_path: Path, root_path: str
) -> None:
    async with ServiceProcess(tmp_path, uvicorn_root_path=root_path) as service:
        await service.start()
        await submit(service.client, "The parcel is late, which is terrible", author="maple")
        await all_done(service.client)
        async with path_proxy(service.port) as proxy:
            await is_whole(browser, service, proxy, "Where is my refund?")
        if root_path:
            async with path_proxy(service.port, strips=False) as proxy:
                await is_whole(browser, service, proxy, "The app crashes")


async def is_whole(browser: Browser, service: ServiceProcess, proxy: PathProxy, news: str) -> None:
    async with opened(browser, f"{proxy.address}/dashboard") as page:
        for spelling, query in (("/?range=7d", "?range=7d"), ("/", ""), ("", "")):
            await page.goto(f"{proxy.address}/dashboard{spelling}")
            await expect(page).to_have_url(f"{proxy.address}/dashboard{query}")
            await expect(rows(page)).not_to_have_count(0)
            await is_live(page)
        before = await rows(page).count()
        await submit(service.client, news)
        await expect(rows(page)).to_have_count(before + 1)
        await page.locator("#menu").click()
        await expect(page.locator("#csv")).to_be_visible()
        links = await page.locator("a[href]").evaluate_all("all => all.map(a => a.href)")
        inside = tuple(
            f"{proxy.address}/{part}" for part in ("dashboard?", "dashboard#", "api/v1/")
        )
        assert all(link.startswith(inside) for link in links), links
        await page.keyboard.press("Escape")
        await page.get_by_role("link", name="Analysis", exact=True).click()
        await expect(page.locator("#machine")).to_contain_text("Analysed")
        await page.go_back()
        assert proxy.strays == []


async def shows(page: Page, count: int) -> None:
    await expect(page.locator("#list-total")).to_have_text(str(count))
    await expect(tile(page, "Posts")).to_have_text(str(count))


async def test_ten_tabs_of_one_browser_are_all_alive(browser: Browser, tmp_path: Path) -> None:
    async with ServiceProcess(tmp_path) as service:
        await service.start()
        await submit(service.client, "The first parcel is late")
        await all_done(service.client)
        context = await browser.new_context()
        tabs = await open_tabs(context, f"http://127.0.0.1:{service.port}/dashboard")
        for tab in tabs:
            await shows(tab, 1)
            await is_live(tab)
        await submit(service.client, "The second parcel is late")
        for tab in tabs:
            await shows(tab, 2)

        for gone in tabs[:4]:
            await gone.close()
        await submit(service.client, "The third parcel is late")
        for tab in tabs[4:]:
            await shows(tab, 3)
            await is_live(tab)
        assert await ended_streams(service) == 0  # none was the closed tabs' own
        await context.close()
        assert await eventually(lambda: ended_streams(service), within=30) == 1


async def open_tabs(context: BrowserContext, url: str) -> list[Page]:
    tabs = [await context.new_page() for _ in range(TABS)]
    await asyncio.gather(*(tab.goto(url) for tab in tabs))
    return tabs


async def ended_streams(service: ServiceProcess) -> int:
    metrics = (await service.client.get("/metrics")).text
    counts = re.findall(r'^http_requests_total\{.*route="/api/v1/stream".*\} (\d+)', metrics, re.M)
    return sum(map(int, counts))
