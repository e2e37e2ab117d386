"""Alerts on the page: from nothing to the first notice, seen, quietened, and what is wrong told."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Route, expect

from tests.support.browser import opened, serious_faults, with_browser
from tests.support.dashboard_service import address
from tests.support.http_helpers import all_done, eventually, submit_batch
from tests.support.service_process import ServiceProcess, until
from tests.support.tcp import serving

pytestmark = [pytest.mark.slow, pytest.mark.shares_a_fixture, with_browser]

RULES = "?page=rules"
URGENT = "I am locked out and was charged twice, this is horrible, I need help right now!"


class Receiver:
    """Takes whatever is sent to it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.port = 0
        self.status = "200 OK"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        self.bodies.append(await reader.readexactly(length))
        answer = f"HTTP/1.1 {self.status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
        writer.write(answer.encode())
        await writer.drain()


@pytest_asyncio.fixture(loop_scope="session")
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with serving(receiver.answer) as receiver.port:
        yield receiver


async def test_from_nothing_to_the_first_notice(
    browser: Browser, receiver: Receiver, tmp_path: Path
) -> None:
    async with ServiceProcess(tmp_path, webhook_private_hosts="localhost") as service:
        await service.start()
        async with opened(browser, f"{address(service)}{RULES}", in_trouble=True) as page:
            await page.click("#new-endpoint")
            await page.get_by_role("button", name="Cancel").click()
            await expect(page.locator("#endpoints-title")).to_be_focused()
            await page.click("#new-endpoint")
            await expect(page.locator("#endpoint-target")).to_be_focused()
            await page.fill("#endpoint-target", "http://169.254.169.254/latest")
            await page.click("#make-endpoint")
            note = page.locator("#endpoint .note")
            await expect(note).to_contain_text("url")
            await expect(note).to_have_css("background-color", "rgb(253, 235, 224)")  # no good news
            await page.fill("#endpoint-target", f"http://localhost:{receiver.port}/hook")
            await page.click("#make-endpoint")
            await expect(page.locator("#endpoints-title")).to_be_focused()
            await page.click("#endpoints button:has-text('Send a test')")
            await expect(page.locator("#endpoints .note")).to_have_text("It has arrived.")
            assert len(receiver.bodies) == 1

            await expect(page.locator("#no-alert-rules")).to_be_visible()
            await page.click("#new-alert-rule")
            await page.select_option("#alert-kind", "single")
            await page.fill("#alert-above", "50")
            await page.fill("#alert-name", "Flood <b>")
            await page.click("#make-alert-rule")
            await expect(page.locator("#alert-rules .note")).to_contain_text("the last 30 days:")
            await page.click("#alert-rules button:has-text('Quiet at night')")
            rule = page.locator("#alert-rules > li")
            zone = await page.evaluate("Intl.DateTimeFormat().resolvedOptions().timeZone")
            await expect(rule).to_contain_text(f"Quiet from 22:00 to 07:00, {zone}.")
            await page.click("#alert-rules button:has-text('Tell at any hour')")
            await expect(rule).not_to_contain_text("Quiet from")
            assert not await serious_faults(page)

            await submit_batch(service.client, [{"text": URGENT, "author": "ann"}])
            await all_done(service.client)
            await until(lambda: len(receiver.bodies) > 1, within=30, what="a notice")
            assert b"Flood" in receiver.bodies[1]
            slip = {"name": "slip", "kind": "count", "above": 5, "filter": {"cluster": "layt"}}
            assert (await service.client.post("/api/v1/alert-rules", json=slip)).status_code == 201
            await page.reload()
            await page.click("li.rule:has-text('slip') button:has-text('What would it')")
            await expect(page.locator("li.rule:has-text('slip') .note")).to_contain_text(
                "No post has ever had the topic 'layt'. Over the last 30 days: 0 messages"
            )
            await expect(page.locator("#alerts")).to_contain_text("A post that cannot wait")
            assert not await serious_faults(page)
            await expect(page.locator("#bell")).to_contain_text("1 alert")

            await page.click("#alerts button:has-text('Quiet for 4 hours')")
            await expect(page.locator("#alerts")).to_contain_text("quiet until")
            await page.click("#alerts button:has-text('Tell again')")
            await expect(page.locator("#alerts button")).to_have_text(
                ["I have seen it", "Quiet for 4 hours"]
            )
            await expect(page.locator("#alerts")).not_to_contain_text("quiet until")
            await page.click("#alerts a:has-text('Show these posts')")
            await expect(page.locator(".pane")).to_contain_text("locked out")
            await page.go_back()
            await page.click("#alerts button:has-text('I have seen it')")
            await page.fill("#me", "ana")
            await page.keyboard.press("Enter")
            # One that is seen is over within a minute, which the page hears half a minute later.
            await expect(page.locator("#alerts button")).to_have_count(0, timeout=100_000)

            deletion = page.get_by_role("button", name="delete Slack")
            await deletion.click()
            await expect(deletion).to_have_text("Really delete?")
            await page.locator("#endpoints button").first.focus()
            await expect(deletion).to_have_text("Delete")  # of two minds
            await deletion.click()
            await deletion.click()
            await expect(page.locator("#endpoints > li")).to_have_count(0)
            await expect(page.locator("#endpoints-title")).to_be_focused()


