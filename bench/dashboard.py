"""dashboard: how soon the page can be used, and what ten open ones cost the API.

A page counts as usable when totals, chart and the first conversations are in it; each is opened in
a browser context of its own, so that nothing is cached. The cost is what the service's process
needs with ten pages open beside what it needs with none, in turn: at 100 posts a second which are
analysed as they come, and for posts as fast as they go. The browser works on the same machine: on
two cores what it takes from the service's caches and cores is in these figures too.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from statistics import median
from urllib.parse import urlencode

from playwright.sync_api import Browser, sync_playwright

from bench import load, many_insights, samples
from bench.many_insights import END
from bench.paced import RATE, post_paced
from bench.posts import CONNECTIONS, PATH
from bench.report import Report, Samples
from bench.servers import Server, Servers
from tests.support.browser import FLAGS, RENDER_CHECKS, find_program

PAGES = 10
_TELL_WHEN_USABLE = """
new MutationObserver((_, observer) => {
    const there = (selector) => document.querySelector(selector)
    if (there('#list > li') && there('#totals .figure') && there('.bars path[class]')) {
        observer.disconnect()
        document.documentElement.dataset.usable = performance.now()
    }
}).observe(document, {childList: true, subtree: true})
"""


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    load.require_wrk()
    program = find_program()
    if program is None:
        print("Chromium is missing. On Debian: apt install chromium", file=sys.stderr)
        sys.exit(2)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS.split())
        _draw(report, servers, browser, rounds)
        for size in servers.sizes:
            _soon(report, servers, browser, size, rounds)
        _cost(report, servers, browser, rounds, seconds)
        browser.close()


def _draw(report: Report, servers: Servers, browser: Browser, rounds: int) -> None:
    """One row that changes among 500, beside drawing all of them."""
    one: list[float] = []
    all_: list[float] = []
    with servers.service("dashboard-drawing") as service:
        page = browser.new_page()
        page.goto(f"{service.url}/dashboard")
        for _ in range(rounds):
            _, median_, _, from_scratch = page.evaluate(RENDER_CHECKS, ["oneOfMany", 1])
            one.append(median_)
            all_.append(from_scratch)
        page.close()
    report.add("dashboard", "one row of 500 changes", Samples(one), "ms", below=2)
    report.add("dashboard", "one row of 500, of drawing all", Samples(one).over(Samples(all_)))


def _soon(report: Report, servers: Servers, browser: Browser, size: int, rounds: int) -> None:
    span = {
        "start_time": (END - timedelta(days=30)).isoformat(),
        "end_time": (END + timedelta(minutes=1)).isoformat(),
    }
    file = servers.folder.parent / f"reads-{size}.db"  # that `reads` has too
    many_insights.build_once(f"sqlite+aiosqlite:///{file}", size)
    with servers.service(f"dashboard-{size}", database=file, inbound_rate_limit=0) as service:
        url = f"{service.url}/dashboard?{urlencode(span)}"
        taken = [_time_to_use(browser, url) for _ in range(3 * rounds + 1)][1:]
    report.say(f"  {size:9,} insights: usable after {median(taken):.0f} ms")
    goal = 300 if size == max(servers.sizes) else None
    report.add("dashboard", f"usable, {size:,} insights", Samples(taken), "ms", below=goal)


def _time_to_use(browser: Browser, url: str) -> float:
    context = browser.new_context()
    context.add_init_script(_TELL_WHEN_USABLE)
    page = context.new_page()
    page.goto(url)
    taken = page.locator("html[data-usable]").get_attribute("data-usable")
    context.close()
    assert taken
    return float(taken)


def _cost(report: Report, servers: Servers, browser: Browser, rounds: int, seconds: float) -> None:
    count = round(RATE * (seconds + 1))
    bodies = load.write_bodies(servers.folder / "dashboard.bodies", samples.bodies(4000))
    paced: dict[int, list[float]] = {0: [], PAGES: []}
    fast: dict[int, list[float]] = {0: [], PAGES: []}
    with servers.service("dashboard", inbound_rate_limit=0) as service:
        for number in range(rounds):
            for pages in _turns(number):
                with _open(browser, service, pages):
                    cpu = service.cpu_seconds()
                    post_paced(service, bodies, seconds, count * number)
                    paced[pages].append((service.cpu_seconds() - cpu) / seconds)
                report.say(f"  {pages:2} pages, {RATE} posts/s: {paced[pages][-1]:.3f} cores")
    with servers.service("dashboard-fast", inbound_rate_limit=0, worker_enabled=False) as service:
        for number in range(rounds):
            for pages in _turns(number):
                with _open(browser, service, pages):
                    cpu = service.cpu_seconds()
                    seen = load.post(
                        service.url + PATH, bodies, connections=CONNECTIONS, seconds=seconds
                    )
                    fast[pages].append((service.cpu_seconds() - cpu) / seen.requests * 1e6)
                report.say(f"  {pages:2} pages, full speed: {fast[pages][-1]:.0f} us CPU each")
    of_core = [with_pages - without for without, with_pages in zip(*paced.values(), strict=True)]
    report.add(
        "dashboard", f"{PAGES} pages at {RATE} posts/s, of a core", Samples(of_core), below=0.05
    )
    for pages in fast:
        report.add("dashboard", f"CPU per post beside {pages} pages", Samples(fast[pages]), "us")
    ratio = Samples(fast[PAGES]).over(Samples(fast[0]))
    report.add("dashboard", f"CPU per post beside {PAGES} pages, of none", ratio, below=1.05)


def _turns(number: int) -> tuple[int, int]:
    """Each is first in every other round: the database grows meanwhile."""
    return (PAGES, 0) if number % 2 else (0, PAGES)


@contextmanager
def _open(browser: Browser, service: Server, pages: int) -> Iterator[None]:
    """So many pages, each as a reader of its own has it, live before this goes on."""
    contexts = [browser.new_context() for _ in range(pages)]
    for context in contexts:
        page = context.new_page()
        page.goto(f"{service.url}/dashboard")
        page.wait_for_selector("#live.live")
    time.sleep(1.0)  # what opening costs is not what being open costs
    yield
    for context in contexts:
        context.close()
