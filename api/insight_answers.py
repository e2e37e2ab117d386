"""Insights as they are answered: shapes for the OpenAPI document, and the JSON in these shapes.

Typed dicts, which are built and written as they are: an object for each insight costs more than
twice as much, and a page may have a thousand.
"""

from collections.abc import Iterator, Sequence
from typing import (
    Annotated,
    Literal,
    NotRequired,  # pydantic needs these before Python 3.12
    cast,
)

import orjson
from pydantic import Field
from pydantic_core import to_json
from typing_extensions import TypedDict

from analysis.handling import OPEN, Handling, HandlingState
from analysis.labels import LastWord, Values
from analysis.priority import PriorityTerm
from analysis.urgency import Urgency
from models import time_or_none
from schemas import ShownTime, built_late
from store.filters import InsightFilter
from store.insights import InsightPage
from store.listed import Labelled, ListedInsight

_ITEMS_OF_PIECE = 50


class GrokAnalysis(TypedDict):
    """`reused_from` names the conversation whose analysis answered this one too, as its text is the
    same; `suspected_injection` tells by which signs the text tries to steer the analyser. Each is
    there only where it applies."""

    sentiment_score: Annotated[float, Field(ge=-1, le=1)]
    clusters: Sequence[str]
    confidence: Annotated[float, Field(ge=0, le=1)]
    reasoning: str
    reused_from: NotRequired[str]
    suspected_injection: NotRequired[Sequence[str]]


class ModelValues(TypedDict):
    sentiment_score: float
    clusters: Sequence[str]
    confidence: float


class LabelledOut(TypedDict):
    """`name` is the person's or the rule's; `was` is what the model had said."""

    by: Literal["person", "rule"]
    name: str
    at: ShownTime
    reason: str | None
    was: ModelValues


class HandlingNow(TypedDict):
    """`by` and `at` tell who set the state and when; what is open has neither. `until` is of claims
    and snoozes, which are open after it."""

    state: HandlingState
    by: str | None
    until: ShownTime | None
    at: ShownTime | None


class InsightFacts(TypedDict):
    """What is said of an insight. `language` is an ISO 639-1 code, or `und`; `labelled` is null
    where the model has the last word."""

    grok_analysis: GrokAnalysis
    language: str
    urgency: Urgency
    version: int
    labelled: LabelledOut | None
    handling: HandlingNow


class PriorityOut(TypedDict):
    """`points` is the sum of the terms' points."""

    points: float
    terms: Sequence[PriorityTerm]


@built_late
class InsightOut(InsightFacts):
    """`priority` is there where the order goes by it."""

    conversation_id: str
    timestamp: ShownTime
    text: str
    author: str | None
    priority: NotRequired[PriorityOut]


class InsightsMetadata(TypedDict):
    """`total_count` is exact, for the whole filter, and so is `corrected_count`: of how many a
    person or a rule has the last word. `next_cursor` is null on the last page. `missed` is there
    where the order is that of priority: how many open ones of the same filter are older."""

    total_count: int
    corrected_count: int
    returned_count: int
    start_time: ShownTime
    end_time: ShownTime
    next_cursor: str | None
    missed: NotRequired[int]


@built_late
class InsightsOut(TypedDict):
    insights: Sequence[InsightOut]
    metadata: InsightsMetadata


def insight_facts(insight: ListedInsight) -> InsightFacts:
    item = insight_item(insight)
    return cast(InsightFacts, {name: item[name] for name in _FACTS})  # type: ignore[literal-required]


_FACTS = tuple(InsightFacts.__annotations__)


def _labelled_item(labelled: Labelled) -> LabelledOut:
    return {
        "by": "person" if labelled.by is LastWord.PERSON else "rule",
        "name": labelled.name,
        "at": labelled.at,
        "reason": labelled.reason,
        "was": values_item(labelled.was),
    }


def values_item(values: Values) -> ModelValues:
    return cast(ModelValues, values._asdict())


def handling_item(handling: Handling) -> HandlingNow:
    return {
        "state": cast(HandlingState, handling.state.value),  # plain text is written much faster
        "by": handling.by,
        "until": time_or_none(handling.until),
        "at": time_or_none(handling.at),
    }


_OPEN = handling_item(OPEN)


def insight_json(insight: ListedInsight) -> bytes:
    """An `InsightOut`, as list, export and stream give it."""
    return _as_bytes(insight_item(insight))


def _as_bytes(value: InsightOut | Sequence[InsightOut]) -> bytes:
    """The same as pydantic writes of what is in an insight, in a third of the time, which was an
    eighth of a page."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)


def insight_item(insight: ListedInsight) -> InsightOut:
    """In one dict, since a page may have a thousand."""
    analysis: GrokAnalysis = {
        "sentiment_score": insight.sentiment_score,
        "clusters": insight.clusters,
        "confidence": insight.confidence,
        "reasoning": insight.reasoning,
    }
    if insight.notes:
        analysis.update(cast(GrokAnalysis, insight.notes))
    return {
        "conversation_id": insight.conversation_id,
        "timestamp": insight.timestamp,
        "text": insight.text,
        "author": insight.author,
        "grok_analysis": analysis,
        "language": insight.language,
        "urgency": insight.urgency,  # type: ignore[typeddict-item]  # one of them, as plain text
        "version": insight.version,
        "labelled": insight.labelled and _labelled_item(insight.labelled),
        "handling": _OPEN if insight.handling is OPEN else handling_item(insight.handling),
    }


def _items(page: InsightPage, some: slice) -> list[InsightOut]:
    items = [insight_item(insight) for insight in page.insights[some]]
    for item, priority in zip(items, page.priorities[some], strict=False):
        item["priority"] = priority
    return items


def insights_json(page: InsightPage, asked: InsightFilter) -> Iterator[bytes]:
    """An `InsightsOut` in pieces, so that others have their turn between them."""
    before = b'{"insights":['
    for start in range(0, len(page.insights), _ITEMS_OF_PIECE):
        yield before + _as_bytes(_items(page, slice(start, start + _ITEMS_OF_PIECE)))[1:-1]
        before = b","
    metadata: InsightsMetadata = {
        "total_count": page.total_count,
        "corrected_count": page.corrected_count,
        "returned_count": len(page.insights),
        "start_time": asked.start_time,
        "end_time": asked.end_time,
        "next_cursor": page.next_cursor,
    }
    if page.missed is not None:
        metadata["missed"] = page.missed
    yield (b"" if page.insights else before) + b'],"metadata":' + to_json(metadata) + b"}"
