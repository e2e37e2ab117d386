"""Which insights are meant. Everything that lists or counts builds its WHERE from one filter."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Table, bindparam, exists

from analysis.words import Phrase
from models import insight_clusters, insights, to_micros

POSITIVE_ABOVE = 0.1
NEGATIVE_BELOW = -0.1


class Sentiment(StrEnum):
    POSITIVE = "positive"
    NEUTRAL = "neutral"
    NEGATIVE = "negative"


class Shape(NamedTuple):
    """What a filter asks for, without the values: statements are built once for each."""

    sentiment: Sentiment | None
    min_confidence: bool
    cluster: bool
    author: bool
    words: bool


@dataclass(frozen=True, slots=True)
class InsightFilter:
    """Both times are inclusive. None means "any". All of `words` must be in the text."""

    start_time: datetime
    end_time: datetime
    min_confidence: float | None = None
    sentiment: Sentiment | None = None
    cluster: str | None = None
    author: str | None = None
    words: Sequence[Phrase] | None = None

    @property
    def shape(self) -> Shape:
        return Shape(
            self.sentiment,
            self.min_confidence is not None,
            self.cluster is not None,
            self.author is not None,
            self.words is not None,
        )

    def values(self) -> dict[str, Any]:
        """For the names in `conditions`."""
        return {
            "start": to_micros(self.start_time),
            "end": to_micros(self.end_time),
            "min_confidence": self.min_confidence,
            "cluster": self.cluster,
            "author": self.author,
        }


def conditions(shape: Shape, table: Table = insights) -> list[ColumnElement[bool]]:
    """All that the shape asks of rows of `insights`, or of `insight_clusters`, but for words.

    Times are from `:start` to `:end`.
    """
    columns = table.c
    found: list[ColumnElement[bool]] = [
        columns.timestamp >= bindparam("start"),
        columns.timestamp <= bindparam("end"),
        *figure_conditions(shape, table),
    ]
    if shape.author:
        found.append(insights.c.author == bindparam("author"))
    if shape.cluster and table is insight_clusters:
        found.append(columns.cluster == bindparam("cluster"))
    elif shape.cluster:
        of = insight_clusters.c
        found.append(
            exists().where(
                of.cluster == bindparam("cluster"),
                of.timestamp == columns.timestamp,
                of.insight_id == columns.id,
            )
        )
    return found


def figure_conditions(shape: Shape, table: Table) -> list[ColumnElement[bool]]:
    score = table.c.sentiment_score
    found: list[ColumnElement[bool]] = []
    match shape.sentiment:
        case Sentiment.POSITIVE:
            found.append(score > POSITIVE_ABOVE)
        case Sentiment.NEGATIVE:
            found.append(score < NEGATIVE_BELOW)
        case Sentiment.NEUTRAL:
            found.append(score.between(NEGATIVE_BELOW, POSITIVE_ABOVE))
    if shape.min_confidence:
        found.append(table.c.confidence >= bindparam("min_confidence"))
    return found
