"""People who complain, and receivers that misbehave: what alerts are made of, and where they go."""

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.fakes.receiver.server import FLOOD, HANG, RESET, FakeReceiver, Reply
from tests.support.service_process import ServiceProcess

AUTHORS = 8
URGENT = "my parcel is late and I am stranded"
"""The fake Grok calls it urgent, and as negative as it calls anything."""
RULES = "/api/v1/alert-rules"
ENDPOINTS = "/api/v1/endpoints"
GONE = "gone"
CHAT = "chat"
"""Of kind `slack`, which is told of several alerts at once and sees no ids; the others are
programs."""
_WRONG: dict[str, tuple[Reply | str, ...]] = {
    "fine": (),
    "errors": (Reply(500, b"oh"), Reply(503)),
    "too-many": (Reply(429, headers={"Retry-After": "1"}),),
    "redirects": (Reply(302, headers={"Location": "/fine"}), Reply(308)),
    "hangs": (HANG,),
    "resets": (RESET, FLOOD),
    GONE: (Reply(410),),
    CHAT: (Reply(500), Reply(429, headers={"Retry-After": "1"}), RESET),
}
"""What an endpoint answers in place of 200, by its name."""
_SCRIPTED = 20_000
WINDOW = timedelta(minutes=15)
_BACK = timedelta(minutes=10)
"""How old a post is that leaves the window while the storm lasts."""


@dataclass
class AlertsTold:
    """What the clients know for sure: conversations by author, and rules about a window by name."""

    posts: dict[str, str] = field(default_factory=dict)
    """Author by conversation."""
    windows: dict[str, str] = field(default_factory=dict)
    """Name by the rule's id."""


def misbehave(receiver: FakeReceiver, draw: random.Random) -> None:
    """Every other request is answered as it should be."""
    for name, wrong in _WRONG.items():
        if wrong:
            share = 0.1 if name == GONE else 0.5
            replies = [
                draw.choice(wrong) if draw.random() < share else Reply() for _ in range(_SCRIPTED)
            ]
            receiver.script(f"/{name}", *replies)


async def make_endpoints(service: ServiceProcess, receiver: FakeReceiver) -> dict[str, str]:
    """Ids by name. What ails the service itself is not told to them."""
    made = {}
    for name in _WRONG:
        url = receiver.url(f"/{name}")
        kind = "slack" if name == CHAT else "standard"
        body = {"name": name, "kind": kind, "url": url, "events": ["alert"]}
        answer = await service.client.post(ENDPOINTS, json=body)
        answer.raise_for_status()
        made[name] = str(answer.json()["endpoint_id"])
    return made


async def make_single_rules(service: ServiceProcess) -> dict[str, str]:
    """Ids by the author that each is about."""
    made = {}
    for number in range(AUTHORS):
        author = f"author {number}"
        body = {"name": author, "kind": "single", "filter": {"author": author}}
        answer = await service.client.post(RULES, json=body)
        answer.raise_for_status()
        made[author] = str(answer.json()["rule_id"])
    return made


class Complainers:
    """They post all the time, and again until each post is acknowledged."""

    def __init__(self, base_url: str, *, seed: int) -> None:
        self.told = AlertsTold()
        self._base_url = base_url
        self._seed = seed
        self._stopping = False
        self._makes_windows = True

    def stop(self) -> None:
        self._stopping = True

    def make_no_more_windows(self) -> None:
        self._makes_windows = False

    async def run(self, *, windows: bool) -> None:
        """With `windows` there is also a rule about a window every now and then, each about one
        post, that opens an alert by the next minute and closes it some minutes later."""
        async with asyncio.TaskGroup() as group:
            for number in range(AUTHORS):
                group.create_task(self._complain(f"author {number}"))
            if windows:
                group.create_task(self._make_windows())

    async def _complain(self, author: str) -> None:
        draw = random.Random(f"{self._seed} {author}")
        count = 0
        async with httpx.AsyncClient(base_url=self._base_url, timeout=60) as client:
            while not self._stopping:
                await asyncio.sleep(draw.uniform(1.0, 8.0))
                await self._post(client, author, f"{author}, {count}: {URGENT}")
                count += 1

    async def _post(self, client: httpx.AsyncClient, author: str, text: str, **more: Any) -> None:
        body = {"text": text, "author": author, **more}
        # A header, so that a post whose answer a kill has taken is not stored twice.
        answer = await _insist(
            client, "POST", "/api/v1/conversations", body, {"Idempotency-Key": text}
        )
        self.told.posts[answer["conversation_id"]] = author

    async def _make_windows(self) -> None:
        count = 0
        async with httpx.AsyncClient(base_url=self._base_url, timeout=60) as client:
            while self._makes_windows and not self._stopping and count < 40:
                author = f"window {count}"
                then = (datetime.now(UTC) - _BACK).isoformat()
                await self._post(client, author, f"{author}: {URGENT}", timestamp=then)
                await self._make_window(client, author)
                count += 1
                await asyncio.sleep(15)

    async def _make_window(self, client: httpx.AsyncClient, author: str) -> None:
        body = {
            "name": author,
            "kind": "count",
            "filter": {"author": author},
            "above": 1,
            "window": "15m",
            "hold": 1,
            "clear": 1,
        }
        while author not in self.told.windows.values():
            rules = (await _insist(client, "GET", RULES))["rules"]
            self.told.windows |= {
                rule["rule_id"]: author for rule in rules if rule["name"] == author
            }
            if author not in self.told.windows.values():
                with suppress(httpx.TransportError):  # made or not: the list says so
                    await client.post(RULES, json=body)


async def _insist(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    """The answer, however often it has to be asked for."""
    while True:
        try:
            answer = await client.request(method, path, json=body, headers=headers)
        except httpx.TransportError:
            await asyncio.sleep(0.1)
            continue
        if answer.status_code != 503:
            answer.raise_for_status()
            return dict(answer.json())
        await asyncio.sleep(0.2)
