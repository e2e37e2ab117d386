"""What the dashboard tells: figures, times, filters, addresses."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.browser import opened, with_browser
from tests.support.dashboard_service import (
    NOW,
    WHOLE,
    Open,
    address,
    get,
    is_live,
    number_of,
    parameter,
    query,
    rows,
    settled,
    tile,
)
from tests.support.http_helpers import all_done, submit, submit_batch
from tests.support.service_process import ServiceProcess

pytestmark = [pytest.mark.slow, pytest.mark.shares_a_fixture, with_browser]

DAY = timedelta(days=1)


# --- figures --------------------------------------------------------------------------------------


async def test_the_figures_are_those_of_the_api(service: ServiceProcess, open_page: Open) -> None:
    summary = await get(service, "insights/summary", **WHOLE, interval="hour")
    totals = summary["totals"]
    async with open_page(query(**WHOLE)) as page:
        await expect(tile(page, "Posts")).to_have_text(str(totals["count"]))
        for name in ("negative", "neutral", "positive"):
            share = f"{totals[name] / totals['count']:.0%}"
            await expect(tile(page, name.title())).to_have_text(share)
        await expect(page.locator("#list-total")).to_have_text(str(totals["count"]))
        await page.get_by_role("link", name="Figures").click()
        table = page.locator("#totals tbody tr")
        await expect(table.nth(1)).to_contain_text(f"({totals['negative']})")
        await expect(table.nth(4)).to_contain_text(f"{totals['average_sentiment']:+.2f}")
        topics = await page.locator("#topic-table tbody tr").evaluate_all(
            "rows => rows.map(row => [row.dataset.key, +row.cells[1].textContent])"
        )
        wanted = [[found["cluster"], found["count"]] for found in summary["clusters"]]
        assert topics == wanted[:25]
        await page.locator("#chart-table summary").click()
        await expect(page.locator("#chart-table tbody tr")).to_have_count(len(summary["series"]))
        shown = await page.locator("#chart-table tbody tr").evaluate_all(
            "rows => rows.map(row => [...row.cells].slice(1, 4).map(cell => +cell.textContent))"
        )
        assert shown == [
            [bucket["negative"], bucket["neutral"], bucket["positive"]]
            for bucket in summary["series"]
        ]


async def test_each_figure_has_an_address_that_tells_the_same(
    service: ServiceProcess, open_page: Open
) -> None:
    async with open_page(query(**WHOLE, sentiment="negative")) as page:
        await settled(page)
        shown = await number_of(tile(page, "Posts"))
        await page.locator("#menu").click()
        links = await page.locator("#data a:not([download])").evaluate_all(
            "all => all.map(a => a.href)"
        )
    answers = {httpx.URL(link).path: (await service.client.get(link)).json() for link in links[:2]}
    answers |= {httpx.URL(link).path: (await service.client.get(link)).json() for link in links[3:]}

    assert answers["/api/v1/insights/summary"]["totals"]["count"] == shown
    assert answers["/api/v1/insights"]["metadata"]["total_count"] == shown
    assert "trends" in answers["/api/v1/trends"]
    assert answers["/api/v1/stats"]["counts"]["completed"]["bulk"] >= shown


def posts(
    count: int, negative: int, *, ago: timedelta, within: timedelta = timedelta(0)
) -> list[dict[str, str]]:
    """So many since a moment, of which so many complain."""
    complaints = [(n + 1) * negative // count > n * negative // count for n in range(count)]
    return [
        {
            "text": "Terrible, my parcel is late" if complains else "Thanks, great service!",
            "timestamp": (NOW - ago + n * within / count).isoformat(),
        }
        for n, complains in enumerate(complaints)
    ]


async def test_a_change_is_called_by_a_statistic_and_never_on_three_posts(
    browser: Browser, tmp_path: Path
) -> None:
    async with ServiceProcess(tmp_path) as service:
        await service.start()
        await submit_batch(
            service.client,
            [
                *posts(100, 20, ago=timedelta(hours=23), within=timedelta(hours=22)),
                *posts(100, 60, ago=timedelta(hours=47), within=timedelta(hours=22)),
                *posts(3, 3, ago=timedelta(days=10)),
                *posts(3, 0, ago=timedelta(days=10, hours=2)),
            ],
        )
        await all_done(service.client, within=30)
        async with opened(browser, f"{address(service)}?range=today") as page:
            few = {
                "start_time": (NOW - timedelta(days=10, hours=1)).isoformat(),
                "end_time": (NOW - timedelta(days=10) + timedelta(hours=1)).isoformat(),
            }
            await page.goto(f"{address(service)}{query(**few)}")
            await expect(page.locator("#totals .change").first).to_be_visible()
            assert await page.locator("#totals :is(.better, .worse)").count() == 0
            await expect(page.locator("#totals")).to_contain_text("too few to compare")

            alone = {
                "start_time": (NOW - timedelta(days=10, hours=4)).isoformat(),
                "end_time": (NOW - timedelta(days=10, hours=1)).isoformat(),
            }
            await page.goto(f"{address(service)}{query(**alone)}")
            await expect(page.locator("#totals .change").first).to_have_text("nothing before")
            await page.goto(f"{address(service)}?range=24h")
            negative = page.locator("#totals [data-name=Negative]")
            await expect(negative.locator(".better")).to_have_text("better than 60%")
            await expect(page.locator("#totals [data-name=Posts]")).to_contain_text(
                "about as before: 100"
            )
            await expect(page.locator("#headline")).to_contain_text(
                "20% negative, better than the day before (60%)"
            )


async def test_a_half_analysed_time_is_not_compared_and_says_what_is_missing(
    browser: Browser, tmp_path: Path
) -> None:
    async with ServiceProcess(tmp_path) as service:
        await service.start()
        earlier = posts(60, 30, ago=timedelta(hours=30))
        await submit_batch(service.client, [*posts(20, 20, ago=timedelta(hours=1)), *earlier])
        await all_done(service.client, within=30)
        await service.kill()
        await service.start(worker_enabled="false")
        await submit_batch(service.client, posts(300, 0, ago=timedelta(hours=1)))
        async with opened(browser, address(service)) as page:
            await expect(page.locator("#provisional")).to_contain_text(
                "300 more are still being analysed"
            )
            changes = page.locator("#totals .change")
            await expect(changes).to_have_text(["so far"] * 4)
            assert await page.locator(".better, .worse, .topic .change:not(:empty)").count() == 0
            await expect(page.locator("#health")).to_contain_text("Analysing 300")


async def test_customers_and_machine_are_two_signs_and_an_outage_is_the_headline(
    browser: Browser, tmp_path: Path
) -> None:
    async with ServiceProcess(tmp_path) as service:
        await service.start()
        moments = [NOW - timedelta(hours=2 + n) for n in range(20)]
        quiet = [{"text": "Nice shop", "timestamp": moment.isoformat()} for moment in moments]
        async with opened(browser, address(service)) as page:
            await is_live(page)
            await expect(page.locator("#customers")).to_have_text("Customers: no posts for a day")
            await submit_batch(service.client, quiet[1:])
            # Within the 40 seconds that are waited, though it is asked for once a minute at rest.
            await expect(page.locator("#customers")).to_have_text("Customers: not known yet")
            await submit_batch(service.client, quiet[:1])
            await expect(page.locator("#customers")).to_have_text("Customers: as usual")
            await expect(page.locator("#health")).to_contain_text("Analysis running")
            await expect(page).to_have_title("Insights")
            loud = [
                {"text": f"Terrible: the parcel {n} is late again", "timestamp": NOW.isoformat()}
                for n in range(40)
            ]
            await submit_batch(service.client, loud)
            await all_done(service.client)
            await page.reload()
            await expect(page.locator("#customers")).to_contain_text("Delivery problems: 40")
            await expect(page.locator("#alarm")).to_contain_text(
                "Delivery problems: 40 posts in the last hour, usually none"
            )
            await expect(page).to_have_title("▲ Delivery problems 40 · Insights")
            await expect(page.locator("#health")).to_contain_text("Analysis running")
            await page.get_by_role("link", name="Show these").click()
            await expect(page.locator("#list-total")).to_have_text("40")
            assert await parameter(page, "cluster") == "delivery_problems"
            await page.goto(address(service) + query(**WHOLE))
            await page.get_by_role("link", name="Delivery problems: 40").click()
            await expect(page).to_have_url(re.compile(r"\?range=1h&cluster=delivery_problems$"))
            await expect(page.locator("#list-total")).to_have_text("40")


# --- the view and its address ---------------------------------------------------------------------


async def test_filters_live_in_the_address_and_back_undoes_them(
    service: ServiceProcess, open_page: Open
) -> None:
    async with open_page(query(**WHOLE)) as page:
        await settled(page)
        everything = await number_of(page.locator("#list-total"))
        await page.get_by_label("Mood").select_option("negative")
        await expect(page).to_have_url(re.compile("sentiment=negative"))
        await page.goto(page.url + "&author=customer3")
        wanted = await get(service, "insights", **WHOLE, sentiment="negative", author="customer3")
        assert wanted["metadata"]["total_count"] == 20
        await expect(page.locator("#list-total")).to_have_text("20")
        await expect(rows(page)).to_have_count(20)
        await expect(tile(page, "Posts")).to_have_text("20")
        await page.get_by_role("button", name="Without customer3").click()
        await expect(page.locator("#list-total")).not_to_have_text("20")
        await page.go_back()
        await expect(rows(page)).to_have_count(20)
        await page.go_back()
        await page.go_back()
        await expect(page.locator("#list-total")).to_have_text(str(everything))


async def test_a_topic_that_is_clicked_leaves_the_others_one_click_away(
    service: ServiceProcess, open_page: Open
) -> None:
    async with open_page(query(**WHOLE)) as page:
        topics = page.locator("#topics button")
        await expect(topics.first).to_be_visible()
        before = await topics.all_inner_texts()
        topic = page.locator("#topics button", has_text="billing problems")
        await topic.click()
        await expect(topic).to_have_attribute("aria-pressed", "true")
        wanted = await get(service, "insights", **WHOLE, cluster="billing_problems")
        await expect(rows(page)).to_have_count(wanted["metadata"]["total_count"])
        assert await parameter(page, "cluster") == "billing_problems"
        await settled(page)
        assert await topics.all_inner_texts() == before
        await topic.click()
        assert await parameter(page, "cluster") is None


async def test_what_makes_no_sense_in_the_address_is_left_out(open_page: Open) -> None:
    nonsense = query(
        range="9y", sentiment="blue", min_confidence="7", order="?", open="me", page="4"
    )
    async with open_page(nonsense) as page:
        await settled(page)
        await expect(page.get_by_label("Time", exact=True)).to_have_value("24h")
        await expect(page.get_by_label("Mood")).to_have_value("")
        await expect(page.locator("#problem, #open")).to_have_count(0)


# --- times ----------------------------------------------------------------------------------------


async def test_dragging_over_the_chart_zooms_and_so_do_keys(open_page: Open) -> None:
    async with open_page(query(**WHOLE)) as page:
        chart = page.locator("#chart")
        await expect(chart).to_be_visible()
        await settled(page)
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

        await settled(page)
        await expect(chart).to_be_visible()
        await chart.focus()
        for key in ("ArrowRight", "ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight", "Enter"):
            await chart.press(key)
        await settled(page)
        assert await span_of(page) == timedelta(hours=3) - timedelta(milliseconds=1)
        await page.go_back()
        assert await span_of(page) == dragged


async def span_of(page: Page) -> timedelta:
    start, end = [await parameter(page, name) for name in ("start_time", "end_time")]
    assert start
    assert end
    return datetime.fromisoformat(end) - datetime.fromisoformat(start)


async def test_a_date_is_typed_key_by_key(open_page: Open) -> None:
    """A year's first digit is no year: nothing is asked for before it is whole."""
    async with open_page(timezone_id="Asia/Kolkata") as page:
        await settled(page)
        await page.get_by_label("Time", exact=True).select_option("own")
        asked: list[str] = []
        page.on(
            "request", lambda request: asked.append(request.url) if "0002" in request.url else None
        )
        first = page.get_by_label("from", exact=True)
        await first.focus()
        await page.keyboard.type("012020250530AM", delay=20)
        await expect(first).to_be_focused()
        await expect(first).to_have_value("2025-01-20T05:30")
        entries = await page.evaluate("history.length")
        await page.get_by_label("to", exact=True).focus()
        await page.keyboard.type("012120250530AM", delay=20)
        assert await page.evaluate("history.length") == entries
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(re.compile("start_time=2025-01-20T00%3A00%3A00.000Z"))
        await expect(page).to_have_url(re.compile("end_time=2025-01-21T00%3A00%3A00.000Z"))
        await expect(page.get_by_label("Time", exact=True)).to_have_value("own")
        assert asked == []


