"""An insight as it is shown: in lists, exports, the stream, and beside its conversation."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Text, bindparam, cast, select

from analysis.handling import OPEN, Handling, HandlingState
from analysis.labels import LastWord, Values
from analysis.language import UNKNOWN_LANGUAGE
from analysis.urgency import Urgency
from models import from_micros, insights, now_micros
from store.insight_row import read_clusters, read_notes
from store.statements import Prepared


class Labelled(NamedTuple):
    """Who has the last word if not the model: a person's name or a rule's, and what the model had
    said."""

    by: LastWord
    name: str
    at: datetime
    reason: str | None
    was: Values


class ListedInsight(NamedTuple):
    """`notes` has what a reader should also know, such as `reused_from`; mostly it is empty.
    `labelled` is None where the model has the last word; `handling` is as it is now. `original` is
    the address of the post on the web, where that is asked for and known."""

    conversation_id: str
    timestamp: datetime
    text: str
    author: str | None
    sentiment_score: float
    clusters: Sequence[str]
    confidence: float
    reasoning: str
    notes: Mapping[str, Any]
    language: str = UNKNOWN_LANGUAGE
    urgency: str = Urgency.NONE.value
    version: int = 1
    labelled: Labelled | None = None
    handling: Handling = OPEN
    original: str | None = None


SHOWN = select(
    insights.c.id,
    insights.c.conversation_id,
    insights.c.timestamp,
    insights.c.text,
    insights.c.author,
    insights.c.sentiment_score,
    cast(insights.c.clusters, Text).label("clusters"),
    insights.c.confidence,
    insights.c.reasoning,
    cast(insights.c.notes, Text).label("notes"),
    insights.c.language,
    insights.c.urgency,
    insights.c.version,
    insights.c.labelled,
    cast(insights.c.label, Text).label("label"),
    insights.c.model_sentiment_score,
    cast(insights.c.model_clusters, Text).label("model_clusters"),
    insights.c.model_confidence,
    insights.c.handling,
    insights.c.handling_by,
    insights.c.handling_at,
    insights.c.handling_until,
)
"""What `to_listed` reads. JSON comes as text, since most of it need not be parsed."""

_OF_CONVERSATION = Prepared(SHOWN.where(insights.c.conversation_id == bindparam("id")))


def find_listed(conversation_id: str, connection: Connection) -> ListedInsight | None:
    """None where the conversation has no insight, or is none."""
    found = _OF_CONVERSATION.run(connection, {"id": conversation_id})
    return to_listed(found)[0] if found else None


_STATES = {state.value: state for state in HandlingState}
_NO_NOTES: Mapping[str, Any] = {}


def to_listed(rows: Iterable[Sequence[Any]]) -> list[ListedInsight]:
    """By position and in one loop, since a page may have a thousand rows."""
    now, listed = now_micros(), []
    for (
        _,
        conversation_id,
        timestamp,
        text,
        author,
        score,
        clusters,
        confidence,
        reasoning,
        notes,
        language,
        urgency,
        version,
        labelled,
        label,
        model_score,
        model_clusters,
        model_confidence,
        state,
        by,
        at,
        until,
    ) in rows:
        values = (
            conversation_id,
            from_micros(timestamp),
            text,
            author,
            score,
            read_clusters(clusters),
            confidence,
            reasoning,
            read_notes(notes) if notes else _NO_NOTES,
            language,
            urgency,
            version,
            _to_labelled(labelled, label, model_score, model_clusters, model_confidence)
            if label
            else None,
            OPEN if state == "open" else Handling(_STATES[state], by, at, until).effective(now),
            None,
        )
        listed.append(ListedInsight._make(values))
    return listed


def _to_labelled(
    labelled: str, label: str, score: float, clusters: str, confidence: float
) -> Labelled:
    told = json.loads(label)
    was = Values(score, read_clusters(clusters), confidence)
    return Labelled(LastWord(labelled), told["name"], from_micros(told["at"]), told["reason"], was)
