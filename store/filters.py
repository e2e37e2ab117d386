"""Which insights are meant. Everything that lists or counts builds its WHERE from one filter."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Table, bindparam, exists, literal_column

from analysis.sentiment import NEGATIVE_BELOW, POSITIVE_ABOVE, Sentiment
from analysis.words import Phrase
from models import insight_clusters, insights, to_micros


class Span(NamedTuple):
    """A time range from `start` up to, but without, `stop`, in microseconds since 1970-01-01 UTC.
    Empty where `stop` is not after `start`."""

    start: int
    stop: int


class Shape(NamedTuple):
    """Which conditions a filter has, without their values: statements are built once for each."""

    sentiment: Sentiment | None = None
    min_confidence: bool = False
    cluster: bool = False
    author: bool = False
    words: bool = False


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
    def span(self) -> Span:
        return Span(to_micros(self.start_time), to_micros(self.end_time) + 1)

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
        """For the parameters in `conditions`."""
        return {
            **span_values("range", self.span),
            "min_confidence": self.min_confidence,
            "cluster": self.cluster,
            "author": self.author,
        }


def span_values(name: str, span: Span) -> dict[str, int]:
    """For the parameters in `within`."""
    return {f"{name}_start": span.start, f"{name}_stop": span.stop}


def within(name: str, column: ColumnElement[int]) -> list[ColumnElement[bool]]:
    """Between the parameters `:<name>_start`, inclusive, and `:<name>_stop`, exclusive."""
    return [column >= bindparam(f"{name}_start"), column < bindparam(f"{name}_stop")]


COUNTS = insights.c.own == literal_column("0")
"""An account of one's own is in nothing, unless its author is asked for. The number is part of the
statement, as it is of the indexes' conditions."""


def conditions(
    shape: Shape, table: Table = insights, *, span: str = "range"
) -> list[ColumnElement[bool]]:
    """What the shape asks of rows of `insights` or `insight_clusters` in a time range, except for
    words."""
    columns = table.c
    found = [*within(span, columns.timestamp), *figure_conditions(shape, table)]
    if shape.author:
        found.append(insights.c.author == bindparam("author"))
    elif table is insights:
        found.append(COUNTS)
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
    """What the shape asks of sentiment and confidence."""
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
