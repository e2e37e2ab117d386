"""The dashboard as a desk: what is answered first and by whom."""

import re
from datetime import datetime, timedelta

import pytest
from playwright.async_api import Browser, expect

from tests.support.browser import opened, serious_faults, with_browser
from tests.support.dashboard_service import (
    NOW,
    address,
    get,
    is_live,
    number_of,
    parameter,
    query,
    rows,
    settled,
)
from tests.support.desk import at_work, claim, handle, handled, keys_work, post, said, to_answer
from tests.support.http_helpers import all_done, eventually, submit_batch
from tests.support.service_process import ServiceProcess

WHOLE_WEEK = {
    "start_time": (NOW - timedelta(days=7)).isoformat(),
    "end_time": (NOW + timedelta(days=1)).isoformat(),
}

TEXT_UNDER_LINK = """row => {
    const link = row.querySelector(".original").getBoundingClientRect();
    const within = row.getBoundingClientRect();
    return [".text", ".facts"].flatMap((part) => {
        const all = document.createRange();
        all.selectNodeContents(row.querySelector(part));
        return [...all.getClientRects()];
    }).filter(({ left, right, top, bottom }) => left < link.right && right > link.left
        && top < link.bottom && bottom > link.top && top < within.bottom)
        .map((box) => JSON.stringify([box, link]));
}"""
"""The lines of a row on which its link to the original lies."""

pytestmark = [pytest.mark.slow, pytest.mark.shares_a_fixture, with_browser]


async def test_whom_to_answer_first_comes_first_and_says_why(
    browser: Browser, desk: ServiceProcess
) -> None:
    old = {
        "text": "Where is my refund?",
        "author": "first",
        "timestamp": (NOW - timedelta(days=5)).isoformat(),
    }
    await submit_batch(desk.client, [old])
    await post(desk, "first", ["Thanks!", "Terrible, the parcel is late again", "Hello there"])
    found = await get(desk, "insights", order="priority", author="first")
    async with opened(browser, address(desk) + to_answer("first")) as page:
        await settled(page)
        ids = await rows(page).evaluate_all("rows => rows.map(row => row.dataset.key)")
        assert ids == [each["conversation_id"] for each in found["insights"]]
        await expect(rows(page).first).to_contain_text(re.compile(r"waits \d+ min"))
        await expect(page.locator("#missed")).to_have_text("1 older one is still open")
        await rows(page).first.locator(".opener").click()
        await page.locator("#points summary").click()
        terms = await page.locator("#points tbody td:last-child").all_inner_texts()
        together = await page.locator("#points tfoot td").inner_text()
        assert f"{sum(map(float, terms)):.4f}" == together
        await page.locator("#missed").click()
        await expect(page.locator("#list-total")).to_have_text("1")
        await expect(page.locator("#list")).to_contain_text("Where is my refund?")


async def test_older_ones_that_are_still_open_are_listed_by_the_same_filter(
    browser: Browser, desk: ServiceProcess
) -> None:
    """As many as the number says."""
    late, thanks, days = "The parcel is late, terrible", "Thanks, great!", timedelta(days=5)
    await post(desk, "older", [late, late, late, thanks], ago=days)
    await post(desk, "older", [late, thanks])
    await post(desk, "another", [late], ago=days)
    done = (await get(desk, "insights", author="older", **WHOLE_WEEK))["insights"][-2]
    await handle(desk, done["conversation_id"], state="answered", by="bob")
    filters = {"author": "older", "sentiment": "negative"}
    async with opened(browser, address(desk) + query(order="priority", **filters)) as page:
        await settled(page)
        await expect(page.locator("#missed")).to_have_text("2 older ones are still open")
        await page.locator("#missed").click()
        await settled(page)
        await expect(page.locator("#list-total")).to_have_text("2")
        await expect(rows(page)).to_have_count(2)
        await expect(page.locator("#headline")).to_contain_text("2 posts until ")
        await expect(page.locator("#live")).to_have_text("■ Fixed time")
        times = await rows(page).locator("time").evaluate_all("all => all.map(one => one.dateTime)")
        assert times == sorted(times, reverse=True)
        for name, value in {**filters, "handling": "open"}.items():
            assert await parameter(page, name) == value
        await page.reload()
        await settled(page)
        await expect(page.locator("#list-total")).to_have_text("2")
        await page.get_by_role("button", name=re.compile("^Without until ")).click()
        await expect(page.locator("#list-total")).to_have_text("3")
        assert await parameter(page, "end_time") is None


