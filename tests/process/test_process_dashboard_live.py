"""What comes in while the page of the dashboard is open: seen at once, and moving nothing."""

import asyncio

import pytest
from playwright.async_api import Page, Route, expect

from tests.support.browser import with_browser
from tests.support.dashboard_service import (
    Open,
    is_live,
    number_of,
    query,
    rows,
    tile,
)
from tests.support.desk import handle, keys_work, post, to_answer
from tests.support.http_helpers import all_done, submit, submit_batch
from tests.support.service_process import ServiceProcess

pytestmark = [pytest.mark.slow, pytest.mark.shares_a_fixture, with_browser]


async def test_what_is_posted_appears_by_itself_and_is_counted(
    service: ServiceProcess, open_page: Open
) -> None:
    async with open_page() as page:
        before = await number_of(tile(page, "Posts"))
        await is_live(page)
        await submit(service.client, "A brand new complaint: the parcel is lost")
        await expect(rows(page).first).to_contain_text("A brand new complaint")
        await expect(tile(page, "Posts")).to_have_text(str(before + 1))
        await expect(page.locator("#list-total")).to_have_text(str(before + 1))


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
        now = await rows(page).nth(20).bounding_box()
        assert place
        assert now
        assert abs(now["y"] - place["y"]) < 1
        await page.locator("#new").click()
        await expect(rows(page).first).to_contain_text("Late again")
        await expect(page.locator("#new")).to_have_count(0)
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

    async with open_page(query(range="7d"), viewport={"width": 1280, "height": 400}) as page:
        await page.route("**/api/v1/insights?*cursor=*", hold)
        await is_live(page)
        await expect(rows(page)).to_have_count(50)
        await page.locator("#more").evaluate("button => button.click()")
        await asyncio.wait_for(asked.wait(), 10)
        await submit(service.client, "This came in meanwhile: where is my parcel?")
        await expect(rows(page).first).to_contain_text("This came in meanwhile")
        go_on.set()
        await expect(rows(page).nth(100)).to_be_attached()
        await expect(rows(page).first).to_contain_text("This came in meanwhile")


async def test_only_what_fits_the_filters_comes_in(
    service: ServiceProcess, open_page: Open
) -> None:
    async with open_page(query(sentiment="positive", cluster="praise")) as page:
        await is_live(page)
        await expect(rows(page)).not_to_have_count(0)
        await submit_batch(
            service.client, ["The courier lost my parcel, awful", "Great service, thanks a lot!"]
        )
        await expect(rows(page).first).to_contain_text("Great service, thanks a lot!")
        assert await page.get_by_text("The courier lost my parcel, awful").count() == 0


async def test_what_is_open_and_what_is_focused_survive_what_comes_in(
    service: ServiceProcess, open_page: Open
) -> None:
    async with open_page() as page:
        await is_live(page)
        await rows(page).nth(3).locator(".opener").click()
        details = page.locator("#open dl").first
        await expect(details).to_be_visible()
        await page.locator("#topics button", has_text="praise").focus()
        before = await tile(page, "Posts").inner_text()
        await submit_batch(service.client, ["The invoice is wrong", "Wonderful, thanks"])
        await expect(tile(page, "Posts")).not_to_have_text(before)
        await expect(details).to_be_visible()
        await expect(page.locator("#topics button", has_text="praise")).to_be_focused()


async def test_hundreds_at_once_neither_freeze_nor_flood_the_page(
    service: ServiceProcess, open_page: Open
) -> None:
    async with open_page() as page:
        await is_live(page)
        total = await number_of(tile(page, "Posts"))
        await page.evaluate(
            "window.longest = 0; let last = performance.now();"
            "setInterval(() => { const now = performance.now();"
            " longest = Math.max(longest, now - last); last = now }, 20)"
        )
        for start in (0, 600):
            texts = [f"The parcel is late, number {start + n}" for n in range(600)]
            await submit_batch(service.client, texts)
        await all_done(service.client, within=60)
        await expect(tile(page, "Posts")).to_have_text(f"{total + 1200:,}")
        assert await rows(page).count() <= 600
        assert await page.evaluate("longest") < 1000


async def test_a_hidden_tab_rests_and_catches_up(service: ServiceProcess, open_page: Open) -> None:
    async with open_page() as page:
        await is_live(page)
        await hide(page, hidden=True)
        await expect(page.locator("#live")).to_have_text("❚❚ Resting")
        await submit(service.client, "While you were away the courier came twice")
        await all_done(service.client)
        await hide(page, hidden=False)
        await expect(rows(page).first).to_contain_text("While you were away")


