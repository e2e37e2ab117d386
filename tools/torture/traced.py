"""Some dozens of posts to a service under strace, and what its trace proves."""

import asyncio
import os
import random
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.grok.process import grok_process
from tests.support.processes import family
from tests.support.service_process import ServiceProcess, grok_settings, until
from tools.torture import trace
from tools.torture.power_cut import Cut, cuts

_PLANNED = 60
"""Insights that each plan changes, beside those of the posts."""
_MOODS = ("negative", "neutral", "positive")


@dataclass(frozen=True, slots=True)
class Proof:
    """`too_soon` are ids that were acknowledged before they were on the disk; `walked` is how many
    rows plans have changed meanwhile."""

    acknowledged: int
    walked: int
    too_soon: list[str]
    cuts: list[Cut]

    @property
    def lost(self) -> list[str]:
        return sorted({id_ for cut in self.cuts for id_ in cut.lost})

    @property
    def damaged(self) -> list[str]:
        return [cut.damage for cut in self.cuts if cut.damage is not None]


async def prove(
    folder: Path,
    *,
    posts: int,
    power_cuts: int,
    seed: int,
    app: str = "main:app",
    **settings: Any,
) -> Proof:
    """Runs in `folder`, for some seconds. The worker is at work meanwhile; and a plan is walked
    amid every ten posts, whose steps give way to them."""
    with grok_process("--latency", "0.05", "--seed", str(seed)) as grok:
        service = ServiceProcess(folder, app=app, **grok_settings(grok), **settings)
        async with service:
            await service.start()  # makes the file
            await service.post_batch([f"parcel of before, {n}" for n in range(_PLANNED)])
            await until(
                lambda: service.count("status = 'completed'") == _PLANNED,
                within=60,
                what="what plans are about is analysed",
            )
            service.send(signal.SIGTERM)
            await service.ended(within=20)
            before = folder / "before.db"
            shutil.copy(service.database_file, before)
            traces = folder / "trace"
            traces.mkdir()
            service.launch_under(trace.command(traces))
            await service.ready(within=60)
            ids = await _post(service, posts)
            ((walked,),) = service.query("SELECT COALESCE(sum(changed), 0) FROM plans")
            for pid in family(service.pid):
                if pid != service.pid:  # strace ends with the one that it watches
                    os.kill(pid, signal.SIGTERM)
            await service.ended(within=30)
    seen = trace.read(traces)
    return Proof(
        len(ids),
        walked,
        trace.answered_too_soon(seen, ids, service.database_file),
        list(
            cuts(
                seen,
                ids,
                before=before,
                database=service.database_file,
                folder=folder,
                number=power_cuts,
                draw=random.Random(seed),
            )
        ),
    )


async def _post(service: ServiceProcess, posts: int) -> list[str]:
    """Single ones, some at once, and a batch after every tenth."""
    ids: list[str] = []
    for start in range(0, posts, 10):
        texts = [f"parcel {number} is late" for number in range(start, min(start + 10, posts))]
        await _apply_a_plan(service, _MOODS[start // 10 % len(_MOODS)])
        ids += await asyncio.gather(*map(service.post, texts[:-3]))
        ids += await service.post_batch(texts[-3:])
    return ids


async def _apply_a_plan(service: ServiceProcess, mood: str) -> None:
    """Begin to; it takes some steps."""
    path = "/api/v1/plans"
    body = {"kind": "label", "filter": {"q": "parcel"}, "set": {"sentiment": mood}, "by": "ana"}
    plan = (await service.client.post(path, json=body)).raise_for_status().json()
    (await service.client.post(f"{path}/{plan['plan_id']}/apply")).raise_for_status()
