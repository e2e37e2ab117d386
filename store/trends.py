"""What is rising and falling: each cluster's count in the last window against those before it.

The last window is exact to the microsecond. Those before it begin on full hours, so that they come
from the rollups; the gap between them and the last one is counted by itself. Windows shorter than
an hour follow each other without a gap, and are counted by an index.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial

from sqlalchemy import Connection, bindparam, select

from analysis.micros import HOUR
from analysis.trend_score import Verdict, judge
from database import Database
from models import insight_clusters, insights, to_micros
from store.derived import rollup_query
from store.derived.rollup_query import ANY, Key
from store.derived.rollups import NAMES_OF_CLUSTERS, UNIT
from store.filters import Span, span_values, within

EXAMPLES = 3


class Window(StrEnum):
    """`width` is in microseconds; `before` is how many windows before it are its baseline: all
    times of the day for an hour, all days of the week for six."""

    QUARTER_HOUR = "15m", HOUR // 4, 24
    ONE_HOUR = "1h", HOUR, 24
    SIX_HOURS = "6h", 6 * HOUR, 28
    ONE_DAY = "24h", 24 * HOUR, 14

    width: int
    before: int

    def __new__(cls, value: str, width: int, before: int) -> "Window":
        window = str.__new__(cls, value)
        window._value_, window.width, window.before = value, width, before
        return window


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
    """Of one cluster: `before` in each window of the baseline, the newest first; `between` in the
    gap after them; `last` in the last window, and the sum of its scores in billionths."""

    before: list[int]
    between: int = 0
    last: int = 0
    scores: int = 0


class TrendStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def trends(self, window: Window, *, as_of: datetime) -> Sequence[Trend]:
        """The clusters whose count in the window up to `as_of` stands out, the strongest first."""
        return await self._database.read(partial(_trends, window, to_micros(as_of)))


def _trends(window: Window, as_of: int, connection: Connection) -> Sequence[Trend]:
    stop = as_of + 1
    last = Span(stop - window.width, stop)
    gap_from = last.start // HOUR * HOUR if window.width >= HOUR else last.start
    counts = _count(window, last, gap_from, connection)
    # Windows before the very first insight tell nothing.
    places = [place for each in counts.values() for place, n in enumerate(each.before) if n]
    windows = max(places) + 1 if places else window.before
    found = []
    for cluster, each in counts.items():
        before = each.before[:windows]
        part = (last.start - gap_from) / window.width
        if verdict := judge(each.last, before, more=each.between, part=part):
            values = {"name": cluster, "limit": EXAMPLES, **span_values("range", last)}
            examples = connection.scalars(_NEWEST, values).all()
            average = round(each.scores / each.last / UNIT, 9) if each.last else None
            found.append(Trend(cluster, each.last, verdict, average, examples))
    return sorted(found, key=lambda trend: (-abs(trend.verdict.score), trend.cluster))


def _count(window: Window, last: Span, gap_from: int, connection: Connection) -> dict[str, _Counts]:
    names = connection.scalars(NAMES_OF_CLUSTERS).all()
    found = {name: _Counts([0] * window.before) for name in names}

    baseline = Span(gap_from - window.before * window.width, gap_from)
    values = rollup_query.values_between(baseline, by_day=False) | {"names": names}
    values |= rollup_query.bucket_values(baseline.start, window.width)
    by_window, by_rows = Key(bucket=True, cluster=True), window.width < HOUR
    for start, name, count in rollup_query.figures(
        ANY, by_window, values, connection, by_rows=by_rows, only_count=True
    ):
        found[name].before[(gap_from - start) // window.width - 1] += count

    gap = rollup_query.values_between(Span(gap_from, last.start)) | {"names": names}
    for name, count in rollup_query.figures(
        ANY, Key(cluster=True), gap, connection, only_count=True
    ):
        found[name].between += count

    values = rollup_query.values_between(last) | {"names": names}
    for name, *counts, scores, _ in rollup_query.figures(
        ANY, Key(cluster=True), values, connection
    ):
        found[name].last += sum(counts)
        found[name].scores += scores
    return found


_NEWEST = (
    select(insights.c.conversation_id)
    .join_from(insight_clusters, insights, insights.c.id == insight_clusters.c.insight_id)
    .where(
        insight_clusters.c.cluster == bindparam("name"),
        *within("range", insight_clusters.c.timestamp),
    )
    .order_by(insight_clusters.c.timestamp.desc(), insight_clusters.c.insight_id.desc())
    .limit(bindparam("limit"))
)
