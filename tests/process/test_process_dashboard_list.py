"""The list of the dashboard: paging, search, the post that is open, and the export."""

import csv
import io
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import cast

import httpx
import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.fakes.grok.process import RunningGrok
from tests.fakes.grok.replies import Reply
from tests.fakes.grok.server import FakeGrok
from tests.support.browser import opened, with_browser
from tests.support.dashboard_service import (
    HOSTILE,
    NEWEST,
    NOW,
    OWN,
    WHOLE,
    Open,
    address,
    get,
    number_of,
    parameter,
    query,
    rows,
    settled,
    tile,
)
from tests.support.http_helpers import all_done, eventually, submit, submit_batch
from tests.support.paths import SHARED
from tests.support.service_process import ServiceProcess, grok_settings

pytestmark = [pytest.mark.slow, pytest.mark.shares_a_fixture, with_browser]


def day(date: str) -> str:
    """A view of one day, on which nobody else posts."""
    return query(start_time=f"{date}T00:00:00Z", end_time=f"{date}T23:59:59Z")


NAUGHTY = SHARED / "data" / "blns" / "blns.json"


# --- paging ---------------------------------------------------------------------------------------


async def test_scrolling_brings_every_page_once(service: ServiceProcess, open_page: Open) -> None:
    total = (await get(service, "insights", **WHOLE))["metadata"]["total_count"]
    async with open_page(query(**WHOLE)) as page:
        await expect(rows(page)).not_to_have_count(0)
        assert await rows(page).count() < total
        while (seen := await rows(page).count()) < total:
            await page.mouse.wheel(0, 20_000)
            await expect(rows(page).nth(seen)).to_be_attached()
        ids = await rows(page).evaluate_all("rows => rows.map(row => row.dataset.key)")
        await expect(page.locator("#more")).to_have_count(0)
    assert len(set(ids)) == len(ids) == total


async def test_of_a_long_list_only_what_is_near_is_drawn(browser: Browser, tmp_path: Path) -> None:
    """Down and up again each post is shown, never more than 300 at once; back keeps the place."""
    async with ServiceProcess(tmp_path) as service:
        await service.start()
        total = 450
        posts = [
            {"text": f"Parcel {n} is late.", "timestamp": (NOW - timedelta(seconds=n)).isoformat()}
            for n in range(total)
        ]
        await submit_batch(service.client, posts)
        await all_done(service.client, within=30)
        async with opened(browser, address(service) + NEWEST) as page:
            await settled(page)
            drawn = page.locator("#list > .row")
            seen: set[str] = set()

            async def look() -> bool:
                keys = await drawn.evaluate_all("rows => rows.map(row => row.dataset.key)")
                assert len(keys) <= 300
                seen.update(keys)
                await page.mouse.wheel(0, 4_000)
                return len(seen) == total

            await eventually(look, within=60)
            last = page.locator(".row", has_text=f"Parcel {total - 1} ")
            await last.scroll_into_view_if_needed()
            await eventually(lambda: page.evaluate("history.state?.drawn?.[0] === 150"))
            await page.locator(".views a", has_text="Negative").click()
            await expect(page).to_have_url(re.compile("sentiment=negative"))
            await page.go_back()
            await expect(last).to_be_in_viewport()

            async def is_at_the_top() -> bool:
                await page.mouse.wheel(0, -4_000)
                return await page.evaluate("scrollY === 0")

            await eventually(is_at_the_top, within=30)
            await expect(drawn.first).to_contain_text("Parcel 0 ")


async def test_pages_may_be_shorter_than_what_was_asked_for(
    service: ServiceProcess, open_page: Open
) -> None:
    """As they are where texts are long: what says that there is more is the cursor alone."""

    async def shorten(route: Route) -> None:
        url = httpx.URL(route.request.url)
        response = await service.client.get(url.copy_set_param("limit", "3"))
        await route.fulfill(json=response.json())

    async with open_page() as page:
        await page.route("**/api/v1/insights?*", shorten)
        await page.goto(f"{address(service)}{query(**WHOLE, author='customer3')}")
        wanted = await get(service, "insights", **WHOLE, author="customer3")
        await expect(rows(page).nth(9)).to_be_attached()  # the first screen fills by itself
        await page.mouse.wheel(0, 20_000)
        await expect(rows(page)).to_have_count(len(wanted["insights"]))