async def test_an_end_before_its_start_is_told(open_page: Open) -> None:
    async with open_page(query(**WHOLE)) as page:
        await page.get_by_label("from", exact=True).fill("2030-01-20T05:30")
        await page.get_by_role("button", name="Show", exact=True).click()
        await expect(page.locator(".own .note")).to_contain_text("The end is before the start.")
        assert await parameter(page, "start_time") == WHOLE["start_time"]


SPACE_BETWEEN_DATES = """() => {
    const texts = [...document.querySelectorAll(".axis text")];
    const seen = texts.map((text) => text.getBoundingClientRect()).filter(({ width }) => width);
    return Math.min(999, ...seen.slice(1).map(({ left }, at) => left - seen[at].right));
}"""


async def test_old_posts_are_found_at_once(browser: Browser, tmp_path: Path) -> None:
    """Of 2008 to 2017, so over more days than one answer of the API holds."""
    async with ServiceProcess(tmp_path) as service:
        await service.start()
        days = [datetime(2008, 5, 1, tzinfo=UTC) + n * timedelta(days=173) for n in range(21)]
        texts = [{"text": f"Post {n}", "timestamp": day.isoformat()} for n, day in enumerate(days)]
        await submit_batch(service.client, texts)
        await all_done(service.client)
        async with opened(browser, address(service)) as page:
            notice = page.locator("#elsewhere")
            await expect(notice).to_contain_text("The newest post is of Oct 21, 2017")
            await expect(notice).not_to_contain_text("filters")
            await page.get_by_role("button", name="Show all 21").click()
            await expect(rows(page)).to_have_count(21)
            await expect(tile(page, "Posts")).to_have_text("21")
            await expect(page.locator("#list-total")).to_have_text("21")
            await expect(rows(page).first.locator("time")).to_contain_text("2017")
            await expect(page.locator(".axis")).to_contain_text("2008")
            await page.go_back()
            await page.get_by_role("button", name="The last week of it").click()
            await expect(rows(page)).to_have_count(1)
            long = query(start_time="1990-01-01T00:00:00Z", end_time="2030-01-01T00:00:00Z")
            await page.goto(address(service) + long)
            await expect(tile(page, "Posts")).to_have_text("21")
            await page.set_viewport_size({"width": 320, "height": 740})
            for number in range(4, 15):
                start = datetime(2017, 10, 22, tzinfo=UTC) - timedelta(days=number)
                period = {"start_time": f"{start:%Y-%m-%d}T00:00:00Z", "order": "newest"}
                await page.goto(address(service) + query(end_time="2017-10-22T00:00:00Z", **period))
                await expect(page.locator(".axis")).to_contain_text("2017")
                assert await page.evaluate(SPACE_BETWEEN_DATES) > 3
            await page.goto(
                address(service)
                + query(start_time="0100-01-01T00:00:00Z", end_time="2030-01-01T00:00:00Z")
            )
            await expect(page.locator("#problem")).to_contain_text("longer than can be shown")


