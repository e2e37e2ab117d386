"""Which web pages may have a browser call a service that asks for no key.

A page whose name its owner has pointed at this service (DNS rebinding) gives itself away by `Host`,
one of another site that only writes by `Origin`. Neither header can be forged by a page.
"""

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

_HOST = re.compile(r"(\[[^\[\]]+\]|[^:\[\]]+?)\.?(?::(\d*))?", re.ASCII)
_NAME_WITHOUT_A_DOT = re.compile(r"[a-z0-9_-]+")
_PORTS = {"http": "80", "https": "443"}


class WebPages:
    """`allowed` are further names that are served, in lower case."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(allowed)

    def serves(self, host: str) -> bool:
        """Whether `Host` is a name that nobody else can own: an IP address, a name without a dot
        such as localhost, or an allowed one."""
        found = _HOST.fullmatch(host.lower())
        if found is None:
            return False
        name = found[1]
        return (
            _NAME_WITHOUT_A_DOT.fullmatch(name) is not None
            or name in self._allowed
            or _is_ip_address(name)
        )

    def may_write(self, host: str, *, origin: str | None, fetch_site: str | None) -> bool:
        """`origin` and `fetch_site` are the headers Origin and Sec-Fetch-Site, None where they are
        missing: a client that is no browser sends neither."""
        if origin is None:
            return fetch_site != "cross-site"
        try:
            asking = urlsplit(origin.lower())
            port = _PORTS.get(asking.scheme) if asking.port is None else str(asking.port)
            name = asking.netloc.rpartition(":")[0] if asking.port is not None else asking.netloc
        except ValueError:
            return False
        if name.strip("[]") in self._allowed:
            return True
        found = _HOST.fullmatch(host.lower())
        return (
            fetch_site != "cross-site"
            and found is not None
            and (found[1], found[2] or _PORTS.get(asking.scheme)) == (name.rstrip("."), port)
        )


def _is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
