"""No URL and no name leads an endpoint to an address that is not public.

Each is really posted to, with a resolver that says what an attacker's name server would, while
sockets listen on the addresses that could be reached by mistake.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from threading import Event
from typing import Any

import pytest

from analysis.deliveries import Answered, NotAnswered
from notices.addresses import (
    AddressRefused,
    Resolve,
    addresses_of,
    is_public,
    parse_url,
    system_resolve,
)
from notices.web_client import WebClient
from tests.fakes.receiver.certificate import CERTIFICATE, KEY
from tests.fakes.receiver.server import FakeReceiver
from tests.support.tcp import serving

PUBLIC = "93.184.215.14"


class Trap:
    """Listens on one port of this host, on every address of it, and remembers which ones were
    connected to."""

    def __init__(self) -> None:
        self.reached: list[str] = []
        self.port = 0

    async def __aenter__(self) -> "Trap":
        self._servers = [await asyncio.start_server(self._caught, "0.0.0.0", 0)]
        self.port = self._servers[0].sockets[0].getsockname()[1]
        with_6 = socket.socket(socket.AF_INET6)
        with_6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        with_6.bind(("::", self.port))
        self._servers.append(await asyncio.start_server(self._caught, sock=with_6))
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()

    async def _caught(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reached.append(writer.get_extra_info("sockname")[0])
        await reader.read(100_000)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
        await writer.drain()
        writer.close()


@pytest.fixture
async def trap() -> AsyncIterator[Trap]:
    async with Trap() as trap:
        yield trap


def resolver(*answers: Sequence[str]) -> Resolve:
    """Gives each of `answers` in turn, whatever is asked, and the last one for ever."""
    left = list(answers)

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


HOSTILE = [
    # plain
    "http://127.0.0.1:{port}/",
    "https://127.0.0.1:{port}/",
    "https://127.0.0.2:{port}/",
    "https://0.0.0.0:{port}/",
    "https://10.0.0.1:{port}/",
    "https://172.16.0.1:{port}/",
    "https://192.168.1.1:{port}/",
    "https://169.254.169.254:{port}/latest/meta-data/",
    "https://100.64.0.1:{port}/",
    "https://100.100.100.200:{port}/",
    "https://168.63.129.16:{port}/",
    "https://192.0.0.192:{port}/",
    "https://198.18.0.1:{port}/",
    "https://192.88.99.1:{port}/",
    "https://224.0.0.1:{port}/",
    "https://240.0.0.1:{port}/",
    "https://255.255.255.255:{port}/",
    # numbers written otherwise
    "https://2130706433:{port}/",
    "https://0x7f000001:{port}/",
    "https://0x7f.0.0.1:{port}/",
    "https://0x7f.1:{port}/",
    "https://017700000001:{port}/",
    "https://0177.0.0.1:{port}/",
    "https://0177.1:{port}/",
    "https://127.1:{port}/",
    "https://127.0.1:{port}/",
    "https://127.000.000.001:{port}/",
    "https://0127.0.0.1:{port}/",
    "https://127.0.0.0x1:{port}/",
    "https://127.0.0.1.:{port}/",
    "https://0:{port}/",
    "https://00000000:{port}/",
    "https://0x:{port}/",
    "https://127.0.0.256:{port}/",
    "https://127.0.0.1.1:{port}/",
    "https://99999999999:{port}/",
    # IPv6
    "https://[::1]:{port}/",
    "https://[::]:{port}/",
    "https://[0:0:0:0:0:0:0:1]:{port}/",
    "https://[::ffff:127.0.0.1]:{port}/",
    "https://[::ffff:7f00:1]:{port}/",
    "https://[::ffff:10.0.0.1]:{port}/",
    "https://[::ffff:0:127.0.0.1]:{port}/",
    "https://[::127.0.0.1]:{port}/",
    "https://[64:ff9b::127.0.0.1]:{port}/",
    "https://[64:ff9b::a9fe:a9fe]:{port}/",
    "https://[64:ff9b:1::7f00:1]:{port}/",
    "https://[2002:7f00:1::]:{port}/",
    "https://[2002:a00:1::1]:{port}/",
    "https://[2001:0:7f00:1::]:{port}/",
    "https://[2001:0:4136:e378:8000:63bf:80ff:fffe]:{port}/",
    "https://[2001:db8::1]:{port}/",
    "https://[3fff::1]:{port}/",
    "https://[2606:4700::5efe:7f00:1]:{port}/",
    "https://[fe80::1]:{port}/",
    "https://[fe80::1%25lo]:{port}/",
    "https://[::1%lo]:{port}/",
    "https://[fc00::1]:{port}/",
    "https://[fd00:ec2::254]:{port}/",
    "https://[fec0::1]:{port}/",
    "https://[ff02::1]:{port}/",
    "https://[100::1]:{port}/",
    "https://[::1:{port}/",
    "https://::1:{port}/",
    "https://[127.0.0.1]:{port}/",
    "https://[]:{port}/",
    # names that are inside by themselves
    "https://localhost:{port}/",
    "https://LOCALHOST:{port}/",
    "https://localhost.:{port}/",
    "https://app.localhost:{port}/",
    "https://localhost.localdomain:{port}/",
    "https://printer.local:{port}/",
    "https://metadata:{port}/",
    "https://metadata.google.internal:{port}/computeMetadata/v1/",
    "https://instance-data.ec2.internal:{port}/",
    "https://db.lan:{port}/",
    "https://router.home.arpa:{port}/",
    "https://hidden.onion:{port}/",
    "https://nothing.invalid:{port}/",
    # other scripts
    "https://１２７.0.0.1:{port}/",
    "https://①②⑦.0.0.1:{port}/",
    "https://127。0。0。1:{port}/",
    "https://ｌｏｃａｌｈｏｓｔ:{port}/",
    "https://loc\u200balhost:{port}/",
    "https://loc\u00adalhost:{port}/",
    "https://ⓛocalhost:{port}/",
    # who is before the host, and where it ends
    "https://user@127.0.0.1:{port}/",
    "https://user:pass@example.com:{port}/",
    "https://example.com@127.0.0.1:{port}/",
    "https://example.com:443@127.0.0.1:{port}/",
    "https://127.0.0.1:{port}#@example.com/",
    "https://example.com#@127.0.0.1:{port}/",
    "https://example.com\\@127.0.0.1:{port}/",
    "https:\\\\127.0.0.1:{port}/",
    "https:///127.0.0.1:{port}/",
    "https:127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "127.0.0.1:{port}",
    # ports
    "https://example.com:/",
    "https://example.com:0/",
    "https://example.com:65536/",
    "https://example.com:99999/",
    "https://example.com:0443/",
    "https://example.com:-1/",
    "https://example.com:+{port}/",
    "https://example.com:８０/",
    "https://example.com:{port}:{port}/",
    # what a parser may leave out
    " https://127.0.0.1:{port}/",
    "https://127.0.0.1:{port}/ ",
    "https://127.0.0.1\t:{port}/",
    "https://127.0.\n0.1:{port}/",
    "https://127.0.0.1:{port}/\r\nX-Header: 1",
    "https://example.com/\x00",
    "https://127%2e0%2e0%2e1:{port}/",
    "https://%6c%6f%63alhost:{port}/",
    "https://example..com:{port}/",
    "https://.example.com:{port}/",
    "https://-example.com:{port}/",
    "https://" + "a" * 64 + ".com:{port}/",
    "https://" + "a." * 127 + "com:{port}/",
    "https://example.com/" + "a" * 2000,
    "https://exa*mple.com:{port}/",
    # other schemes
    "http://example.com:{port}/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/",
    "javascript:alert(1)",
    "data:text/plain,x",
    "unix:///var/run/docker.sock",
    "",
    "https://",
    "https://:{port}/",
]


@pytest.mark.parametrize("form", HOSTILE)
async def test_no_form_of_a_url_leads_inside(form: str, trap: Trap) -> None:
    url = form.replace("{port}", str(trap.port))
    web = WebClient(resolve=resolver(["127.0.0.1"]), total_seconds=2)

    with pytest.raises(AddressRefused):
        await web.check(url)
    assert isinstance(await web.post(url, b"{}", {}), NotAnswered)
    assert trap.reached == []


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["0.0.0.0"],
        ["::"],
        ["10.1.2.3"],
        ["fe80::1%lo"],
        ["64:ff9b::7f00:1"],
        [PUBLIC, "127.0.0.1"],
        ["127.0.0.1", PUBLIC],
        ["2606:4700::1111", "::1"],
        [PUBLIC, "169.254.169.254"],
    ],
    ids=" ".join,
)
async def test_a_name_is_as_public_as_the_least_public_of_its_addresses(
    addresses: list[str], trap: Trap
) -> None:
    web = WebClient(resolve=resolver(addresses), total_seconds=2)
    url = f"https://hooks.example.com:{trap.port}/"

    with pytest.raises(AddressRefused):
        await web.check(url)
    assert isinstance(await web.post(url, b"{}", {}), NotAnswered)
    assert trap.reached == []


async def test_a_name_that_changes_its_address_after_the_check_leads_nowhere_else(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_two(address: IPv4Address | IPv6Address) -> bool:
        return str(address) == "127.0.0.2"

    monkeypatch.setattr("notices.addresses.is_public", only_two)
    # As a short-lived name does: public for the check, private for whoever looks it up once more.
    web = WebClient(resolve=resolver(["127.0.0.2"], ["127.0.0.2"], ["127.0.0.1"]))
    url = f"https://hooks.example.com:{trap.port}/"

    await web.check(url)
    await web.post(url, b"{}", {})  # which finds no TLS there
    assert trap.reached == ["127.0.0.2"]

    refused = await web.post(url, b"{}", {})
    assert isinstance(refused, NotAnswered)
    assert "public internet" in refused.reason
    assert trap.reached == ["127.0.0.2"]


async def test_a_name_without_an_address_is_taken_and_looked_up_again_at_each_post() -> None:
    async def nothing(_host: str, _port: int) -> Sequence[str]:
        raise OSError("no such host")

    web = WebClient(resolve=nothing)
    await web.check("https://hooks.example.com/")

    assert await web.post("https://hooks.example.com/", b"{}", {}) == NotAnswered("no such host")


async def test_names_that_nobody_answers_for_hold_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    look_up, let_go = socket.getaddrinfo, Event()

    def slow(host: str, *arguments: Any, **options: Any) -> Any:
        if host == "slow.example.com":
            let_go.wait()
            raise socket.gaierror
        return look_up(host, *arguments, **options)

    monkeypatch.setattr("socket.getaddrinfo", slow)
    hanging = [asyncio.create_task(system_resolve("slow.example.com", 443)) for _ in range(40)]
    try:
        async with asyncio.timeout(10):
            assert await system_resolve("127.0.0.1", 443) == ["127.0.0.1"]
            # Nor does a post wait longer than it may.
            web = WebClient(total_seconds=0.05)
            given_up = await web.post("https://slow.example.com/", b"{}", {})
            assert isinstance(given_up, NotAnswered)
            more = [asyncio.create_task(system_resolve("slow.example.com", 1)) for _ in range(80)]
            await asyncio.wait(more, return_when=asyncio.FIRST_COMPLETED)
            assert "too many names" in next(str(t.exception()) for t in more if t.done())
    finally:
        let_go.set()
    assert {type(found) for found in await asyncio.gather(*hanging, return_exceptions=True)} == {
        socket.gaierror
    }
    await asyncio.gather(*more, return_exceptions=True)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_is_not_followed(status: int, trap: Trap) -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        location = f"http://127.0.0.1:{trap.port}/"
        writer.write(
            f"HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
        )
        await writer.drain()

    # Though both are allowed.
    web = WebClient(private_hosts=["receiver", "127.0.0.1"], resolve=resolver(["127.0.0.1"]))

    async with serving(redirect) as port:
        assert await web.post(f"http://receiver:{port}/", b"{}", {}) == Answered(status)
    assert trap.reached == []


async def test_the_proxies_of_the_environment_are_not_used(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{trap.port}")
        monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{trap.port}")
    web = WebClient(private_hosts=["n8n"], resolve=resolver(["127.0.0.2"]))

    assert await web.post(f"http://n8n:{trap.port}/", b"{}", {}) == Answered(200, "secret")
    assert trap.reached == ["127.0.0.2"]


async def test_the_certificate_must_bear_the_name_though_the_connection_is_by_number() -> None:
    trusted = ssl.create_default_context(cadata=CERTIFICATE)
    web = WebClient(
        private_hosts=["receiver.example.com", "other.example.com"],
        resolve=resolver(["127.0.0.1"]),
        certificates=trusted,
    )
    async with FakeReceiver(certificate=(CERTIFICATE, KEY)) as receiver:
        right = await web.post(receiver.url(host="receiver.example.com"), b"{}", {})
        wrong = await web.post(receiver.url(host="other.example.com"), b"{}", {})
        stranger = WebClient(
            private_hosts=["receiver.example.com"], resolve=resolver(["127.0.0.1"])
        )
        unknown = await stranger.post(receiver.url(host="receiver.example.com"), b"{}", {})

    assert right == Answered(200, "ok")
    (received,) = receiver.received
    assert received.headers["host"] == f"receiver.example.com:{receiver.port}"
    assert isinstance(wrong, NotAnswered)
    assert "Hostname mismatch" in wrong.reason
    assert isinstance(unknown, NotAnswered)
    assert "CERTIFICATE_VERIFY_FAILED" in unknown.reason


async def test_the_next_address_is_tried_where_nobody_listens_at_the_first() -> None:
    web = WebClient(private_hosts=["n8n"], resolve=resolver(["::1", "127.0.0.1"]))
    async with FakeReceiver() as receiver:
        assert await web.post(receiver.url(host="n8n"), b"{}", {}) == Answered(200, "ok")

    assert [each.at for each in receiver.received] == ["127.0.0.1"]


async def test_a_listed_host_may_be_inside_and_without_tls(trap: Trap) -> None:
    web = WebClient(private_hosts=["n8n", "::1"], resolve=resolver(["127.0.0.1"]))

    for url in (f"http://n8n:{trap.port}/hook?a=b", f"http://[0:0::1]:{trap.port}/"):
        await web.check(url)
        assert await web.post(url, b"{}", {}) == Answered(200, "secret")
    with pytest.raises(AddressRefused):
        await web.check(f"http://other:{trap.port}/")
    assert trap.reached == ["127.0.0.1", "::1"]


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("https://example.com", "example.com", 443, "/"),
        ("HTTPS://Example.COM/A?b=C", "example.com", 443, "/A?b=C"),
        ("https://example.com?b", "example.com", 443, "/?b"),
        ("https://example.com:8443/", "example.com", 8443, "/"),
        ("https://bücher.example/", "xn--bcher-kva.example", 443, "/"),
        ("https://a_b.example.com/", "a_b.example.com", 443, "/"),
        (f"https://{PUBLIC}/", PUBLIC, 443, "/"),
        ("https://[2606:4700:0::1111]/", "2606:4700::1111", 443, "/"),
        ("https://example.com//127.0.0.1/@x", "example.com", 443, "//127.0.0.1/@x"),
    ],
)
def test_an_honest_url_is_understood(url: str, host: str, port: int, path: str) -> None:
    found = parse_url(url)

    assert (found.host, found.port, found.path) == (host, port, path)


@pytest.mark.parametrize(
    "address",
    [PUBLIC, "8.8.8.8", "2606:4700::1111", f"::ffff:{PUBLIC}", f"64:ff9b::{PUBLIC}"],
)
async def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))
    target = parse_url("https://example.com/")
    assert await addresses_of(target, resolver([address])) == [address]


def test_the_table_is_long() -> None:
    assert len(set(HOSTILE)) >= 80
