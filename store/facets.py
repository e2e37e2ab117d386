"""Facets: an insight has one value of each, and a filter may ask for one.

Rollups and the word index have a name for each value but the usual one, which nearly all insights
have: these are all insights but those with another value. So what is usual costs nothing to write.
"""

from collections.abc import Iterator
from enum import StrEnum

from analysis.handling import HandlingState
from analysis.labels import LastWord
from analysis.urgency import Urgency
from store.insight_row import InsightRow


class Facet(StrEnum):
    """Named as its column and as the filter that asks for it. `usual` is None, and `others` empty,
    where no value is usual."""

    LANGUAGE = "language", None
    URGENCY = "urgency", Urgency.NONE
    LABELLED = "labelled", LastWord.MODEL
    HANDLING = "handling", HandlingState.OPEN

    usual: StrEnum | None
    others: tuple[str, ...]

    def __new__(cls, value: str, usual: StrEnum | None) -> "Facet":
        facet = str.__new__(cls, value)
        facet._value_, facet.usual = value, usual
        facet.others = tuple(each for each in type(usual) if each is not usual) if usual else ()
        return facet


def unusual_values(insight: InsightRow) -> Iterator[tuple[Facet, str]]:
    """The facets under which an insight is counted and found by name."""
    for facet, usual in _USUAL:
        value: str = getattr(insight, facet)
        if value != usual:
            yield facet, value


_USUAL = tuple((facet, facet.usual) for facet in Facet)
