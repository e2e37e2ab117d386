"""What an insight is indexed by beside its words, so that a search can ask for all of it at once.

A term begins with a sign that no word can hold. Clusters and authors enter as 80 bits of a hash:
an author's name may be anything, and a term is letters and digits.
"""

import hashlib
from collections.abc import Sequence

from store.derived.rollups import CONFIDENCE_BINS, confidence_bin, sentiment_place
from store.filters import InsightFilter, Sentiment
from store.insight_row import InsightRow

_SIGN = "\ue000"  # for private use: Unicode will never make it a letter

_SENTIMENTS = tuple(f"{_SIGN}{sentiment.value}" for sentiment in Sentiment)
_CONFIDENCE_BINS = tuple(f"{_SIGN}{step}" for step in range(len(CONFIDENCE_BINS)))


def terms_of(insight: InsightRow) -> list[str]:
    return [
        _SENTIMENTS[sentiment_place(insight.sentiment_score)],
        _CONFIDENCE_BINS[confidence_bin(insight.confidence)],
        *(_named("cluster", cluster) for cluster in insight.clusters),
        *([_named("author", insight.author)] if insight.author is not None else []),
    ]


Group = Sequence[str]
"""Terms of which an insight must have one."""


def groups_of(wanted: InsightFilter) -> list[Group]:
    """What an insight must have of each, but for its words, its time and its confidence."""
    groups: list[Group] = []
    if wanted.sentiment:
        groups.append([_SENTIMENTS[list(Sentiment).index(wanted.sentiment)]])
    if wanted.cluster is not None:
        groups.append([_named("cluster", wanted.cluster)])
    if wanted.author is not None:
        groups.append([_named("author", wanted.author)])
    return groups


def steps_from(first: int, stop: int = len(CONFIDENCE_BINS)) -> Group:
    """For a confidence inside one of these steps."""
    return _CONFIDENCE_BINS[first:stop]


def _named(kind: str, name: str) -> str:
    return f"{_SIGN}{kind}{hashlib.blake2b(name.encode(), digest_size=10).hexdigest()}"
