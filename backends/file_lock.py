"""One process for each SQLite file: an exclusive `flock` on `<file>-lock` while the file is open.

The operating system frees the lock when its holder ends, also by `kill -9`. The lock's file stays:
a process that removed it could remove the one that the next process has just locked.
"""

import asyncio
import fcntl
import os
import time

import structlog

from errors import Unavailable

log = structlog.get_logger(__name__)

LOCK_SUFFIX = "-lock"
_MODE = 0o600
_POLL_SECONDS = 0.05


class FileLock:
    """The lock of the database file at `path`, which is absolute and without links, so that one
    file has one lock. Two on one file exclude each other within a process, too.
    """

    def __init__(self, path: str) -> None:
        self._database = path
        self._path = path + LOCK_SUFFIX
        self._descriptor: int | None = None
        self._taken: dict[str, tuple[int, int]] = {}
        self._told = False

    async def acquire(self, *, patience: float) -> None:
        """Take the lock; wait up to `patience` seconds for a holder that may be stopping.

        Raises Unavailable where another process keeps it, its file cannot be had, or the database
        is a folder. Nothing happens where it is held already.
        """
        if self._descriptor is not None:
            return
        deadline = time.monotonic() + patience
        descriptor = self._open()
        try:
            waiting = False
            while not self._try(descriptor):
                if time.monotonic() >= deadline:
                    raise Unavailable(
                        "another process has this file open, and a SQLite file belongs to one"
                        " process. Several processes need PostgreSQL:"
                        " DATABASE_URL=postgresql+asyncpg://..."
                    )
                if not waiting:
                    log.info("database_file_is_taken", lock=self._path, waits_seconds=patience)
                    waiting = True
                await asyncio.sleep(_POLL_SECONDS)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        held = os.fstat(descriptor)
        self._taken[self._path] = held.st_dev, held.st_ino

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._taken.clear()

    def lost(self) -> str | None:
        """The path at which the lock's file is no longer the one that is held, or the database's,
        which exists, the one that was there at the first call: what is written would not be found
        again. Logged once."""
        path = next(filter(self._is_lost, (self._database, self._path)), None)
        if path is not None and not self._told:
            log.critical("database_file_lost", path=path)
            self._told = True
        return path

    def _is_lost(self, path: str) -> bool:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return True
        except OSError:  # it may still be there
            return False
        place = found.st_dev, found.st_ino
        return place != self._taken.setdefault(path, place)

    def _open(self) -> int:
        if os.path.isdir(self._database):  # no lock is left beside what is no database
            raise Unavailable(f"{self._database} cannot be opened: it is a folder")
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT, _MODE)
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be opened: {error.strerror}") from error

    def _try(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be locked: {error.strerror}") from error
        return True
