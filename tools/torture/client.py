"""Clients that post all the time, and write down what they were told: the oracle."""

import asyncio
import json
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx


@dataclass
class Told:
    """What clients know for sure. Every text is posted by one client and in one request."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    """Text by id."""
    refused: set[str] = field(default_factory=set)
    """Texts that were answered with 503, and not sent again."""
    unanswered: set[str] = field(default_factory=set)
    """Texts whose request broke off, and was not sent again: stored or not."""
    odd_answers: list[str] = field(default_factory=list)
    posted_again: int = 0


class Clients:
    """`number` of them, each at one of `base_urls`. `log` gets a line for each acknowledged
    conversation, which is on the disk before the client goes on."""

    def __init__(self, base_urls: Sequence[str], log: Path, *, number: int, seed: int) -> None:
        self.told = Told()
        self.news = asyncio.Event()
        """Set at each acknowledgement."""
        self._base_urls = base_urls
        self._log_path = log
        self._number = number
        self._seed = seed
        self._stopping = False

    def stop(self) -> None:
        """Let `run` end after the requests that are under way."""
        self._stopping = True

    async def run(self) -> None:
        with self._log_path.open("ab", buffering=0) as log:
            self._log = log
            async with asyncio.TaskGroup() as group:
                for number in range(self._number):
                    group.create_task(self._post_all_the_time(number))

    async def _post_all_the_time(self, number: int) -> None:
        draw = random.Random(f"{self._seed} {number}")
        count = 0
        base_url = self._base_urls[number % len(self._base_urls)]
        async with httpx.AsyncClient(base_url=base_url, timeout=60) as client:
            while not self._stopping:
                texts = [
                    f"storm {self._seed} {number} {count}-{each}: it is late"
                    for each in range(draw.choice([1, 1, 1, 3]))
                ]
                await self._hand_in(client, texts, with_keys=draw.random() < 0.4)
                count += 1
                await asyncio.sleep(draw.uniform(0.04, 0.15))

    async def _hand_in(
        self, client: httpx.AsyncClient, texts: list[str], *, with_keys: bool
    ) -> None:
        items: list[dict[str, Any]] = [{"text": text} for text in texts]
        if with_keys:
            items = [{"text": text, "idempotency_key": f"key of {text}"} for text in texts]
        response = None
        while response is None and not self._stopping:
            try:
                response = await client.post(
                    "/api/v1/conversations/batch", json={"conversations": items, "lane": "live"}
                )
            except httpx.ConnectError:  # between two lives of the service: nothing was sent
                await asyncio.sleep(0.08)
                continue
            except httpx.TransportError:
                if not with_keys:
                    break
                self.told.posted_again += 1
                continue
            if response.status_code == 503:
                await asyncio.sleep(0.2)
                if with_keys:
                    self.told.posted_again += 1
                    response = None
        if response is None:
            self.told.unanswered.update(texts)
        elif response.status_code == 503:
            self.told.refused.update(texts)
        elif response.status_code == 202:
            self._note(dict(zip(response.json()["conversation_ids"], texts, strict=True)))
        else:
            self.told.odd_answers.append(f"{response.status_code} {response.text[:200]}")

    def _note(self, acknowledged: dict[str, str]) -> None:
        for id_, text in acknowledged.items():
            line = json.dumps({"at": time.time(), "id": id_, "text": text})
            self._log.write(f"{line}\n".encode())
        os.fsync(self._log.fileno())
        self.told.acknowledged.update(acknowledged)
        self.news.set()