async def test_what_did_not_arrive_is_shown_with_its_reason_and_sent_again(
    browser: Browser, receiver: Receiver, tmp_path: Path
) -> None:
    async with ServiceProcess(tmp_path, webhook_private_hosts="localhost") as service:
        await service.start()
        made = await service.client.post(
            "/api/v1/endpoints",
            json={
                "kind": "slack",
                "name": "team",
                "url": f"http://localhost:{receiver.port}/hook",
            },
        )
        assert made.status_code == 201, made.text
        async with opened(browser, f"{address(service)}{RULES}") as page:
            endpoint = page.locator("#endpoints > li")
            asked = page.get_by_role("button", name="What was sent")
            await asked.click()
            await expect(endpoint).to_contain_text("Nothing yet.")
            receiver.status = "500 Internal Server Error"
            await page.click("#endpoints button:has-text('Send a test')")
            sent = page.locator("#endpoints .short li")
            await expect(sent).to_contain_text(["it did not arrive, after 1 try"])
            await expect(sent).to_contain_text(["500"])

            receiver.status = "200 OK"
            bodies = len(receiver.bodies)
            await page.get_by_role("button", name="Send again").press("Enter")
            await expect(sent).to_contain_text(["it has arrived"])
            await expect(page.get_by_role("button", name="Send again")).to_have_count(0)
            await expect(asked).to_be_focused()
            assert len(receiver.bodies) == bodies + 1
            await asked.press("Enter")
            await expect(sent).to_have_count(0)
            await expect(asked).to_have_attribute("aria-expanded", "false")

            # What is tried again by itself, as alerts are.
            again = {"state": "pending", "attempts": 1, "last_error": "answered 500: ok"}
            again["next_at"] = "2100-01-01T00:00:00Z"

            async def not_yet(route: Route) -> None:
                answer = await (await route.fetch()).json()
                answer["deliveries"][0] |= again
                await route.fulfill(json=answer)

            await page.route("**/deliveries?*", not_yet)
            await asked.click()
            await expect(sent).to_contain_text(["not yet: tried 1 time, again at"])
            await page.click("#endpoints button:has-text('Send a test')")
            await expect(page.locator("#endpoints .note")).to_contain_text(
                "It did not arrive: answered 500: ok; it is tried again by itself"
            )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def alerted(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServiceProcess]:
    """With an open alert, its rules, and an endpoint; names are as long as they may be."""
    name = "x" * 100
    async with ServiceProcess(tmp_path_factory.mktemp("alerted")) as service:
        await service.start()
        for path, body in (
            ("alert-rules", {"kind": "single", "above": 0.5}),
            ("alert-rules", {"kind": "rising"}),
            ("endpoints", {"kind": "slack", "url": "https://hooks.slack.com/services/T0/B0/x"}),
            ("rules", {"filter": {"q": "thunder"}, "set": {"sentiment": "neutral"}}),
        ):
            made = await service.client.post(f"/api/v1/{path}", json={"name": name, **body})
            assert made.status_code == 201, made.text
        await submit_batch(service.client, [{"text": URGENT, "author": name}])
        await all_done(service.client)

        async def is_open() -> bool:
            answer = await service.client.get("/api/v1/alerts", params={"state": "open"})
            return bool(answer.json()["alerts"])

        await eventually(is_open, within=30)
        yield service


@pytest.mark.parametrize(
    ("width", "scheme", "zoom"), [(360, "light", 1), (1280, "dark", 1), (1280, "light", 2)]
)
async def test_nobody_is_shut_out_of_alerts_rules_and_plans(
    browser: Browser, alerted: ServiceProcess, width: int, scheme: str, zoom: int
) -> None:
    """axe, over all forms and an alert, then over a plan before and after it is applied. Twice as
    large is half as wide."""
    async with opened(
        browser,
        f"{address(alerted)}{RULES}",
        color_scheme=scheme,
        viewport={"width": width // zoom, "height": 900 // zoom},
        device_scale_factor=zoom,
    ) as page:

        async def nothing_wrong() -> None:
            assert await serious_faults(page) == []
            assert await page.evaluate("document.documentElement.scrollWidth") <= width // zoom

        await expect(page.locator("#alerts > li")).to_have_count(1)
        await expect(page.locator("#bell")).to_contain_text("1 alert")
        await page.click("#endpoints button:has-text('What was sent')")
        await expect(page.locator("#endpoints .short li")).to_contain_text(["An alert"])
        await page.click("#new-endpoint")
        await page.click("#new-alert-rule")
        await page.click("#new-rule")
        await nothing_wrong()
        await page.fill("#draft-q", "locked out")
        await page.select_option("#draft-sentiment", "neutral")
        await page.click("#preview")
        await page.fill("#me", "ana")
        await page.keyboard.press("Enter")
        await expect(page.locator("#plan-state")).to_contain_text("1 post")
        await nothing_wrong()
        await expect(page.locator("#plan-title")).to_be_focused()
        await page.click("#apply")
        await expect(page.locator("#plan-state")).to_contain_text("It is applied.")
        await expect(page.locator("#plan-title")).to_be_focused()
        await nothing_wrong()
        await page.click("#undo-plan")
        await expect(page.locator("#plan-state")).to_contain_text("It is undone.")


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
