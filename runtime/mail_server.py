"""The server that takes e-mails, as a setting names it, and what is an address of a mailbox."""

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

MAX_ADDRESS_LENGTH = 254
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
_NO_SERVER = "is not an address such as smtp://user:password@host:587"


def is_address(text: str) -> bool:
    """Of one mailbox: no name beside it, no quotes, nothing that could begin another header."""
    local, _, _ = text.partition("@")
    return (
        len(text) <= MAX_ADDRESS_LENGTH
        and _ADDRESS.fullmatch(text) is not None
        and not local.startswith(".")
        and not local.endswith(".")
        and ".." not in text
    )


@dataclass(frozen=True, slots=True)
class MailServer:
    """`sender` is whom mails are from."""

    host: str
    port: int
    tls: bool
    sender: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> "MailServer":
        """From `smtp[s]://user:password@host:port`, user and password percent-encoded. Mails are
        from the user where that is an address, else from `insights@host`; `?from=address` names
        another. Raises ValueError with what is wrong, and no password."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
            options = parse_qs(parts.query, strict_parsing=bool(parts.query))
        except ValueError:
            raise ValueError(_NO_SERVER) from None
        if parts.scheme not in ("smtp", "smtps") or not host or parts.path not in ("", "/"):
            raise ValueError(_NO_SERVER)
        if port == 0 or not options.keys() <= {"from"}:
            raise ValueError("takes a port from 1 on and no option but from")
        user = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else None
        if (user is None) != (password is None):
            raise ValueError("needs both a user and a password, or none of them")
        default = user if user is not None and is_address(user) else f"insights@{host}"
        sender = options.get("from", [default])[-1]
        if not is_address(sender):
            if "from" in options:
                raise ValueError("has a from that is no address")
            sender = "insights@localhost"  # the host is an IP address
        tls = parts.scheme == "smtps"
        return cls(host, port or (465 if tls else 587), tls, sender, user, password)
