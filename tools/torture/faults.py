"""What is done to the service while it works. Each ends with a service that runs again or is gone;
whoever calls it starts the next life."""

import asyncio
import os
import random
import resource
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.grok.faults import GROUPS
from tests.fakes.grok.process import RunningGrok
from tests.support.paths import ROOT
from tests.support.service_process import ServiceProcess, steer
from tools.torture.stores import Store

LEASE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Scene:
    """What faults reach. `news` is set whenever somebody outside is told something; `problems`
    takes what is seen to be wrong on the way."""

    service: ServiceProcess
    store: Store
    grok: RunningGrok
    news: asyncio.Event
    draw: random.Random
    folder: Path
    problems: list[str]


Fault = Callable[[Scene], Awaitable[None]]


async def kill_at_random(scene: Scene) -> None:
    await asyncio.sleep(scene.draw.uniform(0.0, 1.5))
    await scene.service.kill()


async def kill_at_news(scene: Scene) -> None:
    scene.news.clear()
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            await scene.news.wait()
    await scene.service.kill()


async def kill_at_a_write(scene: Scene) -> None:
    """In the middle of a transaction, or right behind it."""
    await asyncio.sleep(scene.draw.uniform(0.2, 1.2))
    await asyncio.to_thread(scene.store.await_a_write)
    await asyncio.sleep(scene.draw.uniform(0, 0.01))
    await scene.service.kill()


async def kill_at_the_start(scene: Scene) -> None:
    await scene.service.kill()
    scene.service.launch()
    await asyncio.sleep(scene.draw.uniform(0.1, 1.5))
    await scene.service.kill()


async def freeze(scene: Scene) -> None:
    await _freeze(scene, scene.draw.uniform(0.5, 2.0))


async def freeze_past_a_lease(scene: Scene) -> None:
    await _freeze(scene, LEASE_SECONDS + 3)


