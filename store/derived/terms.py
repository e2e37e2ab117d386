"""The terms that an insight is indexed by beside its words: sentiment, confidence bin, clusters,
author and facets. So one search of the index answers a whole filter.

A term begins with a sign that no word can hold. Clusters and authors enter as 80 bits of a hash,
since an author's name may hold any character and a term holds letters and digits.

Insights of own accounts have the same terms, words and all, behind a sign of their own: only a
search that names an author asks for these as well.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from analysis.sentiment import Sentiment, sentiment_of
from store.derived.rollups import CONFIDENCE_BINS, confidence_bin
from store.facets import Facet, unusual_values
from store.filters import InsightFilter
from store.insight_row import InsightRow

_SIGN = "\ue000"  # for private use: Unicode will never make it a letter

_OWN_SIGN = "\ue001"

_SENTIMENTS = {sentiment: f"{_SIGN}{sentiment}" for sentiment in Sentiment}
_CONFIDENCE_BINS = tuple(f"{_SIGN}{bin_}" for bin_ in range(len(CONFIDENCE_BINS)))


class Figures(NamedTuple):
    """What an insight has of those things that somebody may change."""

    sentiment: Sentiment
    confidence_bin: int
    clusters: tuple[str, ...]
    unusual: Sequence[tuple[Facet, str]]


def figures_of(insight: InsightRow, *, clusters: bool = True) -> Figures:
    return Figures(
        sentiment_of(insight.sentiment_score),
        confidence_bin(insight.confidence),
        tuple(insight.clusters) if clusters else (),
        unusual_values(insight),
    )


def terms_of_figures(figures: Figures) -> list[str]:
    return [
        _SENTIMENTS[figures.sentiment],
        _CONFIDENCE_BINS[figures.confidence_bin],
        *(_named("cluster", cluster) for cluster in figures.clusters),
        *(_of_facet(*each) for each in figures.unusual),
    ]


def terms_of(insight: InsightRow) -> list[str]:
    of_author = [] if insight.author is None else [_named("author", insight.author)]
    return [*terms_of_figures(figures_of(insight)), *of_author]


def is_word(term: str) -> bool:
    """Whether a term of the index is a word of texts that count."""
    return not term.startswith((_SIGN, _OWN_SIGN))


def of_own(terms: Iterable[str]) -> list[str]:
    """Terms or words of an insight of an own account."""
    return [_OWN_SIGN + term for term in terms]


Group = Sequence[str]
"""Terms of which an insight must have one."""


class Terms(NamedTuple):
    """What an insight of a filter has: a term of each of `groups`, and none of `absent`."""

    groups: Sequence[Group]
    absent: Sequence[str]


def terms_in(wanted: InsightFilter) -> Terms:
    """Words, time and confidence are not in."""
    groups: list[Group] = []
    absent: list[str] = []
    if wanted.sentiment:
        groups.append([_SENTIMENTS[wanted.sentiment]])
    if wanted.cluster is not None:
        groups.append([_named("cluster", wanted.cluster)])
    if wanted.author is not None:
        groups.append([_named("author", wanted.author)])
    for facet, values in wanted.facets.items():
        if values == (facet.usual,):
            absent += [_of_facet(facet, value) for value in facet.others]
        else:
            groups.append([_of_facet(facet, value) for value in values])
    if absent and not groups and not wanted.words:
        groups.append(list(_SENTIMENTS.values()))  # which every insight has one of
    return Terms(groups, absent)


def bins_from(first: int, stop: int = len(CONFIDENCE_BINS)) -> Group:
    """For a confidence inside one of the bins from `first` up to, but without, `stop`."""
    return _CONFIDENCE_BINS[first:stop]


@lru_cache(maxsize=4096)
def _of_facet(facet: Facet, value: str) -> str:
    return f"{_SIGN}{facet}{value}"


@lru_cache(maxsize=10_000)
def _named(kind: str, name: str) -> str:
    return f"{_SIGN}{kind}{hashlib.blake2b(name.encode(), digest_size=10).hexdigest()}"
