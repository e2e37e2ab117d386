"""Which proxy a call goes by: named in the settings or the environment, or not used at all."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import ingest_data
from analysis.outcomes import Analysis, TransientFailure
from assembly import build_analyser
from config import load_settings
from errors import StartRefused
from grok_client import GrokClient
from runtime.proxies import ProxyChoice, choose_proxy, read_proxy
from tests.fakes.grok.calls import ask
from tests.fakes.grok.server import FakeGrok
from tests.fakes.grok.steering import GOOD_KEY
from tests.support.ingesting import load_tweets
from tests.support.paths import ROOT
from tests.support.tcp import serving

FIELD_CASES = ROOT.parent / "shared" / "cases" / "proxy_variables.json"
GROK = "https://api.x.ai/v1"
PROXIES = {"https": "http://proxy:3128"}


@pytest.mark.parametrize(
    ("url", "variables", "proxy"),
    [
        (GROK, {}, None),
        (GROK, {"https": "http://proxy:3128"}, "http://proxy:3128 (HTTPS_PROXY)"),
        (GROK, {"https": "proxy:3128"}, "http://proxy:3128 (HTTPS_PROXY)"),
        (GROK, {"https": "//proxy:3128/"}, "http://proxy:3128 (HTTPS_PROXY)"),
        (GROK, {"https": '"http://proxy:3128" '}, "http://proxy:3128 (HTTPS_PROXY)"),
        (GROK, {"https": "HTTP://proxy:3128"}, "http://proxy:3128 (HTTPS_PROXY)"),
        (GROK, {"https": "https://proxy"}, "https://proxy (HTTPS_PROXY)"),
        (GROK, {"https": "http://[fd00::1]:3128"}, "http://[fd00::1]:3128 (HTTPS_PROXY)"),
        (GROK, {"http": "http://proxy:3128"}, None),
        (GROK, {"http": "http://one", "all": "http://two"}, "http://two (ALL_PROXY)"),
        ("http://grok.test/v1", {"http": "http://proxy"}, "http://proxy (HTTP_PROXY)"),
        (GROK, {"all": "socks5://proxy:1080"}, "socks5://proxy:1080 (ALL_PROXY)"),
        (GROK, {"all": "socks://proxy:1080"}, "socks5://proxy:1080 (ALL_PROXY)"),
        (GROK, {"all": "socks5h://proxy:1080"}, "socks5h://proxy:1080 (ALL_PROXY)"),
        (GROK, {"https": "http://me:hunter2@proxy:3128"}, "http://proxy:3128 (HTTPS_PROXY)"),
        (GROK, {"https": "", "all": "http://two"}, "http://two (ALL_PROXY)"),
    ],
)
def test_the_variables_name_the_proxy(
    url: str, variables: dict[str, str], proxy: str | None
) -> None:
    choice = choose_proxy(url, variables)

    assert (choice.proxy and str(choice.proxy), choice.skipped) == (proxy, ())


@pytest.mark.parametrize(
    "value",
    [
        "nonsense:port",
        "http://",
        "http://:3128",
        "http://proxy:0",
        "http://proxy:99999",
        "http://proxy:31 28",
        "http://pro xy",
        "http://pro\nxy",
        "http://[::1",
        "http://a..b",
        "ftp://proxy",
        "socks4://hunter2@proxy",
        "file:///etc/passwd",
        "://",
        "http://me:hunter2@",
        "http://me:hunter2@proxy:port",
        "none please",
        "\x00",
        "http://" + "a" * 300,
    ],
)
def test_a_proxy_that_cannot_be_is_passed_over_with_a_word(value: str) -> None:
    choice = choose_proxy(GROK, {"https": value, "all": "http://spare"})

    assert str(choice.proxy) == "http://spare (ALL_PROXY)"
    (sentence,) = choice.skipped
    assert sentence.startswith("HTTPS_PROXY ")
    assert "hunter2" not in sentence


@pytest.mark.parametrize("password", ["p@ss", "p:a:s:s", "p%40ss", "pä", "p ss"])
def test_the_password_of_a_proxy_may_have_any_signs(password: str) -> None:
    proxy = choose_proxy(GROK, {"https": f"http://me:{password}@proxy:1"}).proxy
    assert proxy is not None

    given = proxy.for_client(None)

    assert given.url.host == "proxy"
    assert given.auth == ("me", password.replace("%40", "@"))


@pytest.mark.parametrize(
    "no_proxy",
    [
        "*",
        "a.test, *",
        "api.x.ai",
        "x.ai",
        ".x.ai",
        "*.x.ai",
        "X.AI",
        "x.ai.",
        "a.test x.ai",
        "a.test;x.ai",
        " a.test ,, x.ai ,",
        "api.x.ai:443",
        "https://api.x.ai",
        "https://api.x.ai/v1",
        "api.*",
        "'api.x.ai'",
        '"localhost,api.x.ai"',
        "::1,fd00::/8,[::1],[::1]:80,10.0.0.0/8,10.1,1.2.3.4/99,host:port,[,:,/,.,..,%,x.ai",
    ],
)
def test_no_proxy_excepts_what_it_names(no_proxy: str) -> None:
    assert choose_proxy(GROK, {**PROXIES, "no": no_proxy}) == ProxyChoice(None, ())


@pytest.mark.parametrize(
    "no_proxy",
    [
        "",
        " ",
        ",",
        "localhost,127.0.0.1,::1,fd07:b51a:cc66:f0::/64",
        "localhost,[::1]",
        "[::1]:8080,[fe80::1%eth0]",
        "i.x.ai",
        "ai.x",
        "api.x.ai.test",
        "api.x.ai:8443",
        "api.x.ai:port",
        "<local>",
        "0.0.0.0/0",
        "::/0",
        "1.2.3.4/99",
        "host:99999999999",
        "[[[",
        "]",
        "http://",
        "*.",
        "*.*.*.*.*",
        "\x00",
        "é" * 300,
        "a" * 5000,
        "xn--",
    ],
)
def test_what_no_proxy_does_not_name_goes_by_the_proxy_however_odd_it_is(no_proxy: str) -> None:
    choice = choose_proxy(GROK, {**PROXIES, "no": no_proxy})

    assert str(choice.proxy) == "http://proxy:3128 (HTTPS_PROXY)"


@pytest.mark.parametrize(
    ("url", "no_proxy"),
    [
        ("https://10.1.2.3/v1", "10.0.0.0/8"),
        ("https://10.1.2.3/v1", "10.1.2.3"),
        ("https://10.1.2.3/v1", "10.*"),
        ("https://10.1.2.3:8443/v1", "10.1.2.3:8443"),
        ("https://[fd07::5]/v1", "fd07::/16"),
        ("https://[fd07::5]/v1", "[fd07::5]"),
        ("https://[fd07::5]/v1", "fd07:0:0::5"),
        ("https://[fd07::5]/v1", "[fd07::5]:443"),
        ("https://[::ffff:10.1.2.3]/v1", "10.0.0.0/8"),
        ("https://grok/v1", "<local>"),
        ("https://bücher.test/v1", "bücher.test"),
        ("https://bücher.test/v1", "xn--bcher-kva.test"),
    ],
)
def test_no_proxy_excepts_addresses_networks_and_international_names(
    url: str, no_proxy: str
) -> None:
    assert choose_proxy(url, {**PROXIES, "no": no_proxy}) == ProxyChoice(None, ())


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "grok.localhost", "127.0.0.1", "127.9.9.9", "[::1]", "0.0.0.0",
     "[::ffff:127.0.0.1]", "localhost."],
)  # fmt: skip
def test_this_machine_is_asked_without_a_proxy(host: str) -> None:
    variables = {"http": "http://proxy", "all": "http://proxy"}

    assert choose_proxy(f"http://{host}:9000/v1", variables) == ProxyChoice(None, ())


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_the_names_of_the_variables_may_be_small_letters(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "http://proxy:1")

    assert str(choose_proxy(GROK).proxy) == "http://proxy:1 (HTTPS_PROXY)"


@pytest.mark.skipif(not FIELD_CASES.exists(), reason="needs ../shared/cases")
def test_environments_from_the_field_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for case in json.loads(FIELD_CASES.read_text())["cases"]:
        for name, value in case["env"].items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")

        analyser = build_analyser(load_settings(_env_file=None, grok_key="xai-1"))

        assert isinstance(analyser, GrokClient)


# --- calls by way of one --------------------------------------------------------------------------


class RecordingProxy:
    """Forwards nothing: it answers each request as Grok would have, or as `answer` says."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.heads: list[str] = []
        self.url = ""
        self.hung_up = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.answer:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                writer.write(self.answer)
                await writer.drain()
            else:
                await reader.read()  # until the other side gives up
        finally:
            self.hung_up.set()


