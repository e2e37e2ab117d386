"""The queue and the spending in numbers."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import (
    Connection,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    select,
)

from analysis.micros import DAY, HOUR, MINUTE
from analysis.outcomes import UNKNOWN_CLUSTER
from database import Database
from models import Lane, Status, conversations, insights, now_micros
from store.derived import status_counts
from store.ledger import Usage, usage_in_all, usage_today


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """`counts` has every status and lane. `oldest_pending_seconds` is None when none waits."""

    counts: Mapping[tuple[Status, Lane], int]
    oldest_pending_seconds: float | None

    def of(self, status: Status) -> int:
        return sum(self.counts[status, lane] for lane in Lane)


@dataclass(frozen=True, slots=True)
class Completions:
    last_minute: int
    last_hour: int


@dataclass(frozen=True, slots=True)
class Fallbacks:
    """Conversations that were completed without a usable answer. Today began at midnight UTC."""

    today: int
    last_hour: int


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures in one snapshot."""

    queue: QueueFigures
    completions: Completions
    fallbacks: Fallbacks
    today: Usage
    total: Usage


class FigureStore:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._rate = 0.0
        self._rate_known_until = 0.0

    async def all(self) -> Figures:
        return await self._database.read(_all)

    async def stalled_seconds(self) -> float:
        """How long conversations wait and no process has completed any; 0.0 where none waits."""
        return await self._database.read(_stalled)

    async def completed_per_second(self) -> float:
        """The rate since the first completion of the last minute; 0.0 where there was none. It is
        cached for a second."""
        if time.monotonic() >= self._rate_known_until:
            self._rate = await self._database.read(_completed_per_second)
            self._rate_known_until = time.monotonic() + 1.0
        return self._rate


def _all(connection: Connection) -> Figures:
    return Figures(
        QueueFigures(status_counts.counted(connection), _oldest_pending(connection)),
        _completions(connection),
        _fallbacks(connection),
        today=usage_today(connection),
        total=usage_in_all(connection),
    )


def _completions(connection: Connection) -> Completions:
    now = now_micros()
    created_at = insights.c.created_at
    recent = select(func.count(case((created_at > now - MINUTE, 1))), func.count())
    return Completions(*connection.execute(recent.where(created_at > now - HOUR)).one())


_FALLBACKS = select(
    func.count(case((insights.c.created_at >= bindparam("midnight"), 1))),
    func.count(case((insights.c.created_at > bindparam("hour_ago"), 1))),
).where(
    insights.c.confidence == literal_column("0"),  # word for word as in the index
    insights.c.created_at > bindparam("since"),
    cast(insights.c.clusters, Text) == json.dumps([UNKNOWN_CLUSTER]),
)


def _fallbacks(connection: Connection) -> Fallbacks:
    now = now_micros()
    midnight, hour_ago = now // DAY * DAY, now - HOUR
    since = min(midnight - 1, hour_ago)
    values = {"midnight": midnight, "hour_ago": hour_ago, "since": since}
    return Fallbacks(*connection.execute(_FALLBACKS, values).one())


def _completed_per_second(connection: Connection) -> float:
    now = now_micros()
    created_at = insights.c.created_at
    recent = select(func.count(), func.min(created_at)).where(created_at > now - MINUTE)
    count, since = connection.execute(recent).one()
    return count / max(1.0, (now - since) / 1e6) if count else 0.0


def _stalled(connection: Connection) -> float:
    waits = _oldest_pending(connection)
    completed = connection.scalar(_LAST_COMPLETED)
    if waits is None or completed is None:
        return waits or 0.0
    return float(min(waits, max(0.0, (now_micros() - completed) / 1e6)))


_LAST_COMPLETED = select(func.max(insights.c.created_at))
_OLDEST = select(
    *(
        select(func.min(conversations.c.created_at))
        .where(conversations.c.status == Status.PENDING, conversations.c.lane == lane.value)
        .scalar_subquery()
        for lane in Lane
    )
)
"""Lane by lane, since the index has the lane before the time."""


def _oldest_pending(connection: Connection) -> float | None:
    since = [moment for moment in connection.execute(_OLDEST).one() if moment is not None]
    return max(0.0, (now_micros() - min(since)) / 1e6) if since else None
