"""Which pages may make a browser speak to a service without keys."""

import pytest

from api.web_pages import WebPages

PAGES = WebPages(["insights.example.org", "2001:db8::5"])


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8000",
        "LOCALHOST:8000",
        "localhost.",
        "test",
        "api:80",
        "my_service-2",
        "127.0.0.1",
        "127.0.0.1:8000",
        "192.168.1.20:8000",
        "[::1]",
        "[::1]:8000",
        "[2001:db8::1]",
        "insights.example.org",
        "Insights.Example.ORG:443",
        "insights.example.org.",
        "localhost:",
    ],
)
def test_a_name_that_nobody_else_can_own_is_served(host: str) -> None:
    assert PAGES.serves(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "evil.localhost",
        "127.0.0.1.evil.example",
        "insights.example.org.evil.example",
        "xinsights.example.org",
        "example.org",
        "127.0.0.1@evil.example",
        "evil.example#localhost",
        "localhost, evil.example",
        "localhost evil.example",
        "localhost:80:80",
        "localhost:x",
        "127.1",
        "0x7f.0.0.1",
        "[evil.example]",
        "[::1",
        "::1",
        "",
        ".",
        ":8000",
        "б",
    ],
)
def test_any_other_name_is_not(host: str) -> None:
    assert not PAGES.serves(host)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8000", None),
        ("localhost:8000", "http://localhost:8000"),
        ("LocalHost:8000", "http://localhost:8000"),
        ("localhost", "http://localhost"),
        ("localhost:80", "http://localhost"),
        ("insights.example.org", "https://insights.example.org"),
        ("insights.example.org:443", "https://insights.example.org"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("127.0.0.1:8000", "https://insights.example.org"),
        ("127.0.0.1:8000", "https://insights.example.org:8443"),
        ("127.0.0.1:8000", "https://[2001:db8::5]"),
    ],
)
def test_a_page_of_its_own_may_write(host: str, origin: str | None) -> None:
    assert PAGES.may_write(host, origin=origin, fetch_site=None)
    assert PAGES.may_write(host, origin=origin, fetch_site="same-origin")


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "https://evil.example",
        "http://localhost",
        "http://localhost:3000",
        "https://localhost",
        "http://localhost:8000.evil.example",
        "http://localhost:8000@evil.example",
        "http://evil.localhost:8000",
        "http://127.0.0.1:8000",
        "http://[::1",
        "http://localhost:99999999",
        "localhost:8000",
        "file://",
        "chrome-extension://abcdef",
    ],
)
def test_a_page_of_another_origin_may_not(origin: str) -> None:
    assert not PAGES.may_write("localhost:8000", origin=origin, fetch_site=None)


@pytest.mark.parametrize("origin", [None, "http://localhost:8000", "https://evil.example"])
def test_what_the_browser_says_comes_from_another_site_is_refused(origin: str | None) -> None:
    assert not PAGES.may_write("localhost:8000", origin=origin, fetch_site="cross-site")


def test_an_allowed_page_may_write_from_another_site() -> None:
    origin = "https://insights.example.org"
    assert PAGES.may_write("localhost:8000", origin=origin, fetch_site="cross-site")
