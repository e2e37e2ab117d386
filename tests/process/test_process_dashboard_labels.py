"""Labels put right on the dashboard: one by one, many at once by plans, and by rules."""

import asyncio

import pytest
from playwright.async_api import Browser, Route, expect

from tests.support.browser import opened, with_browser
from tests.support.dashboard_service import address, get, query, rows
from tests.support.desk import at_work, handled, judged, post, said, to_answer, until_judged
from tests.support.service_process import ServiceProcess

pytestmark = [pytest.mark.slow, pytest.mark.shares_a_fixture, with_browser]

GAME = [f"Harbor Siege is a terrible obsession of mine, evening {n}" for n in range(12)]
"""About a game, which sounds worse than it is meant."""


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
        await until_judged(desk, "player", neutral=12, others=0)  # the page shows it at once
        await page.keyboard.press("u")
        await said(page, "As it was judged.")
        await until_judged(desk, "player", neutral=11, others=1)
        await page.keyboard.press("0")
        await said(page, "● Neutral")
        await page.keyboard.press("r")
        await expect(page.locator("#draft-title")).to_be_focused()
        await expect(page.locator("#draft-title")).to_have_text("Change all like this")
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
        await expect(page.locator("#list-total")).to_have_text("1")
        await page.locator("#list .opener").first.click()
        await expect(page.locator("#last-word")).to_contain_text(
            "the rule “Harbor Siege is a game”. The model said ▼ negative"
        )


async def test_keys_go_on_from_a_row_that_lost_the_focus(
    browser: Browser, desk: ServiceProcess
) -> None:
    await post(desk, "walker", ["one late parcel", "two late parcels", "three late parcels"])
    async with opened(browser, address(desk) + query(author="walker")) as page:
        await at_work(page, "ana")
        await expect(page.locator("#list .opener")).to_have_count(3)
        for _ in range(2):
            await page.keyboard.press("j")
        await expect(page.locator("#list .opener").nth(1)).to_be_focused()
        await page.evaluate("document.activeElement.blur()")  # as a row that is drawn anew
        await page.keyboard.press("j")
        await expect(page.locator("#list .opener").nth(2)).to_be_focused()


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
        await page.keyboard.press("r")
        await expect(page.locator("#draft-author")).to_have_value("agreed")
        await expect(page.locator("#draft-sentiment")).to_have_value("negative")


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
        await page.locator("#topic").fill("half a nam")
        await page.keyboard.press("Escape")
        await expect(page.locator("#topic")).not_to_be_focused()  # keys are the post's again
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


async def test_topics_with_commas_between_are_several_and_five_are_the_most(
    browser: Browser, desk: ServiceProcess
) -> None:
    await post(desk, "commas", ["The parcel is late, terrible"])
    (id_,) = await handled(desk, "commas")

    async def topics() -> list[str]:
        found = await get(desk, f"conversations/{id_}")
        return found["insight"]["grok_analysis"]["clusters"]

    async with opened(browser, address(desk) + query(author="commas")) as page:
        await at_work(page, "ana")
        await page.keyboard.press("j")
        await page.keyboard.press("t")
        await expect(page.locator("#topic")).to_be_focused()
        await page.keyboard.type("Billing problems, (vouchers),")
        await page.keyboard.press("Enter")
        # As they are stored, and not as they were typed.
        await said(page, "delivery problems, billing problems, vouchers. It counts")
        stored = ["delivery_problems", "billing_problems", "vouchers"]
        assert await topics() == stored
        await page.locator("#topic").fill("one, vouchers, two, three")
        await page.keyboard.press("Enter")
        note = page.locator("#topics-of .note")
        await expect(note).to_contain_text("5 topics at most, and these would be 6")
        assert await topics() == stored
        await expect(page.locator("#topic")).to_have_value("one, vouchers, two, three")
        await page.locator("#topic").fill("one, two")
        await page.keyboard.press("Enter")
        await said(page, "vouchers, one, two. It counts")
        await expect(note).to_have_count(0)
        assert await topics() == [*stored, "one", "two"]


