"""What is answered: shapes for the OpenAPI document, and the JSON in these shapes.

Answers that may be long or are asked for often are typed dicts, which are built and written as they
are: an object for each insight costs more than twice as much, and a page may have a thousand.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,  # pydantic needs these before Python 3.12
    cast,
)

from pydantic import BaseModel, Field
from pydantic_core import to_json
from typing_extensions import TypedDict

from analysis.trend_score import Direction
from models import Lane, Status
from schemas import ShownTime
from store.filters import InsightFilter
from store.insights import InsightPage, ListedInsight
from store.lookup import FailedPage, StoredConversation, StoredInsight
from store.summaries import Aggregate, Summary
from store.trends import Trend, Window

_ITEMS_OF_PIECE = 50


class Accepted(BaseModel):
    status: Literal["accepted"] = "accepted"
    conversation_id: str = Field(examples=["conv_a1b2c3d4"])
    message: str = "Conversation queued for analysis"


class BatchAccepted(BaseModel):
    """`conversation_ids` are in the order sent."""

    status: Literal["accepted"] = "accepted"
    accepted: int
    conversation_ids: list[str]


class Retried(BaseModel):
    status: Literal["accepted"] = "accepted"
    retried: int


class GrokAnalysis(TypedDict):
    """`reused_from` names the conversation whose analysis answered this one too, as its text is the
    same; `suspected_injection` tells by which signs the text tries to steer the analyser. Each is
    there only where it applies."""

    sentiment_score: Annotated[float, Field(ge=-1, le=1)]
    clusters: Sequence[str]
    confidence: Annotated[float, Field(ge=0, le=1)]
    reasoning: str
    reused_from: NotRequired[str]
    suspected_injection: NotRequired[Sequence[str]]


class InsightOut(TypedDict):
    conversation_id: str
    timestamp: ShownTime
    text: str
    author: str | None
    grok_analysis: GrokAnalysis


class InsightsMetadata(TypedDict):
    """`total_count` is exact, for the whole filter; `next_cursor` is null on the last page."""

    total_count: int
    returned_count: int
    start_time: ShownTime
    end_time: ShownTime
    next_cursor: str | None


class InsightsOut(TypedDict):
    insights: Sequence[InsightOut]
    metadata: InsightsMetadata


def analysis_item(insight: ListedInsight | StoredInsight) -> GrokAnalysis:
    analysis: GrokAnalysis = {
        "sentiment_score": insight.sentiment_score,
        "clusters": insight.clusters,
        "confidence": insight.confidence,
        "reasoning": insight.reasoning,
    }
    if insight.notes:
        analysis.update(cast(GrokAnalysis, insight.notes))
    return analysis


def insight_item(insight: ListedInsight) -> InsightOut:
    """As list, export and stream give it."""
    return {
        "conversation_id": insight.conversation_id,
        "timestamp": insight.timestamp,
        "text": insight.text,
        "author": insight.author,
        "grok_analysis": analysis_item(insight),
    }


def insights_json(page: InsightPage, asked: InsightFilter) -> Iterator[bytes]:
    """An `InsightsOut` in pieces, so that others have their turn between them."""
    before = b'{"insights":['
    for start in range(0, len(page.insights), _ITEMS_OF_PIECE):
        some = page.insights[start : start + _ITEMS_OF_PIECE]
        yield before + to_json([insight_item(insight) for insight in some])[1:-1]
        before = b","
    metadata: InsightsMetadata = {
        "total_count": page.total_count,
        "returned_count": len(page.insights),
        "start_time": asked.start_time,
        "end_time": asked.end_time,
        "next_cursor": page.next_cursor,
    }
    yield (b"" if page.insights else before) + b'],"metadata":' + to_json(metadata) + b"}"


class Counts(TypedDict):
    """`average_sentiment` is null where there is nothing to average."""

    positive: int
    neutral: int
    negative: int
    average_sentiment: float | None


class SeriesBucket(Counts):
    """`bucket` is its start in UTC; the first and last are cut by the time range."""

    bucket: ShownTime


class ClusterCounts(Counts):
    cluster: str
    count: int


class Totals(Counts):
    count: int
    average_confidence: float | None


class SummaryOut(TypedDict):
    """`clusters` are the most frequent first."""

    series: Sequence[SeriesBucket]
    clusters: Sequence[ClusterCounts]
    totals: Totals


def summary_json(summary: Summary) -> bytes:
    """A `SummaryOut`."""
    totals = summary.totals
    answer: SummaryOut = {
        "series": [{"bucket": bucket, **_counts(each)} for bucket, each in summary.series.items()],
        "clusters": [
            {"cluster": name, "count": each.count, **_counts(each)}
            for name, each in summary.clusters
        ],
        "totals": {
            "count": totals.count,
            **_counts(totals),
            "average_confidence": totals.average_confidence,
        },
    }
    return to_json(answer)


def _counts(figures: Aggregate) -> Counts:
    return {
        "positive": figures.positive,
        "neutral": figures.neutral,
        "negative": figures.negative,
        "average_sentiment": figures.average_sentiment,
    }


class AuthorOut(TypedDict):
    """`negative` are those of `count` that are negative; `last` is the newest timestamp; `own` are
    accounts of one's own, as the settings name them."""

    author: str
    count: int
    negative: int
    last: ShownTime
    own: bool