async def _freeze(scene: Scene, seconds: float) -> None:
    scene.service.send(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    scene.service.send(signal.SIGCONT)
    await asyncio.sleep(1.0)


async def stop_under_load(scene: Scene) -> None:
    await asyncio.sleep(scene.draw.uniform(0.2, 1.0))
    scene.service.send(signal.SIGTERM)
    status = await scene.service.ended(within=20)
    if status not in (0, -signal.SIGTERM):
        scene.problems.append(f"SIGTERM ended the service with status {status}")
    errors = [
        line
        for line in scene.service.events()
        if line.get("level") == "error" and line.get("event") != "breaker_opened"  # which Grok does
    ]
    if errors:
        scene.problems.append(f"SIGTERM left an error in the log: {errors[0]}")


async def fill_the_disk(scene: Scene) -> None:
    """The write-ahead log may not grow any more, for some seconds; the service's own log may."""
    pid, database = scene.service.pid, scene.service.database_file
    size = database.with_name(f"{database.name}-wal").stat().st_size
    size = max(size // 2, len(scene.service.log) + 65_536)
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    await asyncio.sleep(scene.draw.uniform(1.0, 2.5))
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    await asyncio.sleep(1.5)


async def turn_read_only(scene: Scene) -> None:
    """Nobody may write the file and its log, for some seconds."""
    files = [scene.service.database_file, Path(f"{scene.service.database_file}-wal")]
    try:
        await _status_of("chattr", "+i", *files)
        await asyncio.sleep(scene.draw.uniform(1.0, 2.5))
    finally:
        await _status_of("chattr", "-i", *files)
    await asyncio.sleep(1.5)


async def can_turn_read_only(folder: Path) -> bool:
    """It takes root, chattr, and a file system that knows it, such as ext4."""
    file = folder / "read-only"
    file.touch()
    try:
        return not await _status_of("chattr", "+i", file)
    except FileNotFoundError:
        return False
    finally:
        with suppress(FileNotFoundError):
            await _status_of("chattr", "-i", file)


async def _status_of(*command: str | Path) -> int:
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet)
    return await process.wait()


async def step_the_clock(scene: Scene) -> None:
    """A life whose clock jumps back and forth by up to an hour; the next one has the right time.
    Needs libfaketime."""
    library = faketime_library()
    assert library is not None
    offset = scene.folder / "clock"
    offset.write_text("+0")
    await scene.service.kill()
    scene.service.launch_under(
        [
            *("env", f"LD_PRELOAD={library}", f"FAKETIME_TIMESTAMP_FILE={offset}"),
            *("FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1"),
        ]
    )
    await scene.service.ready(within=60)
    for _ in range(3):
        await asyncio.sleep(scene.draw.uniform(0.5, 1.5))
        step = scene.draw.choice((-3600.0, -LEASE_SECONDS - 5, -2.0, 2.0, 3600.0))
        replacement = offset.with_suffix(".new")
        replacement.write_text(f"{step:+g}")
        replacement.rename(offset)
    await asyncio.sleep(scene.draw.uniform(0.5, 1.5))
    await scene.service.kill()


def faketime_library() -> Path | None:
    """The one for programs with threads, where it is installed."""
    return next(iter(sorted(Path("/usr").glob("lib*/**/faketime/libfaketimeMT.so.1"))), None)


async def lock_the_database(scene: Scene) -> None:
    """Another program writes, and takes its time."""
    await asyncio.to_thread(scene.store.hold_a_lock, scene.draw.uniform(0.5, 3.0))
    await asyncio.sleep(0.5)


async def until_a_person_acts(scene: Scene) -> None:
    """Grok refuses everything: a wrong key, spent credits, and the like."""
    reply = scene.draw.choice(GROUPS["until_a_person_acts"])
    await steer(scene.grok, "defaults", default=reply)
    await asyncio.sleep(scene.draw.uniform(0.5, 1.5))
    await steer(scene.grok, "defaults", default="ok")


async def outage(scene: Scene) -> None:
    await steer(scene.grok, "down", mode="unavailable", seconds=scene.draw.uniform(0.5, 2.0))
    await asyncio.sleep(1.0)


async def rescue_from_outside(scene: Scene) -> None:
    """Another worker takes what this one has in hand for orphaned, as it may on PostgreSQL."""
    for _ in range(5):
        await asyncio.sleep(scene.draw.uniform(0.1, 0.3))
        await asyncio.to_thread(scene.store.change, _PUT_BACK)
        await asyncio.sleep(0.1)


_PUT_BACK = (
    "UPDATE conversations SET status = 'pending', lease_token = NULL, leased_until = NULL,"
    " attempts = attempts - 1 WHERE status = 'processing'"
)


async def kill_a_backup(scene: Scene) -> None:
    """What has the backup's name afterwards is a whole backup, or nothing has it."""
    folder = scene.folder / f"backup-{scene.draw.getrandbits(32):08x}"
    folder.mkdir()
    name = folder / "backup.db"
    backup = await _command(scene, "backup", str(name))
    await asyncio.sleep(scene.draw.uniform(0.2, 1.2))
    with suppress(ProcessLookupError):
        backup.kill()
    await backup.wait()
    left = {file.name for file in folder.iterdir()}
    if left >= {"backup.db", "backup.db.json"}:
        verify = await _command(scene, "verify", str(name))
        if await verify.wait():
            scene.problems.append("a killed backup left one that is not whole")
    shutil.rmtree(folder)


async def _command(scene: Scene, tool: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"tools.{tool}", *arguments),
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": scene.store.url},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


EVERY: tuple[Fault, ...] = (
    kill_at_random,
    kill_at_news,
    kill_at_a_write,
    kill_at_the_start,
    freeze,
    stop_under_load,
    fill_the_disk,
    lock_the_database,
    until_a_person_acts,
    outage,
    rescue_from_outside,
    kill_a_backup,
)
KILLS: tuple[Fault, ...] = (kill_at_random, kill_at_news, kill_at_a_write)
