"""Preemption: a write in the background is rolled back where an urgent one comes, and begun anew
after it.

See docs/decisions/0020-plans-beside-live-posts.md for the figures.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SHARE = 0.3
"""Of the time at most so much is spent on what is rolled back, lest the background stand still."""
_MOST_SECONDS = 0.05


class Preempted(Exception):
    """Raised by a connection in place of the next statement."""


class PreemptibleConnection(sqlite3.Connection):
    """Its own `execute` and `executemany` ask whether to go on; SQLAlchemy's cursors do not."""

    is_preempted = False

    def execute(self, *statement: Any) -> sqlite3.Cursor:
        if self.is_preempted:
            raise Preempted
        return super().execute(*statement)

    def executemany(self, *statement: Any) -> sqlite3.Cursor:
        if self.is_preempted:
            raise Preempted
        return super().executemany(*statement)


class Preemption:
    """Of one write at a time: one thread is `open_to_it`, another makes the `request`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._driver: PreemptibleConnection | None = None
        self._seconds_to_lose = _MOST_SECONDS
        self._counted_at = time.monotonic()
        self._is_ruled_out = False

    @contextmanager
    def ruled_out(self) -> Iterator[None]:
        """Inside, for writes that begin: a rollback makes a copy of the file begin anew."""
        self._is_ruled_out = True
        try:
            yield
        finally:
            self._is_ruled_out = False

    def request(self) -> None:
        """Of the write that is under way, if it is open to it."""
        with self._lock:
            if self._driver is not None:
                self._driver.is_preempted = True

    @contextmanager
    def open_to_it(self, driver: sqlite3.Connection) -> Iterator[None]:
        """Inside, a statement may raise Preempted; not where too much was lost of late."""
        assert isinstance(driver, PreemptibleConnection)
        began = time.monotonic()
        self._seconds_to_lose += (began - self._counted_at) * _SHARE
        self._seconds_to_lose = min(self._seconds_to_lose, _MOST_SECONDS)
        self._counted_at = began
        if self._seconds_to_lose > 0 and not self._is_ruled_out:
            with self._lock:
                self._driver = driver
        try:
            yield
        except Preempted:
            self._seconds_to_lose -= time.monotonic() - began
            raise
        finally:
            with self._lock:
                self._driver = None
                driver.is_preempted = False