class AuthorsOut(TypedDict):
    authors: Sequence[AuthorOut]


class TrendOut(TypedDict):
    """`score` is the signed root of a log-likelihood ratio, and 3 at least of either sign;
    `average_sentiment` is of the window, null where nothing came; `examples` are its newest."""

    cluster: str
    count: int
    expected: float
    score: float
    direction: Direction
    average_sentiment: float | None
    examples: Sequence[str]


class TrendsOut(TypedDict):
    """`trends` are the strongest first."""

    as_of: ShownTime
    window: Window
    trends: Sequence[TrendOut]


def trend_item(trend: Trend) -> TrendOut:
    return {
        "cluster": trend.cluster,
        "count": trend.count,
        "expected": round(trend.verdict.expected, 2),
        "score": round(trend.verdict.score, 2),
        "direction": trend.verdict.direction,
        "average_sentiment": trend.average_sentiment,
        "examples": trend.examples,
    }


class QueueOut(TypedDict):
    """`position` counts from 1; `eta_seconds` is null while no rate is known."""

    position: int
    eta_seconds: float | None


class ConversationInsight(TypedDict):
    grok_analysis: GrokAnalysis


class ConversationCore(TypedDict):
    """What there is to tell of a conversation whatever has become of it."""

    conversation_id: str
    status: Status
    lane: Lane
    text: str
    author: str | None
    timestamp: ShownTime
    created_at: ShownTime
    attempts: int
    last_error: str | None
    raw_data: Mapping[str, Any] | None


class FailedMetadata(TypedDict):
    """`next_cursor` is null on the last page."""

    total_count: int
    returned_count: int
    next_cursor: str | None


class FailedOut(TypedDict):
    conversations: Sequence[ConversationCore]
    metadata: FailedMetadata


def failed_json(page: FailedPage) -> bytes:
    """A `FailedOut`."""
    items = b",".join(_with_raw_data(_core(found), found) for found in page.conversations)
    metadata: FailedMetadata = {
        "total_count": page.total_count,
        "returned_count": len(page.conversations),
        "next_cursor": page.next_cursor,
    }
    return b'{"conversations":[%b],"metadata":%b}' % (items, to_json(metadata))


class ConversationOut(ConversationCore):
    """`queue` is null unless pending, `insight` until completed."""

    queue: QueueOut | None
    insight: ConversationInsight | None


def conversation_json(found: StoredConversation, *, per_second: float) -> bytes:
    """A `ConversationOut`. `per_second` is the rate at which conversations are completed, 0.0 where
    unknown."""
    queue: QueueOut | None = None
    insight: ConversationInsight | None = None
    if found.queue_position is not None:
        eta = round(found.queue_position / per_second, 1) if per_second else None
        queue = {"position": found.queue_position, "eta_seconds": eta}
    if found.insight is not None:
        insight = {"grok_analysis": analysis_item(found.insight)}
    answer: ConversationOut = {**_core(found), "queue": queue, "insight": insight}
    return _with_raw_data(answer, found)


def _core(found: StoredConversation) -> ConversationCore:
    return {
        "conversation_id": found.id,
        "status": found.status,
        "lane": found.lane,
        "text": found.text,
        "author": found.author,
        "timestamp": found.timestamp,
        "created_at": found.created_at,
        "attempts": found.attempts,
        "last_error": found.last_error,
        "raw_data": None,
    }


def _with_raw_data(answer: ConversationCore, found: StoredConversation) -> bytes:
    """`raw_data` is stored as JSON, and put into the answer as it is."""
    members = {name: value for name, value in answer.items() if name != "raw_data"}
    return b'%b,"raw_data":%b}' % (to_json(members)[:-1], (found.raw_data or "null").encode())


class ErrorOut(BaseModel):
    """`retry_after` (whole seconds) is there where waiting helps, as in the Retry-After header."""

    error: str = Field(examples=["invalid_schema"])
    details: str = Field(examples=["Missing required field: text"])
    retry_after: int | None = None
