"""One storm: clients that post all the time, a fake Grok that misbehaves, and fault upon fault."""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from config import load_settings
from tests.fakes.grok.process import RunningGrok, grok_process
from tests.support.service_process import ServiceProcess, grok_settings, look, steer, until
from tools.rebuild_derived import rebuild
from tools.torture import faults
from tools.torture.client import Clients, Told
from tools.torture.faults import Fault, Scene
from tools.torture.verdict import GrokRecord, Verdict, judge

RATES = "rate_per_second"
_UNFINISHED = "status IN ('pending', 'processing')"
_STUCK_SECONDS = 25.0
"""Nothing ends for so long: less than a lease, which nobody has to wait for."""
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
    **settings: str,
) -> tuple[Verdict, list[str]]:
    """Runs in `folder`; `settings` are the service's. Also gives the names of the faults, in order.
    With "" for `grok_faults`, Grok makes none."""
    draw = random.Random(seed)
    options = ["--latency", "0.25", "--latency-sigma", "0.5", "--seed", str(seed)]
    options += ["--limit-requests", "30000", "--bill-abandoned"]
    if grok_faults:
        options += ["--fault-rate", "0.15", "--faults", grok_faults]
    basic = {"grok_rate_limit": 100, "grok_pack_size": 3, "grok_timeout": 3}
    done: list[str] = []
    problems: list[str] = []
    with grok_process(*options) as grok:
        asked = {**grok_settings(grok), **basic, "log_level": "warning", **settings}
        async with ServiceProcess(folder, app=app, **asked) as service:
            posting = Clients(
                str(service.client.base_url), folder / "clients.log", number=clients, seed=seed
            )
            scene = Scene(service, grok, posting.news, draw, folder, problems)
            await service.start()
            running = asyncio.create_task(posting.run())
            ends = time.monotonic() + seconds
            left: list[Fault] = []
            while time.monotonic() < ends:
                if not left:
                    left = draw.sample(which, len(which))
                fault = left.pop()
                done.append(fault.__name__)
                await fault(scene)
                if not service.running:
                    await service.kill()
                    await service.start()
            posting.stop()
            await running
            verdict = await _ended(service, grok, posting.told, only_rates=grok_faults == RATES)
    verdict.wrong += problems
    url = f"sqlite+aiosqlite:///{service.database_file}"
    if await rebuild(load_settings(database_url=url, _env_file=None)):
        verdict.wrong.append("the figures are not those of the insights")
    return verdict, done


async def _ended(
    service: ServiceProcess, grok: RunningGrok, told: Told, *, only_rates: bool
) -> Verdict:
    """Calm returns, and the service has its time to finish."""
    await steer(grok, "defaults", fault_rate=0, latency=0.02)
    await service.kill()
    await service.start()
    await _settled(service)
    await service.kill()
    await service.start()  # closes the calls that the death cut off
    await service.kill()
    record = GrokRecord(
        bill=await look(grok, "bill"),
        sent=(await look(grok, "texts"))["sent"],
        calls=(await look(grok, "counters"))["calls"],
        only_rates=only_rates,
    )
    return judge(service.database_file, told, record)


async def _settled(service: ServiceProcess) -> None:
    """Wait until nothing waits, or nothing ends any more. The verdict names what is left."""
    ends = time.monotonic() + _SETTLED_SECONDS
    left = service.count(_UNFINISHED)
    while left and time.monotonic() < ends:
        with suppress(AssertionError):
            await until(
                partial(_has_fewer, service, left), within=_STUCK_SECONDS, what="another one ended"
            )
        if not _has_fewer(service, left):
            return
        left = service.count(_UNFINISHED)


def _has_fewer(service: ServiceProcess, left: int) -> bool:
    return service.count(_UNFINISHED) < left
