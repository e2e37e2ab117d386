"""The dashboard in a real Chromium, on a real service with real data."""

import asyncio
import csv
import io
import json
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, cast

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

from importing.sample import SAMPLE
from tests.fakes.grok.replies import Reply
from tests.fakes.grok.server import FakeGrok, RunningGrok
from tests.support.browser import chromium, opened, serious_faults
from tests.support.http_helpers import all_done, on_shared_loop, submit, submit_batch
from tests.support.paths import SHARED
from tests.support.service_process import ServiceProcess, grok_settings

expect.set_options(timeout=15_000)
pytestmark = [pytest.mark.slow, pytest.mark.shares_a_fixture, on_shared_loop]

HOSTILE = [
    '<script>window.hacked = 1</script><img src="x" onerror="window.hacked = 1">',
    "\"><svg onload='window.hacked = 1'>{{7*7}}${7*7}",
    '=HYPERLINK("http://example.com","late parcel")',
    "طلبي متأخر منذ أسبوع ولا أحد يرد",
    "أين طردي؟ \u202e reversed \u202c 👩‍👩‍👧‍👦 delivery",
    "broken " * 400,
]
NAUGHTY = SHARED / "data" / "blns" / "blns.json"
# Around everything that the tests post, and fixed, so that page and API are asked the same.
NOW = datetime.now(UTC).replace(microsecond=0)
WHOLE = {
    "start_time": (NOW - timedelta(days=3)).isoformat().replace("+00:00", "Z"),
    "end_time": (NOW + timedelta(days=1)).isoformat().replace("+00:00", "Z"),
}


class Open(Protocol):
    def __call__(self, query: str = "", **context: Any) -> AbstractAsyncContextManager[Page]: ...


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServiceProcess]:
    """With the sample of a day, hostile texts, and enough for several pages, all analysed."""
    async with ServiceProcess(tmp_path_factory.mktemp("dashboard")) as service:
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


@pytest.fixture
def open_page(browser: Browser, service: ServiceProcess) -> Open:
    """The dashboard of `service`; in the end nothing has gone wrong in it."""

    def open_page(query: str = "", **context: Any) -> AbstractAsyncContextManager[Page]:
        return opened(browser, f"{address(service)}{query}", **context)

    return open_page


def address(service: ServiceProcess) -> str:
    return f"http://127.0.0.1:{service.port}/dashboard"


def query(**parameters: str) -> str:
    return f"?{httpx.QueryParams(parameters)}"


