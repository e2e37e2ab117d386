"""Kills, full disks and locks amid alerts and their deliveries, with receivers that misbehave."""

import asyncio
import random
import sqlite3
import time
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.fakes.grok.process import grok_process
from tests.fakes.receiver.server import FakeReceiver
from tests.support.service_process import ServiceProcess, grok_settings, until
from tools.torture import alert_clients
from tools.torture.alert_clients import ENDPOINTS, Complainers
from tools.torture.alert_verdict import AlertVerdict, judge, untold
from tools.torture.faults import (
    Scene,
    fill_the_disk,
    kill_at_a_write,
    kill_at_news,
    kill_at_random,
    lock_the_database,
)
from tools.torture.stores import File

_KILLS = (kill_at_random, kill_at_news, kill_at_news, kill_at_a_write)
_TROUBLES = (fill_the_disk, lock_the_database)
_TROUBLE_EVERY = 3
"""Kills."""
_NEAR_SECONDS = 6.0
_SETTLED_SECONDS = 300.0
_WINDOWS_END_SECONDS = 600.0


async def alert_storm(
    folder: Path,
    *,
    kills: int,
    seed: int,
    windows: bool = True,
    app: str = "main:app",
    **plant: str,
) -> AlertVerdict:
    """Kill the service so often. With `windows` there are also rules that are judged by the minute,
    for the ends of whose alerts it waits for some minutes."""
    draw = random.Random(seed)
    problems: list[str] = []
    begun = datetime.now(UTC)
    with grok_process("--latency", "0.05", "--seed", str(seed)) as grok:
        settings = grok_settings(
            grok, webhook_private_hosts="127.0.0.1", log_level="warning", **plant
        )
        async with (
            FakeReceiver(latency=0.01) as receiver,
            ServiceProcess(folder, app=app, **settings) as service,
        ):
            alert_clients.misbehave(receiver, draw)
            store = File(service.database_file)
            scene = Scene(service, store, grok, receiver.news, draw, folder, problems)
            await service.start()
            endpoints = await alert_clients.make_endpoints(service, receiver)
            rules = await alert_clients.make_single_rules(service)
            clients = Complainers(str(service.client.base_url), seed=seed)
            running = asyncio.create_task(clients.run(windows=windows))
            for number in range(kills):
                if number > 0.75 * kills:
                    clients.make_no_more_windows()
                trouble, left = divmod(number, _TROUBLE_EVERY)
                if not left:
                    await _TROUBLES[trouble % len(_TROUBLES)](scene)
                await _kill(scene)
                _let_time_pass(service.database_file)
                await service.start()
                await _enable(service, endpoints)
            clients.stop()
            await running
            receiver.forget_scripts()
            await _end(service, endpoints, begun, windows=windows)
            verdict = judge(
                service.database_file, clients.told, receiver.received, rules, endpoints
            )
    verdict.kills = kills
    verdict.wrong += problems
    return verdict


async def _kill(scene: Scene) -> None:
    """Right behind the minute, at which rules are judged, where it is near."""
    left = 60 - time.time() % 60
    if left < _NEAR_SECONDS:
        await asyncio.sleep(left + scene.draw.uniform(0, 2))
        await scene.service.kill()
    else:
        await scene.draw.choice(_KILLS)(scene)


def _let_time_pass(database_file: Path) -> None:
    """What waits to be tried again is due."""
    with closing(sqlite3.connect(database_file, timeout=30)) as connection, connection:
        connection.execute(
            "UPDATE deliveries SET next_at = 1 WHERE next_at IS NOT NULL AND lease_token IS NULL"
        )


async def _enable(service: ServiceProcess, endpoints: dict[str, str]) -> None:
    answer = await service.client.post(f"{ENDPOINTS}/{endpoints[alert_clients.GONE]}/enable")
    answer.raise_for_status()


async def _end(
    service: ServiceProcess, endpoints: dict[str, str], begun: datetime, *, windows: bool
) -> None:
    """Calm returns: what has failed is asked for once more, and all has its time to be told."""
    with suppress(AssertionError):  # the verdict names what is not
        await until(
            lambda: not service.count("status IN ('pending', 'processing')"),
            within=_SETTLED_SECONDS,
            what="all analysed",
        )
        # The rest of a minute with many posts is told at its end.
        await until(
            lambda: not untold(service.database_file),
            within=_WINDOWS_END_SECONDS if windows else _SETTLED_SECONDS,
            what="all told",
        )
    await service.kill()
    _let_time_pass(service.database_file)
    await service.start()
    await _enable(service, endpoints)
    until_now = {"from": _z(begun), "to": _z(datetime.now(UTC) + timedelta(minutes=1))}
    for id_ in endpoints.values():
        answer = await service.client.post(f"{ENDPOINTS}/{id_}/deliveries/retry", json=until_now)
        answer.raise_for_status()
    with suppress(AssertionError):
        await until(
            lambda: not service.query("SELECT 1 FROM deliveries WHERE state = 'pending' LIMIT 1"),
            within=_SETTLED_SECONDS,
            what="all delivered",
        )


def _z(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
