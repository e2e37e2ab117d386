"""Which URLs an endpoint may have, and which addresses of its host are connected to.

A host is as public as the least public of its addresses. What a URL means is decided here once, by
a grammar that knows one way to write each thing: what other programs would read differently (`@`,
`\\`, numbers that are addresses, blanks, dots at the end) is refused rather than understood.
"""

import asyncio
import re
import socket
import unicodedata
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from threading import Semaphore, Thread

import idna

MAX_URL_LENGTH = 2000

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Addresses of a name, for a port. Raises OSError where there are none."""

_URL = re.compile(r"(https?)://([^/?#]*)((?:[/?].*)?)", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+))(:[^:]*)?")
_PORT = re.compile(r":([1-9][0-9]{0,4})")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LIKE_A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
"""As browsers and C libraries read the last part of an IPv4 address."""
_INSIDE = (
    "localhost",
    "local",
    "localdomain",
    "internal",
    "intranet",
    "private",
    "lan",
    "home",
    "home.arpa",
    "corp",
    "onion",
    "invalid",
)
"""Domains that no public host has (RFC 6761, 6762, 7686, 8375, and by ICANN's word)."""
_CANONICAL_PORT = {"http": 80, "https": 443}

_NOT_PUBLIC_4 = (
    IPv4Network("168.63.129.16/32"),  # Azure's host agent, behind an address that looks public
    IPv4Network("192.0.0.0/24"),  # of protocols; Oracle's metadata are in it
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
)
_UNICAST_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = (
    IPv6Network("2001::/23"),  # Teredo and other protocols' own
    IPv6Network("2001:db8::/32"),
    IPv6Network("2002::/16"),  # 6to4: an IPv4 address inside, whichever
    IPv6Network("3fff::/20"),
)
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = {0x00005EFE, 0x02005EFE}


class AddressRefused(Exception):
    """With one sentence for whoever gave the URL."""


@dataclass(frozen=True, slots=True)
class WebAddress:
    """A URL that was understood. `host` is in lower case and ASCII, IPv6 without brackets; `path`
    has the query. With `listed` the host's addresses need not be public."""

    scheme: str
    host: str
    port: int
    path: str
    listed: bool

    @property
    def authority(self) -> str:
        """As the `Host` header has it."""
        return bracketed(self.host) + (
            "" if self.port == _CANONICAL_PORT[self.scheme] else f":{self.port}"
        )


def canonical_host(host: str) -> str:
    """A name as it is, and the one way to write an address."""
    try:
        return str(ip_address(host))
    except ValueError:
        return host


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def parse_url(url: str, private_hosts: Collection[str] = ()) -> WebAddress:
    """Raises AddressRefused. `private_hosts` are as `canonical_host` gives them, in lower case;
    nothing is looked up."""
    if len(url) > MAX_URL_LENGTH:
        raise AddressRefused(f"must be at most {MAX_URL_LENGTH} characters")
    if any(unicodedata.category(character)[0] in "CZ" for character in url):
        raise AddressRefused("must have no blanks, no control and no invisible characters")
    if "\\" in url or "#" in url:
        raise AddressRefused("must have no \\ and no #")
    found = _URL.fullmatch(url)
    if found is None:
        raise AddressRefused("must be a whole URL that begins with https://")
    scheme, authority, path = found[1].lower(), found[2], found[3]
    if "@" in authority:
        raise AddressRefused("must have no user name and no password before the host")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise AddressRefused("has no host, or one that cannot be")
    port = _parse_port(parts[3], scheme)
    host = _parse_ipv6(parts[1]) if parts[1] else _parse_name(parts[2])
    listed = host in private_hosts
    if not listed:
        if scheme != "https":
            raise AddressRefused(
                "must begin with https://, unless its host is named in WEBHOOK_PRIVATE_HOSTS"
            )
        _check_name(host)
    if not path.startswith("/"):
        path = f"/{path}"
    return WebAddress(scheme, host, port, path, listed)


def _parse_port(written: str | None, scheme: str) -> int:
    if written is None:
        return _CANONICAL_PORT[scheme]
    found = _PORT.fullmatch(written)
    if found is None or int(found[1]) > 65_535:
        raise AddressRefused("has a port that is not a number from 1 to 65535")
    return int(found[1])


def _parse_ipv6(written: str) -> str:
    try:
        address = IPv6Address(written)
    except ValueError:
        raise AddressRefused("has an IPv6 address that is none") from None
    if address.scope_id is not None:
        raise AddressRefused("must have no zone in its address")
    return str(address)


def _parse_name(written: str) -> str:
    host = written.lower()
    if not host.isascii():
        try:
            host = idna.encode(host).decode()
        except (idna.IDNAError, UnicodeError):
            raise AddressRefused("has a host that is no name in any language") from None
        if "xn--" not in host:  # digits or dots of another script
            raise AddressRefused("has a host that is no name in any language")
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise AddressRefused("has a host that is no name: letters, digits, - and dots between them")
    if _LIKE_A_NUMBER.fullmatch(host):
        try:
            IPv4Address(host)
        except ValueError:
            raise AddressRefused("has a host that is neither a name nor an address") from None
    return host


def _check_name(host: str) -> None:
    """Raises AddressRefused for what is inside by its name or number alone."""
    try:
        address = ip_address(host)
    except ValueError:
        inside = "." not in host or host.endswith(tuple(f".{domain}" for domain in _INSIDE))
        if inside or host in _INSIDE:
            raise AddressRefused(_not_public(host)) from None
    else:
        if not is_public(address):
            raise AddressRefused(_not_public(host))


def _not_public(host: str) -> str:
    return (
        f"must lead to the public internet, which {host} does not; where that is meant,"
        " name the host in WEBHOOK_PRIVATE_HOSTS"
    )


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether it is a single host's on the public internet. An IPv6 address that carries an IPv4
    address is as public as that one, or not at all."""
    if isinstance(address, IPv4Address):
        return (
            address.is_global
            and not address.is_multicast
            and not any(address in network for network in _NOT_PUBLIC_4)
        )
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    return (
        address in _UNICAST_6
        and address.is_global
        and address.scope_id is None
        and (int(address) >> 32) & 0xFFFF_FFFF not in _ISATAP
        and not any(address in network for network in _NOT_PUBLIC_6)
    )


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """In a thread of its own, which a process that ends does not wait for: a name server may take
    half a minute to say nothing, and the loop's few threads are for others too."""
    if not _LOOKUPS.acquire(blocking=False):
        raise OSError("too many names are being looked up")
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Sequence[str]] = loop.create_future()
    Thread(target=_look_up, args=(host, port, loop, answer), name="resolver", daemon=True).start()
    return await answer


