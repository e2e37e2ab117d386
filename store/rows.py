"""A stored insight, as those see it who count and index it."""

from collections.abc import Sequence
from typing import NamedTuple


class InsightRow(NamedTuple):
    """`timestamp` is in microseconds; `lane` is its conversation's."""

    id: int
    timestamp: int
    text: str
    sentiment_score: float
    confidence: float
    clusters: Sequence[str]
    lane: str
