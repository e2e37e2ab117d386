"""Backups by themselves: one every so many hours, and once a week a drill.

Each is a command in a process of its own, so that neither takes the interpreter from the service,
and both can be ended with it. Only copying a SQLite file is done here, through the connection that
writes: as long as another process reads one snapshot, the log of the file grows.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from database import Database
from runtime.signals import ENDED
from store import backups
from store.backups import folder, sqlite
from store.backups.folder import Drill
from store.backups.manifest import BackupFailed, Manifest, read_manifest
from worker.background import Background
from worker.waiting import until_set

log = structlog.get_logger(__name__)

_PROJECT = Path(__file__).parent.parent
DRILL_EVERY = timedelta(days=7)
_AFTER_FAILURE = timedelta(minutes=10)
_ENDED = {-signal.SIGTERM, -signal.SIGINT, ENDED}
"""How a process ends that is told to, by itself or by the signal."""
_DATED_AHEAD = (
    "the clock was ahead when it was made, or is behind now: it counts as the oldest backup"
)
_TIDY_SECONDS = 1.0  # what it leaves then is removed after a while


class _EndedFromOutside(Exception):
    pass


class BackupKeeper(Background):
    """Keeps `keep` backups in the folder `into`, a new one `every` so often."""

    name = "backups"

    def __init__(
        self,
        database: Database,
        into: Path,
        *,
        every: timedelta,
        keep: int,
    ) -> None:
        self._database = database
        self._folder = into.absolute()
        self.every = every
        self._keep = keep
        self._wanted = asyncio.Event()
        """Set while one is asked for or being made."""
        self._not_before = datetime.min.replace(tzinfo=UTC)
        self._is_mount_point = False
        """It was one at the start."""
        self._told: set[Path] = set()
        """Backups of which it is logged that they are dated ahead."""

    @property
    def newest(self) -> Manifest | None:
        return folder.newest(self._folder, sqlite=self._database.is_sqlite)

    @property
    def last_drill(self) -> Drill | None:
        return folder.last_drill(self._folder, sqlite=self._database.is_sqlite)

    async def check_folder(self) -> None:
        """Raises StartRefused where no backup can be made in it, or the database is in its way."""
        database = sqlite.path_of(self._database) if self._database.is_sqlite else None
        await asyncio.to_thread(folder.check_folder, self._folder, database)
        self._is_mount_point = folder.is_mount_point(self._folder)

    def make_soon(self) -> None:
        """Make one now, whenever the next one would be due. Raises BackupFailed while one is being
        made."""
        if self._wanted.is_set():
            raise BackupFailed("A backup is being made already.")
        self._wanted.set()

    async def _run(self) -> None:
        while True:
            await until_set(self._wanted, self._next_in().total_seconds())
            try:
                if self._wanted.is_set() or self._backup_is_due_in() <= timedelta():
                    await self._make()
                if self._drill_is_due_in() <= timedelta():
                    await self._drill()
            except _EndedFromOutside:  # most often with the service, which is about to stop
                log.info("backup_ended")
                self._not_before = datetime.now(UTC) + _AFTER_FAILURE
            except BackupFailed as error:
                log.error("backup_failed", reason=error.details)
                self._not_before = datetime.now(UTC) + _AFTER_FAILURE
            except Exception:  # such as a folder that cannot be listed: the next may be made
                log.exception("backup_failed")
                self._not_before = datetime.now(UTC) + _AFTER_FAILURE
            finally:
                self._wanted.clear()

    async def _make(self) -> None:
        self._wanted.set()
        if self._is_mount_point and not folder.is_mount_point(self._folder):
            raise BackupFailed(f"the disk that was mounted at {self._folder} is gone")
        self._tell_of_dated_ahead()
        path = self._folder / folder.name_of(datetime.now(UTC), sqlite=self._database.is_sqlite)
        is_copied = await backups.copy(self._database, path)
        await self._command("backup", str(path), *["--copied"] * is_copied)
        size = read_manifest(path).size
        removed = folder.prune(path, self._keep, self.every)
        log.info("backup_made", file=path.name, bytes=size, removed=len(removed))

    def _tell_of_dated_ahead(self) -> None:
        for path in folder.dated_ahead(self._folder, sqlite=self._database.is_sqlite):
            if path not in self._told:
                self._told.add(path)
                log.warning("backup_dated_ahead", file=path.name, reason=_DATED_AHEAD)

    def _next_in(self) -> timedelta:
        due = min(self._backup_is_due_in(), self._drill_is_due_in())
        # No longer than that, also where the clock was ahead.
        rest = min(self._not_before - datetime.now(UTC), _AFTER_FAILURE)
        return max(due, rest, timedelta())

    def _backup_is_due_in(self) -> timedelta:
        newest = self.newest
        return timedelta() if newest is None else newest.moment + self.every - datetime.now(UTC)

    def _drill_is_due_in(self) -> timedelta:
        drill = self.last_drill
        if drill is None:
            return timedelta()
        return drill.at + DRILL_EVERY - datetime.now(UTC)

    async def _drill(self) -> None:
        before, problem = self.last_drill, ""
        try:
            await self._command("drill")
        except BackupFailed as error:  # which its record tells, where it has come to one
            problem = error.details
        drill = self.last_drill
        if drill is None or drill == before or drill.problem is not None:
            recorded = None if drill is None or drill == before else drill.problem
            raise BackupFailed(f"the drill failed: {recorded or problem}")
        log.info("backup_drill", file=drill.backup, seconds=drill.seconds)

    async def _command(self, name: str, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"tools.{name}", *arguments),
            cwd=_PROJECT,
            env=self._environment(),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, said = await process.communicate()
        finally:
            await _end(process)
        if process.returncode in _ENDED:
            raise _EndedFromOutside
        if process.returncode:
            last = said.decode(errors="replace").strip().rpartition("\n")[2]
            raise BackupFailed(last or f"tools.{name} ended with status {process.returncode}")

    def _environment(self) -> Mapping[str, str]:
        url = self._database.url
        if self._database.is_sqlite:
            url = url.set(database=os.path.abspath(url.database or ""))
        return {
            **os.environ,
            "DATABASE_URL": url.render_as_string(hide_password=False),
            "BACKUP_DIR": str(self._folder),
        }


async def _end(process: asyncio.subprocess.Process) -> None:
    """It removes what it has begun, where it can."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_TIDY_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
