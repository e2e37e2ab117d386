"""Can the service do its work: what `/ready` looks at. Each check is "ok" or says what is wrong."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from api.services import Services
from backends.errors import NEWER_SCHEMA
from errors import Unavailable
from runtime.disks import folders_written_to, room_in

STALLED_SECONDS = 300.0


async def check_all(parts: Services, *, for_traffic: bool) -> dict[str, str]:
    """By name. `for_traffic` has only what hinders posts and reads now."""
    checks = {"database": await parts.database_check.get(lambda: _check_database(parts))}
    if not for_traffic:
        checks["worker"] = await parts.worker_check.get(lambda: _check_worker(parts))
        checks["analyser"] = parts.call_runner.breaker.reason or "ok"
        checks["disk"] = await parts.disk_check.get(lambda: _check_disks(parts))
    return checks


async def _check_database(parts: Services) -> str:
    if parts.heartbeat is not None and parts.heartbeat.schema_is_newer:
        return NEWER_SCHEMA
    try:
        await parts.database.check_writable()
    except Unavailable as error:
        return error.details
    return "ok"


async def _check_worker(parts: Services) -> str:
    if parts.worker is None or parts.stall_watch is None:
        return "ok"
    if not parts.worker.alive:
        return "The worker has stopped."
    if parts.worker.trouble is not None:
        return parts.worker.trouble
    if await parts.stall_watch.is_stalled(STALLED_SECONDS):
        return "Conversations wait, and none has finished for five minutes."
    return "ok"


async def _check_disks(parts: Services) -> str:
    folders = folders_written_to(parts.settings.database_url, parts.settings.backup_dir)
    return await asyncio.to_thread(judge_disks, folders)


def judge_disks(folders: Mapping[str, Path]) -> str:
    """Names the first whose file system has too little room."""
    for what, folder in folders.items():
        room = room_in(folder)
        if room is not None and room.is_short:
            return f"The disk with the {what} has {room.share:.1%} of its room left."
    return "ok"
