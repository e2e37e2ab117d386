"""The dashboard as a desk: what is answered first and by whom, labels put right, many at once."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.support.browser import opened, serious_faults, with_browser
from tests.support.dashboard_service import (
    NOW,
    address,
    get,
    is_live,
    query,
    rows,
    settled,
)
from tests.support.http_helpers import all_done, eventually, submit_batch
from tests.support.service_process import ServiceProcess

pytestmark = [pytest.mark.slow, pytest.mark.shares_a_fixture, with_browser]

GAME = [f"Harbor Siege is a terrible obsession of mine, evening {n}" for n in range(12)]
"""About a game, which sounds worse than it is meant."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def desk(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServiceProcess]:
    async with ServiceProcess(tmp_path_factory.mktemp("desk")) as service:
        await service.start()
        yield service


async def post(service: ServiceProcess, author: str, texts: list[str]) -> None:
    """As many minutes old as they stand in the list."""
    await submit_batch(
        service.client,
        [
            {
                "text": text,
                "author": author,
                "timestamp": (NOW - timedelta(minutes=1 + number)).isoformat(),
            }
            for number, text in enumerate(texts)
        ],
    )
    await all_done(service.client, within=30)


def to_answer(author: str) -> str:
    return query(order="priority", author=author)


async def at_work(page: Page, name: str) -> None:
    """As somebody who has given their name before."""
    await page.evaluate("name => localStorage.setItem('insights-name', name)", name)
    await page.reload()
    await keys_work(page)


async def keys_work(page: Page) -> None:
    """They are loaded after the first sight."""
    await settled(page)

    async def is_answered() -> bool:
        await page.keyboard.press("?")
        return await page.locator("#keys").is_visible()

    await eventually(is_answered, within=30)
    await page.keyboard.press("Escape")
    await expect(page.locator("#keys")).to_have_count(0)


async def said(page: Page, text: str | re.Pattern[str]) -> None:
    await expect(page.locator("#toast")).to_contain_text(text)


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
        await expect(page.locator("#list-total")).not_to_have_text("…")
        await expect(page.locator("#list")).to_contain_text("Where is my refund?")


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


async def handled(service: ServiceProcess, author: str) -> dict[str, str]:
    times = {"start_time": "2000-01-01T00:00:00Z", "end_time": "2100-01-01T00:00:00Z"}
    found = await get(service, "insights", author=author, **times)
    return {each["conversation_id"]: each["handling"]["state"] for each in found["insights"]}


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
    two = [opened(browser, url, in_trouble=True) for _ in range(2)]
    async with two[0] as ana, two[1] as ben:
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
        await ana.locator("#list .opener").first.focus()
        await ana.keyboard.press("j")
        await ana.keyboard.press("a")
        row = rows(ben).nth(1)
        await expect(row.locator(".handled")).to_contain_text("answered by ana")
        await expect(rows(ben)).to_have_count(3)


async def test_who_hears_the_page_is_told_what_others_do_to_the_post_at_hand(
    browser: Browser, desk: ServiceProcess
) -> None:
    await post(desk, "heard", ["The parcel is late", "The app crashes", "Where is my refund?"])
    ids = list(await handled(desk, "heard"))

    async def claim(number: int, by: str) -> None:
        path = f"/api/v1/conversations/{ids[number]}/handling"
        body = {"state": "claimed", "by": by, "take_over": True}
        assert (await desk.client.post(path, json=body)).status_code == 200

    async with opened(browser, address(desk) + query(author="heard")) as page:
        await at_work(page, "ana")
        await is_live(page)
        here, there = (page.locator(f".opener[data-id='{id_}']") for id_ in ids[:2])
        heard = page.locator("#heard")
        await here.focus()
        await expect(heard).to_have_text("")
        await claim(1, "ben")
        await expect(there).to_have_accessible_description(re.compile("^ben has it until"))
        await expect(heard).to_have_text("")
        await claim(0, "ben")
        await expect(here).to_have_accessible_description(re.compile("^ben has it until"))
        await expect(heard).to_have_text(re.compile("^ben has it until .*: The parcel is late$"))
        await page.keyboard.press("j")
        await page.keyboard.press("j")
        await page.keyboard.press("c")
        await said(page, "It is yours for 15 minutes.")
        await here.focus()
        await claim(2, "cleo")  # what is hers is at hand wherever she is
        await expect(heard).to_have_text(re.compile("^cleo has it until .*: Where is my refund"))