async def test_posts_are_handled_by_keys_and_each_deed_can_be_undone(
    browser: Browser, desk: ServiceProcess
) -> None:
    await post(desk, "keys", [f"The parcel {n} is late" for n in range(5)])
    async with opened(browser, address(desk) + to_answer("keys")) as page:
        await keys_work(page)
        await page.keyboard.press("j")
        await page.keyboard.press("c")
        await page.locator("#me").fill("ana")  # asked for once
        await page.keyboard.press("Enter")
        await expect(rows(page).first.locator(".handled")).to_contain_text("yours until")
        await said(page, "It is yours for 15 minutes.")
        first = await rows(page).first.get_attribute("data-key")
        for key, state in (("a", "answered"), ("i", "ignored")):
            await page.keyboard.press(key)
            # On to the next, while what is done stays in sight.
            done = page.locator(".row.taken .handled", has_text=f"{state} by you")
            await expect(done).to_be_visible()
        await page.keyboard.press("s")
        await page.get_by_role("button", name="1 hour").click()
        await said(page, "Snoozed.")
        await expect(page.locator(".row:not(.taken) .opener:focus")).to_be_visible()
        await page.keyboard.press("u")
        await said(page, "Open again.")
        await page.keyboard.press("u")
        await said(page, "There is nothing to undo any more.")
        states = await handled(desk, "keys")
        assert sorted(states.values()) == ["answered", "ignored", "open", "open", "open"]
        assert states[str(first)] == "answered"
        await page.reload()
        await settled(page)
        await expect(page.locator("#list-total")).to_have_text("3")
        await page.locator(".views a", has_text="Answered").click()
        await expect(rows(page)).to_have_count(1)
        await page.locator("#list .opener").click()
        await page.locator("#open").get_by_role("button", name="Open again").click()
        await said(page, "Open again.")
    assert (await handled(desk, "keys"))[str(first)] == "open"


async def test_undoing_gives_back_who_had_dealt_with_a_post_and_until_when(
    browser: Browser, desk: ServiceProcess
) -> None:
    until = (NOW + timedelta(days=2)).isoformat().replace("+00:00", "Z")
    deeds = [{"state": "answered"}, {"state": "ignored"}, {"state": "snoozed", "until": until}]
    await post(desk, "undone", [f"The parcel {n} is late" for n in range(len(deeds))])
    ids = list(await handled(desk, "undone"))
    for id_, deed in zip(ids, deeds, strict=True):
        await handle(desk, id_, by="bob", **deed)
    async with opened(browser, address(desk) + query(author="undone")) as page:
        await at_work(page, "ana")
        for id_, deed in zip(ids, deeds, strict=True):
            await page.locator(f".opener[data-id='{id_}']").focus()
            await page.keyboard.press("a" if deed["state"] == "ignored" else "i")
            await said(page, re.compile("^(Answered|Ignored)"))
            await page.keyboard.press("u")
            await said(page, f"As before: {deed['state']} by bob")
            row = page.locator(f"#list [data-key='{id_}'] .handled")
            await expect(row).to_contain_text(f"{deed['state']} by bob")
    for id_, deed in zip(ids, deeds, strict=True):
        stored = await get(desk, f"conversations/{id_}/handling")
        assert (stored["state"], stored["by"]) == (deed["state"], "bob")
        assert stored["until"] == deed.get("until")
        assert stored["history"][-1]["note"] == "undone by ana"


async def test_what_a_colleague_holds_is_asked_about_first_and_undoing_gives_the_claim_back(
    browser: Browser, desk: ServiceProcess
) -> None:
    words = {
        "answered": "Answer it anyway",
        "ignored": "Ignore it anyway",
        "snoozed": "Snooze it anyway",
        "claimed": "Take it over",
        "open": "Open it anyway",
    }
    await post(desk, "held", [f"The parcel {n} is late" for n in range(len(words))])
    ids = list(await handled(desk, "held"))
    ends = {}
    for id_ in ids:
        await claim(desk, id_, "bob", minutes=120)
        ends[id_] = (await get(desk, f"conversations/{id_}/handling"))["until"]
    async with opened(browser, address(desk) + query(author="held")) as page:
        await at_work(page, "ana")
        for id_, (state, button) in zip(ids, words.items(), strict=True):
            await page.locator(f".opener[data-id='{id_}']").click()
            if state == "open":
                await page.locator("#open").get_by_role("button", name="Open again").click()
            else:
                await page.keyboard.press({"claimed": "c", "snoozed": "s"}.get(state, state[0]))
            if state == "snoozed":
                await page.get_by_role("button", name="1 hour").click()
            await said(page, re.compile("^bob has it until"))
            # Nothing is done before the answer, and the next post is not gone to.
            await expect(page.locator("#handled")).to_have_text(re.compile("^bob has it until"))
            assert (await handled(desk, "held"))[id_] == "claimed"
            await page.locator("#toast-more", has_text=button).click()
            await expect(page.locator("#undo")).to_be_visible()
            assert (await handled(desk, "held"))[id_] == state
            await page.locator("#undo").click()
            await said(page, re.compile("^As before: bob has it until"))
            stored = await get(desk, f"conversations/{id_}/handling")
            assert (stored["state"], stored["by"]) == ("claimed", "bob")
            moved = datetime.fromisoformat(stored["until"]) - datetime.fromisoformat(ends[id_])
            assert abs(moved) < timedelta(minutes=2)  # and not 15 minutes from now
            await page.keyboard.press("Escape")