@asynccontextmanager
async def recording_proxy(answer: bytes) -> AsyncIterator[RecordingProxy]:
    proxy = RecordingProxy(answer)
    async with serving(proxy.serve) as port:
        proxy.url = f"http://127.0.0.1:{port}"
        yield proxy


@asynccontextmanager
async def grok_client(**settings: Any) -> AsyncIterator[GrokClient]:
    client = build_analyser(load_settings(_env_file=None, grok_key=GOOD_KEY, **settings))
    assert isinstance(client, GrokClient)
    yield client
    await client.aclose()


REFUSAL = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("named_by", ["GROK_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
async def test_a_call_that_fails_names_the_proxy_that_was_asked(
    named_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with recording_proxy(REFUSAL) as proxy:
        monkeypatch.setenv(named_by, proxy.url.replace("//", "//me:hunter2@"))
        async with grok_client(grok_base_url="https://grok.test/v1") as client:
            answer = await ask(client)

    assert isinstance(answer, TransientFailure)
    assert f"407 Proxy Authentication Required) by way of the proxy {proxy.url}" in answer.reason
    assert f"({named_by})" in answer.reason
    assert "hunter2" not in answer.reason
    assert proxy.heads[0].startswith("CONNECT grok.test:443 ")
    assert "proxy-authorization: basic" in proxy.heads[0].lower()


async def test_a_proxy_that_nobody_answers_at_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    async with grok_client(grok_base_url="https://grok.test/v1") as client:
        answer = await ask(client)

    assert "ConnectError" in answer.reason
    assert answer.reason.endswith("by way of the proxy http://127.0.0.1:9 (HTTPS_PROXY)")


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_proxy_that_never_answers_ends_as_a_failure(scheme: str) -> None:
    async with (
        recording_proxy(b"") as proxy,
        grok_client(
            grok_base_url="https://grok.test/v1",
            grok_proxy=proxy.url.replace("http", scheme),
            grok_timeout=0.1,
        ) as client,
    ):
        async with asyncio.timeout(20):
            answer = await ask(client)
            await proxy.hung_up.wait()  # the connection is not left open

    assert isinstance(answer, TransientFailure)
    assert "(GROK_PROXY)" in answer.reason


@pytest.mark.parametrize(
    "reply", [b"HTTP/1.1 400 Bad\r\n\r\n", b"\x05\xff", b"\x04", b"\x05\0" * 500]
)
async def test_what_is_no_socks_proxy_ends_as_a_failure(reply: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(reply)
        await writer.drain()

    async with serving(serve) as port:
        proxy = f"socks5://127.0.0.1:{port}"
        async with grok_client(grok_base_url="https://grok.test/v1", grok_proxy=proxy) as client:
            answer = await ask(client)

    assert isinstance(answer, TransientFailure)
    assert answer.reason.endswith(f"by way of the proxy {proxy} (GROK_PROXY)")


async def test_the_setting_stands_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "*")
    async with (
        recording_proxy(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n") as proxy,
        grok_client(grok_base_url="http://grok.test/v1", grok_proxy=proxy.url) as client,
    ):
        answer = await ask(client)

    assert proxy.heads[0].startswith("POST http://grok.test/v1/chat/completions ")
    assert "HTTP 503" in answer.reason
    assert answer.reason.endswith(f"by way of the proxy {proxy.url} (GROK_PROXY)")


async def test_a_grok_on_this_machine_is_called_without_a_proxy(
    grok: FakeGrok, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with grok_client(grok_base_url=grok.base_url) as client:
        assert isinstance(await ask(client), Analysis)


@pytest.mark.parametrize("value", ["ftp://proxy", "proxy:port", "socks4://me:hunter2@proxy"])
def test_an_impossible_proxy_in_the_settings_stops_the_start(value: str) -> None:
    with pytest.raises(StartRefused, match=r"^GROK_PROXY: ") as refused:
        load_settings(_env_file=None, grok_proxy=value)
    assert "hunter2" not in refused.value.details


def test_a_proxy_without_a_scheme_is_spoken_to_by_http() -> None:
    assert read_proxy("proxy:3128") == "http://proxy:3128"


@pytest.mark.usefixtures("nobody_elses_settings")
@pytest.mark.parametrize(
    "no_proxy", ["localhost,127.0.0.1,::1,fd07:b51a:cc66:f0::/64", "localhost,[::1]", "[", ""]
)
def test_the_importer_names_the_proxy_that_it_asked(
    no_proxy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:hunter2@127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", no_proxy)

    assert load_tweets(tmp_path, "--url", "http://insights.test") == ingest_data.NOTHING

    told = capsys.readouterr().err
    assert "cannot reach http://insights.test by way of the proxy http://127.0.0.1:9 (HTTP_" in told
    assert "hunter2" not in told


@pytest.mark.usefixtures("nobody_elses_settings")
def test_the_importer_asks_this_machine_without_a_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.test")

    assert load_tweets(tmp_path, "--url", "http://localhost:9") == ingest_data.NOTHING

    assert "cannot reach http://localhost:9: " in capsys.readouterr().err