async def test_each_time_is_the_readers(service: ServiceProcess, open_page: Open) -> None:
    asked: list[httpx.URL] = []
    async with open_page(timezone_id="Pacific/Auckland") as page:
        await settled(page)
        local = await page.evaluate("new Date().toString()")
        page.on("request", lambda request: asked.append(httpx.URL(request.url)))
        for name in ("3h", "today", "yesterday", "week", "lastweek", "30d"):
            asked.clear()
            await page.get_by_label("Time", exact=True).select_option(name)
            await settled(page)
            _expect_asked(name, asked, _zone(local))


def _expect_asked(name: str, asked: list[httpx.URL], zone: Any) -> None:
    # The sign of what is to be answered next asks for one, whenever it likes.
    page, *_ = (
        url.params
        for url in asked
        if url.path == "/api/v1/insights" and url.params.get("limit") == "50"
    )
    start, end = (
        datetime.fromisoformat(page[key]).astimezone(zone) for key in ("start_time", "end_time")
    )
    if name in ("today", "yesterday", "week", "lastweek"):
        assert (start.hour, start.minute, start.second) == (0, 0, 0), name
    if name in ("week", "lastweek"):
        assert start.weekday() == 0, name
    lengths = {"3h": timedelta(hours=3), "yesterday": DAY, "lastweek": 7 * DAY, "30d": 30 * DAY}
    if name in lengths:
        assert abs(end - start - lengths[name]) <= timedelta(hours=1), name  # clocks may change


def _zone(local: str) -> Any:
    found = re.search(r"GMT([+-]\d\d)(\d\d)", local)
    assert found
    return datetime.strptime("".join(found.groups()), "%z").tzinfo


async def test_a_period_that_moves_moves_for_everything(
    service: ServiceProcess, open_page: Open
) -> None:
    """The browser's clock goes on by eight hours: tile, list and its number go with it."""
    async with open_page("?range=1h") as page:
        await submit(service.client, "Now or never: the refund")
        await all_done(service.client)
        await page.clock.install()
        await page.reload()
        await expect(tile(page, "Posts")).not_to_have_text("0")
        await expect(rows(page)).not_to_have_count(0)
        await page.clock.fast_forward("08:00:00")
        await expect(page.locator("#elsewhere")).to_be_visible()
        await expect(tile(page, "Posts")).to_have_text("0")
        await expect(page.locator("#list-total")).to_have_text("0")
        await expect(rows(page)).to_have_count(0)
