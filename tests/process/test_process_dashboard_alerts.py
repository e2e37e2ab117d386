"""Alerts on the page: from nothing to the first notice, seen, quietened, and what is wrong told."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.support.browser import opened, serious_faults, with_browser
from tests.support.dashboard_service import address
from tests.support.http_helpers import all_done, submit_batch
from tests.support.service_process import ServiceProcess, until

pytestmark = [pytest.mark.slow, pytest.mark.shares_a_fixture, with_browser]

RULES = "?page=rules"
URGENT = "I am locked out and was charged twice, this is horrible, I need help right now!"


class Receiver:
    """Takes whatever is sent to it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        self.bodies.append(await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()


@pytest_asyncio.fixture(loop_scope="session")
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.answer, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    async with server:
        yield receiver


async def test_from_nothing_to_the_first_notice(
    browser: Browser, receiver: Receiver, tmp_path: Path
) -> None:
    async with ServiceProcess(tmp_path, webhook_private_hosts="localhost") as service:
        await service.start()
        async with opened(browser, f"{address(service)}{RULES}", in_trouble=True) as page:
            await page.click("#new-endpoint")
            await page.fill("#endpoint-target", "http://169.254.169.254/latest")
            await page.click("#make-endpoint")
            await expect(page.locator("#endpoint + .note, #endpoint .note")).to_contain_text("url")
            await page.fill("#endpoint-target", f"http://localhost:{receiver.port}/hook")
            await page.click("#make-endpoint")
            await page.click("#endpoints button:has-text('Send a test')")
            await expect(page.locator("#endpoints .note")).to_have_text("It has arrived.")
            assert len(receiver.bodies) == 1

            await page.click("#new-alert-rule")
            await page.select_option("#alert-kind", "single")
            await page.fill("#alert-above", "50")
            await page.fill("#alert-name", "Flood <b>")
            await page.click("#make-alert-rule")
            await expect(page.locator("#alert-rules .note")).to_contain_text("the last 30 days:")
            assert not await serious_faults(page)

            await submit_batch(service.client, [{"text": URGENT, "author": "ann"}])
            await all_done(service.client)
            await until(lambda: len(receiver.bodies) > 1, within=30, what="a notice")
            assert b"Flood" in receiver.bodies[1]
            await page.reload()
            await expect(page.locator("#alerts")).to_contain_text("A post that cannot wait")
            assert not await serious_faults(page)
            await expect(page.locator("#bell")).to_contain_text("1 alert")

            await page.click("#alerts button:has-text('Quiet for 4 hours')")
            await expect(page.locator("#alerts")).to_contain_text("quiet until")
            await page.click("#alerts a:has-text('Show these posts')")
            await expect(page.locator(".pane")).to_contain_text("locked out")
            await page.go_back()
            await page.click("#alerts button:has-text('I have seen it')")
            await page.fill("#me", "ana")
            await page.keyboard.press("Enter")
            # One that is seen is over within a minute, and no longer under those that are open.
            await expect(page.locator("#alerts button")).to_have_count(0)


async def test_who_may_only_read_sees_alerts_and_no_addresses(
    browser: Browser, tmp_path: Path
) -> None:
    digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"  # of "secret"
    async with ServiceProcess(tmp_path, api_keys=f"look:read:{digest}") as service:
        await service.start()
        async with opened(browser, f"{address(service)}{RULES}", in_trouble=True) as page:
            await page.fill("#key", "secret")
            await page.keyboard.press("Enter")
            await expect(page.locator("#alerts-title")).to_have_text("Alerts: 0 open")
            await expect(page.locator("#page")).to_contain_text("A key with scope admin")
            assert await page.locator("#new-endpoint").count() == 0
