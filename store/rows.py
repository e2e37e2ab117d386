"""A stored insight, as those see it who count and index it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


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