async def test_twelve_are_put_right_by_keys_alone_then_a_rule_is_made_and_one_undone(
    browser: Browser, desk: ServiceProcess
) -> None:
    await post(desk, "player", GAME)
    async with opened(browser, address(desk)) as page:
        await at_work(page, "ana")
        await page.keyboard.press("/")
        await page.keyboard.type('"Harbor Siege"')
        await page.keyboard.press("Enter")
        await expect(page.locator("#list-total")).to_have_text("12")
        for _ in GAME:
            await page.keyboard.press("j")
            await page.keyboard.press("0")
            await said(page, "● Neutral")
            await expect(page.locator("#list li:has(.opener:focus) .labelled")).to_have_text(
                "✎ ana"
            )
        assert await judged(desk, "player") == {0.0: 12}
        await page.keyboard.press("u")
        await said(page, "As it was judged.")
        before = await judged(desk, "player")
        assert before.pop(0.0) == 11
        assert len(before) == 1
        await page.keyboard.press("0")
        await said(page, "● Neutral")
        await page.keyboard.press("r")
        await expect(page.locator("#draft-title")).to_be_focused()
        await expect(page.locator("#draft-q")).to_have_value('"Harbor Siege"')
        await expect(page.locator("#draft-sentiment")).to_have_value("neutral")
        await page.locator("#draft-name").focus()
        await page.keyboard.type("Harbor Siege is a game")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.locator("#plan-state")).to_contain_text("12 posts")
        await expect(page.locator("#rules")).to_contain_text("Harbor Siege is a game")
        await post(desk, "newcomer", ["Harbor Siege, what a terrible evening"])
        assert await judged(desk, "newcomer") == {0.0: 1}
        await page.goto(address(desk) + query(author="newcomer"))
        await page.locator("#list .opener").first.click()
        await expect(page.locator("#last-word")).to_contain_text(
            "the rule “Harbor Siege is a game”. The model said ▼ negative"
        )


async def judged(service: ServiceProcess, author: str) -> dict[float, int]:
    """How many posts have which score."""
    times = {"start_time": "2000-01-01T00:00:00Z", "end_time": "2100-01-01T00:00:00Z"}
    found = await get(service, "insights", author=author, **times)
    scores = [each["grok_analysis"]["sentiment_score"] for each in found["insights"]]
    return {score: scores.count(score) for score in set(scores)}


async def test_undoing_gives_a_person_who_had_spoken_the_last_word_again(
    browser: Browser, desk: ServiceProcess
) -> None:
    await post(desk, "agreed", ["The parcel is late, terrible"])
    times = {"start_time": "2000-01-01T00:00:00Z", "end_time": "2100-01-01T00:00:00Z"}
    (item,) = (await get(desk, "insights", author="agreed", **times))["insights"]
    id_ = item["conversation_id"]
    path = f"/api/v1/conversations/{id_}/labels"
    model = (await desk.client.get(path)).json()["model"]
    # As the model has it, so that what is served tells nothing of what was said.
    agreed = {"sentiment_score": model["sentiment_score"], "by": "ben", "reason": "no irony"}
    await desk.client.put(path, json=agreed)
    before = (await desk.client.get(path)).json()["person"]
    async with opened(browser, address(desk) + query(author="agreed")) as page:
        await at_work(page, "ana")
        await page.keyboard.press("j")
        for key, said_then in (("+", "▲ Positive"), ("u", "▼ Negative")):
            await page.keyboard.press(key)
            await said(page, said_then)
    person = (await desk.client.get(path)).json()["person"]
    assert {**person, "at": None} == {**before, "at": None}


