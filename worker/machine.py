"""What is wrong with the service itself, for those who are to be told of it."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from runtime.disks import room_in
from worker.backups import BackupKeeper
from worker.calls import CallRunner
from worker.stalls import StallWatch

STALLED_SECONDS = 600.0
_BACKUPS_MISSED = 2
_now = partial(datetime.now, UTC)  # of this machine, as the names of backups are


class MachineWatch:
    def __init__(
        self,
        call_runner: CallRunner,
        stalls: StallWatch,
        *,
        folders: Mapping[str, Path],
        backups: BackupKeeper | None = None,
        now: Callable[[], datetime] = _now,
    ) -> None:
        """`folders` are those whose disk may become full, by what is in them."""
        self._call_runner = call_runner
        self._stalls = stalls
        self._folders = folders
        self._backups = backups
        self._now = now
        self._since = now()

    async def troubles(self) -> Mapping[str, str]:
        """By what is wrong, each in a sentence."""
        found: dict[str, str] = {}
        if (reason := self._call_runner.breaker.reason) is not None:
            found["breaker"] = f"No texts are analysed: {reason}"
        if self._call_runner.out_of_money:
            found["budget"] = "The daily budget is spent: conversations wait for midnight UTC."
        elif await self._stalls.is_stalled(STALLED_SECONDS):
            found["stalled"] = "Conversations wait, and none has finished for ten minutes."
        # A disk that hangs holds up nobody else.
        found.update(await asyncio.to_thread(_full_disks, self._folders))
        if (sentence := self._old_backup()) is not None:
            found["backup"] = sentence
        return found

    def _old_backup(self) -> str | None:
        if self._backups is None:
            return None
        newest = self._backups.newest
        since = self._since if newest is None else newest.moment
        # What is ahead of the clock is as little to be relied on as what is far behind it.
        if abs(self._now() - since) <= _BACKUPS_MISSED * self._backups.every:
            return None
        if newest is None:
            return "There is no backup."
        return f"The newest backup is of {newest.moment:%Y-%m-%d %H:%M} UTC."


def _full_disks(folders: Mapping[str, Path]) -> Mapping[str, str]:
    said = {f"disk of the {what}": _disk(what, folder) for what, folder in folders.items()}
    return {key: sentence for key, sentence in said.items() if sentence is not None}


def _disk(what: str, folder: Path) -> str | None:
    room = room_in(folder)
    if room is None or not room.is_short:
        return None
    return f"The disk of the {what} is nearly full: {room.free / 1e6:,.0f} MB are free."
