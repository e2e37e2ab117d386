"""Three replicas on one PostgreSQL, customers who post to them, and what must hold in the end."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx

from tests.fakes.grok.process import RunningGrok
from tests.support.service_process import ServiceProcess, grok_settings, look, until

REPLICAS = 3
_REST = "SELECT count(*) FROM conversations WHERE status IN ('pending', 'processing')"
_PENDING = "SELECT count(*) FROM conversations WHERE status = 'pending'"
_OUTLIVE = "UPDATE conversations SET leased_until = 0 WHERE status = 'processing'"
_FOUND = """
SELECT (SELECT count(*) FROM conversations),
       (SELECT count(*) FROM conversations WHERE status = 'failed'),
       (SELECT count(*) FROM insights),
       (SELECT coalesce(sum(cost_usd_ticks), 0)::bigint FROM calls),
       (SELECT coalesce(sum(cost_usd_ticks), 0)::bigint FROM daily_usage)
"""


class Fleet:
    def __init__(self, replicas: Sequence[ServiceProcess], url: str, grok: RunningGrok) -> None:
        self.replicas = replicas
        self.accepted: dict[str, str] = {}
        """Texts by the ids that were given for them."""
        self.refused = 0
        """Answers other than 202."""
        self._url = url
        self._grok = grok

    async def post(self, texts: int, *, each_second: float) -> None:
        """Hand in texts that all differ, one after another, each to the next replica, and to those
        after it until one accepts it."""
        for number in range(texts):
            await self._post(number)
            await asyncio.sleep(1 / each_second)

    @asynccontextmanager
    async def load(self, *, each_second: float) -> AsyncIterator[None]:
        """Posts as of `post`, until the end of the block."""
        ended = asyncio.Event()

        async def post() -> None:
            for number in count():
                if ended.is_set():
                    return
                await self._post(number)
                await asyncio.sleep(1 / each_second)

        async with asyncio.TaskGroup() as group:
            group.create_task(post())
            yield
            ended.set()

    async def _post(self, number: int) -> None:
        text = f"The parcel {len(self.accepted)} is late"
        headers = {"Idempotency-Key": uuid4().hex}
        async with asyncio.timeout(60):
            while True:
                number += 1
                client = self.replicas[number % len(self.replicas)].client
                try:
                    response = await client.post(
                        "/api/v1/conversations", json={"text": text}, headers=headers
                    )
                except httpx.TransportError:
                    response = None
                if response is not None and response.status_code == 202:
                    id_ = response.json()["conversation_id"]
                    assert id_ not in self.accepted
                    self.accepted[id_] = text
                    return
                self.refused += 1
                await asyncio.sleep(0.05)

    async def accept(self, texts: int) -> None:
        """Wait until so many more are accepted of what is posted meanwhile."""
        enough = len(self.accepted) + texts
        await until(lambda: len(self.accepted) >= enough, within=60, what=f"{texts} are accepted")

    async def refuse(self) -> None:
        """Wait until one more is not accepted at once."""
        before = self.refused
        await until(lambda: self.refused > before, within=60, what="one is refused")

    async def outlive_leases(self) -> None:
        """Once nothing is left but what the dead had in hand: as if they had died half a minute
        ago."""
        connection = await asyncpg.connect(self._url)
        try:

            async def only_theirs() -> bool:
                pending = await connection.fetchval(_PENDING)
                return not pending and not (await look(self._grok, "counters"))["in_flight"]

            await until(only_theirs, within=60, what="only what the dead had in hand is left")
            await connection.execute(_OUTLIVE)
        finally:
            await connection.close()

    async def settle(self, *, within: float = 90) -> None:
        """Wait until nothing is left to do."""
        connection = await asyncpg.connect(self._url)
        try:

            async def nothing_left() -> bool:
                return not await connection.fetchval(_REST)

            await until(nothing_left, within=within, what="all is analysed")
        finally:
            await connection.close()

    async def expect_nothing_lost_or_paid_twice(self, *, cut_off: int = 0) -> None:
        """All that was accepted is there once, nothing has failed, and each text was asked once,
        but for those of up to `cut_off` calls. The bill is the ledger, but for these as well."""
        connection = await asyncpg.connect(self._url)
        try:
            conversations, failed, insights, ledger, days = await connection.fetchrow(_FOUND)
            ids = {row[0] for row in await connection.fetch("SELECT conversation_id FROM insights")}
        finally:
            await connection.close()
        texts = await look(self._grok, "texts")
        bill = (await look(self._grok, "counters"))["billed_ticks"]
        again = sum(times - 1 for times in texts["sent"].values())
        print(
            f"\n{len(self.accepted)} accepted, {self.refused} other answers, {failed} failed,"
            f" {again} asked again, bill {bill}, ledger {ledger}"
        )
        assert ids == set(self.accepted)
        assert (conversations, insights, failed) == (len(ids), len(ids), 0)
        assert set(texts["billed"]) == set(self.accepted.values())
        assert again <= cut_off
        assert ledger == days
        if cut_off:
            assert ledger <= bill
        else:
            assert ledger == bill


@asynccontextmanager
async def fleet(
    folder: Path,
    grok: RunningGrok,
    url: str,
    *,
    wrappers: Sequence[Sequence[str]] = ((), (), ()),
    through: str | None = None,
    **settings: Any,
) -> AsyncIterator[Fleet]:
    """Replicas that are up, each started by the command of its own in `wrappers`. They reach the
    database at `url` by the address `through`, where there is one."""
    asked = {"database_url": through or url, "poll_interval": 0.5, "reuse_window": 0, **settings}
    async with AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(
                ServiceProcess(folder, name=f"replica-{number}", **grok_settings(grok, **asked))
            )
            for number in range(REPLICAS)
        ]
        for replica, wrapper in zip(replicas, wrappers, strict=True):
            replica.launch_under(wrapper)
        await asyncio.gather(*(replica.ready(within=60) for replica in replicas))
        yield Fleet(replicas, url.replace("+asyncpg", ""), grok)
