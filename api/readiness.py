"""Can the service do its work: what `/ready` looks at. Each check is "ok" or says what is wrong."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from api.services import Services
from backends.errors import NEWER_SCHEMA
from errors import Unavailable

STALLED_SECONDS = 300.0
LEAST_FREE_SHARE = 0.05
"""Of a disk: below it somebody has to make room while there still is some."""


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
    if await parts.stall_watch.is_stalled(STALLED_SECONDS):
        return "Conversations wait, and none has finished for five minutes."
    return "ok"


async def _check_disks(parts: Services) -> str:
    return await asyncio.to_thread(judge_disks, _folders(parts))


def _folders(parts: Services) -> dict[str, Path]:
    """Those that files are written to, by what they are for."""
    folders = {}
    if parts.database.is_sqlite:
        folders["the database"] = Path(parts.database.url.database or "").absolute().parent
    if parts.settings.backup_dir is not None:
        folders["the backups"] = parts.settings.backup_dir
    return folders


def judge_disks(folders: Mapping[str, Path]) -> str:
    """Names the first whose file system has too little room."""
    for what, folder in folders.items():
        with suppress(OSError):  # such as a folder that is not there: who writes to it tells
            disk = os.statvfs(folder)
            free = disk.f_bavail / disk.f_blocks if disk.f_blocks else 1.0
            if free < LEAST_FREE_SHARE:
                return f"The disk with {what} has {free:.1%} of its room left."
    return "ok"
