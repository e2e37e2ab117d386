"""A real Chromium, for what only a browser can tell."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import axe_playwright_python
import pytest
from playwright.async_api import Browser, Error, Page, async_playwright

PROGRAMS = (
    "chromium-headless-shell",  # a third of the work: it has no windows to draw
    "chromium",
    "chromium-browser",
    "google-chrome",
)
# Quiet, and without a sandbox, which Chromium cannot have as root.
FLAGS = (
    "--no-sandbox --disable-gpu --in-process-gpu --disable-quic --no-first-run"
    " --disable-background-networking --disable-component-update --disable-sync"
)

with_browser = pytest.mark.asyncio(loop_scope="session")
"""For tests that use `browser`, which a whole session shares."""

_CHECKS = (Path(__file__).parent.parent / "dashboard" / "render.checks.js").read_text()
_FUNCTION = _CHECKS[_CHECKS.index("async (name") :].rstrip().rstrip(";")
RENDER_CHECKS = f"([name, seed]) => ({_FUNCTION})(name, seed)"
"""Takes the name of one of `render.checks.js`, and the seed of what is random in it."""

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")


def find_program() -> str | None:
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The machine's own. Skips where there is none that works."""
    program = find_program()
    if program is None:
        pytest.skip("no Chromium is installed, so the dashboard is not tried in one")
    async with async_playwright() as playwright:
        try:
            browser = await playwright.chromium.launch(executable_path=program, args=FLAGS.split())
        except Error as error:
            pytest.skip(f"{program} does not start: {error.message.splitlines()[0]}")
        yield browser
        await browser.close()


@asynccontextmanager
async def opened(
    browser: Browser, url: str, *, in_trouble: bool = False, **context: Any
) -> AsyncIterator[Page]:
    """A page as a reader of its own has it. In the end nothing may have gone wrong unseen: no error
    in the console (`in_trouble` allows those of answers that are errors), no request to another
    host, nothing that the policy had to stop."""
    settings = {"locale": "en-US", "timezone_id": "Europe/Berlin", "reduced_motion": "reduce"}
    own = await browser.new_context(**{**settings, **context})
    await own.add_init_script(
        "window.stopped = [];"
        "addEventListener('securitypolicyviolation', e => stopped.push(e.violatedDirective))"
    )
    page = await own.new_page()
    page.set_default_timeout(40_000)  # a machine may be busy
    errors: list[str] = []
    hosts: set[str] = set()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    await page.goto(url)
    yield page
    violations = await page.evaluate("stopped")
    await own.close()
    if in_trouble:
        errors = [error for error in errors if "Failed to load resource" not in error]
    assert not errors, errors
    assert not violations, violations
    assert hosts - {""} == {urlsplit(url).netloc}


async def serious_faults(page: Page) -> list[str]:
    """What axe finds on the page as it is, against WCAG A and AA, and how grave it is."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.read_text())
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    # What is well need not be told node by node, which is a seventh of the work.
    options = "{runOnly: {type: 'tag', values}, resultTypes: ['violations']}"
    found = await page.evaluate(f"async (values) => (await axe.run({options})).violations", rules)
    return [
        f"{fault['id']} ({fault['impact']}): {node['html'][:120]} {node['failureSummary'][:200]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