async def test_what_others_did_while_a_tab_was_hidden_is_shown_though_its_list_may_not_move(
    service: ServiceProcess, open_page: Open
) -> None:
    await post(service, "hidden", [f"The parcel {n} is late, awful" for n in range(3)])
    async with open_page(to_answer("hidden")) as page:
        await is_live(page)
        await rows(page).nth(0).locator(".opener").focus()
        id_ = await rows(page).nth(1).get_attribute("data-key")
        assert id_
        await hide(page, hidden=True)
        await handle(service, id_, state="answered", by="ben")
        await hide(page, hidden=False)
        await expect(page.locator(f"[data-key={id_}]")).to_contain_text("answered by ben")
        await expect(page.locator("#list-total")).to_have_text("2")
        await expect(rows(page)).to_have_count(3)


async def test_what_others_did_meanwhile_is_shown_beyond_the_first_rows(
    service: ServiceProcess, open_page: Open
) -> None:
    async with open_page(query(range="7d", order="newest")) as page:
        await is_live(page)
        await expect(rows(page)).to_have_count(50)
        await page.locator("#more").evaluate("button => button.click()")
        await expect(rows(page).nth(90)).to_be_attached()
        first, second = [await rows(page).nth(at).get_attribute("data-key") for at in (80, 90)]
        assert first
        assert second
        await hide(page, hidden=True)
        await handle(service, first, state="answered", by="ben")
        await hide(page, hidden=False)
        await expect(page.locator(f"[data-key={first}]")).to_contain_text("answered by ben")
        await page.locator(".views a", has_text="Negative").click()
        await expect(page.locator(f"[data-key={first}]")).to_have_count(0)
        await handle(service, second, state="ignored", by="ben")
        await page.go_back()
        await expect(page.locator(f"[data-key={second}]")).to_contain_text("ignored by ben")


async def test_a_plan_is_seen_in_all_rows(service: ServiceProcess, open_page: Open) -> None:
    await post(service, "many", [f"The parcel {n} is late, awful" for n in range(300)])
    wanted = {"kind": "label", "filter": {"author": "many"}, "set": {"sentiment": "positive"}}
    plan = await service.client.post("/api/v1/plans", json={**wanted, "by": "ben"})
    async with open_page(query(author="many", order="newest")) as page:
        await is_live(page)
        for loaded in range(50, 300, 50):
            await expect(rows(page)).to_have_count(loaded)
            await page.locator("#more").evaluate("button => button.click()")
        await expect(rows(page)).to_have_count(300)
        await service.client.post(f"/api/v1/plans/{plan.json()['plan_id']}/apply")
        await expect(rows(page).filter(has_text="✎ ben").filter(has_text="▲")).to_have_count(300)


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
        await page.locator("#menu").click()
        await page.get_by_role("button", name="Pause").click()
        await expect(page.locator("#live")).to_have_text("❚❚ Paused")
        await submit(service.client, "Nobody shall see this invoice yet")
        await all_done(service.client)
        assert await page.get_by_text("Nobody shall see").count() == 0
        await page.get_by_role("button", name="Resume").click()
        await page.keyboard.press("Escape")
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
        await expect(page.locator("#problem, #trouble").first).to_contain_text("does not answer")
        await service.start()
        await submit(service.client, "Said while the page was cut off: invoice wrong")
        await is_live(page)
        await expect(rows(page).first).to_contain_text("Said while the page was cut off")
        await expect(page.locator("#problem, #trouble")).to_have_count(0)


@pytest.mark.parametrize("file", ["next.js", "hub.js", "more.css"])
async def test_what_cannot_be_loaded_at_first_is_loaded_once_the_service_is_back(
    open_page: Open, file: str
) -> None:
    refused = 0

    async def refuse_twice(route: Route) -> None:
        nonlocal refused
        refused += 1
        await (route.abort() if refused <= 2 else route.continue_())

    async with open_page(in_trouble=True) as page:
        # What a worker asks for cannot be refused here.
        await page.add_init_script("delete window.SharedWorker")
        await page.route(f"**/dashboard/{file}", refuse_twice)
        await page.reload()
        await is_live(page)
        await keys_work(page)
        assert refused == 3
        await expect(page.locator("link[href$='more.css']")).to_have_count(1)
