"""By what way calls leave: the proxy variables, and the certificates that are trusted.

The variables may be set before anybody thinks of this service, so they are read with patience: what
can be understood is heeded, and what cannot is told in one line.
"""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies

import httpx
from socksio import SOCKSError

from errors import StartRefused
from runtime.variables import plain

NOT_REACHED = (httpx.RequestError, SOCKSError)
"""What a request without an answer raises: httpx leaves the errors of a SOCKS proxy as they are."""


@dataclass(frozen=True, slots=True)
class Proxy:
    url: str
    """May hold a password."""
    variable: str
    """That named it."""

    def __str__(self) -> str:
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]} ({self.variable})"

    def for_client(self, certificates: ssl.SSLContext | None) -> httpx.Proxy:
        """`certificates` are for a proxy that is itself spoken to by TLS."""
        of_proxy = certificates if self.url.startswith("https:") else None
        return httpx.Proxy(self.url, ssl_context=of_proxy)


class ProxyChoice(NamedTuple):
    proxy: Proxy | None
    """None is straight to the server."""
    skipped: tuple[str, ...]
    """A sentence for each variable that could not be understood; none holds a value."""


def choose_proxy(url: str, variables: Mapping[str, str] | None = None) -> ProxyChoice:
    """The proxy for requests to `url`, as the process's environment has it. `variables` stand for
    those of the environment by their scheme: "http", "https", "all" and "no". Raises nothing."""
    variables = getproxies() if variables is None else variables
    address = httpx.URL(url)
    host = address.raw_host.decode("ascii").rstrip(".")
    port = address.port or _PORTS.get(address.scheme)
    if _is_own_machine(host) or _is_excepted(host, port, variables.get("no", "")):
        return ProxyChoice(None, ())
    skipped: list[str] = []
    for scheme in (address.scheme, "all"):
        variable = f"{scheme.upper()}_PROXY"
        if value := plain(variables.get(scheme, "")):
            try:
                return ProxyChoice(Proxy(read_proxy(value), variable), tuple(skipped))
            except ValueError as error:
                skipped.append(f"{variable} {error}")
    return ProxyChoice(None, tuple(skipped))


_PORTS = {"http": 80, "https": 443}


def read_proxy(value: str) -> str:
    """A proxy's address as httpx takes it. Raises ValueError with the rest of a sentence, without
    the value, since there may be a password in it."""
    if "://" not in value:
        value = f"http://{value.removeprefix('//')}"
    scheme, _, rest = value.partition("://")
    scheme = {"socks": "socks5"}.get(scheme.lower(), scheme.lower())
    if scheme not in ("http", "https", "socks5", "socks5h"):
        raise ValueError("must begin with http://, https://, socks5:// or socks5h://")
    person, at, place = rest.partition("/")[0].rpartition("@")
    person = ":".join(quote(unquote(part), safe="") for part in person.split(":", 1))
    url = f"{scheme}://{person}{at}{place}"
    if not is_possible_address(url):
        raise ValueError(NO_ADDRESS)
    return url


NO_ADDRESS = "is not an address with a host and a possible port"


def is_possible_address(url: str) -> bool:
    """Whether a client can be told to go there: a host that can be one, and a port in range."""
    try:
        parts = urlsplit(url)
        port = parts.port
        host = httpx.URL(url).raw_host.decode("ascii")
        host.encode("idna")  # as it is on the way to the resolver: no part empty or too long
    except (httpx.InvalidURL, ValueError):
        return False
    return bool(host) and re.search(r"\s", parts.netloc) is None and port != 0


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_own_machine(host: str) -> bool:
    """No proxy can reach what this machine calls itself."""
    address = _ip(host)
    if address is not None:
        return address.is_loopback or address.is_unspecified
    return host == "localhost" or host.endswith(".localhost")


def _is_excepted(host: str, port: int | None, no_proxy: str) -> bool:
    """Whether NO_PROXY names the host. There is no standard for it: this takes what curl, Go,
    Python and Windows take. An entry that means nothing excepts nothing."""
    address = _ip(host)
    entries = re.split(r"[\s,;]+", plain(no_proxy).lower())
    return any(_excepts(plain(entry), host, address, port) for entry in entries)


def _excepts(
    entry: str, host: str, address: IPv4Address | IPv6Address | None, port: int | None
) -> bool:
    if "://" in entry:
        entry = entry.partition("://")[2].partition("/")[0]
    if entry == "<local>":
        return address is None and "." not in host
    if found := re.fullmatch(r"(\[[^]]*\]|[^:]*):(\d{1,5})", entry):
        if int(found[2]) != port:
            return False
        entry = found[1]
    try:
        network = ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass
    else:
        return address is not None and address in network
    name = entry.removeprefix("*.").strip(".")
    if "*" in name:
        return fnmatchcase(host, name)
    return bool(name) and f".{host}".endswith(f".{_ascii(name)}")


def _ascii(name: str) -> str:
    """An international name in the form in which it travels."""
    try:
        return httpx.URL(f"http://{name}").raw_host.decode("ascii")
    except httpx.InvalidURL:
        return name


# --- certificates ---------------------------------------------------------------------------------


def trusted_certificates() -> ssl.SSLContext:
    """What connections are checked against: the world's certificates, or those that SSL_CERT_FILE
    or SSL_CERT_DIR name. Raises StartRefused."""
    try:
        return httpx.create_ssl_context()
    except (OSError, ssl.SSLError) as error:
        file = "SSL_CERT_FILE" if os.environ.get("SSL_CERT_FILE") else "SSL_CERT_DIR"
        named = " or ".join(name for name in (file, "SSLKEYLOGFILE") if os.environ.get(name))
        raise StartRefused(f"{named or 'certificates'}: cannot be read ({error})") from None