async def get(service: ServiceProcess, path: str, **parameters: Any) -> Any:
    response = await service.client.get(f"/api/v1/{path}", params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


async def tile(page: Page, name: str) -> str:
    """The figure of one of the totals, once it is there."""
    figure = page.locator("#totals > div", has_text=name).locator(".figure")
    await expect(figure).to_be_visible()
    return await figure.inner_text()


def rows(page: Page) -> Any:
    return page.locator("#list > li")


async def is_live(page: Page) -> None:
    await expect(page.locator("#live")).to_have_text("● Live")


async def parameter(page: Page, name: str) -> str | None:
    return await page.evaluate("name => new URLSearchParams(location.search).get(name)", name)


# --- figures --------------------------------------------------------------------------------------


async def test_the_figures_are_those_of_the_api(service: ServiceProcess, open_page: Open) -> None:
    summary = await get(service, "insights/summary", **WHOLE, interval="hour")
    totals = summary["totals"]
    async with open_page(query(**WHOLE)) as page:
        assert await tile(page, "Conversations") == str(totals["count"])
        assert await tile(page, "Average sentiment") == f"{totals['average_sentiment']:+.2f}"
        for name in ("negative", "neutral", "positive"):
            share = f"{totals[name] / totals['count']:.0%}"
            assert await tile(page, f"{name.title()}: {totals[name]}") == share
        await expect(page.locator("#list-total")).to_have_text(str(totals["count"]))

        await page.locator("#chart-table summary").click()
        table = await page.locator("#chart-table tbody tr").evaluate_all(
            "rows => rows.map(row => [...row.cells].slice(1, 4).map(cell => +cell.textContent))"
        )
        assert table == [
            [bucket["negative"], bucket["neutral"], bucket["positive"]]
            for bucket in summary["series"]
        ]
        topics = await page.locator("#topics tr").evaluate_all(
            "rows => rows.map(row => [row.dataset.key, +row.cells[1].textContent])"
        )
        assert topics == [[found["cluster"], found["count"]] for found in summary["clusters"]]


async def test_each_figure_has_an_address_that_tells_the_same(
    service: ServiceProcess, open_page: Open
) -> None:
    async with open_page(query(**WHOLE, sentiment="negative")) as page:
        shown = await tile(page, "Conversations")
        await expect(page.locator("#list-json")).to_have_attribute("href", re.compile("^/api"))
        links = await page.locator(".head > a[href]").evaluate_all("all => all.map(a => a.href)")
    answers = {httpx.URL(link).path: (await service.client.get(link)).json() for link in links}

    assert answers["/api/v1/insights/summary"]["totals"]["count"] == int(shown)
    assert answers["/api/v1/insights"]["metadata"]["total_count"] == int(shown)
    assert "trends" in answers["/api/v1/trends"]
    assert answers["/api/v1/stats"]["counts"]["completed"]["bulk"] >= int(shown)


async def test_totals_tell_their_change_against_the_period_before(
    service: ServiceProcess, open_page: Open
) -> None:
    day = timedelta(days=1)
    both = [
        await get(
            service,
            "insights/summary",
            start_time=(NOW - (1 + ago) * day).isoformat(),
            end_time=(NOW - ago * day).isoformat(),
            interval="day",
        )
        for ago in (0, 1)
    ]
    now, before = (answer["totals"]["count"] for answer in both)
    span = {"start_time": (NOW - day).isoformat(), "end_time": NOW.isoformat()}
    async with open_page(query(**span)) as page:
        change = page.locator("#totals > div", has_text="Conversations").locator(".change")
        await expect(change).to_have_text(f"▼ {1 - now / before:.0%} from {before}")


# --- the view and its address ---------------------------------------------------------------------


async def test_filters_live_in_the_address_and_back_undoes_them(
    service: ServiceProcess, open_page: Open
) -> None:
    async with open_page(query(**WHOLE)) as page:
        everything = await tile(page, "Conversations")
        await page.get_by_text("▼ Negative", exact=True).click()
        await expect(page).to_have_url(re.compile("sentiment=negative"))
        await page.get_by_label("Author").fill("customer3")
        await page.get_by_label("Author").press("Enter")
        await expect(page).to_have_url(re.compile("author=customer3"))
        wanted = await get(service, "insights", **WHOLE, sentiment="negative", author="customer3")
        assert wanted["metadata"]["total_count"] == 20
        await expect(page.locator("#list-total")).to_have_text("20")
        await expect(rows(page)).to_have_count(20)
        assert await tile(page, "Conversations") == "20"

        await page.reload()
        await expect(rows(page)).to_have_count(20)
        await expect(page.get_by_label("Author")).to_have_value("customer3")
        await page.go_back()
        await page.go_back()
        await expect(page.locator("#list-total")).to_have_text(everything)
        await expect(page.get_by_label("Author")).to_have_value("")


async def test_a_topic_that_is_clicked_is_filtered_by_and_clicked_again_no_more(
    service: ServiceProcess, open_page: Open
) -> None:
    async with open_page(query(**WHOLE)) as page:
        topic = page.locator("#topics button", has_text="billing problems")
        await topic.click()
        await expect(topic).to_have_attribute("aria-pressed", "true")
        wanted = await get(service, "insights", **WHOLE, cluster="billing_problems")
        await expect(rows(page)).to_have_count(wanted["metadata"]["total_count"])
        assert await parameter(page, "cluster") == "billing_problems"
        await topic.click()
        assert await parameter(page, "cluster") is None


async def test_confidence_and_words_narrow_the_list_as_the_api_does(
    service: ServiceProcess, open_page: Open
) -> None:
    async with open_page(query(**WHOLE)) as page:
        sure = page.get_by_label("Sure")
        await sure.fill("0.6")
        await expect(page).to_have_url(re.compile("min_confidence=0.6"))
        wanted = await get(service, "insights", **WHOLE, min_confidence=0.6)
        await expect(page.locator("#list-total")).to_have_text(
            str(wanted["metadata"]["total_count"])
        )
        await page.get_by_label("Words").fill('"parcel 17"')
        await page.get_by_label("Words").press("Enter")
        await expect(rows(page)).to_have_count(1)
        await expect(page.locator("#search-note")).to_be_visible()
        await page.get_by_role("button", name="Clear filters").first.click()
        await expect(page).to_have_url(re.compile(r"\?start_time=[^&]+&end_time=[^&]+$"))


async def test_what_makes_no_sense_in_the_address_is_left_out(open_page: Open) -> None:
    nonsense = query(range="9y", sentiment="blue", min_confidence="7", order="?", window="1y")
    async with open_page(nonsense) as page:
        await expect(page.locator("input[name=range]:checked")).to_have_value("24h")
        await expect(page.locator("input[name=sentiment]:checked")).to_have_value("")
        await expect(page.locator("#problem")).to_be_hidden()


async def test_dragging_over_the_chart_zooms_and_so_do_keys(open_page: Open) -> None:
    async with open_page(query(**WHOLE)) as page:
        await tile(page, "Conversations")
        chart = page.locator("#chart")
        box = await chart.bounding_box()
        assert box
        middle = box["y"] + box["height"] / 2
        await page.mouse.move(box["x"] + box["width"] * 0.4, middle)
        await page.mouse.down()
        await page.mouse.move(box["x"] + box["width"] * 0.6, middle, steps=4)
        await expect(page.locator("#readout")).to_contain_text(" to ")
        await page.mouse.up()
        await expect(page).not_to_have_url(re.compile(re.escape(query(**WHOLE)[1:60])))
        dragged = await span_of(page)
        assert timedelta(hours=10) < dragged < timedelta(hours=30)

        await expect(page.locator("#page")).not_to_have_attribute("aria-busy", "true")
        await chart.focus()
        for key in ("ArrowRight", "ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight", "Enter"):
            await chart.press(key)
        await expect(page.locator("#page")).not_to_have_attribute("aria-busy", "true")
        assert await span_of(page) == timedelta(hours=3) - timedelta(milliseconds=1)
        await page.go_back()
        assert await span_of(page) == dragged


async def span_of(page: Page) -> timedelta:
    start, end = [await parameter(page, name) for name in ("start_time", "end_time")]
    assert start
    assert end
    return datetime.fromisoformat(end) - datetime.fromisoformat(start)


async def test_own_times_are_those_of_the_reader(open_page: Open) -> None:
    async with open_page(timezone_id="Asia/Kolkata") as page:
        await page.get_by_text("Own", exact=True).click()
        await page.get_by_label("from", exact=True).fill("2025-01-20T05:30:00")
        await page.get_by_label("from", exact=True).press("Tab")
        await expect(page).to_have_url(re.compile("start_time=2025-01-20T00%3A00%3A00.000Z"))


# --- the list -------------------------------------------------------------------------------------


async def test_scrolling_brings_every_page_once(service: ServiceProcess, open_page: Open) -> None:
    total = (await get(service, "insights", **WHOLE))["metadata"]["total_count"]
    async with open_page(query(**WHOLE)) as page:
        await expect(rows(page)).not_to_have_count(0)
        assert await rows(page).count() < total
        while await rows(page).count() < total:
            seen = await rows(page).count()
            await page.mouse.wheel(0, 20_000)
            await expect(rows(page).nth(seen)).to_be_attached()
        ids = await rows(page).evaluate_all("rows => rows.map(row => row.dataset.key)")
        await expect(page.locator("#more")).to_be_hidden()
    assert len(set(ids)) == len(ids) == total


async def test_a_row_opens_and_tells_all_and_closes(
    service: ServiceProcess, open_page: Open
) -> None:
    (first,) = (await get(service, "insights", **WHOLE, author="maple_otter"))["insights"]
    async with open_page(query(**WHOLE, author="maple_otter")) as page:
        opener = page.locator(".opener")
        await opener.click()
        await expect(opener).to_have_attribute("aria-expanded", "true")
        details = page.locator(".details")
        await expect(details).to_contain_text(first["grok_analysis"]["reasoning"])
        await expect(details).to_contain_text("UTC")
        await expect(details).to_contain_text('"likes": 3')
        await expect(details).to_contain_text("Attempts")
        link = details.get_by_role("link")
        await expect(link).to_have_attribute(
            "href", f"/api/v1/conversations/{first['conversation_id']}"
        )
        await opener.click()
        await expect(details).to_be_hidden()


async def test_the_most_urgent_come_first_by_the_rule_that_the_page_states(
    service: ServiceProcess, open_page: Open
) -> None:
    trends = (await get(service, "trends"))["trends"]
    rising = {trend["cluster"] for trend in trends if trend["direction"] != "falling"}
    found = await get(service, "insights", **WHOLE, sentiment="negative", limit=200)

    def urgency(insight: Any) -> float:
        analysis = insight["grok_analysis"]
        weight = 1.5 if rising & set(analysis["clusters"]) else 1
        return float(-analysis["sentiment_score"] * analysis["confidence"] * weight)

    most = max(map(urgency, found["insights"]))
    async with open_page(query(**WHOLE)) as page:
        await page.get_by_text("Most urgent first").click()
        await expect(page.locator("#rule")).to_contain_text("how negative × how sure")
        await expect(page.locator("#covers")).to_contain_text(
            f"of {found['metadata']['total_count']} negative"
        )
        await expect(rows(page).first).to_contain_text(f"urgency {100 * most:.0f}")
        assert await parameter(page, "order") == "urgent"


async def test_hostile_texts_are_shown_as_the_text_that_they_are(open_page: Open) -> None:
    async with open_page(query(**WHOLE, author="<i>mallory</i>")) as page:
        await expect(rows(page)).to_have_count(len(HOSTILE))
        texts = await page.locator("#list .text").all_text_contents()
        for opener in await page.locator(".opener").all():
            await opener.click()
        await expect(page.locator(".details dl")).to_have_count(len(HOSTILE))
        assert sorted(texts) == sorted(text.strip() for text in HOSTILE)
        assert await page.locator("#list").locator("img, script, i, iframe").count() == 0
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
        while await rows(page).count() < len(items):
            seen = await rows(page).count()
            await page.mouse.wheel(0, 40_000)
            await expect(rows(page).nth(seen)).to_be_attached()
        shown = await page.locator("#list .text").all_text_contents()
        assert sorted(shown) == sorted(item["text"].strip() for item in items)
        assert await page.evaluate("document.scripts.length") == 1


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
        await page.get_by_text("Most urgent first").click()
        await expect(rows(page)).to_have_count(3)
        await page.locator("#more").click()
        await expect(rows(page)).to_have_count(6)
        await expect(page.locator("#covers")).to_contain_text("the newest 6 of")


# --- live -----------------------------------------------------------------------------------------


async def test_what_is_posted_appears_by_itself_and_is_counted(
    service: ServiceProcess, open_page: Open
) -> None:
    async with open_page() as page:
        before = int(await tile(page, "Conversations"))
        await is_live(page)
        await submit(service.client, "A brand new complaint: the parcel is lost")
        await expect(rows(page).first).to_contain_text("A brand new complaint")
        await expect(page.locator("#totals .figure").first).to_have_text(str(before + 1))


async def test_a_reader_further_down_is_not_moved_by_what_comes_in(
    service: ServiceProcess, open_page: Open
) -> None:
    async with open_page() as page:
        await is_live(page)
        row = rows(page).nth(20)
        await row.evaluate("row => row.scrollIntoView()")
        await row.scroll_into_view_if_needed()  # that is, wait until it stands still there
        key, place = await row.get_attribute("data-key"), await row.bounding_box()
        await submit_batch(service.client, [f"Late again, number {n}" for n in range(12)])
        await expect(page.locator("#new")).to_have_text("12 new: show")
        assert await rows(page).nth(20).get_attribute("data-key") == key
        assert await rows(page).nth(20).bounding_box() == place
        await page.locator("#new").click()
        await expect(rows(page).first).to_contain_text("Late again")
        await expect(page.locator("#new")).to_be_hidden()
        await expect(page.locator("#list-title")).to_be_focused()
        await expect(rows(page).first).to_be_in_viewport()


async def test_what_comes_in_while_more_is_loaded_stays(
    service: ServiceProcess, open_page: Open
) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        asked.set()
        await go_on.wait()
        await route.continue_()

    async with open_page(query(range="7d")) as page:
        await is_live(page)
        await expect(rows(page)).to_have_count(50)
        await page.route("**/api/v1/insights?*cursor=*", hold)
        await page.locator("#more").evaluate("button => button.click()")
        await asyncio.wait_for(asked.wait(), 10)
        await submit(service.client, "This came in meanwhile: where is my parcel?")
        await expect(rows(page).first).to_contain_text("This came in meanwhile")
        go_on.set()
        await expect(rows(page)).to_have_count(101)
        await expect(rows(page).first).to_contain_text("This came in meanwhile")


async def test_only_what_fits_the_filters_comes_in(
    service: ServiceProcess, open_page: Open
) -> None:
    async with open_page(query(sentiment="positive")) as page:
        await is_live(page)
        await submit_batch(
            service.client, ["This is terrible and broken", "Wonderful, I love it, thank you!"]
        )
        await expect(rows(page).first).to_contain_text("Wonderful")
        assert await page.get_by_text("This is terrible and broken").count() == 0


async def test_what_is_open_and_has_focus_stays_so_while_the_page_renews_itself(
    service: ServiceProcess, open_page: Open
) -> None:
    async with open_page() as page:
        await is_live(page)
        await rows(page).first.locator(".opener").press("Enter")
        details = page.locator(".details dl")
        await expect(details).to_be_visible()
        # Named, since another may come first after the renewal.
        name = await page.locator("#topics button").first.get_attribute("title")
        topic = page.locator(f"#topics button[title='{name}']")
        await topic.focus()
        before = await tile(page, "Conversations")
        await submit_batch(service.client, ["Great app, thanks", "Great app again, thanks"])
        await expect(page.locator("#totals .figure").first).not_to_have_text(before)
        await expect(page.locator("#new")).to_have_text("2 new: show")
        await expect(details).to_be_visible()
        await expect(topic).to_be_focused()


async def test_hundreds_at_once_neither_freeze_nor_flood_the_page(
    service: ServiceProcess, open_page: Open
) -> None:
    async with open_page() as page:
        await is_live(page)
        total = int((await tile(page, "Conversations")).replace(",", ""))
        await page.evaluate(
            "window.longest = 0; let last = performance.now();"
            "setInterval(() => { const now = performance.now();"
            " longest = Math.max(longest, now - last); last = now }, 20)"
        )
        for start in (0, 600):
            texts = [f"The parcel is late, number {start + n}" for n in range(600)]
            await submit_batch(service.client, texts)
        await all_done(service.client, within=60)
        await expect(page.locator("#totals .figure").first).to_have_text(f"{total + 1200:,}")
        assert await rows(page).count() <= 600
        assert await page.evaluate("longest") < 1000


async def test_a_hidden_tab_rests_and_catches_up(service: ServiceProcess, open_page: Open) -> None:
    async with open_page() as page:
        await is_live(page)
        await hide(page, hidden=True)
        await expect(page.locator("#live")).to_have_text("❚❚ Paused")
        await submit(service.client, "While you were away the courier came twice")
        await all_done(service.client)
        await hide(page, hidden=False)
        await expect(rows(page).first).to_contain_text("While you were away")


async def hide(page: Page, *, hidden: bool) -> None:
    await page.evaluate(
        "value => { Object.defineProperty(document, 'hidden', {value, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')) }",
        hidden,
    )


async def test_a_pause_holds_the_page_until_it_is_ended(
    service: ServiceProcess, open_page: Open
) -> None:
    async with open_page() as page:
        await is_live(page)
        await page.get_by_role("button", name="Pause").click()
        await submit(service.client, "Nobody shall see this invoice yet")
        await all_done(service.client)
        assert await page.get_by_text("Nobody shall see").count() == 0
        await page.get_by_role("button", name="Go on").click()
        await expect(rows(page).first).to_contain_text("Nobody shall see")


async def test_a_lost_connection_is_shown_and_mended_without_a_gap(
    service: ServiceProcess, open_page: Open
) -> None:
    async with open_page(in_trouble=True) as page:
        await is_live(page)
        await submit(service.client, "Said before the connection was lost: refund please")
        await expect(rows(page).first).to_contain_text("Said before")
        await service.kill()
        await expect(page.locator("#live")).to_contain_text("Connection lost")
        await expect(page.locator("#problem")).to_contain_text("does not answer")
        await service.start()
        await submit(service.client, "Said while the page was cut off: invoice wrong")
        await is_live(page)
        await expect(rows(page).first).to_contain_text("Said while the page was cut off")
        await expect(page.locator("#problem")).to_be_hidden()


# --- what was not analysed ------------------------------------------------------------------------


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
        async with opened(browser, address(service)) as page:
            unread = rows(page).filter(has_text="riddle")
            await expect(unread).to_contain_text(
                "not analysed: the model's answer could not be read"
            )
            await expect(unread).not_to_contain_text("sure")
            await expect(unread.locator(".mood, .chip")).to_have_count(0)
            other = rows(page).filter(has_text="terrible")
            await expect(other).not_to_contain_text("not analysed")
            await expect(other.locator(".mood")).to_have_count(1)


@pytest.mark.parametrize("notice", ["12 of 40 answers could not be read.", None])
async def test_many_such_answers_are_told(open_page: Open, notice: str | None) -> None:
    async with open_page() as page:
        stats = await page.evaluate("fetch('api/v1/stats').then(answer => answer.json())")
        stats["fallback"] = {"today": 12, "last_hour": 12, "notice": notice}
        await page.route("**/api/v1/stats", lambda route: route.fulfill(json=stats))
        await page.reload()
        await expect(page.locator("#machine")).to_contain_text("Not analysed today")
        await expect(page.locator("#fallback")).to_have_text(notice or "")
        await expect(page.locator("#fallback")).to_be_visible(visible=notice is not None)


# --- export ---------------------------------------------------------------------------------------


async def test_the_export_is_the_view(service: ServiceProcess, open_page: Open) -> None:
    async with open_page(query(**WHOLE, author="<i>mallory</i>", q="late")) as page:
        await expect(rows(page)).to_have_count(1)
        await expect(page.locator("#csv")).to_have_attribute("href", re.compile("q=late"))
        await expect(page.locator("#csv")).to_have_attribute("href", re.compile("bom=true"))
        (exported,) = await exported_rows(page)
    assert "HYPERLINK" in exported["text"]
    assert not exported["text"].startswith("=")


async def exported_rows(page: Page) -> list[dict[str, str]]:
    async with page.expect_download() as started:
        await page.get_by_role("link", name="Export CSV").click()
    download = await started.value
    assert download.suggested_filename.endswith(".csv")
    content = await asyncio.to_thread(Path(await download.path()).read_bytes)
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


# --- for everyone ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark"), (2560, "light")])
async def test_nobody_is_shut_out(open_page: Open, scheme: str, width: int) -> None:
    """axe, over the page with a row open, its tables and its rule shown."""
    async with open_page(
        query(**WHOLE, order="urgent", author="customer3"),
        color_scheme=scheme,
        viewport={"width": width, "height": 900},
    ) as page:
        await rows(page).first.locator(".opener").click()
        await page.locator("#chart-table summary").click()
        await expect(page.locator(".details dl")).to_be_visible()
        assert await serious_faults(page) == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def test_colours_follow_the_system_or_the_readers_choice(open_page: Open) -> None:
    background = "getComputedStyle(document.documentElement).backgroundColor"
    async with open_page(color_scheme="dark") as page:
        dark = await page.evaluate(background)
        await page.locator("#theme").click()
        light = await page.evaluate(background)
        assert (dark, light) == ("rgb(16, 21, 28)", "rgb(243, 245, 248)")
        await page.reload()
        await expect(page.locator("#theme")).to_have_text("Colours: light")
        assert await page.evaluate(background) == light


async def test_everything_can_be_reached_and_done_by_keys(open_page: Open) -> None:
    async with open_page(query(**WHOLE)) as page:
        await expect(rows(page)).not_to_have_count(0)
        first = await rows(page).first.element_handle()
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.locator("#list-title")).to_be_focused()
        assert first
        assert await first.evaluate("row => row.isConnected")
        reached = []
        for _ in range(8):
            await page.keyboard.press("Tab")
            reached.append(await page.evaluate("document.activeElement.className"))
        assert "opener" in reached
        assert "chip" in reached
        while await page.evaluate("document.activeElement.className") != "opener":
            await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.locator(".details dl").first).to_be_visible()
        await page.locator("input[name=sentiment][value='']").focus()
        await page.keyboard.press("ArrowRight")
        await expect(page).to_have_url(re.compile("sentiment=negative"))
        await expect(page.locator("input[name=sentiment][value=negative]")).to_be_focused()


