"""What is answered: shapes for the OpenAPI document, and the JSON in these shapes.

Answers that may be long or are asked for often are typed dicts, which are built and written as they
are. Those about insights are in `insight_answers.py`.
"""

from collections.abc import Mapping, Sequence
from typing import (
    Any,
    Literal,
)

from pydantic import BaseModel, Field
from pydantic_core import to_json
from typing_extensions import TypedDict

from analysis.trend_score import Direction
from api.insight_answers import InsightFacts, insight_facts
from grok.prices import TICKS_PER_USD
from models import Lane, Status
from schemas import ShownTime
from store.ledger import Usage
from store.lookup import FailedPage, StoredConversation
from store.summaries import Aggregate, Summary
from store.trends import Trend, Window
from worker.schedule import Bound


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
    """`clusters` are the most frequent first; `corrected_count` tells of how many of the total a
    person or a rule has the last word."""

    series: Sequence[SeriesBucket]
    clusters: Sequence[ClusterCounts]
    totals: Totals
    corrected_count: int


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
        "corrected_count": summary.corrected,
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
    """`negative` are those of `count` that are negative; `last` is the newest timestamp."""

    author: str
    count: int
    negative: int
    last: ShownTime


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
    insight: InsightFacts | None


def conversation_json(found: StoredConversation, *, per_second: float) -> bytes:
    """A `ConversationOut`. `per_second` is the rate at which conversations are completed, 0.0 where
    unknown."""
    queue: QueueOut | None = None
    insight: InsightFacts | None = None
    if found.queue_position is not None:
        eta = round(found.queue_position / per_second, 1) if per_second else None
        queue = {"position": found.queue_position, "eta_seconds": eta}
    if found.insight is not None:
        insight = insight_facts(found.insight)
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


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Each check is "ok" or says what is wrong."""

    status: Literal["ready", "not_ready"]
    checks: dict[str, str]


class LaneCounts(BaseModel):
    live: int
    bulk: int


class AnalyserStats(BaseModel):
    """`answering_model` is the one that answered last, null before the first answer. `notice` is
    for people to see, null where there is nothing to tell."""

    name: str
    model: str
    answering_model: str | None
    notice: str | None


class BreakerStats(BaseModel):
    """`next_probe_seconds` is null while it is closed."""

    state: Literal["closed", "open"]
    reason: str | None
    next_probe_seconds: float | None


class Spending(BaseModel):
    """`tokens` has prompt, completion and reasoning; `cached_tokens` are part of it.

    `held_usd` may have been spent besides: calls that are under way, and those of which nobody
    knows what they cost. It counts to the budget.
    """

    calls: int
    tokens: int
    cached_tokens: int
    cost_usd: float
    held_usd: float

    @classmethod
    def of(cls, usage: Usage) -> "Spending":
        return cls(
            calls=usage.calls,
            tokens=usage.prompt_tokens + usage.completion_tokens,
            cached_tokens=usage.cached_tokens,
            cost_usd=usage.cost_usd_ticks / TICKS_PER_USD,
            held_usd=usage.held_usd_ticks / TICKS_PER_USD,
        )


class SpendingStats(BaseModel):
    """Of all processes on the database. Today began at midnight UTC."""

    today: Spending
    total: Spending
    daily_budget_usd: float | None


class ReuseStats(BaseModel):
    """The share of completed conversations, 0 to 1, that an earlier analysis answered."""

    today_share: float
    total_share: float


class FallbackStats(BaseModel):
    """Insights that stand in for an answer that could not be used (cluster `unknown`, confidence
    0): how many were completed since midnight UTC and in the last hour. `notice` is for people to
    see, null while no more than one in ten are."""

    today: int
    last_hour: int
    notice: str | None


class DatabaseStats(BaseModel):
    """`version` is that of SQLite's library, or of PostgreSQL's server."""

    engine: Literal["sqlite", "postgresql"]
    version: str


class Stats(BaseModel):
    """`calls_per_second` is over the last ten seconds, in this process; `call_limit_per_second` is
    what is kept to, null where nothing limits it. `bound_by` is what keeps the throughput from
    being higher now; `queue` means that there is no more to do."""

    counts: dict[Status, LaneCounts]
    oldest_pending_seconds: float | None
    completed_last_minute: int
    completed_last_hour: int
    analyser: AnalyserStats
    calls_per_second: float
    call_limit_per_second: float | None
    calls_under_way: int
    bound_by: Bound
    breaker: BreakerStats
    spending: SpendingStats
    reuse: ReuseStats
    fallback: FallbackStats
    database: DatabaseStats
