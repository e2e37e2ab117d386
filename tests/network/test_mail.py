"""What a mail server is told before there is TLS."""

import asyncio
import socket
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from analysis.deliveries import Answered
from notices.mail import MailClient
from runtime.mail_server import MailServer
from tests.support.outbox import a_message
from tests.support.servers import free_port
from tests.support.tcp import serving


@pytest.fixture
def plain_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[bytes], int]]:
    """With a password and without TLS, also by the name `mail.test`; the passwords it was given."""
    given: list[bytes] = []

    def check(
        _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, said: LoginPassword
    ) -> AuthResult:
        given.append(said.password)
        return AuthResult(success=True)

    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **named: resolve(
            "127.0.0.1" if host == "mail.test" else host, *rest, **named
        ),
    )
    port = free_port()
    controller = Controller(
        Sink(), hostname="127.0.0.1", port=port, authenticator=check, auth_require_tls=False
    )
    controller.start()
    yield given, port
    controller.stop()


@pytest.mark.parametrize("farewell", ["hangs", "is refused", "is cut off"])
async def test_a_mail_that_was_taken_has_arrived_whatever_becomes_of_the_farewell(
    monkeypatch: pytest.MonkeyPatch, farewell: str
) -> None:
    """Else it would be sent again, and again."""
    monkeypatch.setattr("notices.mail._FAREWELL_SECONDS", 0.1)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        in_mail = False
        while line := await reader.readline():
            if in_mail:
                in_mail = line != b".\r\n"
                writer.write(b"" if in_mail else b"250 taken\r\n")
            elif line.startswith(b"DATA"):
                in_mail = True
                writer.write(b"354 go on\r\n")
            elif not line.startswith(b"QUIT"):
                writer.write(b"250 yes\r\n")
            elif farewell == "is refused":
                writer.write(b"421 no\r\n")
            elif farewell == "is cut off":
                writer.close()
        writer.close()

    async with serving(answer) as port:
        server = MailServer.parse(f"smtp://127.0.0.1:{port}?from=insights@example.com")
        client = MailClient(server, total_seconds=2.0)
        attempt = await client.send([a_message()], "team@example.com", datetime.now(UTC))

    assert isinstance(attempt, Answered)


@pytest.mark.parametrize(
    ("host", "private_hosts", "arrives"),
    [
        ("mail.test", [], False),
        ("mail.test", ["mail.test"], True),
        ("127.0.0.1", [], True),
        ("localhost", [], True),
    ],
)
async def test_a_password_goes_without_tls_to_hosts_that_are_trusted_only(
    plain_server: tuple[list[bytes], int], host: str, private_hosts: list[str], arrives: bool
) -> None:
    given, port = plain_server
    server = MailServer.parse(f"smtp://ann:secret@{host}:{port}?from=insights@example.com")
    client = MailClient(server, private_hosts=private_hosts)

    attempt = await client.send([a_message()], "team@example.com", datetime.now(UTC))

    assert isinstance(attempt, Answered) is arrives
    assert given == ([b"secret"] if arrives else [])
    assert arrives or "STARTTLS" in attempt.reason