async def test_numbers_and_times_are_in_the_readers_words_with_utc_beside(
    service: ServiceProcess, open_page: Open
) -> None:
    moment = "2024-03-05T20:15:00Z"
    await submit(service.client, "Far east of here", timestamp=moment)
    await all_done(service.client)
    span = query(start_time="2024-03-05T00:00:00Z", end_time="2024-03-06T00:00:00Z")
    async with open_page(span, locale="de-DE", timezone_id="Asia/Tokyo") as page:
        shown = rows(page).first.locator("time")
        await expect(shown).to_have_text("6. März, 05:15")
        await expect(shown).to_have_attribute("title", "2024-03-05 20:15:00 UTC")
        await expect(shown).to_have_attribute("datetime", moment)
        await expect(page.locator("#totals .figure").nth(1)).to_have_text(
            re.compile(r"^.?\d,\d\d$")
        )


async def test_texts_run_in_their_own_direction(open_page: Open) -> None:
    async with open_page(query(**WHOLE, author="<i>mallory</i>")) as page:
        await expect(rows(page)).to_have_count(len(HOSTILE))
        directions = await page.locator("#list .text").evaluate_all(
            "texts => texts.map(text => getComputedStyle(text).direction)"
        )
    assert directions.count("rtl") == 2


async def test_printed_it_shows_figures_and_texts_without_controls(open_page: Open) -> None:
    async with open_page(query(**WHOLE)) as page:
        await expect(rows(page)).not_to_have_count(0)
        await page.emulate_media(media="print")
        await expect(page.locator("#totals")).to_be_visible()
        await expect(rows(page).first.locator(".text")).to_be_visible()
        for control in ("header", "#view", "#more", ".opener >> nth=0"):
            await expect(page.locator(control)).to_be_hidden()


