"""What is rising and falling: each cluster's count in the last window against those before it.

The last one is exact to the microsecond. Those before it are laid on whole hours, so that they
come from the tallies; what is between them and the last one is counted by itself. Shorter windows
follow each other without a gap, and are counted by an index.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, literal_column, select

from analysis.trend_score import Verdict, judge
from database import Database
from models import insight_clusters, insight_tallies, insights, to_micros
from store.derived.rollup_query import Span, decompose
from store.derived.rollups import HOUR, NAMES_OF_CLUSTERS, UNIT, Grain

EXAMPLES = 3


class Window(Enum):
    """How long it is, in microseconds, and how many before it are its baseline: all times of the
    day for an hour, all days of the week for six."""

    QUARTER_HOUR = (HOUR // 4, 24)
    ONE_HOUR = (HOUR, 24)
    SIX_HOURS = (6 * HOUR, 28)
    ONE_DAY = (24 * HOUR, 14)

    def __init__(self, width: int, before: int) -> None:
        self.width = width
        self.before = before


@dataclass(frozen=True, slots=True)
class Trend:
    """A cluster that stands out, with its newest conversations in the last window."""

    cluster: str
    count: int
    verdict: Verdict
    average_sentiment: float | None
    examples: Sequence[str]


@dataclass(slots=True)
class _Counts:
    """Of one cluster. `before` is the newest window first; `between` came after those."""

    before: list[int]
    between: int = 0
    last: int = 0
    scores: float = 0.0


class WindowStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def trends(self, window: Window, *, as_of: datetime) -> Sequence[Trend]:
        """The clusters whose count in the window up to `as_of` stands out, the strongest first."""
        return await self._database.read(partial(_trends, window, to_micros(as_of)))


def _trends(window: Window, as_of: int, connection: Connection) -> Sequence[Trend]:
    stop = as_of + 1
    start = stop - window.width
    whole = start // HOUR * HOUR if window.width >= HOUR else start
    counts = _count(window, Span(start, stop), whole, connection)
    # Windows before the very first insight tell nothing.
    places = [place for each in counts.values() for place, n in enumerate(each.before) if n]
    windows = max(places) + 1 if places else window.before
    found = []
    for cluster, each in counts.items():
        before = each.before[:windows]
        part = (start - whole) / window.width
        if verdict := judge(each.last, before, more=each.between, part=part):
            values = {"name": cluster, "start": start, "stop": stop, "limit": EXAMPLES}
            examples = connection.scalars(_NEWEST, values).all()
            average = round(each.scores / each.last, 9) if each.last else None
            found.append(Trend(cluster, each.last, verdict, average, examples))
    return sorted(found, key=lambda trend: (-abs(trend.verdict.score), trend.cluster))


def _count(window: Window, last: Span, whole: int, connection: Connection) -> dict[str, _Counts]:
    names = connection.scalars(NAMES_OF_CLUSTERS).all()
    found = {name: _Counts([0] * window.before) for name in names}

    def rows(statement: Select[*tuple[Any, ...]], span: Span) -> Sequence[Row[*tuple[Any, ...]]]:
        values = {"names": names, "start": span.start, "stop": span.stop, "width": window.width}
        # All at once: row by row the interpreter's lock changes hands for each.
        return connection.execute(statement, values).all() if span.start < span.stop else ()

    by_window = _WINDOWS_OF_HOURS if window.width >= HOUR else _WINDOWS_OF_ROWS
    for name, place, count in rows(by_window, Span(whole - window.before * window.width, whole)):
        found[name].before[place] = int(count)
    for name, count, _ in rows(_ROWS_IN, Span(whole, last.start)):
        found[name].between = count
    pieces = decompose(last.start, last.stop - 1)
    for edge in pieces.edges:
        for name, count, scores in rows(_ROWS_IN, edge):
            found[name].last += count
            found[name].scores += scores
    for name, count, scores in rows(_HOURS_IN, pieces.whole):
        found[name].last += int(count)
        found[name].scores += int(scores) / UNIT
    return found


_TALLIES = insight_tallies.c
_COUNT = func.sum(_TALLIES.positive + _TALLIES.neutral + _TALLIES.negative)
_SCORES = func.sum(_TALLIES.positive_score + _TALLIES.neutral_score + _TALLIES.negative_score)
_NAMES: Any = bindparam("names", expanding=True)
_ROWS = insight_clusters.c


def _param(name: str) -> Any:
    return bindparam(name, type_=_ROWS.timestamp.type)


_WINDOWS_OF_HOURS = (
    select(
        _TALLIES.cluster,
        (_param("stop") - HOUR - _TALLIES.bucket) // _param("width"),
        _COUNT,
    )
    .where(
        _TALLIES.cluster.in_(_NAMES),
        _TALLIES.grain == Grain.HOUR.value,
        _TALLIES.bucket >= _param("start"),
        _TALLIES.bucket < _param("stop"),
    )
    .group_by(literal_column("1"), literal_column("2"))
)

_WINDOWS_OF_ROWS = (
    select(
        _ROWS.cluster,
        (_param("stop") - 1 - _ROWS.timestamp) // _param("width"),
        func.count(),
    )
    .where(
        _ROWS.cluster.in_(_NAMES),
        _ROWS.timestamp >= _param("start"),
        _ROWS.timestamp < _param("stop"),
    )
    .group_by(literal_column("1"), literal_column("2"))
)

_HOURS_IN = (
    select(_TALLIES.cluster, _COUNT, _SCORES)
    .where(
        _TALLIES.cluster.in_(_NAMES),
        _TALLIES.grain == Grain.HOUR.value,
        _TALLIES.bucket >= _param("start"),
        _TALLIES.bucket < _param("stop"),
    )
    .group_by(_TALLIES.cluster)
)

_ROWS_IN = (
    select(_ROWS.cluster, func.count(), func.sum(_ROWS.sentiment_score))
    .where(
        _ROWS.cluster.in_(_NAMES),
        _ROWS.timestamp >= _param("start"),
        _ROWS.timestamp < _param("stop"),
    )
    .group_by(_ROWS.cluster)
)

_NEWEST = (
    select(insights.c.conversation_id)
    .join_from(insight_clusters, insights, insights.c.id == _ROWS.insight_id)
    .where(
        _ROWS.cluster == bindparam("name"),
        _ROWS.timestamp >= _param("start"),
        _ROWS.timestamp < _param("stop"),
    )
    .order_by(_ROWS.timestamp.desc(), _ROWS.insight_id.desc())
    .limit(bindparam("limit"))
)