_LOOKUPS = Semaphore(100)
"""Those under way at once, also the ones that nobody waits for any more."""


def _look_up(
    host: str, port: int, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Sequence[str]]
) -> None:
    found: Sequence[str] | OSError
    try:
        told = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = [str(address[0]) for *_, address in told]
    except (OSError, UnicodeError) as error:
        found = error if isinstance(error, OSError) else OSError("the host is no name")
    finally:
        _LOOKUPS.release()
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(_tell, answer, found)


def _tell(answer: asyncio.Future[Sequence[str]], found: Sequence[str] | OSError) -> None:
    if answer.done():  # nobody waits any more
        return
    if isinstance(found, OSError):
        answer.set_exception(found)
    else:
        answer.set_result(found)


async def addresses_of(target: WebAddress, resolve: Resolve) -> Sequence[str]:
    """Where to connect to, in order. Raises AddressRefused where one of all is not public and the
    host is not listed, and OSError where there is none."""
    try:
        found = [str(ip_address(target.host))]
    except ValueError:
        found = list(dict.fromkeys(await resolve(target.host, target.port)))
    if not found:
        raise OSError("the host has no address")
    if not target.listed and not all(is_public(ip_address(each)) for each in found):
        raise AddressRefused(_not_public(target.host))
    return found