# --- nothing to show, and trouble -----------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def idle(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServiceProcess]:
    """A service that analyses nothing, so that what is in its queue is the tests' to say."""
    folder = tmp_path_factory.mktemp("idle")
    async with ServiceProcess(folder, worker_enabled="false") as service:
        await service.start()
        yield service


async def test_an_empty_database_says_what_to_do_and_who_judges(
    browser: Browser, idle: ServiceProcess
) -> None:
    async with opened(browser, address(idle)) as page:
        await expect(page.locator("#empty")).to_contain_text(
            f"curl http://127.0.0.1:{idle.port}/api/v1/conversations"
        )
        await expect(page.locator("#empty")).to_contain_text(".venv/bin/python ingest_data.py")
        await expect(page.locator("#offline")).to_contain_text("offline analyser")
        assert await serious_faults(page) == []


async def test_an_empty_view_of_a_full_database_leads_to_the_newest(open_page: Open) -> None:
    nothing = query(start_time="1999-01-01T00:00:00Z", end_time="1999-01-02T00:00:00Z")
    async with open_page(nothing) as page:
        await expect(page.locator("#elsewhere")).to_be_visible()
        await page.get_by_role("button", name="Go to the newest").click()
        await expect(rows(page)).not_to_have_count(0)
        await expect(page.locator("#elsewhere")).to_be_hidden()


