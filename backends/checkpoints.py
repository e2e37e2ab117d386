"""When SQLite's write-ahead log is to be checkpointed: before a commit has to, whose caller would
wait for it.

What a checkpoint costs is its pages, each of which it writes once, however often it has changed. So
after writes in the background, which come back to the same pages, it waits for many changes, and
for a moment at which nobody is likely to want the writer: who has just posted will hardly do so
again at once, and the result of the post before is settled.
"""

import time

_CHANGES = 400
_PAGES = 400
"""A checkpoint of so many rows, or pages of long texts, takes some 2 ms."""
_CHANGES_IN_BACKGROUND = 12_000
"""As a plan makes of a thousand insights: some 900 pages; by hundreds, 2,000."""
_POSTED_LATELY_SECONDS = 1.0


class Checkpoints:
    """Of one connection, which counts its changes from 0."""

    def __init__(self) -> None:
        self._changes = 0
        self._pages = 0
        self._in_background = False
        self._posted_at = 0.0

    def are_due(self, changes: int, pages: int, *, urgent: bool, background: bool) -> bool:
        """After a write, with which the connection has made so many changes and the file has so
        many pages in use."""
        now = time.monotonic()
        if urgent:
            self._posted_at = now
        self._in_background |= background
        since = changes - self._changes
        if not self._in_background:
            return since >= _CHANGES or abs(pages - self._pages) >= _PAGES
        unlucky = urgent or (background and now - self._posted_at < _POSTED_LATELY_SECONDS)
        return since >= _CHANGES_IN_BACKGROUND * (1 + unlucky)

    def made(self, changes: int, pages: int) -> None:
        self._changes, self._pages = changes, pages
        self._in_background = False
