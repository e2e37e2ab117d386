"""Messages as an e-mail, in plain text and HTML, and sending it by SMTP."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from html import escape
from ipaddress import ip_address

import aiosmtplib

from analysis.deliveries import KEPT_CHARACTERS, Answered, Attempt, NotAnswered
from analysis.messages import Message, id_of
from notices.addresses import canonical_host
from notices.fitting import fit
from notices.wording import Wording, words_of
from runtime.mail_server import MailServer

TOTAL_SECONDS = 15.0
_FAREWELL_SECONDS = 1.0
_SUBJECT = 150
_TEXT = 100_000
_FACT, _QUOTE = 500, 500
_TAKEN = 250
_RULE = 72 * "-"


def compose(*messages: Message, sender: str, to: str, at: datetime) -> EmailMessage:
    """`at` is when it was made. Its `Message-ID` is the same at every try of the same messages:
    mailboxes show one id once."""
    words = words_of(*messages)
    wholes = list(zip(words.parts or [words], messages, strict=True))
    mail = EmailMessage()
    mail["Subject"] = fit(words.title.replace("\n", " "), _SUBJECT)
    mail["From"] = Address("Insights Platform", addr_spec=sender)
    mail["To"] = Address(addr_spec=to)
    mail["Date"] = format_datetime(at)
    mail["Message-ID"] = f"<{id_of(messages)}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    plain = [_plain(each, with_title=bool(words.parts)) for each, _ in wholes]
    mail.set_content(f"\n{_RULE}\n".join(plain))
    html = [_html(each, message.data) for each, message in wholes]
    mail.add_alternative("\n<hr>\n".join(html), subtype="html")
    return mail


def _plain(words: Wording, *, with_title: bool) -> str:
    """The title of the only one is the subject."""
    parts = [fit(words.title, _SUBJECT)] if with_title else []
    parts.append(fit(words.text, _TEXT))
    if words.facts:
        parts.append("\n".join(f"{name}: {fit(value, _FACT)}" for name, value in words.facts))
    parts += [f"> {fit(quote, _QUOTE)}" for quote in words.quotes]
    if words.link is not None:
        parts.append(words.link)
    return "\n\n".join(parts) + "\n"


def _html(words: Wording, data: Mapping[str, object]) -> str:
    """A report brings its own HTML; everything else is escaped here."""
    said = data.get("html")
    if isinstance(said, str):
        parts = [said.encode(errors="replace").decode()]
    else:
        parts = [
            f"<h2>{escape(fit(words.title, _SUBJECT))}</h2>",
            f"<p>{escape(fit(words.text, _TEXT))}</p>",
        ]
    if words.facts:
        rows = (
            f"<tr><th align=left>{escape(name)}</th><td>{escape(fit(value, _FACT))}</td></tr>"
            for name, value in words.facts
        )
        parts.append(f"<table>{''.join(rows)}</table>")
    parts += [f"<blockquote>{escape(fit(quote, _QUOTE))}</blockquote>" for quote in words.quotes]
    if words.link is not None:
        parts.append(f'<p><a href="{escape(words.link)}">Open the page</a></p>')
    return "\n".join(parts)


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class MailClient:
    def __init__(
        self,
        server: MailServer,
        *,
        private_hosts: Collection[str] = (),
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        """A password goes without TLS to this machine and to `private_hosts` only."""
        self._server = server
        trusted = _is_this_machine(server.host) or canonical_host(server.host) in {
            canonical_host(host) for host in private_hosts
        }
        needs_tls = server.user is not None and not server.tls and not trusted
        # None is: where it is offered.
        self._start_tls = True if needs_tls else None
        self._total_seconds = total_seconds

    async def send(self, messages: Sequence[Message], to: str, at: datetime) -> Attempt:
        """What came of it, within 16 seconds. A mail that the server has taken is delivered."""
        server = self._server
        mail = compose(*messages, sender=server.sender, to=to, at=at)
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            use_tls=server.tls,
            start_tls=self._start_tls,
            timeout=self._total_seconds,
        )
        try:
            async with asyncio.timeout(self._total_seconds):
                await client.connect()
                await client.send_message(mail)
        except TimeoutError:
            return NotAnswered(f"no answer of the mail server within {self._total_seconds:g} s")
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            said = " ".join(str(error).split()) or type(error).__name__
            return NotAnswered(f"the mail server: {said}"[:KEPT_CHARACTERS])
        else:
            # It has been taken, whatever becomes of the farewell.
            with suppress(TimeoutError, aiosmtplib.SMTPException, OSError):
                async with asyncio.timeout(_FAREWELL_SECONDS):
                    await client.quit()
        finally:
            client.close()
        return Answered(_TAKEN)
