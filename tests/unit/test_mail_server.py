"""The addresses of mailboxes, and of the server that mails go to."""

from typing import Any

import pytest

from runtime.mail_server import MailServer, is_address


@pytest.mark.parametrize("address", ["a@b.de", "first.last+tag@sub.example.com", "x@localhost"])
def test_an_address_of_a_mailbox(address: str) -> None:
    assert is_address(address)


@pytest.mark.parametrize(
    "address",
    [
        *("", "a", "@b.de", "a@", "a@b@c.de", "a b@c.de", "a@b .de", "Ana <a@b.de>", '"a"@b.de'),
        *("a@b.de\r\nBcc: c@d.de", "a@b.de,c@d.de", ".a@b.de", "a.@b.de", "a@b..de", "ä@b.de"),
        "a@" + "b" * 300,
    ],
)
def test_what_is_no_address_of_a_mailbox(address: str) -> None:
    assert not is_address(address)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://localhost", ("localhost", 587, False, "insights@localhost", None)),
        ("smtp://mail:25", ("mail", 25, False, "insights@mail", None)),
        ("smtps://a%40b.de:p%3Aw@mail.b.de", ("mail.b.de", 465, True, "a@b.de", "p:w")),
        ("smtp://key:pw@m.de?from=x@y.de", ("m.de", 587, False, "x@y.de", "pw")),
    ],
)
def test_a_mail_server_is_read_from_its_url(url: str, expected: tuple[Any, ...]) -> None:
    server = MailServer.parse(url)

    assert (server.host, server.port, server.tls, server.sender, server.password) == expected


@pytest.mark.parametrize(
    "url",
    [
        *("mail.b.de", "http://mail", "smtp://", "smtp://mail:0", "smtp://mail:x", "smtp://a@mail"),
        *("smtp://mail/path", "smtp://mail?tls=1", "smtp://mail?from=nobody", "smtp://mail:99999"),
    ],
)
def test_what_is_no_mail_server_is_told_without_a_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"is not|takes|needs|has"):
        MailServer.parse(url)