async def test_back_keeps_the_place_and_the_post_that_was_open(open_page: Open) -> None:
    async with open_page(query(**WHOLE)) as page:
        await settled(page)
        while (seen := await rows(page).count()) < 101:
            await page.mouse.wheel(0, 20_000)
            await expect(rows(page).nth(seen)).to_be_attached()
        row = rows(page).nth(100)
        await row.scroll_into_view_if_needed()
        key = await row.get_attribute("data-key")
        await row.locator(".opener").click()
        await expect(page.locator("#open")).to_be_visible()
        await eventually(lambda: page.evaluate("history.state?.top > 500"))
        place = await page.locator(".row.open").bounding_box()
        await page.locator(".views a", has_text="Positive").click()
        await expect(page).to_have_url(re.compile("sentiment=positive"))
        await settled(page)
        await page.go_back()
        await expect(page.locator(".row.open")).to_have_attribute("data-key", str(key))
        assert place

        async def is_back() -> bool:
            now = await page.locator(".row.open").bounding_box()
            return bool(now and abs(now["y"] - place["y"]) < 60)

        await eventually(is_back)


@pytest.mark.parametrize("list_query", ["", NEWEST])
async def test_three_posts_are_in_sight_on_a_laptop_and_one_on_a_phone(
    open_page: Open, list_query: str
) -> None:
    for width, height, wanted in ((1280, 720, 3), (360, 740, 1)):
        async with open_page(list_query, viewport={"width": width, "height": height}) as page:
            await settled(page)
            await expect(rows(page)).not_to_have_count(0)
            ends = await rows(page).evaluate_all(
                "rows => rows.map(row => row.getBoundingClientRect().bottom)"
            )
            assert sum(end <= height for end in ends) >= wanted, ends[:5]


# --- search ---------------------------------------------------------------------------------------


async def test_words_filter_the_list_and_the_figures_say_that_they_do_not(
    service: ServiceProcess, open_page: Open
) -> None:
    async with open_page(query(**WHOLE)) as page:
        everything = await number_of(tile(page, "Posts"))
        await page.get_by_label("Certainty").select_option("0.5")
        await expect(page).to_have_url(re.compile("min_confidence=0.5"))
        wanted = await get(service, "insights", **WHOLE, min_confidence=0.5)
        await expect(page.locator("#list-total")).to_have_text(
            str(wanted["metadata"]["total_count"])
        )
        await page.get_by_label("Certainty").select_option("")
        await page.locator("#search").fill('"parcel 17"')
        await page.keyboard.press("Enter")
        await expect(rows(page)).to_have_count(1)
        await expect(page.locator("#list mark")).to_have_text("Parcel 17")
        await expect(page.locator("#search-note")).to_contain_text("whatever their words")
        await expect(page.locator("#headline")).to_have_text(
            f"1 of {everything} posts have these words."
        )
        await expect(page.locator("#list-total")).to_have_text("1")
        await page.get_by_role("link", name="Figures").click()
        await expect(page.locator("#search-note")).to_contain_text("whatever their words")
        await page.emulate_media(media="print")
        await expect(page.locator(".print-head")).to_contain_text("All posts.")
        await page.emulate_media(media="screen")
        await page.get_by_role("link", name="Desk").click()
        await expect(page.locator(".print-head")).to_contain_text("Only: with")
        await page.locator("#clear").click()
        await expect(page).to_have_url(re.compile(r"\?start_time=[^&]+&end_time=[^&]+$"))
        await expect(page.locator("#search")).to_have_value("")


async def test_a_search_that_finds_nothing_in_its_time_leads_to_all_times(open_page: Open) -> None:
    link = "#nothing a, #elsewhere a"
    empty_day = {"start_time": "2003-02-03T00:00:00Z", "end_time": "2003-02-03T23:59:59Z"}
    for time in ({"range": "1h"}, empty_day):
        async with open_page(query(**time, q='"parcel 17"')) as page:
            await expect(rows(page)).to_have_count(0)
            await expect(page.locator(link)).to_have_text("Search all times")
            await page.locator(link).click()
            await expect(rows(page)).to_have_count(1)
            await page.goto(re.sub(r"\?.*", query(range="all", q="zzzzz"), page.url))
            await expect(page.locator("#nothing")).to_have_text("No posts here.")


async def test_a_topic_is_found_as_it_is_shown(open_page: Open) -> None:
    async with open_page(query(**WHOLE)) as page:
        await settled(page)
        for typed in ("Booking problems", "booking_problems"):
            await page.locator("#search").fill(typed)
            await page.keyboard.press("Enter")
            await expect(page).to_have_url(re.compile("cluster=booking_problems"))
            await page.locator("#clear").click()
        await page.locator("#search").fill("billing")
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("ArrowDown")
        chosen = page.locator("#suggestions [aria-selected=true]")
        await expect(chosen).to_contain_text("Topic: billing problems")
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(re.compile("cluster=billing_problems"))


