"""What is shown of a breach: who wrote, whether they copied each other, which words stand out, the
newest posts, and the page that shows them all."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Connection

from analysis.alerts import LEAST_AUTHORS, SAMPLE, crowd_gate
from analysis.fingerprint import as_analysed
from analysis.standing_out import words_that_stand_out
from models import format_time, from_micros
from store.filters import BEGINNING, InsightFilter
from store.insight_row import SUSPECTED
from store.insights import InsightStore
from store.listed import ListedInsight

_WORDS_OF, _USUAL = 100, 200
"""How many of them have their words looked at, beside those of so many posts before the window."""
LOOKED_AT = 1000
"""Characters of a text."""
SHOWN = 3
_TEXT_LENGTH = 280


class EvidenceReader:
    def __init__(self, insights: InsightStore) -> None:
        self._insights = insights

    def read(
        self,
        wanted: InsightFilter,
        named: Mapping[str, Any],
        connection: Connection,
        *,
        texts: bool,
    ) -> Mapping[str, Any]:
        """Of the posts that `wanted` finds, whose filter has these names in the API."""
        found = self._insights.newest(wanted, SAMPLE, connection)
        posts = [each for each in found if SUSPECTED not in each.notes]
        distinct = {as_analysed(text).casefold() for text in _beginnings(posts)}
        shown = posts[:SHOWN]
        evidence: dict[str, Any] = {
            "authors": count_authors(posts),
            "copies": round(1 - len(distinct) / len(posts), 3) if posts else 0.0,
            "words": self._words(wanted, posts, connection),
            "conversations": [each.conversation_id for each in shown],
            "link": page_link(named, wanted),
        }
        if texts:
            evidence["texts"] = texts_of(shown)
        return evidence

    def _words(
        self, wanted: InsightFilter, posts: Sequence[ListedInsight], connection: Connection
    ) -> list[str]:
        """Beside what was written before, or where there is nothing, at the same time; where that
        is too little, those of most posts."""
        texts = list(_beginnings(posts[:_WORDS_OF]))
        before = InsightFilter(
            BEGINNING, from_micros(wanted.span.start - 1), language=wanted.language
        )
        if usual := self._insights.newest(before, _USUAL, connection):
            return list(words_that_stand_out(texts, _beginnings(usual)))
        beside = InsightFilter(wanted.start_time, wanted.end_time, language=wanted.language)
        found = self._insights.newest(beside, len(posts) + _USUAL, connection)
        own = {each.conversation_id for each in posts}
        others = _beginnings(each for each in found if each.conversation_id not in own)
        return list(words_that_stand_out(texts, others) or words_that_stand_out(texts, []))

    def is_of_the_same(
        self, evidence: Mapping[str, Any], wanted: InsightFilter, connection: Connection
    ) -> bool:
        """Whether the newest posts are those of this evidence. Costs three rows."""
        newest = self._insights.newest(wanted, SHOWN, connection)
        return [each.conversation_id for each in newest] == evidence.get("conversations")


def _beginnings(posts: Iterable[ListedInsight]) -> Iterator[str]:
    return (each.text[:LOOKED_AT] for each in posts)


def texts_of(posts: Iterable[ListedInsight]) -> Sequence[str]:
    """As they are told."""
    return [as_analysed(each.text)[:_TEXT_LENGTH] for each in posts]


def count_authors(posts: Sequence[ListedInsight]) -> int:
    """A post that does not say who wrote it may be of anybody: each counts for one."""
    named = {each.author for each in posts if each.author is not None}
    return len(named) + sum(each.author is None for each in posts)


def held_back(
    evidence: Mapping[str, Any], wanted: InsightFilter, *, at_least: float | None = None
) -> str | None:
    """Why nobody is told of a breach with this evidence. A rule about one author, or one that a
    single post or two can breach, is not about a crowd."""
    if wanted.author is not None:
        return None
    least = LEAST_AUTHORS
    if at_least is not None:
        least = max(1, min(least, int(at_least)))
    return crowd_gate(evidence["authors"], evidence["copies"], least_authors=least)


def page_link(named: Mapping[str, Any], wanted: InsightFilter) -> str:
    """The page with the filter set, from the root of the service. Its times are exact, so that it
    shows as many posts as are told."""
    times = {"start_time": wanted.start_time, "end_time": wanted.end_time}
    shown = {name: format_time(each) for name, each in times.items()}
    return f"/dashboard?{urlencode({**named, **shown})}"


def of_topic(wanted: InsightFilter, topic: str) -> InsightFilter:
    return replace(wanted, cluster=topic)
