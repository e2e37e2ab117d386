"""A stored insight, as those see it who count and index it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

BYTES_OF_PAGE = 2_000_000
"""Of JSON, that a page has at most."""


def how_many_fit(sizes: Iterable[int], most: int) -> int:
    """How many of these, from the first on, come to no more than `most` together: one at least,
    where there is one."""
    count = total = 0
    for size in sizes:
        total += size
        if count and total > most:
            break
        count += 1
    return count


class InsightRow(NamedTuple):
    """`timestamp` is in microseconds."""

    id: int
    timestamp: int
    text: str
    author: str | None
    sentiment_score: float
    confidence: float
    clusters: Sequence[str]


def read_notes(stored: str | None) -> Mapping[str, Any]:
    """An insight's `notes` from their column's text, which is null for nearly all."""
    notes: dict[str, Any] = json.loads(stored) if stored else {}
    return notes