# --- the post that is open ------------------------------------------------------------------------


async def test_posts_of_an_own_account_are_shown_by_its_name_only(
    service: ServiceProcess, open_page: Open
) -> None:
    then = {"timestamp": "2011-02-03T04:05:06Z"}
    await submit_batch(
        service.client,
        [
            {"text": "We are sorry for the late parcel", "author": OWN, **then},
            {"text": "The parcel is late", "author": "ana", **then},
        ],
    )
    await all_done(service.client)
    async with open_page(day("2011-02-03")) as page:
        await expect(rows(page)).to_have_count(1)
        await page.locator("#search").fill("@sho")
        own = page.locator("#suggestions li", has_text="your own account")
        await own.click()
        await expect(rows(page)).to_have_count(1)
        await expect(rows(page)).to_contain_text("We are sorry")
        await expect(page.locator("#own")).to_be_visible()
        await page.get_by_label("Without Shop").click()
        await expect(page.locator("#own")).to_have_count(0)


async def test_a_post_opens_and_tells_all_and_closes(
    service: ServiceProcess, open_page: Open
) -> None:
    (first,) = (await get(service, "insights", **WHOLE, author="maple_otter"))["insights"]
    async with open_page(query(**WHOLE, author="maple_otter")) as page:
        opener = page.locator(".opener")
        await opener.click()
        await expect(opener).to_have_attribute("aria-current", "true")
        details = page.locator("#open")
        await expect(details).to_contain_text(first["grok_analysis"]["reasoning"])
        await details.locator("summary").click()
        await expect(details).to_contain_text("UTC")
        await expect(details).to_contain_text('"likes": 3')
        await expect(details).to_contain_text("tried once")
        link = details.get_by_role("link", name="as JSON")
        await expect(link).to_have_attribute(
            "href", f"/api/v1/conversations/{first['conversation_id']}"
        )
        assert await parameter(page, "open") == first["conversation_id"]
        await page.reload()
        await expect(details).to_contain_text(first["grok_analysis"]["reasoning"])
        await details.get_by_role("button", name="Close").click()
        await expect(details).to_have_count(0)
        await expect(opener).to_be_focused()


async def test_an_open_post_leads_to_its_original_its_author_and_equal_texts(
    service: ServiceProcess, open_page: Open
) -> None:
    then = {"timestamp": "2012-02-03T04:05:06Z"}
    same = [
        {"text": f"@shop_{n} the app is down", "author": f"user{n}", "raw_data": raw, **then}
        for n, raw in enumerate(
            [
                {"tweet_id": 570306133677760513},
                {"url": "https://forum.example/posts/4"},
                {"url": "javascript:alert(1)"},
                {"id": "12345678"},
            ]
        )
    ]
    earlier = {"text": "Earlier words", "author": "user0", **then}
    await submit_batch(service.client, [*same, earlier])
    await all_done(service.client)
    async with open_page(day("2012-02-03")) as page:
        originals = []
        for n in range(4):
            await rows(page).filter(has_text=f"@shop_{n}").locator(".opener").click()
            await expect(page.locator("#open-text")).to_contain_text(f"@shop_{n}")
            link = page.locator("#original")
            originals.append(await link.get_attribute("href") if await link.count() else None)
        assert originals == [
            "https://x.com/user0/status/570306133677760513",
            "https://forum.example/posts/4",
            None,
            None,
        ]
        await rows(page).filter(has_text="@shop_0").locator(".opener").click()
        await expect(page.locator("#open")).to_contain_text("Same text: 3 others")
        await expect(page.locator("#open")).to_contain_text("Others of the same author: 1")
        await page.locator("#open").get_by_role("button", name="user0").click()
        await expect(rows(page)).to_have_count(2)
        assert await parameter(page, "author") == "user0"


async def test_a_long_text_is_cut_and_shown_in_full_on_request(
    service: ServiceProcess, open_page: Open
) -> None:
    moment = "2013-02-03T04:05:06Z"
    await submit(service.client, "long and late " * 680, author="a" * 200, timestamp=moment)
    await all_done(service.client)
    async with open_page(day("2013-02-03")) as page:
        await rows(page).first.locator(".opener").click()
        text = page.locator("#open-text")
        await expect(text).to_have_text(re.compile("…$"))
        await page.get_by_role("button", name="All 9,519 letters").click()
        await expect(text).not_to_have_text(re.compile("…$"))
        await page.get_by_role("button", name="Less").click()
        await expect(text).to_have_text(re.compile("…$"))
        assert await page.evaluate("document.documentElement.scrollWidth") <= 1280


# --- texts of strangers ---------------------------------------------------------------------------


