"""When SQLite's write-ahead log is to be checkpointed: before a commit has to, whose caller would
wait for it.

What a checkpoint costs is its pages, each of which it writes once, however often it has changed. So
beside writes in the background, which come back to the same pages, it waits for many changes, and,
while posts come in, for the end of a post, since the next one seldom follows at once.
"""

import time
from collections.abc import Callable

_CHANGES = 400
_PAGES = 400
"""A checkpoint of so many rows, or pages of long texts, takes some 2 ms."""
_CHANGES_IN_BACKGROUND = 12_000
"""As a plan makes of a thousand insights: some 900 pages in one transaction; in steps, 2,000."""
_LATELY_SECONDS = 1.0


class Checkpoints:
    """Of one connection."""

    def __init__(self) -> None:
        self._changes = 0
        self._pages = 0
        self._background_at = self._posted_at = -_LATELY_SECONDS
        self._is_post = False

    def changed(self, rows: int) -> None:
        """By a transaction that comes to its commit. What is rolled back is not in the log."""
        self._changes += rows

    def written(self, *, urgent: bool, background: bool) -> None:
        """Of each write, when it has ended."""
        self._is_post = urgent
        if urgent:
            self._posted_at = time.monotonic()
        if background:
            self._background_at = time.monotonic()

    def are_due(self, pages: Callable[[], int], *, others_wait: bool) -> bool:
        """After a write; `pages` tells how many of the file are in use. No others are meant that
        are in the background, whose next step can wait."""
        now = time.monotonic()
        if now - self._background_at >= _LATELY_SECONDS:
            are_many = self._changes >= _CHANGES or abs(pages() - self._pages) >= _PAGES
            return are_many and not others_wait
        if self._is_post:
            return self._changes >= _CHANGES_IN_BACKGROUND
        is_after_posts = now - self._posted_at < _LATELY_SECONDS
        most = _CHANGES_IN_BACKGROUND * (1 + is_after_posts)
        return self._changes >= most and not others_wait

    @property
    def can_wait(self) -> bool:
        """One that is due, for the end of another post, if that follows at once."""
        return self._is_post and (
            _CHANGES_IN_BACKGROUND <= self._changes < 1.5 * _CHANGES_IN_BACKGROUND
        )

    def made(self, pages: int) -> None:
        self._changes, self._pages = 0, pages
