"""Insights as dashboards ask for them: one page, newest first, and the exact total."""

import base64
import binascii
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Row, func, select, tuple_

from database import Database
from errors import InvalidInput
from models import from_micros, insight_clusters, insights, to_micros

POSITIVE_ABOVE = 0.1
NEGATIVE_BELOW = -0.1


class Sentiment(StrEnum):
    POSITIVE = "positive"
    NEGATIVE = "negative"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True)
class InsightFilter:
    """Which insights are meant. Everything that counts or lists builds its WHERE from this one.

    Both times are inclusive. None means "any".
    """

    start_time: datetime
    end_time: datetime
    min_confidence: float | None = None
    sentiment: Sentiment | None = None
    cluster: str | None = None
    author: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        columns = insights.c
        conditions: list[ColumnElement[bool]] = [
            columns.timestamp.between(to_micros(self.start_time), to_micros(self.end_time))
        ]
        if self.min_confidence is not None:
            conditions.append(columns.confidence >= self.min_confidence)
        match self.sentiment:
            case Sentiment.POSITIVE:
                conditions.append(columns.sentiment_score > POSITIVE_ABOVE)
            case Sentiment.NEGATIVE:
                conditions.append(columns.sentiment_score < NEGATIVE_BELOW)
            case Sentiment.NEUTRAL:
                conditions.append(columns.sentiment_score.between(NEGATIVE_BELOW, POSITIVE_ABOVE))
        if self.author is not None:
            conditions.append(columns.author == self.author)
        if self.cluster is not None:
            conditions.append(
                columns.id.in_(
                    select(insight_clusters.c.insight_id).where(
                        insight_clusters.c.cluster == self.cluster,
                        insight_clusters.c.timestamp.between(
                            to_micros(self.start_time), to_micros(self.end_time)
                        ),
                    )
                )
            )
        return conditions


@dataclass(frozen=True, slots=True)
class ListedInsight:
    conversation_id: str
    timestamp: datetime
    text: str
    author: str | None
    sentiment_score: float
    clusters: list[str]
    confidence: float
    reasoning: str


@dataclass(frozen=True, slots=True)
class InsightPage:
    """`total_count` is for the whole filter; `next_cursor` is None on the last page."""

    insights: Sequence[ListedInsight]
    total_count: int
    next_cursor: str | None


class InsightStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, wanted: InsightFilter, *, limit: int, cursor: str | None) -> InsightPage:
        """Up to `limit` insights after `cursor`, newest timestamp first; ties by newest id.

        The cursor names the last row of the page before, so rows that come or go meanwhile make
        nothing repeat or be skipped. Raises InvalidInput for a cursor that is none of ours.
        """
        columns = insights.c
        conditions = wanted.conditions()
        page = (
            select(
                columns.id,
                columns.conversation_id,
                columns.timestamp,
                columns.text,
                columns.author,
                columns.sentiment_score,
                columns.clusters,
                columns.confidence,
                columns.reasoning,
            )
            .where(*conditions)
            .order_by(columns.timestamp.desc(), columns.id.desc())
            .limit(limit + 1)  # one more tells whether there is a next page
        )
        if cursor is not None:
            position = _decode_cursor(cursor)
            page = page.where(tuple_(columns.timestamp, columns.id) < position)
        count = select(func.count()).select_from(insights).where(*conditions)
        rows, total = await self._database.read(
            lambda connection: (connection.execute(page).all(), connection.scalar(count))
        )
        more = len(rows) > limit
        rows = rows[:limit]
        return InsightPage(
            insights=[_to_insight(row) for row in rows],
            total_count=total or 0,
            next_cursor=_encode_cursor(rows[-1]) if more else None,
        )


_CURSOR = struct.Struct(">qq")  # timestamp in microseconds, insight id


def _encode_cursor(row: Row[*tuple[Any, ...]]) -> str:
    return base64.urlsafe_b64encode(_CURSOR.pack(row.timestamp, row.id)).decode().rstrip("=")


def _decode_cursor(cursor: str) -> tuple[int, int]:
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        timestamp, id_ = _CURSOR.unpack(packed)
    except (binascii.Error, struct.error, ValueError):
        raise InvalidInput("cursor: not a next_cursor that this service gave") from None
    return timestamp, id_


def _to_insight(row: Row[*tuple[Any, ...]]) -> ListedInsight:
    return ListedInsight(
        conversation_id=row.conversation_id,
        timestamp=from_micros(row.timestamp),
        text=row.text,
        author=row.author,
        sentiment_score=row.sentiment_score,
        clusters=row.clusters,
        confidence=row.confidence,
        reasoning=row.reasoning,
    )
