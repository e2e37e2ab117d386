"""Stopping what SQLite does from another thread."""

import sqlite3
import threading


class Stoppable:
    """A read or a write that is under way, and how to stop it from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._driver: sqlite3.Connection | None = None

    def begin(self, driver: sqlite3.Connection) -> None:
        with self._lock:
            self._driver = driver

    def end(self) -> None:
        """From here on it is not stopped any more; its connection may be another's soon."""
        with self._lock:
            self._driver = None

    def stop(self) -> None:
        with self._lock:
            if self._driver is not None:
                self._driver.interrupt()
