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

from analysis.handling import OPEN, Handling, HandlingState
from analysis.labels import LastWord, Values
from analysis.trend_score import Direction
from analysis.urgency import Urgency
from grok.prices import TICKS_PER_USD
from models import Lane, Status, from_micros
from schemas import ShownTime
from store.filters import InsightFilter
from store.insights import InsightPage
from store.ledger import Usage
from store.listed import Labelled, ListedInsight
from store.lookup import FailedPage, StoredConversation
from store.summaries import Aggregate, Summary
from store.trends import Trend, Window
from worker.schedule import Bound

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


class ModelValues(TypedDict):
    sentiment_score: float
    clusters: Sequence[str]
    confidence: float


class LabelledOut(TypedDict):
    """`name` is the person's or the rule's; `was` is what the model had said."""

    by: Literal["person", "rule"]
    name: str
    at: ShownTime
    reason: str | None
    was: ModelValues


class HandlingNow(TypedDict):
    """`by` and `at` tell who set the state and when; what is open has neither. `until` is of claims
    and snoozes, which are open after it."""

    state: HandlingState
    by: str | None
    until: ShownTime | None
    at: ShownTime | None


class InsightFacts(TypedDict):
    """What is said of an insight. `language` is an ISO 639-1 code, or `und`; `labelled` is null
    where the model has the last word."""

    grok_analysis: GrokAnalysis
    language: str
    urgency: Urgency
    version: int
    labelled: LabelledOut | None
    handling: HandlingNow


class InsightOut(InsightFacts):
    conversation_id: str
    timestamp: ShownTime
    text: str
    author: str | None


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


def insight_facts(insight: ListedInsight) -> InsightFacts:
    analysis: GrokAnalysis = {
        "sentiment_score": insight.sentiment_score,
        "clusters": insight.clusters,
        "confidence": insight.confidence,
        "reasoning": insight.reasoning,
    }
    if insight.notes:
        analysis.update(cast(GrokAnalysis, insight.notes))
    return {
        "grok_analysis": analysis,
        "language": insight.language,
        "urgency": cast(Urgency, insight.urgency),
        "version": insight.version,
        "labelled": insight.labelled and _labelled_item(insight.labelled),
        "handling": _OPEN if insight.handling is OPEN else handling_item(insight.handling),
    }


def _labelled_item(labelled: Labelled) -> LabelledOut:
    return {
        "by": "person" if labelled.by is LastWord.PERSON else "rule",
        "name": labelled.name,
        "at": labelled.at,
        "reason": labelled.reason,
        "was": values_item(labelled.was),
    }


def values_item(values: Values) -> ModelValues:
    return {
        "sentiment_score": values.sentiment_score,
        "clusters": values.clusters,
        "confidence": values.confidence,
    }


def handling_item(handling: Handling) -> HandlingNow:
    return {
        "state": cast(HandlingState, handling.state.value),  # plain text is written much faster
        "by": handling.by,
        "until": None if handling.until is None else from_micros(handling.until),
        "at": None if handling.at is None else from_micros(handling.at),
    }


_OPEN = handling_item(OPEN)


def insight_item(insight: ListedInsight) -> InsightOut:
    """As list, export and stream give it."""
    return {
        "conversation_id": insight.conversation_id,
        "timestamp": insight.timestamp,
        "text": insight.text,
        "author": insight.author,
        **insight_facts(insight),
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
