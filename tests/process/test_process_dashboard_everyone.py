"""The dashboard for everybody: by keys, printed, in any language, with a key, in trouble."""

import json
import re
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.browser import opened, serious_faults, with_browser
from tests.support.dashboard_service import (
    HOSTILE,
    NOW,
    WHOLE,
    Open,
    address,
    fail_all,
    get,
    is_live,
    query,
    rows,
    settled,
)
from tests.support.desk import keys_work
from tests.support.http_helpers import all_done, submit, submit_batch
from tests.support.service_process import ServiceProcess

pytestmark = [pytest.mark.slow, pytest.mark.shares_a_fixture, with_browser]


# --- for everyone ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "scheme", "zoom"),
    [(360, "light", 1), (1280, "dark", 1), (1280, "light", 2), (2560, "light", 1)],
)
async def test_nobody_is_shut_out(open_page: Open, scheme: str, width: int, zoom: int) -> None:
    """axe, over every page, with a post open, the tables, the menu and the sheet shown. Twice as
    large is half as wide. Of posts that are alike a few will do: axe looks at each part of each."""
    viewport = {"width": width // zoom, "height": 900 // zoom}
    few = {**WHOLE, "start_time": (NOW - timedelta(hours=26, seconds=40)).isoformat()}
    async with open_page(
        query(**few, author="customer3"),
        color_scheme=scheme,
        viewport=viewport,
        device_scale_factor=zoom,
    ) as page:
        await settled(page)
        await nothing_wrong(page, width // zoom)
        await page.locator("#menu").click()
        await expect(page.locator("#more-menu")).to_be_visible()
        await nothing_wrong(page, width // zoom)
        await page.keyboard.press("Escape")
        await page.keyboard.press("?")
        await expect(page.locator("#keys")).to_be_visible()
        await nothing_wrong(page, width // zoom)
        await page.keyboard.press("Escape")
        await rows(page).first.locator(".opener").click()
        await expect(page.locator("#open dl").first).to_be_visible()
        await page.locator("#open summary").click()
        await nothing_wrong(page, width // zoom)
        await page.goto(re.sub(r"\?.*", query(**WHOLE, page="figures"), page.url))
        await settled(page)
        await page.locator("#chart-table summary").click()
        await nothing_wrong(page, width // zoom)
        for name in ("Rules", "Analysis"):
            link = page.locator("nav.pages").get_by_role("link", name=name)
            await link.click()
            await expect(link).to_have_attribute("aria-current", "page")
            await settled(page)
            await nothing_wrong(page, width // zoom)
        await page.goto(re.sub(r"\?.*", f"{query(**WHOLE)}&kiosk", page.url))
        await expect(rows(page)).to_have_count(3)
        await nothing_wrong(page, width // zoom)


async def nothing_wrong(page: Page, width: int) -> None:
    assert await serious_faults(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def test_colours_follow_the_system_or_the_readers_choice(open_page: Open) -> None:
    background = "getComputedStyle(document.documentElement).backgroundColor"
    async with open_page(color_scheme="dark") as page:
        await settled(page)
        dark = await page.evaluate(background)
        await page.locator("#menu").click()
        await page.locator("#theme").click()
        await expect(page.locator("#theme")).to_have_text("Colours: light")
        light = await page.evaluate(background)
        assert (dark, light) == ("rgb(16, 21, 28)", "rgb(244, 245, 247)")
        await page.reload()
        await settled(page)
        assert await page.evaluate(background) == light


async def test_everything_can_be_reached_and_done_by_keys(open_page: Open) -> None:
    async with open_page(query(**WHOLE)) as page:
        await expect(rows(page)).not_to_have_count(0)
        await keys_work(page)
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.locator("#list-title")).to_be_focused()
        focused = "document.activeElement.dataset.id"
        ids = await rows(page).evaluate_all("rows => rows.map(row => row.dataset.key)")
        for key, wanted in (("j", 0), ("j", 1), ("j", 2), ("k", 1)):
            await page.keyboard.press(key)
            assert await page.evaluate(focused) == ids[wanted]
        await page.keyboard.press("Enter")
        await expect(page.locator("#open dl").first).to_be_visible()
        await page.keyboard.press("j")
        await expect(page.locator(".row.open")).to_have_attribute("data-key", ids[2])
        await page.keyboard.press("Escape")
        await expect(page.locator("#open")).to_have_count(0)
        assert await page.evaluate(focused) == ids[2]
        await page.keyboard.press("Tab")
        assert await page.evaluate(focused) == ids[3]  # a row is one stop
        await page.keyboard.press("/")
        await expect(page.locator("#search")).to_be_focused()
        await page.keyboard.press("Escape")
        await page.get_by_label("Mood").focus()
        await page.keyboard.press("ArrowDown")
        await expect(page).to_have_url(re.compile("sentiment=negative"))
        await expect(page.get_by_label("Mood")).to_be_focused()


async def test_the_sheet_of_keys_is_read_from_its_top(open_page: Open) -> None:
    async with open_page(viewport={"width": 640, "height": 400}) as page:
        await keys_work(page)
        await page.keyboard.press("?")
        await expect(page.locator("#keys-title")).to_be_focused()
        await expect(page.locator("#keys-title")).to_be_in_viewport()
        assert await page.evaluate("keys.scrollHeight > keys.clientHeight")
        assert await page.evaluate("keys.scrollTop") == 0


async def test_each_figure_says_what_it_is_on_focus(open_page: Open) -> None:
    async with open_page(query(**WHOLE)) as page:
        await settled(page)
        for hint in await page.locator(".hint").all():
            await expect(hint.locator(".tip")).to_be_hidden()
            await hint.focus()
            await expect(hint.locator(".tip")).to_be_visible()


async def test_numbers_and_times_are_in_the_readers_words_with_utc_beside(
    service: ServiceProcess, open_page: Open
) -> None:
    moment = "2024-03-05T20:15:00Z"
    await submit(service.client, "Far east of here", timestamp=moment)
    await all_done(service.client)
    span = query(start_time="2024-03-05T00:00:00Z", end_time="2024-03-06T00:00:00Z")
    async with open_page(span, locale="de-DE", timezone_id="Asia/Tokyo") as page:
        shown = rows(page).first.locator("time")
        await expect(shown).to_have_text("6. März 2024, 05:15")
        await expect(shown).to_have_attribute("title", re.compile("2024-03-05 20:15:00 UTC"))
        await expect(shown).to_have_attribute("datetime", moment)
        await page.locator("#menu").click()
        await expect(page.locator("#csv")).to_have_attribute(
            "href", re.compile("delimiter=semicolon")
        )
    async with open_page(span, locale="fa-IR") as page:
        await expect(rows(page).first.locator("time")).to_have_text("5 Mar 2024, 21:15")


async def test_the_hour_that_comes_twice_is_told_apart(
    service: ServiceProcess, open_page: Open
) -> None:
    for hour in (0, 1):
        await submit(service.client, f"At {hour}", timestamp=f"2024-10-27T0{hour}:30:00Z")
    await all_done(service.client)
    span = query(start_time="2024-10-26T00:00:00Z", end_time="2024-10-28T00:00:00Z")
    async with open_page(span) as page:
        times = rows(page).locator("time")
        await expect(times.nth(0)).to_have_text("Oct 27, 2024, 02:30 AM GMT+1")
        await expect(times.nth(1)).to_have_text("Oct 27, 2024, 02:30 AM GMT+2")


async def test_texts_run_in_their_own_direction(open_page: Open) -> None:
    async with open_page(query(**WHOLE, author="<i>mallory</i>")) as page:
        await expect(rows(page)).to_have_count(len(HOSTILE))
        directions = await page.locator("#list .text").evaluate_all(
            "texts => texts.map(text => getComputedStyle(text).direction)"
        )
    assert directions.count("rtl") == 2


async def test_printed_it_says_what_it_is_of_and_has_no_controls(open_page: Open) -> None:
    async with open_page(query(**WHOLE, sentiment="negative")) as page:
        await expect(rows(page)).not_to_have_count(0)
        await page.emulate_media(media="print")
        await expect(page.locator(".print-head")).to_contain_text("Insights: Desk")
        await expect(page.locator(".print-head")).to_contain_text("Only: negative.")
        await expect(page.locator(".print-head")).to_contain_text(re.compile(r"Printed \w+"))
        await expect(page.locator("#totals")).to_be_visible()
        await expect(rows(page).first.locator(".text")).to_be_visible()
        for control in ("header", ".top", "#more", ".order button >> nth=0"):
            await expect(page.locator(control)).to_be_hidden()


# --- nothing to show, and trouble -----------------------------------------------------------------


async def test_an_empty_database_says_what_to_do_and_who_judges(
    browser: Browser, idle: ServiceProcess
) -> None:
    async with opened(browser, address(idle)) as page:
        await expect(page.locator("#empty")).to_contain_text(
            f"curl http://127.0.0.1:{idle.port}/api/v1/conversations"
        )
        await expect(page.locator("#empty")).to_contain_text(".venv/bin/python ingest_data.py")
        assert await serious_faults(page) == []
        await page.get_by_role("link", name="Analysis", exact=True).click()
        await expect(page.locator("#offline")).to_contain_text("offline analyser")


async def test_what_failed_is_shown_with_its_reason_and_can_be_tried_again(
    browser: Browser, idle: ServiceProcess
) -> None:
    ids = await submit_batch(idle.client, [f"<b>failing</b> {n}" for n in range(25)])
    fail_all(idle, "the account <i>says no</i>", attempts=1)
    async with opened(browser, f"{address(idle)}?page=analysis", in_trouble=True) as page:
        await expect(page.locator("#failed-total")).to_have_text("25")
        await expect(page.locator("#health")).to_contain_text("25 not analysed")
        await expect(page.locator("#failed > li")).to_have_count(20)
        first = page.locator("#failed > li").first
        await expect(first).to_contain_text("the account <i>says no</i>")
        await expect(first).to_contain_text("tried once")
        await page.locator("#more-failed").click()
        await expect(page.locator("#failed > li")).to_have_count(25)
        assert await serious_faults(page) == []

        await page.get_by_role("button", name=f"Try {ids[3]} again").click()
        await expect(page.locator("#failed > li")).to_have_count(24)
        await expect(page.locator("#failed-panel .note")).to_contain_text(
            "1 post back in the queue."
        )
        await expect(page.locator("#failed-title")).to_be_focused()
        assert (await get(idle, f"conversations/{ids[3]}"))["status"] == "pending"

        # What is told of one action does not outlast the next, nor the page.
        assert (await idle.client.delete(f"/api/v1/conversations/{ids[5]}")).status_code == 204
        await page.get_by_role("button", name=f"Try {ids[5]} again").click()
        await expect(page.locator("#failed-panel .note")).to_contain_text("erased meanwhile")
        await expect(page.locator("#failed > li")).to_have_count(23)
        await page.get_by_role("button", name="Try all again").click()
        await expect(page.locator("#failed > li")).to_have_count(0)
        await expect(page.locator("#failed-panel .note")).to_contain_text(
            "23 posts back in the queue."
        )
        await expect(page.locator("#machine")).to_contain_text("0 live, 24 from imports")
        await page.get_by_role("link", name="Desk").click()
        await expect(page.locator("#working")).to_contain_text("24 posts to be analysed")
        await page.go_back()
        await expect(page.locator("#failed-panel")).to_be_visible()
        await expect(page.locator(".note")).to_have_count(0)


async def test_reasons_are_told_in_plain_words(browser: Browser, tmp_path: Path) -> None:
    reasons = {
        "HTTP 500: Internal error, upstream connect error": "Grok had an error of its own.",
        "Content violates usage guidelines": ("Grok refuses this text. Trying again rarely helps."),
        "timeout after 30 s": "Grok took too long.",
    }
    async with ServiceProcess(tmp_path, worker_enabled="false") as service:
        await service.start()
        for error in reasons:
            await submit(service.client, "What became of my refund?")
            fail_all(service, error)
        async with opened(browser, f"{address(service)}?page=analysis") as page:
            shown = page.locator("#failed .error")
            await expect(shown).to_have_count(len(reasons))
            for error, told in reasons.items():
                await expect(page.locator(f"#failed .error[title='{error}']")).to_have_text(told)


async def test_a_refused_question_says_why_until_another_is_asked(open_page: Open) -> None:
    async with open_page(in_trouble=True) as page:
        await expect(rows(page)).not_to_have_count(0)
        await page.route(
            "**/api/v1/insights?*q=*",
            lambda route: route.fulfill(
                status=400, json={"error": "invalid_schema", "details": "q: not like this"}
            ),
        )
        await page.locator("#search").fill("???")
        await page.keyboard.press("Enter")
        await expect(page.locator("#problem")).to_have_text("The search: not like this")
        await page.unroute("**/api/v1/insights?*q=*")
        await page.locator("#search").fill("?!")
        await page.keyboard.press("Enter")
        await expect(page.locator("#problem")).to_have_text(
            "The search must hold a word to look for"
        )
        await page.locator("#clear").click()
        await expect(page.locator("#problem")).to_have_count(0)
        told = await page.evaluate(
            """async () => {
                const { write } = await import("./dashboard/work.js");
                const plan = { kind: "unlabel", filter: { q: "?!" } };
                return write("plans", "POST", plan).catch((problem) => problem.message);
            }"""
        )
        assert told == "The search must hold a word to look for"


async def test_a_stopped_machine_says_why_and_that_posts_are_safe(open_page: Open) -> None:
    async with open_page() as page:
        stats = await page.evaluate("fetch('api/v1/stats').then(answer => answer.json())")
        stats["breaker"] = {"state": "open", "reason": "Wrong key.", "next_probe_seconds": 41}
        stats["counts"]["pending"]["live"] = 8
        await page.route("**/api/v1/stats", lambda route: route.fulfill(json=stats))
        await page.reload()
        await expect(page.locator("#health")).to_have_text("✕ Analysis stopped")
        await expect(page.locator("#trouble")).to_have_text(
            "Analysis has stopped: Wrong key. Your posts are safe: 8 wait."
        )
        await expect(page).to_have_title(re.compile("^✕ Stopped"))


# --- keys -----------------------------------------------------------------------------------------


async def test_a_key_is_asked_for_once_and_kept_for_the_session_only(
    browser: Browser, tmp_path: Path
) -> None:
    key = "a-long-and-random-key"
    keys = f"desk:write:{sha256(key.encode()).hexdigest()}"
    headers = {"X-API-Key": key}
    async with ServiceProcess(tmp_path, api_keys=keys) as service:
        await service.start()
        service.client.headers.update(headers)
        await submit(service.client, "Only for those with a key")
        await all_done(service.client)
        async with opened(browser, address(service), in_trouble=True) as page:
            await expect(page.locator("#key-dialog")).to_be_visible()
            assert await serious_faults(page) == []
            told = ("This service needs a key.", "The API key is not valid.")
            for typed, why in zip(("wrong", key), told, strict=True):
                await expect(page.locator("#key-why")).to_have_text(why)
                await page.locator("#key").fill(typed)
                await page.get_by_role("button", name="Sign in").click()
            await expect(rows(page)).to_have_count(1)
            await expect(page.locator("#key-dialog")).to_have_count(0)
            await is_live(page)
            assert await page.evaluate("JSON.stringify(localStorage)") == json.dumps({})
            await page.locator("#menu").click()
            async with page.expect_download() as started:
                await page.locator("#csv").click()
            download = await started.value
            exported = Path(await download.path()).read_text("utf-8-sig")  # noqa: ASYNC240
            assert "Only for those with a key" in exported
            assert re.fullmatch(r"insights-\w+-\w+\.csv", download.suggested_filename)
            await page.locator("#menu").click()
            for period, title in (("day", "Report of 2"), ("week", "Report of")):
                async with page.context.expect_page() as opening:
                    await page.locator(f"#reports a[href*='={period}']").click()
                await expect((await opening.value).locator("h1")).to_contain_text(title)
            await page.reload()
            await expect(rows(page)).to_have_count(1)


async def test_a_key_that_may_only_read_offers_nothing_that_writes(
    browser: Browser, tmp_path: Path
) -> None:
    reader, writer = "a-key-that-reads", "a-key-that-writes"
    digests = {name: sha256(name.encode()).hexdigest() for name in (reader, writer)}
    keys = f"r:read:{digests[reader]},w:write:{digests[writer]}"
    async with ServiceProcess(tmp_path, api_keys=keys, worker_enabled="false") as service:
        await service.start()
        service.client.headers["X-API-Key"] = writer
        await submit(service.client, "What became of my refund?")
        fail_all(service, "timeout")
        url = f"{address(service)}?page=analysis"
        async with opened(browser, url, in_trouble=True) as page:
            await page.locator("#key").fill(reader)
            await page.get_by_role("button", name="Sign in").click()
            await expect(page.locator("#failed-panel")).to_contain_text("may read only")
            await expect(page.locator("#failed > li")).to_have_count(1)
            await expect(page.locator("#retry-all, #failed button")).to_have_count(0)
            await page.get_by_role("link", name="Rules").click()
            await expect(page.locator("#no-rules")).to_be_visible()
            await expect(page.locator("#new-rule, #new-alert-rule")).to_have_count(0)
            await page.evaluate("sessionStorage.clear()")
            await page.reload()
            await page.locator("#key").fill(writer)
            await page.get_by_role("button", name="Sign in").click()
            await expect(page.locator("#new-rule, #new-alert-rule")).to_have_count(2)
