"""The courier: takes what is due out of the outbox, sends it, and writes what came of it.

One at a time for each endpoint, in the order in which they are due, and all endpoints at once:
there are at most 20, so none ever waits for another. People are told of alerts that are due at the
same time in one message, programs of each by itself.
"""

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, assert_never

import structlog

from analysis.deliveries import Attempt, Disabled, NotAnswered, decide
from analysis.messages import EndpointKind, with_whole_links
from errors import Unavailable
from models import now_micros, utc_now
from notices import discord, slack, standard, teams
from notices.signing import signed_headers
from notices.web_client import WebClient
from store.dispatch import Dispatch, DispatchStore
from worker.background import Background
from worker.waiting import until_set

if TYPE_CHECKING:
    from notices.mail import MailClient

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=60)
"""A try takes 15 s at most, and the time until it is written."""
_TROUBLE_SECONDS = 1.0
_JSON = {"Content-Type": "application/json", "User-Agent": "insights-platform"}
NO_MAIL = NotAnswered("SMTP_URL is not set, so no mail can be sent")


class Sender:
    """Gives messages the shape of their endpoint's kind, and sends them there as one."""

    def __init__(
        self, web: WebClient, mail: "MailClient | None", *, public_url: str | None = None
    ) -> None:
        """Without `mail` every e-mail fails. Links begin with `public_url`."""
        self._web = web
        self._mail = mail
        self._public_url = public_url

    async def send(self, claimed: Dispatch) -> Attempt:
        messages = [with_whole_links(each, self._public_url) for each in claimed.messages]
        headers: Mapping[str, str] = _JSON
        match claimed.kind:
            case EndpointKind.EMAIL:
                if self._mail is None:
                    return NO_MAIL
                return await self._mail.send(messages, claimed.target, claimed.created_at)
            case EndpointKind.STANDARD:
                (message,) = messages
                body = standard.body(message, claimed.created_at)
                signed = signed_headers(claimed.secrets, message.id, body, utc_now())
                headers = {**_JSON, **signed}
            case EndpointKind.SLACK:
                body = slack.body(*messages)
            case EndpointKind.TEAMS:
                body = teams.body(*messages)
            case EndpointKind.DISCORD:
                body = discord.body(*messages)
            case _:
                assert_never(claimed.kind)
        return await self._web.post(claimed.target, body, headers)


class Courier(Background):
    """Sends from `start()` until `stop()` has returned."""

    name = "courier"

    def __init__(
        self,
        outbox: DispatchStore,
        sender: Sender,
        *,
        alone: bool,
        poll_seconds: float = 1.0,
    ) -> None:
        """`alone`: no other process has this database, so that what is on its way at the start was
        left by one that died."""
        self._outbox = outbox
        self._sender = sender
        self._alone = alone
        self._poll_seconds = poll_seconds
        self._wake = asyncio.Event()
        self._on_their_way: dict[str, asyncio.Task[None]] = {}
        """By the endpoint's id."""

    async def stop(self, grace: float = 0.0) -> None:
        """Take nothing more, let what is on its way arrive for up to `grace` seconds, and leave the
        rest to the next start."""
        await super().stop()
        tasks = list(self._on_their_way.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.wait(tasks)

    def wake(self) -> None:
        """Something may be due."""
        self._wake.set()

    async def _run(self) -> None:
        released = not self._alone
        while True:
            self._wake.clear()
            wait = self._poll_seconds
            try:
                if not released:
                    await self._outbox.release()
                    released = True
                await self._send_what_is_due()
            except Unavailable:
                wait = _TROUBLE_SECONDS
            except Exception:
                log.exception("courier_failed")
                wait = _TROUBLE_SECONDS
            await until_set(self._wake, wait)

    async def _send_what_is_due(self) -> None:
        due = [id_ for id_ in await self._outbox.due() if id_ not in self._on_their_way]
        if not due:
            return
        # Not to be lost between the claim and the sending, should somebody stop this.
        claim = asyncio.create_task(self._claim(due))
        try:
            await asyncio.shield(claim)
        except asyncio.CancelledError:
            await asyncio.wait([claim])
            raise

    async def _claim(self, due: list[str]) -> None:
        for claimed in await self._outbox.claim(due, lease=LEASE):
            task = asyncio.create_task(self._deliver(claimed), name=f"deliveries {claimed.ids}")
            self._on_their_way[claimed.endpoint_id] = task
            task.add_done_callback(partial(self._is_free, claimed.endpoint_id))

    def _is_free(self, endpoint_id: str, _task: asyncio.Task[None]) -> None:
        del self._on_their_way[endpoint_id]
        self._wake.set()  # more may be due for it

    async def _deliver(self, claimed: Dispatch) -> None:
        """Never raises. Where it is cancelled, or the database does not take the result, each is
        sent once more under its id."""
        try:
            attempt = await self._sender.send(claimed)
        except asyncio.CancelledError:
            await self._release(claimed)
            return
        except Exception as error:
            log.exception("delivery_failed", deliveries=claimed.ids, endpoint=claimed.endpoint_id)
            attempt = NotAnswered(f"{type(error).__name__}: see the log")
        # What is known now is written, whoever stops this meanwhile.
        writing = asyncio.create_task(self._settle(claimed, attempt))
        with suppress(asyncio.CancelledError):
            await asyncio.shield(writing)
        await asyncio.wait([writing])

    async def _settle(self, claimed: Dispatch, attempt: Attempt) -> None:
        outcome = decide(attempt, claimed.tried(now_micros()), jitter=random.random())
        about = {
            "endpoint": claimed.endpoint_id,
            "name": claimed.endpoint_name,
            "messages": [each.id for each in claimed.messages],
            "types": [each.type.value for each in claimed.messages],
        }
        try:
            written = await self._outbox.settle(claimed, outcome)
        except Unavailable as error:
            log.warning("delivery_not_recorded", reason=error.details, **about)
            return
        except Exception:
            log.exception("delivery_not_recorded", **about)
            return
        log.info("delivery_tried", outcome=type(outcome).__name__, written=written, **about)
        if written and isinstance(outcome, Disabled):
            log.error("endpoint_disabled", reason=outcome.why, **about)

    async def _release(self, claimed: Dispatch) -> None:
        try:
            await self._outbox.release([claimed.token])
        except Unavailable:
            log.warning("delivery_not_released", deliveries=claimed.ids)
