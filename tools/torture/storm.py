"""One storm: clients that post all the time, a fake Grok that misbehaves, and fault upon fault."""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from config import load_settings
from tests.fakes.grok.process import RunningGrok, grok_process
from tests.support.service_process import ServiceProcess, grok_settings, look, steer, until
from tools.rebuild_derived import rebuild
from tools.torture import faults
from tools.torture.client import Clients, Told
from tools.torture.faults import Fault, Scene
from tools.torture.stores import File, Servers, Store
from tools.torture.verdict import GrokRecord, Verdict, judge

RATES = "rate_per_second"
_UNFINISHED = "SELECT count(*) FROM conversations WHERE status IN ('pending', 'processing')"
_UNDER_WAY = "SELECT count(*) FROM calls WHERE outcome = 'under_way'"
_SETTLED_SECONDS = 900.0
"""Suspects of many kills are tried one by one."""


async def storm(
    folder: Path,
    *,
    seconds: float,
    seed: int,
    which: Sequence[Fault] = faults.EVERY,
    grok_faults: str = "passing,odd_answers",
    clients: int = 4,
    app: str = "main:app",
    servers: Servers | None = None,
    **settings: str,
) -> tuple[Verdict, list[str]]:
    """Runs in `folder`; `settings` are the service's. Also gives the names of the faults, in order.
    With "" for `grok_faults`, Grok makes none. On `servers` there are two replicas, of which each
    fault meets one."""
    draw = random.Random(seed)
    options = ["--latency", "0.25", "--latency-sigma", "0.5", "--seed", str(seed)]
    options += ["--limit-requests", "30000", "--bill-abandoned"]
    if grok_faults:
        options += ["--fault-rate", "0.15", "--faults", grok_faults]
    basic: dict[str, Any] = {"grok_rate_limit": 100, "grok_pack_size": 3, "grok_timeout": 3}
    if servers is not None:
        basic |= {"database_url": servers.url, "redis_url": servers.redis_url}
    done: list[str] = []
    problems: list[str] = []
    async with AsyncExitStack() as stack:
        grok = stack.enter_context(grok_process(*options))
        asked = {**grok_settings(grok), **basic, "log_level": "warning", **settings}
        services = [
            await stack.enter_async_context(ServiceProcess(folder, app=app, name=name, **asked))
            for name in (["service"] if servers is None else ["replica-1", "replica-2"])
        ]
        store = servers or File(services[0].database_file)
        posting = Clients(
            [str(service.client.base_url) for service in services],
            folder / "clients.log",
            number=clients,
            seed=seed,
        )
        for service in services:
            await service.start()
        running = asyncio.create_task(posting.run())
        ends = time.monotonic() + seconds
        left: list[Fault] = []
        while time.monotonic() < ends:
            if not left:
                left = draw.sample(which, len(which))
            fault = left.pop()
            done.append(fault.__name__)
            service = draw.choice(services)
            await fault(Scene(service, store, grok, posting.news, draw, folder, problems))
            if not service.running:
                await service.kill()
                await service.start()
        posting.stop()
        await running
        verdict = await _ended(services, store, grok, posting.told, only_rates=grok_faults == RATES)
    verdict.wrong += problems
    if await rebuild(load_settings(database_url=store.url, _env_file=None)):
        verdict.wrong.append("the figures are not those of the insights")
    return verdict, done


async def _ended(
    services: Sequence[ServiceProcess],
    store: Store,
    grok: RunningGrok,
    told: Told,
    *,
    only_rates: bool,
) -> Verdict:
    """Calm returns, and the service has its time to finish."""
    await steer(grok, "defaults", fault_rate=0, latency=0.02)
    for service in services:
        await service.kill()
    last = services[0]
    await last.start()
    await _settled(store, _UNFINISHED)
    await last.kill()
    await last.start()  # closes the calls that the death cut off
    await _settled(store, _UNDER_WAY)
    await last.kill()
    record = GrokRecord(
        bill=await look(grok, "bill"),
        sent=(await look(grok, "texts"))["sent"],
        calls=(await look(grok, "counters"))["calls"],
        only_rates=only_rates,
    )
    return await asyncio.to_thread(judge, store, told, record)


async def _settled(store: Store, statement: str) -> None:
    """Wait until nothing is counted, or what is counted gets no less any more. The verdict names
    what is left."""

    async def count() -> int:
        ((left,),) = await asyncio.to_thread(store.ask, statement)
        return int(left)

    async def is_fewer() -> bool:
        return await count() < left

    ends = time.monotonic() + _SETTLED_SECONDS
    while (left := await count()) and time.monotonic() < ends:
        try:
            await until(is_fewer, within=store.stuck_seconds, what="another one ended")
        except AssertionError:
            return
