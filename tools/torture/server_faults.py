"""What is done to the PostgreSQL and the Redis of a service, and which faults go with them."""

import asyncio

from tools.torture import faults
from tools.torture.faults import Fault, Scene
from tools.torture.stores import Servers


async def stop_postgres(scene: Scene) -> None:
    """It ends its sessions, and is away for a moment."""
    await _restart_postgres(scene, "fast")


async def crash_postgres(scene: Scene) -> None:
    """It dies with all that is under way, and recovers from its log."""
    await _restart_postgres(scene, "immediate")


async def _restart_postgres(scene: Scene, mode: str) -> None:
    postgres = _servers_of(scene).postgres
    await asyncio.sleep(scene.draw.uniform(0.2, 1.0))
    await asyncio.to_thread(postgres.control, "-m", mode, "stop")
    await asyncio.sleep(scene.draw.uniform(0.0, 2.0))
    await asyncio.to_thread(postgres.start)
    await asyncio.sleep(1.5)


async def restart_redis(scene: Scene) -> None:
    """It is away for a moment, and has forgotten everything."""
    servers = _servers_of(scene)
    await asyncio.sleep(scene.draw.uniform(0.2, 1.0))
    await asyncio.to_thread(servers.stop_redis)
    await asyncio.sleep(scene.draw.uniform(0.0, 2.0))
    await asyncio.to_thread(servers.start_redis)
    await asyncio.sleep(1.5)


def _servers_of(scene: Scene) -> Servers:
    assert isinstance(scene.store, Servers)
    return scene.store


EVERY: tuple[Fault, ...] = (
    *faults.KILLS,
    faults.kill_at_the_start,
    faults.freeze,
    faults.stop_under_load,
    faults.lock_the_database,
    faults.until_a_person_acts,
    faults.outage,
    faults.rescue_from_outside,
    stop_postgres,
    crash_postgres,
    restart_redis,
)
"""What is left out has a file: a full disk, one that turns read-only, kills of its backups."""