async def test_what_is_typed_before_the_field_is_there_is_meant_for_it(
    browser: Browser, desk: ServiceProcess
) -> None:
    """The post is asked for first, which may take a while."""
    await post(desk, "hasty", ["The parcel is late"])
    asked, is_typed = asyncio.Event(), asyncio.Event()

    async def held_up(route: Route) -> None:
        asked.set()
        await is_typed.wait()
        await route.continue_()

    async with opened(browser, address(desk) + query(author="hasty")) as page:
        await at_work(page, "ana")
        (id_,) = await handled(desk, "hasty")
        await page.route(f"**/api/v1/conversations/{id_}", held_up)
        await page.keyboard.press("j")
        await page.keyboard.press("t")
        await asked.wait()
        await page.keyboard.type("ai0c")
        await page.keyboard.press("Backspace")
        is_typed.set()
        await expect(page.locator("#topic")).to_be_focused()
        await expect(page.locator("#toast")).to_have_count(0)
        assert await handled(desk, "hasty") == {id_: "open"}
        await page.keyboard.type(" vouchers")
        await expect(page.locator("#topic")).to_have_value("ai0 vouchers")


async def test_who_turns_away_before_the_field_is_there_has_typed_nothing(
    browser: Browser, desk: ServiceProcess
) -> None:
    await post(desk, "fickle", ["The parcel is late"])
    may_come = asyncio.Event()

    async def held_up(route: Route) -> None:
        await may_come.wait()
        await route.continue_()

    async with opened(browser, address(desk) + query(author="fickle")) as page:
        await at_work(page, "ana")
        (id_,) = await handled(desk, "fickle")
        await page.route(f"**/api/v1/conversations/{id_}", held_up)
        await page.keyboard.press("j")
        await page.keyboard.press("t")
        await expect(page.locator("#open")).to_contain_text("Loading")
        await page.keyboard.type("refund")
        await page.get_by_role("link", name="Figures").click()
        await page.keyboard.press("g")
        await page.keyboard.press("d")
        await expect(page.locator("#list-title")).to_be_visible()
        await page.keyboard.press("j")
        await page.keyboard.press("t")
        await expect(page.locator("#open")).to_contain_text("Loading")
        await page.keyboard.type("refund")
        await page.keyboard.press("Escape")
        await expect(page.locator("#open")).to_have_count(0)
        may_come.set()
        await page.locator("#list .opener").first.click()
        await expect(page.locator("#topic")).to_be_visible()
        await expect(page.locator("#topic")).not_to_be_focused()
        await page.locator("#topic").click()
        await expect(page.locator("#topic")).to_have_value("")


async def test_keys_are_the_posts_again_once_a_topic_is_added(
    browser: Browser, desk: ServiceProcess
) -> None:
    await post(desk, "typist", [f"The parcel {n} is late" for n in range(3)])
    ids = list(await handled(desk, "typist"))
    async with opened(browser, address(desk) + query(author="typist")) as page:
        await at_work(page, "ana")
        await page.keyboard.press("j")
        await page.keyboard.press("j")
        await page.keyboard.press("t")
        for names in ("vouchers", "one, two, three"):  # with five there is no field any more
            await page.locator("#topic").fill(names)
            await page.keyboard.press("Enter")
            await said(page, "It counts everywhere")
            await expect(page.locator("#open")).to_be_focused()
            await page.keyboard.press("u")
            await said(page, "As it was judged.")
            await expect(page.locator("#topics-of .chip")).to_have_count(1)
        await page.keyboard.press("j")  # goes on from the post that is open
        await expect(page.locator(f"#list .opener[data-id='{ids[2]}']")).to_be_focused()
        await page.locator("#reason").focus()
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Copy link").last.focus()
        await page.keyboard.press("k")
        await expect(page.locator(f"#list .opener[data-id='{ids[1]}']")).to_be_focused()


