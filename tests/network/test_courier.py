"""The courier against receivers that behave, and that do not."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from standardwebhooks import Webhook

from analysis.messages import EndpointKind, MessageType
from database import Database
from notices.mail import MailClient
from notices.web_client import WebClient
from runtime.mail_server import MailServer
from store.dispatch import DispatchStore
from store.endpoints import EndpointStore
from tests.fakes.receiver.server import DRIP, FLOOD, HANG, RESET, FakeReceiver, Reply
from tests.support.http_helpers import eventually
from tests.support.outbox import a_message, add_endpoint, enqueue_for, make_due, rows, states
from tests.support.servers import free_port
from tests.support.tcp import serving
from tests.support.worker_harness import WorkerHarness
from worker.courier import Courier, Sender


@pytest.fixture
def database(harness: WorkerHarness) -> Database:
    return harness.database


@pytest.fixture
async def receiver() -> AsyncIterator[FakeReceiver]:
    async with FakeReceiver() as receiver:
        yield receiver


StartCourier = Callable[..., Any]


@pytest.fixture
def courier(database: Database) -> StartCourier:
    @asynccontextmanager
    async def start(
        *, mail: MailClient | None = None, alone: bool = True, total_seconds: float = 60.0
    ) -> AsyncIterator[Courier]:
        web = WebClient(private_hosts=["127.0.0.1"], total_seconds=total_seconds)
        running = Courier(
            DispatchStore(database), Sender(web, mail), alone=alone, poll_seconds=0.05
        )
        running.start()
        try:
            yield running
        finally:
            await running.stop(0.0)

    return start


async def settled(database: Database, *expected: str) -> None:
    async def as_expected() -> bool:
        return await states(database) == list(expected)

    await eventually(as_expected, within=30)


async def test_a_message_arrives_signed_and_once(
    database: Database, courier: StartCourier, receiver: FakeReceiver
) -> None:
    endpoint = await add_endpoint(database, receiver.url("/hook?a=b"), secret="whsec_c2VjcmV0")
    async with courier():
        message = await enqueue_for(database, endpoint)
        await settled(database, "delivered")

    (received,) = receiver.received
    assert received.path == "/hook?a=b"
    assert received.headers["webhook-id"] == message.id
    assert received.headers["content-type"] == "application/json"
    verified = Webhook("whsec_c2VjcmV0").verify(received.body, dict(received.headers))
    assert verified["type"] == "machine"
    assert verified["data"] == message.data


async def test_it_is_signed_by_the_old_secret_as_well_after_a_rotation(
    database: Database, courier: StartCourier, receiver: FakeReceiver
) -> None:
    secrets = ["whsec_Zmlyc3Q=", "whsec_c2Vjb25k", "whsec_dGhpcmQ="]
    endpoint = await add_endpoint(database, receiver.url(), secret=secrets[0])
    for secret in secrets[1:]:
        await EndpointStore(database).rotate(endpoint.id, secret)
    async with courier():
        await enqueue_for(database, endpoint)
        await settled(database, "delivered")

    (received,) = receiver.received
    for secret in secrets:
        assert Webhook(secret).verify(received.body, dict(received.headers))


@pytest.mark.parametrize("reply", [Reply(500), Reply(404), Reply(302), RESET, HANG, DRIP])
async def test_what_fails_is_tried_again_under_the_same_id_with_the_same_body(
    database: Database, courier: StartCourier, receiver: FakeReceiver, reply: Reply | str
) -> None:
    receiver.script("/", reply)
    endpoint = await add_endpoint(database, receiver.url())
    # Time is short only where it has to run out: a busy machine lets it run out elsewhere as well.
    async with courier(**({"total_seconds": 0.4} if reply in (HANG, DRIP) else {})):
        await enqueue_for(database, endpoint)

        async def was_tried() -> bool:
            (row,) = await rows(database)
            return bool(row.attempts == 1)

        await eventually(was_tried, within=30)
    (row,) = await rows(database)
    assert (row.state, row.lease_token) == ("pending", None)
    assert row.last_error
    assert 5_000_000 <= row.next_at - row.last_at <= 5_500_000
    await make_due(database)
    async with courier():
        await settled(database, "delivered")

    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("as_date", [False, True])
async def test_a_receiver_that_names_a_time_is_left_alone_until_then(
    database: Database, courier: StartCourier, receiver: FakeReceiver, status: int, as_date: bool
) -> None:
    when = datetime.now(UTC) + timedelta(seconds=900)
    header = format_datetime(when, usegmt=True) if as_date else "900"
    receiver.script("/", Reply(status, headers={"Retry-After": header}))
    endpoint = await add_endpoint(database, receiver.url())
    await enqueue_for(database, endpoint)
    await enqueue_for(database, endpoint)
    async with courier():

        async def was_tried() -> bool:
            return bool((await rows(database))[0].attempts)

        await eventually(was_tried, within=30)
        first, second = await rows(database)

    waits = (first.next_at - first.last_at) / 1_000_000
    assert waits == pytest.approx(900, abs=60)
    assert second.next_at == first.next_at
    assert len(receiver.received) == 1


async def test_410_disables_the_endpoint_and_another_is_told(
    database: Database, courier: StartCourier, receiver: FakeReceiver
) -> None:
    receiver.script("/gone", Reply(410, b"moved away"))
    gone = await add_endpoint(database, receiver.url("/gone"), name="old one")
    await add_endpoint(database, receiver.url("/other"), kind=EndpointKind.SLACK)
    async with courier():
        await enqueue_for(database, gone)
        await settled(database, "failed", "delivered")

    first, told = receiver.received
    assert (first.path, told.path) == ("/gone", "/other")
    assert "old one is disabled" in told.body.decode()
    assert (await rows(database))[0].last_error == "answered 410: moved away"
    assert not (await EndpointStore(database).find(gone.id)).enabled


async def test_an_endpoint_that_hangs_holds_up_no_other(
    database: Database, courier: StartCourier, receiver: FakeReceiver
) -> None:
    hanging = [await add_endpoint(database, receiver.url(f"/{n}")) for n in range(12)]
    for number in range(12):
        receiver.script(f"/{number}", *[HANG] * 5)
    good = await add_endpoint(database, receiver.url("/good"))
    async with courier():
        for _ in range(3):
            await enqueue_for(database, *hanging, good)

        async def good_is_through() -> bool:
            return sum(each.path == "/good" for each in receiver.received) == 3

        await eventually(good_is_through, within=30)
        # The others have one each on its way, and no more.
        of_others = [each.path for each in receiver.received if each.path != "/good"]
        assert len(of_others) == len(set(of_others)) == 12


async def test_messages_for_one_endpoint_go_one_after_the_other_in_order(
    database: Database, courier: StartCourier, receiver: FakeReceiver
) -> None:
    endpoint = await add_endpoint(database, receiver.url())
    messages = [await enqueue_for(database, endpoint) for _ in range(20)]
    async with courier():
        await settled(database, *["delivered"] * 20)

    ids = [each.headers["webhook-id"] for each in receiver.received]
    assert ids == [each.id for each in messages]
    assert receiver.most_under_way == 1


async def test_a_chat_is_told_of_all_that_is_due_in_one_message(
    database: Database, courier: StartCourier, receiver: FakeReceiver
) -> None:
    chat = await add_endpoint(database, receiver.url("/chat"), kind=EndpointKind.SLACK)
    for _ in range(3):
        await enqueue_for(database, chat)
    async with courier():
        await settled(database, *["delivered"] * 3)

    (received,) = receiver.received
    assert received.body.decode().count("It is late.") == 3


async def test_no_more_than_four_kilobytes_of_an_answer_are_read(
    database: Database, courier: StartCourier, receiver: FakeReceiver
) -> None:
    receiver.script("/", FLOOD)
    endpoint = await add_endpoint(database, receiver.url())
    async with courier():
        await enqueue_for(database, endpoint)
        await settled(database, "delivered")

        async def hung_up() -> bool:
            return receiver.under_way == 0

        await eventually(hung_up, within=30)
    assert receiver.flooded < 2_000_000


async def test_what_a_receiver_says_is_kept_short_and_printable(
    database: Database, courier: StartCourier, receiver: FakeReceiver
) -> None:
    receiver.script("/", Reply(400, b"no\x00\x1b[31m\r\nsuch \xff" + b"x" * 9000))
    endpoint = await add_endpoint(database, receiver.url())
    await enqueue_for(database, endpoint)
    async with courier():

        async def was_tried() -> bool:
            return bool((await rows(database))[0].attempts)

        await eventually(was_tried, within=30)

    said = (await rows(database))[0].last_error
    assert said.startswith("answered 400: no [31m such \ufffdxxx")
    assert said.isprintable()
    assert len(said) <= 220


async def test_a_test_is_sent_once(
    database: Database, courier: StartCourier, receiver: FakeReceiver
) -> None:
    receiver.script("/", Reply(500))
    endpoint = await add_endpoint(database, receiver.url())
    async with courier():
        await EndpointStore(database).test(endpoint.id)
        await settled(database, "failed")

    (received,) = receiver.received
    assert received.json["type"] == "test"


async def test_a_stop_lets_what_is_on_its_way_arrive(
    database: Database, courier: StartCourier
) -> None:
    async with FakeReceiver(latency=0.3) as receiver:
        endpoint = await add_endpoint(database, receiver.url())
        await enqueue_for(database, endpoint)
        await enqueue_for(database, endpoint)
        async with courier() as running:

            async def is_on_its_way() -> bool:
                return receiver.under_way == 1

            await eventually(is_on_its_way, within=30)
            await running.stop(10.0)
        # And nothing else was begun.
        assert await states(database) == ["delivered", "pending"]


async def test_what_a_stop_cuts_off_is_not_charged_and_is_sent_again(
    database: Database, courier: StartCourier, receiver: FakeReceiver
) -> None:
    receiver.script("/", HANG)
    endpoint = await add_endpoint(database, receiver.url())
    message = await enqueue_for(database, endpoint)
    async with courier() as running:

        async def is_on_its_way() -> bool:
            return receiver.under_way == 1

        await eventually(is_on_its_way, within=30)
        await running.stop(0.05)
    (row,) = await rows(database)
    assert (row.state, row.attempts, row.lease_token) == ("pending", 0, None)

    async with courier():
        await settled(database, "delivered")
    assert [each.headers["webhook-id"] for each in receiver.received] == [message.id] * 2


async def test_what_a_dead_process_left_is_sent_at_the_next_start(
    database: Database, courier: StartCourier, receiver: FakeReceiver
) -> None:
    endpoint = await add_endpoint(database, receiver.url())
    await enqueue_for(database, endpoint)
    outbox = DispatchStore(database)
    assert await outbox.claim(await outbox.due(), lease=timedelta(hours=1))

    async with courier():
        await settled(database, "delivered")


async def test_an_error_of_ours_is_a_failure_like_any_other(
    database: Database,
    courier: StartCourier,
    receiver: FakeReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr("notices.slack.body", broken)
    bad = await add_endpoint(database, receiver.url("/bad"), kind=EndpointKind.SLACK)
    good = await add_endpoint(database, receiver.url("/good"))
    async with courier():
        await enqueue_for(database, bad)
        await enqueue_for(database, good)
        await settled(database, "pending", "delivered")

        async def was_tried() -> bool:
            return bool((await rows(database))[0].attempts)

        await eventually(was_tried, within=30)
    assert (await rows(database))[0].last_error == "ZeroDivisionError: see the log"


# --- mail -----------------------------------------------------------------------------------------


class Mailbox:
    """What a mail server took; `refusal` is what it answers in place of taking it."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.refusal = ""

    async def handle_DATA(  # noqa: N802  aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        if self.refusal:
            return self.refusal
        content = envelope.content
        assert isinstance(content, bytes)
        mail = message_from_bytes(content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.recipients += envelope.rcpt_tos
        return "250 OK"


@pytest.fixture
def mail_server() -> Iterator[tuple[Mailbox, str]]:
    mailbox = Mailbox()
    port = free_port()
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    yield mailbox, f"smtp://127.0.0.1:{port}?from=insights@example.com"
    controller.stop()


async def test_a_mail_arrives_as_text_and_as_a_page(
    database: Database, courier: StartCourier, mail_server: tuple[Mailbox, str]
) -> None:
    mailbox, url = mail_server
    endpoint = await add_endpoint(database, "team@example.com", kind=EndpointKind.EMAIL)
    report = a_message(
        MessageType.REPORT, period="day", ending="2026-03-03", markdown="# Grüße", html="<b>x</b>"
    )
    async with courier(mail=MailClient(MailServer.parse(url))):
        await enqueue_for(database, endpoint, message=report)
        await settled(database, "delivered")

    (mail,) = mailbox.mails
    assert mailbox.recipients == ["team@example.com"]
    assert (mail["To"], mail["From"].addresses[0].addr_spec) == (
        "team@example.com",
        "insights@example.com",
    )
    assert mail["Subject"] == "Report of the day that ended 2026-03-03"
    assert mail["Message-ID"] == f"<{report.id}@example.com>"
    plain, html = mail.get_body(["plain"]), mail.get_body(["html"])
    assert plain is not None
    assert plain.get_content().strip() == "# Grüße"
    assert html is not None
    assert html.get_content().strip() == "<b>x</b>"


async def test_a_mail_that_is_refused_is_tried_again(
    database: Database, courier: StartCourier, mail_server: tuple[Mailbox, str]
) -> None:
    mailbox, url = mail_server
    mailbox.refusal = "451 come back later"
    endpoint = await add_endpoint(database, "team@example.com", kind=EndpointKind.EMAIL)
    await enqueue_for(database, endpoint)
    async with courier(mail=MailClient(MailServer.parse(url))):

        async def was_tried() -> bool:
            return bool((await rows(database))[0].attempts)

        await eventually(was_tried, within=30)
        assert "come back later" in (await rows(database))[0].last_error
        mailbox.refusal = ""
        await make_due(database)
        await settled(database, "delivered")

    assert len(mailbox.mails) == 1


async def test_without_a_mail_server_a_mail_fails_and_says_why(
    database: Database, courier: StartCourier
) -> None:
    endpoint = await add_endpoint(database, "team@example.com", kind=EndpointKind.EMAIL)
    async with courier():
        await EndpointStore(database).test(endpoint.id)
        await settled(database, "failed")

    assert "SMTP_URL" in (await rows(database))[0].last_error


async def test_a_mail_server_that_hangs_is_given_up_in_time() -> None:
    async def hang(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    async with serving(hang) as port:
        client = MailClient(MailServer.parse(f"smtp://127.0.0.1:{port}"), total_seconds=0.2)
        attempt = await client.send([a_message()], "team@example.com", datetime.now(UTC))

    assert "no answer of the mail server" in attempt.reason
