"""An insight as it is counted and indexed; and how many rows make a page."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Text, cast

from models import insights

BYTES_OF_PAGE = 2_000_000
"""The most JSON that a page may have."""


def how_many_fit(sizes: Iterable[int], most: int) -> int:
    """How many of `sizes`, from the first on, have a sum of at most `most`; at least one, where
    there is one."""
    count = total = 0
    for size in sizes:
        total += size
        if count and total > most:
            break
        count += 1
    return count


class InsightRow(NamedTuple):
    """`timestamp` is in microseconds; `own` is 1 for an account of one's own, else 0."""

    id: int
    timestamp: int
    text: str
    author: str | None
    sentiment_score: float
    confidence: float
    clusters: Sequence[str]
    language: str = "und"
    urgency: str = "none"
    labelled: str = "model"
    own: int = 0
    handling: str = "open"


COLUMNS = tuple(
    cast(insights.c.clusters, Text) if name == "clusters" else insights.c[name]
    for name in InsightRow._fields
)
_CLUSTERS = InsightRow._fields.index("clusters")


def to_row(values: Iterable[Any]) -> InsightRow:
    """Of what `COLUMNS` have given."""
    found = list(values)
    found[_CLUSTERS] = read_clusters(found[_CLUSTERS])
    return InsightRow._make(found)


SUSPECTED = "suspected_injection"
"""Among the notes of an insight whose text tries to steer the analyser."""


def read_notes(stored: str | None) -> Mapping[str, Any]:
    """Reads the column `notes` as text; null, which nearly all are, is no notes."""
    notes: dict[str, Any] = json.loads(stored) if stored else {}
    return notes


@lru_cache(maxsize=4096)
def read_clusters(stored: str) -> tuple[str, ...]:
    """Reads the column `clusters` as text. Cached, since few different lists make up most rows."""
    return tuple(json.loads(stored))