async def test_what_failed_is_shown_with_its_error_and_can_be_retried(
    browser: Browser, idle: ServiceProcess
) -> None:
    ids = await submit_batch(idle.client, [f"<b>failing</b> {n}" for n in range(7)])
    fail(idle, "the account <i>says no</i>")
    async with opened(browser, address(idle)) as page:
        await expect(page.locator("#failed-total")).to_have_text("7")
        await expect(page.locator("#health")).to_contain_text("7 failed")
        await expect(page.locator("#failed > li")).to_have_count(5)
        await expect(page.locator("#failed > li").first).to_contain_text(
            "the account <i>says no</i>"
        )
        await page.locator("#more-failed").click()
        await expect(page.locator("#failed > li")).to_have_count(7)
        assert await serious_faults(page) == []

        await page.get_by_role("button", name=f"Retry {ids[3]}").click()
        await expect(page.locator("#failed > li")).to_have_count(6)
        await expect(page.locator("#announce")).to_have_text("1 back in the queue.")
        await expect(page.locator("#failed-title")).to_be_focused()
        assert (await get(idle, f"conversations/{ids[3]}"))["status"] == "pending"
        await page.get_by_role("button", name="Retry all").click()
        await expect(page.locator("#failed > li")).to_have_count(0)
        await expect(page.locator("#failed-panel")).to_be_hidden()
        await expect(page.locator("#working-count")).to_have_text("7")
        await expect(page.locator("#machine")).to_contain_text("7 (0 live, 7 bulk)")