async def test_a_rule_of_more_topics_than_it_can_set_is_refused_at_the_field(
    browser: Browser, desk: ServiceProcess
) -> None:
    async with opened(browser, address(desk) + "?page=rules") as page:
        await at_work(page, "ana")
        await page.locator("#new-rule").click()
        await expect(page.locator("#draft-title")).to_have_text("Change many posts, or make a rule")
        make, fault = page.locator("#make-rule"), page.locator("#topics-fault")
        await expect(make).to_have_accessible_description("Say which posts, and what they become.")
        await page.locator("#draft-q").fill("voucher")
        await page.locator("#draft-sentiment").select_option("neutral")
        await expect(page.locator("#draft-hint")).to_have_text("A rule needs a name.")
        await expect(page.locator("#preview")).to_be_enabled()
        await page.locator("#draft-sentiment").select_option("")
        await page.locator("#draft-name").fill("Vouchers are billing")
        for op, topics, told in (
            ("add", "billing problems, vouchers", "one topic"),
            ("remove", "billing problems, vouchers", "one topic"),
            ("replace", "billing, vouchers, praise", "two topics: the one that is there, and"),
            ("replace", "billing", "two topics: the one that is there, and"),
        ):
            await page.locator("#draft-op").select_option(op)
            await page.locator("#draft-topics").fill(topics)
            await expect(fault).to_contain_text(told)
            await expect(make).to_be_disabled()
            await expect(page.locator("#preview")).to_be_disabled()
        await page.locator("#draft-op").select_option("exactly")
        await page.locator("#draft-topics").fill("a, b, c, d, e, f")
        await expect(fault).to_have_text("5 topics at most")
        await page.locator("#draft-topics").press("Enter")
        await expect(page.locator("#plan")).to_have_count(0)
        await page.locator("#draft-op").select_option("add")
        await page.locator("#draft-topics").fill("vouchers")
        await expect(fault).to_have_text("")
        await make.click()
        await said(page, "The rule is on for new posts.")
        await expect(page.locator("#rules")).to_contain_text("Vouchers are billing")
    rules = (await get(desk, "rules"))["rules"]
    (rule,) = (rule for rule in rules if rule["name"] == "Vouchers are billing")
    assert rule["set"] == {"add_cluster": "vouchers"}


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


async def test_a_plan_tells_how_many_it_has_changed_and_what_it_did_is_seen_at_once(
    browser: Browser, desk: ServiceProcess
) -> None:
    await post(desk, "keeper", ["The lighthouse keeps me awake"] * 3)
    await post(desk, "keeper", ["The lighthouse parcel is late"] * 2)  # which the rule leaves alone
    rule = {
        "name": "Lighthouses are delivered",
        "filter": {"q": "lighthouse"},
        "set": {"add_cluster": "delivery_problems"},
    }
    assert (await desk.client.post("/api/v1/rules", json=rule)).status_code == 201
    async with opened(browser, address(desk) + "?page=rules") as page:
        await at_work(page, "ana")
        mine = page.locator(".rule", has_text="Lighthouses are delivered")
        await expect(mine).to_contain_text("the last word on 0 posts.")
        await mine.get_by_role("button", name="Use on older posts").click()
        plan = page.locator("#plan-state")
        await expect(plan).to_have_text("5 posts of all times match. Nothing has changed yet.")
        await page.get_by_role("button", name="Apply it to 5 posts").click()
        await expect(plan).to_have_text(
            "5 posts matched. It is applied. 3 posts were changed. 2 posts stayed as they were."
        )
        await expect(mine).to_contain_text("the last word on 3 posts.")
        await page.get_by_label("Close the plan").click()
        await expect(page.locator("#plans li").first).to_contain_text("it is applied, 3 posts")


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
        await mine.get_by_role("button", name="Really delete").click()
        await expect(mine).to_have_count(0)
        await page.locator("#toast-more", has_text="Take it back").click()
        title = "The word of the rule “Storms are no complaint”: taken back"
        await expect(page.locator("#plan-title")).to_have_text(title)
        await page.locator("#apply").click()
        await expect(page.locator("#plan-state")).to_contain_text("It is applied.")
        assert 0.0 not in await judged(desk, "storm")
