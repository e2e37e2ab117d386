"""What `Database` asks of SQLite and of PostgreSQL."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from sqlalchemy import Connection

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection  # 100 ms that SQLite can spare

T = TypeVar("T")

BackgroundWork = Callable[[Connection, Callable[[], bool]], T]
"""It is given a function that tells whether another write waits."""


class Backend(Protocol):
    """Built without I/O. All but `connect` and `reworking` raise Unavailable where the database
    cannot serve now; what is a bug, or no waiting mends, is raised as it is."""

    version: str
    """Of the database's own software; empty before `connect`."""

    async def connect(self) -> None:
        """See that a connection can be had."""

    async def close(self) -> None:
        """Wait for what is under way, and let go of everything."""

    async def read(self, work: Callable[[Connection], T], *, costly: bool, seconds: float) -> T:
        """Run `work` in one snapshot, for `seconds` at most."""

    async def write(
        self,
        work: Callable[[Connection], T],
        *,
        urgent: bool,
        durable: bool,
        preemptible: bool,
    ) -> T:
        """Run `work` in one transaction; what becomes of these is said in `Database.write`."""

    async def write_in_background(self, work: BackgroundWork[T]) -> T:
        """Run `work` in one transaction, which may be rolled back and begun anew."""

    async def yield_to_urgent_write(self) -> None:
        """Let the loop's other tasks run, and an urgent write that is under way end."""

    def reworking(self) -> "AbstractAsyncContextManager[AsyncConnection]":
        """A transaction of any length that may change the schema; committed where the block ends
        well."""

    async def checkpoint_truncate(self) -> None:
        """Empty the write-ahead log, so that it keeps no copy of erased rows."""

    async def copy_into(self, target: Path) -> bool:
        """Fill the empty file with what is committed at the end of the copying, beside writes.
        False where that could not be done here."""

    async def analyze(self) -> None:
        """Have the planner know what is there now."""