def fail(service: ServiceProcess, reason: str) -> None:
    """As the worker does it with what waits."""
    with sqlite3.connect(service.database_file) as connection:
        connection.execute(
            "UPDATE conversations SET status = 'failed', attempts = 3, last_error = ?", (reason,)
        )


async def test_a_refused_question_says_why(open_page: Open) -> None:
    async with open_page(in_trouble=True) as page:
        await expect(rows(page)).not_to_have_count(0)
        await page.route(
            "**/api/v1/insights?*",
            lambda route: route.fulfill(
                status=400, json={"error": "invalid_schema", "details": "q: not like this"}
            ),
        )
        await page.get_by_label("Words").fill("???")
        await page.get_by_label("Words").press("Enter")
        await expect(page.locator("#problem")).to_have_text("q: not like this")


async def test_a_stopped_machine_says_why(open_page: Open) -> None:
    async with open_page() as page:
        stats = await page.evaluate("fetch('/api/v1/stats').then(answer => answer.json())")
        stats["breaker"] = {"state": "open", "reason": "Wrong key.", "next_probe_seconds": 41}
        await page.route("**/api/v1/stats", lambda route: route.fulfill(json=stats))
        await page.reload()
        await expect(page.locator("#health")).to_have_text("✕ Stopped: Wrong key.")
        await expect(page.locator("#trouble")).to_be_visible()
        await expect(page.locator("#machine")).to_contain_text("Wrong key. · next try in 41 s")


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
            for typed in ("wrong", key):
                await page.locator("#key").fill(typed)
                await page.get_by_role("button", name="Use it").click()
            await expect(rows(page)).to_have_count(1)
            await expect(page.locator("#key-dialog")).to_be_hidden()
            await is_live(page)
            assert await page.evaluate("JSON.stringify(localStorage)") == json.dumps(
                {"insights-theme": "auto"}, separators=(",", ":")
            )
            (exported,) = await exported_rows(page)
            assert exported["text"] == "Only for those with a key"
            await page.reload()
            await expect(rows(page)).to_have_count(1)
