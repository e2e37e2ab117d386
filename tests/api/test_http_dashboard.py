"""The dashboard's files over HTTP: what is served, with which headers, and what is not in them.
What the page does is in `test_process_dashboard.py`."""

import gzip
import re

import httpx
import pytest

from api.page_scripts import TOGETHER, without_comments
from tests.conftest import StartApp
from tests.support.http_helpers import assert_error
from tests.support.paths import ROOT

FOLDER = ROOT / "dashboard"
FILES = sorted(path.name for path in FOLDER.iterdir())
KINDS = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


async def test_the_root_leads_to_the_dashboard(client: httpx.AsyncClient) -> None:
    response = await client.get("/")

    assert (response.status_code, response.headers["location"]) == (307, "dashboard")
    page = await client.get("/", follow_redirects=True)
    assert page.text == (FOLDER / "index.html").read_text()


@pytest.mark.parametrize("path", ["/dashboard", *(f"/dashboard/{name}" for name in FILES)])
async def test_every_file_comes_with_its_type_and_no_other_right(
    client: httpx.AsyncClient, path: str
) -> None:
    response = await client.get(path)

    assert response.status_code == 200
    kind = path.rpartition(".")[2] if "." in path else "html"
    assert response.headers["content-type"] == KINDS[kind]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["cache-control"] == "no-cache"
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "http" not in policy
    for closed in ("base-uri", "form-action", "frame-ancestors"):
        assert f"; {closed} 'none'" in policy


async def test_what_the_browser_has_already_is_not_sent_again(client: httpx.AsyncClient) -> None:
    first = await client.get("/dashboard/page.js")
    again = await client.get("/dashboard/page.js", headers={"If-None-Match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == first.headers["content-security-policy"]


async def test_heads_are_answered_as_gets_are(client: httpx.AsyncClient) -> None:
    for path in ("/dashboard", "/dashboard/page.js"):
        head, get = await client.head(path), await client.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["etag"] == get.headers["etag"]


@pytest.mark.parametrize(
    "name", ["nothing.js", "..%2fREADME.md", "%2e%2e%2fREADME.md", "a/b.js", "page.js/"]
)
async def test_nothing_else_is_served(client: httpx.AsyncClient, name: str) -> None:
    assert_error(await client.get(f"/dashboard/{name}"), 404, "not_found")


async def test_the_page_needs_no_key_and_is_not_counted_as_the_api_is(
    start_app: StartApp,
) -> None:
    keys = f"reader:read:{'0' * 64}"
    async with start_app(api_keys=keys, inbound_rate_limit=1) as running:
        answers = [await running.client.get("/dashboard") for _ in range(5)]

    assert {answer.status_code for answer in answers} == {200}


async def test_the_page_is_not_in_the_api_document(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()

    assert not [path for path in document["paths"] if "dashboard" in path]


def test_all_files_together_are_small() -> None:
    files = [(FOLDER / name).read_bytes() for name in FILES]
    assert sum(len(gzip.compress(content)) for content in files) < 120_000


_SHOWN = {"http://www.w3.org", "https://x.com"}
"""A name, and a link to where a post was written."""
_EXAMPLES = {
    "https://hooks.slack.com",
    "https://….logic.azure.com",
    "https://discord.com",
    "https://example.com",
}
"""In the empty fields for an endpoint's address."""


def test_nothing_in_the_files_needs_a_weaker_policy_or_another_host() -> None:
    page = (FOLDER / "index.html").read_text()
    scripts = "\n".join((FOLDER / name).read_text() for name in FILES if name.endswith(".js"))

    assert not re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", page)
    assert not re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", scripts
    )
    for name in FILES:
        hosts = set(re.findall(r"https?://[^\s\"'/]+", (FOLDER / name).read_text()))
        assert hosts <= _SHOWN | (_EXAMPLES if name == "alerts.js" else set()), name


async def test_what_is_needed_together_comes_in_one_file_and_each_module_once(
    client: httpx.AsyncClient,
) -> None:
    scripts = {name[:-3]: (FOLDER / name).read_text() for name in FILES if name.endswith(".js")}
    sent = {name: (await client.get(f"/dashboard/{name}.js")).text for name in scripts}
    first, later = (
        re.findall(r"^.*const (\w+)\$ = \(\(\) => ", sent[name], re.M) for name in TOGETHER
    )

    assert set(first) == imported_by("page", scripts)
    assert set(later) == imported_by("next", scripts) - set(first)
    assert (len(first), len(later)) == (len(set(first)), len(set(later)))
    assert not re.findall(r"^import ", sent["page"], re.M)
    for name in scripts.keys() - {*first, *later}:
        for names, module in re.findall(r'import \{ (.+?) \} from "\./(\w+)\.js"', sent[name]):
            assert not {*first, *later} & {module}, name
            given = re.findall(r"^export \{ (\w+\$.*) \};$", sent[module], re.M)
            if module in TOGETHER:
                assert set(names.split(", ")) <= set(given[-1].split(", ")), name


def imported_by(name: str, scripts: dict[str, str]) -> set[str]:
    needed, found = set[str](), [name]
    while found:
        imported = set(re.findall(r' from "\./(.+?)\.js";', scripts[found.pop()])) - needed
        needed |= imported
        found += imported
    return needed


def test_every_element_that_a_script_looks_for_is_drawn() -> None:
    scripts = "\n".join((FOLDER / name).read_text() for name in FILES if name.endswith(".js"))
    wanted = set(re.findall(r'(?:\$|getElementById)\("([\w-]+)"\)', scripts))

    assert wanted
    assert wanted <= set(re.findall(r'\bid: "([\w-]+)"', scripts))


async def test_files_are_sent_small_to_who_can_read_them(client: httpx.AsyncClient) -> None:
    plain = await client.get("/dashboard/page.js", headers={"Accept-Encoding": "identity"})
    small = await client.get("/dashboard/page.js", headers={"Accept-Encoding": "br, gzip"})

    assert "content-encoding" not in plain.headers
    assert small.headers["content-encoding"] == "gzip"
    assert small.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert small.text == plain.text


async def test_a_slash_too_many_leads_to_the_page(client: httpx.AsyncClient) -> None:
    response = await client.get("/dashboard/?range=7d&q=a%26b")

    assert response.status_code == 307
    assert response.headers["location"] == "../dashboard?range=7d&q=a%26b"


def test_only_comments_and_indentation_are_left_out() -> None:
    for name in (name for name in FILES if name.endswith(".js")):
        content = (FOLDER / name).read_bytes()
        served = without_comments(content).decode().split("\n")
        written = content.decode().split("\n")
        assert len(served) == len(written), name
        for sent, line in zip(served, written, strict=True):
            left_out = line.strip("\t").removeprefix(sent)
            assert re.fullmatch(r"( ?//.*|/\*.*\*/)?", left_out), line
            assert not left_out or all(sent.count(quote) % 2 == 0 for quote in "\"'`"), line