async def test_a_claim_that_the_page_has_not_heard_of_is_asked_about_too(
    browser: Browser, desk: ServiceProcess
) -> None:
    await post(desk, "unheard", ["The parcel is late"])
    (id_,) = await handled(desk, "unheard")
    async with opened(browser, address(desk) + query(author="unheard")) as page:
        await at_work(page, "ana")
        await page.locator("#menu").click()
        await page.locator("#pause").click()
        await claim(desk, id_, "bob")
        await page.locator("#list .opener").focus()
        await page.keyboard.press("a")
        await said(page, re.compile("^bob has it until"))
        assert (await handled(desk, "unheard"))[id_] == "claimed"
        await page.locator("#toast-more", has_text="Answer it anyway").click()
        await said(page, "Answered.")


async def test_single_keys_can_be_switched_off(browser: Browser, desk: ServiceProcess) -> None:
    await post(desk, "dictated", ["The parcel is late"])
    async with opened(browser, address(desk) + to_answer("dictated")) as page:
        await at_work(page, "ana")
        await page.locator("#menu").click()
        await page.locator("#keys-switch").click()
        await page.reload()
        await settled(page)
        await expect(page.locator(".toast-place")).to_be_attached()
        await page.locator("#list .opener").focus()
        for key in "ca0?":
            await page.keyboard.press(key)
        await page.keyboard.press("Enter")
        await expect(page.locator("#open")).to_be_visible()
        assert set((await handled(desk, "dictated")).values()) == {"open"}


async def test_two_people_side_by_side_see_at_once_what_the_other_does(
    browser: Browser, desk: ServiceProcess
) -> None:
    await post(desk, "shift", ["The parcel is late", "The app crashes", "Where is my refund?"])
    url = address(desk) + to_answer("shift")
    two = (opened(browser, url, in_trouble=True) for _ in range(2))
    async with next(two) as ana, next(two) as ben:
        for page, name in ((ana, "ana"), (ben, "ben")):
            await at_work(page, name)
            await is_live(page)
            await expect(rows(page)).to_have_count(3)
        reading = ben.locator("#list .opener").first
        await reading.focus()  # who reads is not moved
        await ana.keyboard.press("j")
        await ana.keyboard.press("c")
        await expect(rows(ben).first).to_have_class(re.compile("taken"))
        await expect(rows(ben).first.locator(".handled")).to_contain_text("ana has it until")
        await ben.keyboard.press("c")
        await said(ben, re.compile("^ana has it until"))
        await ben.locator("#toast-more", has_text="Take it over").click()
        await expect(rows(ana).first.locator(".handled")).to_contain_text("ben has it until")
        await reading.click()
        await ana.keyboard.press("k")
        await ana.keyboard.press("c")
        await ana.locator("#toast-more").click()
        await expect(ben.locator("#handled")).to_have_text(re.compile("^ana has it until"))
        await ben.locator("#open").get_by_role("button", name="Take it over").click()
        await expect(rows(ana).first.locator(".handled")).to_contain_text("ben has it until")
        await ben.keyboard.press("Escape")
        # By its text: what another has claimed leaves a list that no hand is on.
        await ana.locator("#list .opener", has_text="Where is my refund?").focus()
        await ana.keyboard.press("a")
        row = rows(ben).filter(has_text="Where is my refund?")
        await expect(row.locator(".handled")).to_contain_text("answered by ana")
        await expect(rows(ben)).to_have_count(3)


@pytest.mark.parametrize("width", [360, 1280, 1920])
async def test_the_link_to_the_original_lies_on_no_text(
    browser: Browser, desk: ServiceProcess, width: int
) -> None:
    author, raw = f"linked{width}", {"url": "https://forum.example/posts/1"}
    texts = ["Where is it?", "w" * 2000, "Where is my parcel, and " * 40, "أين طردي؟ " * 100]
    at = (NOW - timedelta(minutes=1)).isoformat()
    await submit_batch(
        desk.client,
        [{"text": text, "author": author, "timestamp": at, "raw_data": raw} for text in texts],
    )
    await all_done(desk.client, within=30)
    url = address(desk) + query(author=author)
    async with opened(browser, url, viewport={"width": width, "height": 900}) as page:
        await keys_work(page)
        await expect(rows(page)).to_have_count(len(texts))
        for number in range(len(texts)):
            row = rows(page).nth(number)
            await row.locator(".opener").focus()
            await expect(row.locator(".original")).to_be_visible()
            assert await row.evaluate(TEXT_UNDER_LINK) == []


