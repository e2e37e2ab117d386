"""The dashboard's renderer, in Chromium: what it patches is what drawing from scratch gives."""

from typing import Any

import pytest
from playwright.async_api import Page

from tests.support.browser import RENDER_CHECKS, with_browser
from tests.support.dashboard_service import Open, settled

pytestmark = [pytest.mark.slow, pytest.mark.shares_a_fixture, with_browser]


async def check(page: Page, name: str, seed: int = 1) -> Any:
    return await page.evaluate(RENDER_CHECKS, [name, seed])


async def test_a_patch_leads_to_what_drawing_from_scratch_gives(open_page: Open) -> None:
    async with open_page() as page:
        for seed in range(1, 21):
            assert await check(page, "patches", seed) is None


async def test_nodes_with_a_key_and_what_has_the_focus_stay(open_page: Open) -> None:
    async with open_page() as page:
        assert await check(page, "focus") == [True] * 5


async def test_a_new_element_may_take_the_focus_once(open_page: Open) -> None:
    async with open_page() as page:
        assert await check(page, "made") == 1


async def test_texts_never_become_elements_and_handlers_are_those_of_the_last_drawing(
    open_page: Open,
) -> None:
    async with open_page() as page:
        assert await check(page, "texts") == [["first", "second"], 1, True, False]


async def test_one_row_that_changes_among_five_hundred_leaves_the_others_alone(
    open_page: Open,
) -> None:
    async with open_page() as page:
        counts, median, most, _ = await check(page, "oneOfMany")
        print(f"one of 500 rows: {median:.2f} ms, {most:.2f} ms at the 95th percentile")
        assert counts == [1, 2]


async def test_what_loads_at_first_is_small(open_page: Open) -> None:
    """All that has come when the first figures and posts are there, with the page itself."""
    async with open_page() as page:
        await settled(page)
        await page.wait_for_function("performance.getEntriesByName('first sight').length")
        files = await page.evaluate(
            "[...performance.getEntriesByType('navigation'),"
            " ...performance.getEntriesByType('resource')]"
            ".filter(({name, startTime}) => /dashboard/.test(name)"
            " && startTime < performance.getEntriesByName('first sight')[0].startTime)"
            ".map(({name, decodedBodySize, encodedBodySize}) =>"
            " [name.split('/').pop().split('?')[0], decodedBodySize, encodedBodySize])"
        )
        sizes = {name: (full, zipped) for name, full, zipped in files}
        assert {"dashboard", "page.js", "style.css"} <= set(sizes)
        assert not {"open.js", "figures.js", "analysis.js", "kiosk.js", "next.js"} & set(sizes)
        whole, sent = (sum(size[n] for size in sizes.values()) for n in (0, 1))
        print(f"{whole:,} bytes, {sent:,} on the way, in {len(sizes)} files")
        assert whole < 100_000
        assert sent < 30_000
