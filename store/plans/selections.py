"""Which rows a plan means: how many there are, and the next of them after a position.

A selection is made for one plan and used in the transactions of others. It is walked while the
plan changes what it selects by, so a walk goes by what no plan changes.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Connection, Select, func, select, tuple_

from analysis.handling import HandlingChange, HandlingState
from analysis.labels import PERSON
from models import Status, conversations, from_micros, insights, now_micros
from store.derived import rollup_query, word_index
from store.filters import InsightFilter, Shape, conditions, filter_of, lists_cluster
from store.handling import held_by_others
from store.insights import InsightStore
from store.plans.as_of import matched_at
from store.plans.plan import Position
from store.statements import Prepared, among
from tables.people import labels

_WEEK = timedelta(days=7)
_MUCH = 0.2
"""The share of a week's insights from which on a plan warns of its reach."""


_LOOKED_AT = 500
"""Claims at once."""


class Candidate(NamedTuple):
    """A row that a walk comes to; `position` is its place in the walk. `later` ones were written
    after the plan was made."""

    conversation_id: str
    position: Position
    later: bool = False


class Selection(Protocol):
    def bound(self, connection: Connection) -> int:
        """The bound of a plan that is made in this transaction."""

    def count(self, connection: Connection) -> int:
        """How many rows there are now."""

    def next(
        self, position: Position | None, limit: int, bound: int, connection: Connection
    ) -> Sequence[Candidate]:
        """The next `limit` rows after `position`, from the first on where that is None."""

    def still(self, ids: Collection[str], made_at: int, connection: Connection) -> list[str]:
        """Those of candidates that belong to the selection in this transaction, and did at
        `made_at`, in microseconds, as far as that is known."""

    def warnings(self, connection: Connection) -> Iterator[str]:
        """What somebody should know before applying a plan with it."""


class MatchingInsights:
    """Insights of a filter, in the order of pages; a position is a timestamp and an id."""

    def __init__(self, insights: InsightStore, named: Mapping[str, Any]) -> None:
        self._insights = insights
        self._wanted = filter_of(named)

    def bound(self, connection: Connection) -> int:
        return connection.scalar(_NEWEST_INSIGHT) or 0

    def count(self, connection: Connection) -> int:
        return self._count(self._wanted, connection)

    def _count(self, wanted: InsightFilter, connection: Connection) -> int:
        return self._insights.count(wanted, connection)

    def next(
        self, position: Position | None, limit: int, bound: int, connection: Connection
    ) -> Sequence[Candidate]:
        after = None if position is None else (position[0], position[1])
        keys = self._insights.keys_after(self._wanted, after, limit, connection)
        return [
            Candidate(key.conversation_id, (key.timestamp, key.id), key.id > bound) for key in keys
        ]

    def still(self, ids: Collection[str], made_at: int, connection: Connection) -> list[str]:
        statement = _matching(self._wanted.shape._replace(words=False))  # texts do not change
        rows = statement.run(connection, self._wanted.values() | {"ids": ids})
        matching = [row[0] for row in rows]
        did = matched_at(made_at, matching, self._wanted, connection)
        return [id_ for id_ in matching if id_ in did]

    def warnings(self, connection: Connection) -> Iterator[str]:
        now = from_micros(now_micros())
        week = InsightFilter(max(self._wanted.start_time, now - _WEEK), now)
        last_week = replace(
            self._wanted,
            start_time=week.start_time,
            end_time=min(self._wanted.end_time, now),
        )
        of_all = rollup_query.count_between(InsightFilter(now - _WEEK, now).span, connection)
        touched = self._count(last_week, connection)
        if touched > _MUCH * of_all:
            yield f"It touches {touched / of_all:.0%} of the insights of the last seven days."


class HandledInsights(MatchingInsights):
    """Insights of a filter whose handling is to change: none that somebody else has claimed."""

    def __init__(
        self, insights: InsightStore, named: Mapping[str, Any], change: HandlingChange
    ) -> None:
        super().__init__(insights, named)
        self._change = change

    def still(self, ids: Collection[str], made_at: int, connection: Connection) -> list[str]:
        matching = super().still(ids, made_at, connection)
        held = held_by_others(connection, matching, self._change, now=now_micros())
        return [id_ for id_ in matching if id_ not in held]

    def warnings(self, connection: Connection) -> Iterator[str]:
        yield from super().warnings(connection)
        held = self._held(connection)
        if held:
            yield f"It would leave {held:,} alone, which somebody else has claimed."

    def _held(self, connection: Connection) -> int:
        """Few are claimed at a time."""
        if self._wanted.handling not in (None, HandlingState.CLAIMED):
            return 0
        claimed = replace(self._wanted, handling=HandlingState.CLAIMED)
        held, after, now = 0, None, now_micros()
        while keys := self._insights.keys_after(claimed, after, _LOOKED_AT, connection):
            ids = [key.conversation_id for key in keys]
            held += len(held_by_others(connection, ids, self._change, now=now))
            after = keys[-1].timestamp, keys[-1].id
        return held