async def test_who_has_what_is_seen_however_old_it_is(
    browser: Browser, desk: ServiceProcess
) -> None:
    await post(desk, "elder", ["The parcel is late"], ago=timedelta(hours=40))
    (id_,) = await handled(desk, "elder")
    await claim(desk, id_, "ben")
    async with opened(browser, address(desk)) as page:
        claimed = page.locator(".views a", has_text="Claimed")
        await claimed.click()
        row = page.locator(f"#list [data-key='{id_}'] .handled")
        await expect(row).to_have_text(re.compile("^ben has it until"))
        number, total = claimed.locator(".number"), page.locator("#list-total")

        async def agree() -> bool:
            return await number_of(number) == await number_of(total)

        await eventually(agree, what="the view counts what its list does")


async def test_who_hears_the_page_is_told_what_others_do_to_the_post_at_hand(
    browser: Browser, desk: ServiceProcess
) -> None:
    await post(desk, "heard", ["The parcel is late", "The app crashes", "Where is my refund?"])
    ids = list(await handled(desk, "heard"))
    async with opened(browser, address(desk) + query(author="heard")) as page:
        await at_work(page, "ana")
        await is_live(page)
        here, there = (page.locator(f".opener[data-id='{id_}']") for id_ in ids[:2])
        heard = page.locator("#heard")
        await here.focus()
        await claim(desk, ids[1], "ben")
        await expect(there).to_have_accessible_description(re.compile("^ben has it until"))
        await expect(heard).to_have_text("")
        await claim(desk, ids[0], "ben")
        await expect(here).to_have_accessible_description(re.compile("^ben has it until"))
        await expect(heard).to_have_text(re.compile("^ben has it until .*: The parcel is late$"))
        await page.keyboard.press("j")
        await page.keyboard.press("j")
        await page.keyboard.press("c")
        await said(page, "It is yours for 15 minutes.")
        await here.focus()
        await claim(desk, ids[2], "cleo")  # what is hers is at hand wherever she is
        await expect(heard).to_have_text(re.compile("^cleo has it until .*: Where is my refund"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nobody_is_shut_out_of_the_desk(
    browser: Browser, desk: ServiceProcess, scheme: str
) -> None:
    await post(desk, "axe", ["The parcel is late, terrible", "The app crashes"])
    url = address(desk) + to_answer("axe")
    async with opened(
        browser, url, color_scheme=scheme, viewport={"width": 360, "height": 740}
    ) as page:
        await at_work(page, "ana")
        await page.keyboard.press("j")
        await page.keyboard.press("c")
        await expect(page.locator("#toast")).to_be_visible()
        assert await serious_faults(page) == []
        await page.keyboard.press("Enter")
        await expect(page.locator("#open")).to_be_visible()
        await page.locator("#points summary").click()
        assert await serious_faults(page) == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        await page.keyboard.press("s")
        await expect(page.locator("#snooze")).to_be_visible()
        assert await serious_faults(page) == []
        await page.keyboard.press("Escape")
        await page.keyboard.press("r")
        await page.locator("#draft-q").fill("parcel")
        await page.locator("#draft-sentiment").select_option("neutral")
        await page.locator("#preview").click()
        await expect(page.locator("#plan-state")).to_be_visible()
        assert await serious_faults(page) == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360


async def test_what_another_did_and_is_not_shown_yet_is_told_before_anything_is_done(
    browser: Browser, desk: ServiceProcess
) -> None:
    await post(desk, "unseen", ["The parcel is late, terrible"])
    async with opened(browser, address(desk) + to_answer("unseen")) as page:
        await at_work(page, "ana")
        await page.locator("#menu").click()
        await page.get_by_role("button", name="Pause").click()
        await page.keyboard.press("Escape")
        (id_,) = await handled(desk, "unseen")
        await handle(desk, id_, state="answered", by="ben")
        await page.keyboard.press("j")
        await page.keyboard.press("c")
        await said(page, "answered by ben, now. Take it over")
        await expect(rows(page).first).to_contain_text("answered by ben")
        assert await handled(desk, "unseen") == {id_: "answered"}
        await page.locator("#toast-more").click()
        await said(page, "It is yours for 15 minutes.")
        await page.keyboard.press("u")
        await said(page, "As before: answered by ben")