async def test_topics_and_mood_are_put_right_by_pointer_with_a_reason(
    browser: Browser, desk: ServiceProcess
) -> None:
    await post(desk, "pointer", ["The parcel is late, terrible"])
    async with opened(browser, address(desk) + query(author="pointer")) as page:
        await at_work(page, "ana")
        await page.locator("#list .opener").click()
        await expect(page.locator("#last-word")).to_have_text("the model's")
        await page.locator("#reason").fill("irony")
        await page.get_by_role("button", name="It is positive").click()
        last_word = page.locator("#last-word")
        await expect(last_word).to_contain_text("ana, now: “irony”. The model said ▼ negative")
        await page.locator("#topic").fill("Delivery Praise")
        await page.keyboard.press("Enter")
        await expect(page.locator("#topics-of")).to_contain_text("delivery praise")
        await expect(page.locator("#open .mood").first).to_contain_text("positive")  # stays
        await expect(page.locator("#topics")).to_contain_text("delivery praise")  # is counted
        await page.get_by_label("Not about delivery problems").click()
        await expect(page.locator("#topics-of")).not_to_contain_text("delivery problems")
        await page.get_by_role("button", name="Take back").click()
        await expect(last_word).to_have_text("the model's")
        await expect(page.locator("#topics-of")).to_contain_text("delivery problems")


async def test_copies_are_changed_by_a_plan_after_a_look_and_put_back(
    browser: Browser, desk: ServiceProcess
) -> None:
    texts = ["Splendid, my dreadful parcel never came at all"] * 30
    await post(desk, "copies", texts)
    before = await judged(desk, "copies")
    async with opened(browser, address(desk) + query(author="copies")) as page:
        await at_work(page, "ana")
        await page.keyboard.press("j")
        await page.keyboard.press("+")
        await page.locator("#toast-more", has_text="Others have the same text").click()
        await expect(page.locator("#draft-q")).to_have_value(
            '"Splendid my dreadful parcel never came at all"'
        )
        await page.locator("#preview").click()
        await expect(page.locator("#plan-state")).to_contain_text("30 posts")
        await expect(page.locator("#plan-state")).to_contain_text("Nothing has changed yet.")
        await expect(page.locator("#sample li")).to_have_count(10)
        await expect(page.locator("#sample li").last).to_contain_text("▲ positive")
        assert (await judged(desk, "copies"))[0.6] == 1
        await page.locator("#apply").click()
        await expect(page.locator("#plan-state")).to_contain_text("It is applied.")
        assert await judged(desk, "copies") == {0.6: 30}
        await page.locator("#undo-plan").click()
        await expect(page.locator("#plan-state")).to_contain_text("It is undone.")
        assert (await judged(desk, "copies"))[0.6] == 1
        assert sum(before.values()) == 30


async def test_all_with_the_same_text_are_answered_at_once(
    browser: Browser, desk: ServiceProcess
) -> None:
    await post(desk, "crowd", ["Nobody can log in since noon"] * 8)
    async with opened(browser, address(desk) + to_answer("crowd")) as page:
        await at_work(page, "ana")
        await expect(rows(page)).to_have_count(1)
        await expect(page.locator(".same")).to_have_text("8 × the same text")
        await page.locator("#list .opener").click()
        await page.locator("#answer-all").click()
        await page.locator("#preview").click()
        await page.locator("#apply").click()
        await expect(page.locator("#plan-state")).to_contain_text("It is applied.")
    assert set((await handled(desk, "crowd")).values()) == {"answered"}


async def test_a_rule_is_switched_off_and_deleted_and_what_it_set_is_taken_back(
    browser: Browser, desk: ServiceProcess
) -> None:
    rule = {
        "name": "Storms are no complaint",
        "filter": {"q": "thunder"},
        "set": {"sentiment": "neutral"},
        "enabled": True,
    }
    assert (await desk.client.post("/api/v1/rules", json=rule)).status_code == 201
    await post(desk, "storm", ["Terrible thunder tonight"])
    async with opened(browser, address(desk) + "?page=rules") as page:
        await at_work(page, "ana")
        mine = page.locator(".rule", has_text="Storms are no complaint")
        await mine.get_by_role("button", name="On", exact=True).click()
        await expect(mine.get_by_role("button", name="Off", exact=True)).to_be_visible()
        await post(desk, "storm", ["Terrible thunder again"])
        assert (await judged(desk, "storm"))[0.0] == 1
        await mine.get_by_role("button", name="Delete").click()
        await expect(mine).to_have_count(0)
        await page.locator("#toast-more", has_text="Take it back").click()
        await page.locator("#apply").click()
        await expect(page.locator("#plan-state")).to_contain_text("It is applied.")
        assert 0.0 not in await judged(desk, "storm")


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