async def test_hostile_texts_are_shown_as_the_text_that_they_are(open_page: Open) -> None:
    async with open_page(query(**WHOLE, author="<i>mallory</i>")) as page:
        await expect(rows(page)).to_have_count(len(HOSTILE))
        texts = await page.locator("#list .text").all_text_contents()
        shown = []
        for n in range(len(HOSTILE)):
            await rows(page).nth(n).locator(".opener").click()
            await expect(page.locator("#open dl").first).to_be_visible()
            await page.locator("#open summary").click()
            await expect(page.locator("#open-text")).to_contain_text(texts[n][:20].strip())
            shown.append(await page.locator("#open-text").inner_text())
        assert sorted(texts) == sorted(text.strip() for text in HOSTILE)
        assert await page.locator("body").locator("img, i, iframe").count() == 0
        assert await page.evaluate("document.scripts.length") == 1
        assert await page.evaluate("'hacked' in window") is False


async def test_naughty_strings_do_no_harm(service: ServiceProcess, open_page: Open) -> None:
    if not NAUGHTY.exists():
        pytest.skip(f"{NAUGHTY} is not there")
    long_ago = "2001-02-03T04:05:06Z"
    items = [
        {"text": text, "author": text[:500], "timestamp": long_ago, "raw_data": {"is": text}}
        for text in json.loads(NAUGHTY.read_text())
        if "<" in text and "\x00" not in text
    ]
    await submit_batch(service.client, items)
    await all_done(service.client, within=30)
    span = {"start_time": "2001-02-03T00:00:00Z", "end_time": "2001-02-04T00:00:00Z"}
    async with open_page(query(**span)) as page:
        await expect(page.locator("#list-total")).to_have_text(str(len(items)))
        while (seen := await rows(page).count()) < len(items):
            await page.mouse.wheel(0, 40_000)
            await expect(rows(page).nth(seen)).to_be_attached()
        shown = await page.locator("#list .text").all_text_contents()
        assert sorted(shown) == sorted(item["text"].strip() for item in items)
        assert await page.evaluate("document.scripts.length") == 1


async def test_an_answer_that_could_not_be_read_is_no_judgement(
    browser: Browser, tmp_path: Path
) -> None:
    async with (
        FakeGrok() as grok,
        ServiceProcess(tmp_path, **grok_settings(cast(RunningGrok, grok))) as service,
    ):
        grok.when_text("riddle", Reply.garbage())
        await service.start()
        await submit(service.client, "A riddle that no model answers")
        await submit(service.client, "My parcel is late, terrible")
        await all_done(service.client)
        async with opened(browser, address(service) + NEWEST) as page:
            unread = rows(page).filter(has_text="riddle")
            await expect(unread).to_contain_text(
                "not analysed: the model's answer could not be read"
            )
            await expect(unread.locator(".positive, .neutral, .negative")).to_have_count(0)
            other = rows(page).filter(has_text="terrible")
            await expect(other).not_to_contain_text("not analysed")
            await expect(other.locator(".negative")).to_have_count(1)


@pytest.mark.parametrize("notice", ["12 of 40 answers could not be read.", None])
async def test_many_such_answers_are_told(open_page: Open, notice: str | None) -> None:
    async with open_page() as page:
        stats = await page.evaluate("fetch('api/v1/stats').then(answer => answer.json())")
        stats["fallback"] = {"today": 12, "last_hour": 12, "notice": notice}
        await page.route("**/api/v1/stats", lambda route: route.fulfill(json=stats))
        await page.reload()
        await settled(page)
        await expect(page.locator("#trouble")).to_have_text([notice] if notice else [])
        await page.goto(page.url.split("?")[0] + "?page=analysis")
        await expect(page.locator("#machine")).to_contain_text("could not be read")


# --- export ---------------------------------------------------------------------------------------


async def test_the_export_is_the_view(service: ServiceProcess, open_page: Open) -> None:
    async with open_page(query(**WHOLE, author="<i>mallory</i>", q="late")) as page:
        await expect(rows(page)).to_have_count(1)
        await page.locator("#menu").click()
        await expect(page.locator("#csv")).to_have_attribute("href", re.compile("q=late"))
        await expect(page.locator("#csv")).to_have_attribute("href", re.compile("bom=true"))
        (exported,) = await exported_rows(page)
    assert "HYPERLINK" in exported["text"]
    assert not exported["text"].startswith("=")


async def exported_rows(page: Page) -> list[dict[str, str]]:
    async with page.expect_download() as started:
        await page.locator("#csv").click()
    download = await started.value
    assert download.suggested_filename.endswith(".csv")
    content = Path(await download.path()).read_bytes()  # noqa: ASYNC240
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
