"""What travels over HTTP: shapes in, shapes out, and how a mistake in one is told to a person."""

import hashlib
import json
import math
import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    create_model,
    model_validator,
)
from pydantic_core import to_json

from analysis.words import parse_search
from api.bad_json import MAX_RAW_DATA_LEVELS, explain_bad_json
from errors import InvalidInput
from grok.prices import TICKS_PER_USD
from models import Lane, Status
from store.conversations import (
    FailedPage,
    NewConversation,
    StoredConversation,
    StoredInsight,
)
from store.insights import InsightFilter, InsightPage, ListedInsight, Sentiment
from store.ledger import Usage
from store.summaries import Summary, Tally
from store.trends import Trend

MAX_BATCH = 1000
MAX_LIVE_BATCH = 10
MAX_IDEMPOTENCY_KEY = 255
MAX_AUTHOR_LENGTH = 500
MAX_SEARCH_LENGTH = 1000
_ITEMS_OF_PIECE = 50


# --- times ----------------------------------------------------------------------------------------


def parse_time(value: object) -> datetime:
    """ISO 8601 text as an aware time in UTC; without an offset it is UTC. Raises ValueError."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise ValueError("must be an ISO 8601 time in quotes, such as 2025-01-20T10:00:00Z")
    try:
        moment = datetime.fromisoformat(value.strip().upper())
        if moment.tzinfo is None:
            return moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be an ISO 8601 time, such as 2025-01-20T10:00:00Z") from None


def _parse_query_time(value: object) -> datetime:
    """Also with the `+` of an offset turned into a blank, as an unescaped one in a URL is."""
    if isinstance(value, str):
        value = re.sub(r"([Tt ][\d:.,]+) (\d\d(?::?\d\d)?)$", r"\1+\2", value)
    return parse_time(value)


def format_time(moment: datetime) -> str:
    """`2025-01-20T10:00:00Z`, with a fraction only where there is one; as `to_json` writes it."""
    return moment.isoformat().replace("+00:00", "Z")


_TIME_SCHEMA = WithJsonSchema({"type": "string", "format": "date-time"})
Time = Annotated[AwareDatetime, BeforeValidator(parse_time), _TIME_SCHEMA]
QueryTime = Annotated[AwareDatetime, BeforeValidator(_parse_query_time), _TIME_SCHEMA]
ShownTime = Annotated[datetime, PlainSerializer(format_time, return_type=str), _TIME_SCHEMA]


# --- requests -------------------------------------------------------------------------------------


def _storable(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not contain the NUL character")
    return value


def check_idempotency_key(key: str) -> str:
    """1 to 255 printable characters. Raises ValueError."""
    if not key.isprintable() or not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY:
        raise ValueError(f"must be 1 to {MAX_IDEMPOTENCY_KEY} printable characters")
    return key


def _check_raw_data(value: dict[str, Any]) -> dict[str, Any]:
    _check_json(value, level=1)
    return value


def _check_json(value: object, *, level: int) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("numbers must be finite")
    if isinstance(value, dict | list):
        if level > MAX_RAW_DATA_LEVELS:
            raise ValueError(f"must be at most {MAX_RAW_DATA_LEVELS} levels deep")
        for child in value.values() if isinstance(value, dict) else value:
            _check_json(child, level=level + 1)


Storable = Annotated[str, AfterValidator(_storable)]
Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_storable)
]


_SORTED = json.JSONEncoder(sort_keys=True)


class ConversationIn(BaseModel):
    """One conversation as a client hands it in. Unknown fields are ignored."""

    text: Text  # `Bodies` adds the upper limit, which is a setting
    # PostgreSQL's index on it takes 2,700 bytes at most.
    author: (
        Annotated[str, StringConstraints(max_length=MAX_AUTHOR_LENGTH), AfterValidator(_storable)]
        | None
    ) = None
    timestamp: Time | None = Field(None, description="Default: now. Without an offset it is UTC.")
    raw_data: Annotated[dict[str, Any], AfterValidator(_check_raw_data)] | None = None

    def to_new(self, idempotency_key: str | None) -> NewConversation:
        body_hash = self._hash() if idempotency_key is not None else None
        return NewConversation(
            self.text, self.author, self.timestamp, self.raw_data, idempotency_key, body_hash
        )

    def _hash(self) -> str:
        """The same for the same content, however the JSON was spelled."""
        timestamp = None if self.timestamp is None else format_time(self.timestamp)
        content = _SORTED.encode([self.text, self.author, timestamp, self.raw_data])
        return hashlib.sha256(content.encode()).hexdigest()


class BatchItemIn(ConversationIn):
    idempotency_key: Annotated[str, AfterValidator(check_idempotency_key)] | None = None


class BatchIn(BaseModel):
    conversations: list[BatchItemIn] = Field(min_length=1, max_length=MAX_BATCH)
    lane: Lane = Field(Lane.BULK, description=f"`live` takes at most {MAX_LIVE_BATCH}.")

    @model_validator(mode="after")
    def _few_go_first(self) -> Self:
        if self.lane is Lane.LIVE and len(self.conversations) > MAX_LIVE_BATCH:
            raise InvalidInput(
                f"conversations: the live lane takes at most {MAX_LIVE_BATCH} in a batch"
            )
        return self


class TimeRange(BaseModel):
    start_time: QueryTime
    end_time: QueryTime


class InsightConditions(TimeRange):
    """Which insights; what list, summary and export have in common."""

    min_confidence: float | None = Field(None, ge=0, le=1)
    sentiment: Sentiment | None = None
    cluster: Storable | None = None
    author: Storable | None = None

    def to_filter(self) -> InsightFilter:
        """Raises InvalidInput."""
        if self.start_time > self.end_time:
            raise InvalidInput("start_time must not be after end_time")
        return InsightFilter(
            start_time=self.start_time,
            end_time=self.end_time,
            min_confidence=self.min_confidence,
            sentiment=self.sentiment,
            cluster=self.cluster,
            author=self.author,
        )


class SearchConditions(InsightConditions):
    q: Annotated[str, Field(max_length=MAX_SEARCH_LENGTH)] | None = Field(
        None,
        description="Words that the text must hold; "
        '`"a phrase"` in quotes; `refun*` for a beginning.',
    )

    def to_filter(self) -> InsightFilter:
        wanted = super().to_filter()
        return wanted if self.q is None else replace(wanted, words=parse_search(self.q))


class InsightQuery(SearchConditions):
    limit: int = Field(100, ge=1, le=1000)
    cursor: str | None = None


class SummaryQuery(InsightConditions):
    interval: Literal["minute", "hour", "day"] = "hour"


class ExportQuery(SearchConditions):
    format: Literal["csv", "ndjson"] = "csv"
    bom: bool = Field(False, description="Begin a CSV with a byte order mark, as Excel needs it.")


class AuthorsQuery(BaseModel):
    prefix: Annotated[Storable, Field(min_length=1, max_length=100)] | None = Field(
        None, description="How names begin, whatever the case; a leading `@` is ignored."
    )
    start_time: QueryTime | None = None
    end_time: QueryTime | None = None
    limit: int = Field(20, ge=1, le=100)


class TrendsQuery(BaseModel):
    window: Literal["15m", "1h", "6h", "24h"] = "1h"
    as_of: QueryTime | None = Field(None, description="Default: now.")


Body = TypeVar("Body", bound=BaseModel)


class Bodies:
    """The request bodies, with the limits that are settings."""

    def __init__(self, *, max_text_length: int) -> None:
        length = StringConstraints(strip_whitespace=True, min_length=1, max_length=max_text_length)
        limited: Any = (Annotated[str, length, AfterValidator(_storable)], ...)
        item = create_model("BatchItemIn", __base__=BatchItemIn, text=limited)
        items: Any = (list[item], Field(min_length=1, max_length=MAX_BATCH))
        self.conversation = create_model("ConversationIn", __base__=ConversationIn, text=limited)
        self.batch = create_model("BatchIn", __base__=BatchIn, conversations=items)


def parse_body(shape: type[Body], body: bytes) -> Body:
    """A byte order mark before the JSON is passed over. Raises InvalidInput with one sentence that
    names the field."""
    body = body.removeprefix(BOM_UTF8)
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
    if errors[0]["type"] == "json_invalid":
        raise InvalidInput(explain_bad_json(body, errors[0]["ctx"]["error"]))
    raise InvalidInput(explain(errors))


def explain(errors: Sequence[Any]) -> str:
    """The first of pydantic's errors, as one would say it to a person."""
    error = errors[0]
    place = ""
    for part in error["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    match error["type"]:
        case "missing" if "." not in place:
            return f"Missing required field: {place}"
        case "missing":
            problem = "missing required field"
        case "string_too_short":
            problem = "must not be empty"
        case "string_too_long":
            problem = f"must be at most {error['ctx']['max_length']} characters"
        case "too_short" | "too_long":
            problem = f"must hold 1 to {MAX_BATCH} conversations"
        case _:
            problem = error["msg"].removeprefix("Value error, ")
    return f"{place or 'The body'}: {problem}"


# --- answers --------------------------------------------------------------------------------------


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


def _is_absent(value: object) -> bool:
    return value is None


class GrokAnalysis(BaseModel):
    """`reused_from` names the conversation whose analysis answered this one too, as its text is the
    same; `suspected_injection` tells by which signs the text tries to steer the analyser. Each is
    there only where it applies."""

    sentiment_score: float = Field(ge=-1, le=1)
    clusters: list[str]
    confidence: float = Field(ge=0, le=1)
    reasoning: str
    reused_from: str | None = Field(None, exclude_if=_is_absent)
    suspected_injection: list[str] | None = Field(None, exclude_if=_is_absent)


class InsightOut(BaseModel):
    conversation_id: str
    timestamp: ShownTime
    text: str
    author: str | None
    grok_analysis: GrokAnalysis


class InsightsMetadata(BaseModel):
    """`total_count` is exact, for the whole filter; `next_cursor` is null on the last page."""

    total_count: int
    returned_count: int
    start_time: ShownTime
    end_time: ShownTime
    next_cursor: str | None


class InsightsOut(BaseModel):
    insights: list[InsightOut]
    metadata: InsightsMetadata


def analysis_item(insight: ListedInsight | StoredInsight) -> dict[str, Any]:
    """What clients see of an analysis."""
    return {
        "sentiment_score": insight.sentiment_score,
        "clusters": insight.clusters,
        "confidence": insight.confidence,
        "reasoning": insight.reasoning,
        **insight.notes,
    }


def insight_item(insight: ListedInsight) -> dict[str, Any]:
    """An `InsightOut` as list, export and stream give it. A dict, since an object for each costs
    more than twice as much, and a page may have a thousand."""
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
    metadata = {
        "total_count": page.total_count,
        "returned_count": len(page.insights),
        "start_time": asked.start_time,
        "end_time": asked.end_time,
        "next_cursor": page.next_cursor,
    }
    yield (b"" if page.insights else before) + b'],"metadata":' + to_json(metadata) + b"}"


class Counts(BaseModel):
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


class SummaryOut(BaseModel):
    """`clusters` are the most frequent first."""

    series: list[SeriesBucket]
    clusters: list[ClusterCounts]
    totals: Totals


def summary_json(summary: Summary) -> bytes:
    """A `SummaryOut`."""
    totals = summary.totals
    return to_json(
        {
            "series": [
                {"bucket": bucket, **_counts(tally)} for bucket, tally in summary.series.items()
            ],
            "clusters": [
                {"cluster": cluster, "count": tally.count, **_counts(tally)}
                for cluster, tally in summary.clusters
            ],
            "totals": {
                "count": totals.count,
                **_counts(totals),
                "average_confidence": totals.average_confidence,
            },
        }
    )


class AuthorOut(BaseModel):
    """`negative` are those of `count` that are negative; `last` is the newest timestamp."""

    author: str
    count: int
    negative: int
    last: ShownTime


class AuthorsOut(BaseModel):
    authors: list[AuthorOut]


class TrendOut(BaseModel):
    """`score` is the signed root of a log-likelihood ratio, and 3 at least of either sign;
    `average_sentiment` is of the window, null where nothing came; `examples` are its newest."""

    cluster: str
    count: int
    expected: float
    score: float
    direction: Literal["rising", "falling", "new"]
    average_sentiment: float | None
    examples: list[str]

    @classmethod
    def of(cls, trend: Trend) -> "TrendOut":
        verdict = trend.verdict
        return cls(
            cluster=trend.cluster,
            count=trend.count,
            expected=round(verdict.expected, 2),
            score=round(verdict.score, 2),
            direction=verdict.direction,
            average_sentiment=trend.average_sentiment,
            examples=list(trend.examples),
        )


class TrendsOut(BaseModel):
    """`trends` are the strongest first."""

    as_of: ShownTime
    window: str
    trends: list[TrendOut]


def _counts(tally: Tally) -> dict[str, Any]:
    return {
        "positive": tally.positive,
        "neutral": tally.neutral,
        "negative": tally.negative,
        "average_sentiment": tally.average_sentiment,
    }


class QueueOut(BaseModel):
    """`position` counts from 1; `eta_seconds` is null while no rate is known."""

    position: int
    eta_seconds: float | None


class ConversationInsight(BaseModel):
    grok_analysis: GrokAnalysis


class ConversationCore(BaseModel):
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
    raw_data: dict[str, Any] | None


class FailedQuery(BaseModel):
    limit: int = Field(100, ge=1, le=1000)
    cursor: str | None = None


class FailedMetadata(BaseModel):
    """`next_cursor` is null on the last page."""

    total_count: int
    returned_count: int
    next_cursor: str | None


class FailedOut(BaseModel):
    conversations: list[ConversationCore]
    metadata: FailedMetadata


def failed_json(page: FailedPage) -> bytes:
    """A `FailedOut`."""
    items = b",".join(
        [_with_raw_data(ConversationCore(**_core(found)), found) for found in page.conversations]
    )
    metadata = FailedMetadata(
        total_count=page.total_count,
        returned_count=len(page.conversations),
        next_cursor=page.next_cursor,
    )
    return b'{"conversations":[%b],"metadata":%b}' % (items, metadata.model_dump_json().encode())


def _with_raw_data(shape: ConversationCore, found: StoredConversation) -> bytes:
    content = shape.model_dump_json(exclude={"raw_data"}).encode()
    return b'%b,"raw_data":%b}' % (content[:-1], (found.raw_data or "null").encode())


def _core(found: StoredConversation) -> dict[str, Any]:
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
        "raw_data": None,  # see `_with_raw_data`
    }


class ConversationOut(ConversationCore):
    """`queue` is null unless pending, `insight` until completed."""

    queue: QueueOut | None
    insight: ConversationInsight | None

    @classmethod
    def of(cls, found: StoredConversation, *, per_second: float) -> "ConversationOut":
        """`per_second` is the rate at which conversations are completed, 0.0 where unknown."""
        queue = insight = None
        if found.queue_position is not None:
            eta = round(found.queue_position / per_second, 1) if per_second else None
            queue = QueueOut(position=found.queue_position, eta_seconds=eta)
        if found.insight is not None:
            insight = ConversationInsight(
                grok_analysis=GrokAnalysis(**analysis_item(found.insight))
            )
        return cls(**_core(found), queue=queue, insight=insight)


def conversation_json(found: StoredConversation, *, per_second: float) -> bytes:
    """A `ConversationOut`."""
    return _with_raw_data(ConversationOut.of(found, per_second=per_second), found)


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
    bound_by: Literal["queue", "rate", "concurrency", "budget", "breaker"]
    breaker: BreakerStats
    spending: SpendingStats
    reuse: ReuseStats
    fallback: FallbackStats
