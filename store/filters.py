"""Which insights are meant. Everything that lists or counts builds its WHERE from one filter."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    exists,
    func,
    literal_column,
    or_,
)

from analysis.handling import HandlingState
from analysis.labels import LastWord
from analysis.sentiment import NEGATIVE_BELOW, POSITIVE_ABOVE, Sentiment
from analysis.urgency import Urgency
from analysis.words import Phrase, parse_search
from models import insight_clusters, insights, to_micros
from store.facets import Facet
from store.statements import among


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
    facets: tuple[Facet, ...] = ()
    anyone: bool = False
    """Own accounts are in it: an index has chosen among their insights already."""

    @property
    def is_searched(self) -> bool:
        """Whether the word index answers it: for its words, or since it names more than a rollup
        does. All insights of an author are few enough to look at each."""
        return self.words or (not self.author and self.cluster + len(self.facets) > 1)


@dataclass(frozen=True)
class InsightFilter:
    """Both times are inclusive. None means "any". All of `words` must be in the text. Of `unusual`
    facets any value will do but the usual one."""

    start_time: datetime
    end_time: datetime
    min_confidence: float | None = None
    sentiment: Sentiment | None = None
    cluster: str | None = None
    author: str | None = None
    words: Sequence[Phrase] | None = None
    language: str | None = None
    urgency: Urgency | None = None
    labelled: LastWord | None = None
    handling: HandlingState | None = None
    unusual: frozenset[Facet] = frozenset()

    @cached_property
    def span(self) -> Span:
        return Span(to_micros(self.start_time), to_micros(self.end_time) + 1)

    @cached_property
    def shape(self) -> Shape:
        return Shape(
            self.sentiment,
            self.min_confidence is not None,
            self.cluster is not None,
            self.author is not None,
            self.words is not None,
            tuple(self.facets),
        )

    @cached_property
    def facets(self) -> Mapping[Facet, tuple[str, ...]]:
        """Those that are asked for, in their order, each with the values that will do."""
        found: dict[Facet, tuple[str, ...]] = {}
        for facet in _FACETS:
            value: str | None = getattr(self, facet)
            if value is not None:
                found[facet] = (value,)
            elif facet in self.unusual:
                found[facet] = facet.others
        return found

    @property
    def listed_cluster(self) -> str:
        """As it stands in the column `clusters`."""
        return json.dumps(self.cluster)

    def at_any_time(self) -> "InsightFilter":
        """The same whatever its times: for caches of what is found day by day, or hour by hour."""
        return replace(self, start_time=BEGINNING, end_time=END)

    def values(self) -> dict[str, Any]:
        """For the parameters in `conditions`."""
        return {
            **span_values("range", self.span),
            "min_confidence": self.min_confidence,
            "cluster": self.cluster,
            "listed_cluster": self.listed_cluster,
            "author": self.author,
            **{facet.value: values for facet, values in self.facets.items()},
        }


_FACETS = tuple(Facet)
BEGINNING = datetime.min.replace(tzinfo=UTC)
END = datetime.max.replace(tzinfo=UTC)
_CLOSED_LISTS = {
    "sentiment": Sentiment,
    "urgency": Urgency,
    "labelled": LastWord,
    "handling": HandlingState,
}


def filter_of(named: Mapping[str, Any]) -> InsightFilter:
    """From the names and values that the API takes, as they are stored: times in ISO 8601, and may
    be left out. They have been checked before."""
    given = dict(named)
    start, end, q = (given.pop(name, None) for name in ("start_time", "end_time", "q"))
    for name, kind in _CLOSED_LISTS.items():
        if name in given:
            given[name] = kind(given[name])
    return InsightFilter(
        start_time=datetime.fromisoformat(start) if start else BEGINNING,
        end_time=datetime.fromisoformat(end) if end else END,
        words=None if q is None else parse_search(q),
        **given,
    )


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
    found = [
        *within(span, columns.timestamp),
        *figure_conditions(shape, columns.sentiment_score, columns.confidence),
    ]
    facets = [among(insights.c[each], each) for each in shape.facets]
    if facets and table is insight_clusters:
        found.append(exists().where(insights.c.id == columns.insight_id, *facets))
    else:
        found += facets
    if shape.author:
        found.append(insights.c.author == bindparam("author"))
    elif table is insights and not shape.anyone:
        found.append(COUNTS)
    if shape.cluster and table is insight_clusters:
        found.append(columns.cluster == bindparam("cluster"))
    elif shape.cluster:
        of = insight_clusters.c
        has_cluster = exists().where(
            of.cluster == bindparam("cluster"),
            of.timestamp == columns.timestamp,
            of.insight_id == columns.id,
        )
        if shape.author:  # may be an own account, whose topics are in the row alone
            of_own = and_(columns.own == literal_column("1"), lists_cluster(columns.clusters))
            found.append(or_(has_cluster, of_own))
        else:
            found.append(has_cluster)
    return found


def lists_cluster(clusters: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether topics, as they stand in a row, have the one that is asked for."""
    listed = cast(clusters, Text)
    return listed != func.replace(listed, bindparam("listed_cluster", type_=Text), "")


def figure_conditions(
    shape: Shape, score: ColumnElement[float], confidence: ColumnElement[float]
) -> list[ColumnElement[bool]]:
    """What the shape asks of sentiment and confidence."""
    found: list[ColumnElement[bool]] = []
    match shape.sentiment:
        case Sentiment.POSITIVE:
            found.append(score > POSITIVE_ABOVE)
        case Sentiment.NEGATIVE:
            found.append(score < NEGATIVE_BELOW)
        case Sentiment.NEUTRAL:
            found.append(score.between(NEGATIVE_BELOW, POSITIVE_ABOVE))
    if shape.min_confidence:
        found.append(confidence >= bindparam("min_confidence"))
    return found