@lru_cache(maxsize=64)
def _matching(shape: Shape) -> Prepared:
    return Prepared(
        select(insights.c.conversation_id).where(
            among(insights.c.conversation_id, "ids"),
            *conditions(shape),
        )
    )


_NEWEST_INSIGHT = select(func.max(insights.c.id))


class GivenLabels:
    """Insights of a filter that a giver has labelled; a position is a conversation's id. A rule
    labels own posts as well, and so they are among its ones whatever the filter."""

    def __init__(self, giver: int, named: Mapping[str, Any]) -> None:
        self._giver = giver
        self._wanted = filter_of(named)

    def bound(self, connection: Connection) -> int:
        return connection.scalar(_NEWEST_INSIGHT) or 0

    def count(self, connection: Connection) -> int:
        count: int = connection.scalar(*self._asking(func.count(), connection))
        return count

    def next(
        self, position: Position | None, limit: int, bound: int, connection: Connection
    ) -> Sequence[Candidate]:
        id_ = labels.c.conversation_id
        statement, values = self._asking([id_, insights.c.id], connection)
        if position is not None:
            statement = statement.where(id_ > position[0])
        rows = connection.execute(statement.order_by(id_).limit(limit), values)
        return [Candidate(name, (name,), number > bound) for name, number in rows]

    def still(self, ids: Collection[str], made_at: int, connection: Connection) -> list[str]:
        id_ = labels.c.conversation_id
        statement, values = self._asking([id_], connection)
        statement = statement.where(among(id_, "ids"), labels.c.at <= made_at)
        return list(connection.scalars(statement, values | {"ids": ids}))

    def warnings(self, _connection: Connection) -> Iterator[str]:
        return iter(())

    def _asking(
        self, columns: Any, connection: Connection
    ) -> tuple[Select[*tuple[Any, ...]], dict[str, Any]]:
        wanted, dialect = self._wanted, connection.dialect.name
        columns = columns if isinstance(columns, list) else [columns]
        shape = wanted.shape._replace(cluster=False, anyone=self._giver != PERSON)
        statement = (
            select(*columns)
            .join_from(labels, insights, insights.c.conversation_id == labels.c.conversation_id)
            .where(labels.c.giver == self._giver, *conditions(shape))
        )
        if wanted.cluster is not None:
            statement = statement.where(lists_cluster(insights.c.clusters))
        values = wanted.values()
        if wanted.words is not None:
            index = word_index.index(dialect, word_index.AccessPath.BY_WORDS)
            matches = select(word_index.id_of(index.key)).where(index.matching)
            statement = statement.where(insights.c.id.in_(matches))
            values["q"] = word_index.of_anyone(dialect, wanted.words, [])
        return statement, values


class FailedConversations:
    """Failed conversations by author and time, oldest first in each lane; a position is a lane, a
    time of acceptance and an id."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._wanted = filter_of(named)

    def bound(self, _connection: Connection) -> int:
        return now_micros()

    def count(self, connection: Connection) -> int:
        return connection.scalar(self._asking(func.count())) or 0

    def next(
        self, position: Position | None, limit: int, bound: int, connection: Connection
    ) -> Sequence[Candidate]:
        order = (_FAILED.lane, _FAILED.created_at, _FAILED.id)
        statement = self._asking(*order)
        if position is not None:
            statement = statement.where(tuple_(*order) > tuple_(*position))
        rows = connection.execute(statement.order_by(*order).limit(limit))
        return [
            Candidate(id_, (lane, created_at, id_), created_at > bound)
            for lane, created_at, id_ in rows
        ]

    def still(self, ids: Collection[str], _made_at: int, connection: Connection) -> list[str]:
        return list(connection.scalars(self._asking(_FAILED.id).where(_FAILED.id.in_(list(ids)))))

    def warnings(self, _connection: Connection) -> Iterator[str]:
        yield "Each of them is analysed again, at the cost of a new one."

    def _asking(self, *columns: Any) -> Select[*tuple[Any, ...]]:
        span = self._wanted.span
        statement = select(*columns).where(
            _FAILED.status == Status.FAILED.value,
            _FAILED.timestamp >= span.start,
            _FAILED.timestamp < span.stop,
        )
        if self._wanted.author is not None:
            statement = statement.where(_FAILED.author == self._wanted.author)
        return statement


_FAILED = conversations.c
