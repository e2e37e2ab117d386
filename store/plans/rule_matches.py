"""Which insights the plan of a rule means: by the model's own values, as of every new one.

Where the model has the last word these are what is served, which the indexes know. What people and
rules have labelled, mostly a small part, is looked at row by row.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Text, cast, func, select

from analysis.labels import LastWord
from models import from_micros, insights
from store.derived import word_counts, word_index
from store.facets import Facet
from store.filters import InsightFilter, Shape, conditions, figure_conditions, lists_cluster
from store.insights import InsightKey, InsightStore
from store.plans.as_of import matched_at
from store.plans.plan import Position
from store.plans.selections import Candidate, MatchingInsights
from store.statements import Prepared, among

_LOOKED_AT = 500
"""Labelled rows at once."""


class _Parts(NamedTuple):
    """Filters that together hold all that is meant: what is served as the model said, and what may
    be meant of the rest, of which the model's values are to be looked at. None is nothing."""

    as_served: InsightFilter | None
    labelled: InsightFilter | None


def _parts(wanted: InsightFilter) -> _Parts:
    if wanted.labelled is LastWord.MODEL or _without_figures(wanted) == wanted:
        return _Parts(wanted, None)
    rest = _without_figures(wanted)
    if wanted.labelled is not None:
        return _Parts(None, rest)
    labelled = replace(rest, unusual=rest.unusual | {Facet.LABELLED})
    return _Parts(replace(wanted, labelled=LastWord.MODEL), labelled)


def _without_figures(wanted: InsightFilter) -> InsightFilter:
    """All that no label changes."""
    return replace(wanted, sentiment=None, cluster=None, min_confidence=None)


class RuleMatches(MatchingInsights):
    def __init__(self, insights: InsightStore, named: Mapping[str, Any]) -> None:
        super().__init__(insights, named)
        self._parts = _parts(self._wanted)

    def next(
        self, position: Position | None, limit: int, bound: int, connection: Connection
    ) -> Sequence[Candidate]:
        after = None if position is None else (position[0], position[1])
        keys: list[InsightKey] = []
        if self._parts.as_served is not None:
            some = self._insights.keys_after(self._parts.as_served, after, limit, connection)
            keys += some
        if (labelled := self._parts.labelled) is not None:
            if len(keys) == limit:  # others are further on than this step goes
                reached = from_micros(keys[-1].timestamp)
                labelled = replace(labelled, start_time=max(labelled.start_time, reached))
            keys += self._labelled(labelled, after, limit, connection)
            keys.sort(key=lambda key: (key.timestamp, key.id), reverse=True)
        return [
            Candidate(key.conversation_id, (key.timestamp, key.id), key.id > bound)
            for key in keys[:limit]
        ]

    def _labelled(
        self,
        labelled: InsightFilter,
        after: tuple[int, int] | None,
        limit: int,
        connection: Connection,
    ) -> list[InsightKey]:
        found: list[InsightKey] = []
        while len(found) < limit:
            some = self._insights.keys_after(labelled, after, _LOOKED_AT, connection)
            meant = set(self._meant([key.conversation_id for key in some], connection))
            found += [key for key in some if key.conversation_id in meant]
            if len(some) < _LOOKED_AT:
                break
            after = some[-1].timestamp, some[-1].id
        return found

    def still(self, ids: Collection[str], made_at: int, connection: Connection) -> list[str]:
        matching = self._meant(ids, connection)
        unlabelled = _without_figures(self._wanted)
        did = matched_at(made_at, matching, unlabelled, connection)
        return [id_ for id_ in matching if id_ in did]

    def _meant(self, ids: Collection[str], connection: Connection) -> list[str]:
        """Those of conversations whose texts are as they are to be that are meant."""
        shape = self._wanted.shape._replace(words=False)
        rows = _among_these(shape).run(connection, self._wanted.values() | {"ids": ids})
        return [row[0] for row in rows]

    def _count(self, wanted: InsightFilter, connection: Connection) -> int:
        as_served, labelled = _parts(wanted)
        total = 0
        if as_served is not None:
            total += super()._count(as_served, connection)
        if labelled is not None and super()._count(labelled, connection):
            statement = _count_labelled(connection.dialect.name, wanted.shape, labelled.shape)
            values = labelled.values() | wanted.values()
            values["q"] = word_counts.expression_of(labelled, connection.dialect.name)
            total += connection.scalar(statement, values) or 0
        return total


def _as_the_model_said(shape: Shape) -> list[ColumnElement[bool]]:
    """What the shape asks of mood, topics and confidence."""
    columns = insights.c
    score = func.coalesce(columns.model_sentiment_score, columns.sentiment_score)
    confidence = func.coalesce(columns.model_confidence, columns.confidence)
    found = figure_conditions(shape, score, confidence)
    if shape.cluster:
        model, served = (cast(each, Text) for each in (columns.model_clusters, columns.clusters))
        found.append(lists_cluster(func.coalesce(model, served)))
    return found


def _plain(shape: Shape) -> Shape:
    return shape._replace(sentiment=None, min_confidence=False, cluster=False)


@lru_cache(maxsize=64)
def _among_these(shape: Shape) -> Prepared:
    return Prepared(
        select(insights.c.conversation_id).where(
            among(insights.c.conversation_id, "ids"),
            *conditions(_plain(shape)),
            *_as_the_model_said(shape),
        )
    )


@lru_cache(maxsize=64)
def _count_labelled(dialect: str, shape: Shape, labelled: Shape) -> Select[*tuple[Any, ...]]:
    """Of those that the index of words finds to be labelled."""
    index = word_index.index(dialect, word_index.AccessPath.BY_WORDS)
    matches = select(word_index.id_of(index.key)).where(index.matching)
    return select(func.count()).where(
        insights.c.id.in_(matches), *conditions(labelled), *_as_the_model_said(shape)
    )
