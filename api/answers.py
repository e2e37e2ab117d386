"""What is answered: shapes for the OpenAPI document, and the JSON in these shapes.

Answers that may be long or are asked for often are typed dicts, which are built and written as they
are. Those about insights are in `insight_answers.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, cast
from urllib.parse import quote

from pydantic import Field
from pydantic_core import to_json
from starlette.requests import Request
from typing_extensions import TypedDict

from analysis.trend_score import Direction
from api.insight_answers import InsightFacts, insight_facts
from models import Lane, Status
from schemas import Shape, ShownTime, built_late
from store.lookup import FailedPage, StoredConversation
from store.summaries import Summary
from store.trends import Trend, Window

T = TypeVar("T")


def shown(shape: type[T], found: object, **others: Any) -> T:
    """What was found as the typed dict `shape`: its values under their own names, and `others`,
    which are called or written differently there."""
    item = {
        name: others[name] if name in others else getattr(found, name)
        for name in shape.__annotations__
    }
    return cast(T, item)


def location(request: Request, path: str) -> str:
    """For the header of that name, with the prefix under which a proxy serves the API."""
    root_path: str = request.scope.get("root_path", "")
    return f"{quote(root_path.rstrip('/'))}{path}" if root_path else path


class Accepted(Shape):
    status: Literal["accepted"] = "accepted"
    conversation_id: str = Field(examples=["conv_a1b2c3d4"])
    message: str = "Conversation queued for analysis"


_ACCEPTED_JSON = Accepted(conversation_id="%s").model_dump_json()


def accepted_json(conversation_id: str) -> str:
    """The JSON of `Accepted`: every post is answered so, and an id needs no escapes."""
    return _ACCEPTED_JSON % conversation_id


class BatchAccepted(Shape):
    """`conversation_ids` are in the order sent."""

    status: Literal["accepted"] = "accepted"
    accepted: int
    conversation_ids: list[str]


def documented_headers(of: Mapping[int, Mapping[str, str]]) -> dict[str, Any]:
    """For the OpenAPI document: what an operation's answers have in their headers, by status and
    name. Those of errors, alike everywhere, are in `openapi.py`."""
    return {
        "responses": {
            str(status): {
                "headers": {
                    name: {"description": told, "schema": {"type": "string"}}
                    for name, told in headers.items()
                }
            }
            for status, headers in of.items()
        }
    }


MADE = documented_headers({201: {"Location": "Where what was made is."}})
"""Of operations that make something."""

REPLAYED, REPLAYED_ITEMS = "Idempotent-Replayed", "Idempotent-Replayed-Items"
CONFLICT_ITEMS = "Idempotency-Conflict-Items"


def replayed_headers(positions: Sequence[int], *, of: int) -> dict[str, str]:
    """Of a batch of so many items: the `positions` (at least one, rising) of those that were stored
    before; and whether all were."""
    headers = {REPLAYED_ITEMS: ranges_of(positions)}
    return headers | {REPLAYED: "true"} if len(positions) == of else headers


def ranges_of(positions: Sequence[int]) -> str:
    """Rising positions, neighbours as a range: `0,3-5`."""
    ranges: list[list[int]] = []
    for position in positions:
        if ranges and position == ranges[-1][-1] + 1:
            ranges[-1][1:] = [position]
        else:
            ranges.append([position])
    return ",".join("-".join(map(str, each)) for each in ranges)


class Retried(Shape):
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


class HandlingCounts(TypedDict):
    """Of the total, by what is done about it; `oldest_open` is null where nothing is open. Of what
    is answered: the share within `ANSWER_GOAL`, and the median of the seconds that it took; null
    where nothing is."""

    open: int
    claimed: int
    answered: int
    snoozed: int
    ignored: int
    oldest_open: ShownTime | None
    answered_in_goal: float | None
    median_answer_seconds: float | None


@built_late
class SummaryOut(TypedDict):
    """`clusters` are the most frequent first; `corrected_count` tells of how many of the total a
    person or a rule has the last word."""

    series: Sequence[SeriesBucket]
    clusters: Sequence[ClusterCounts]
    totals: Totals
    corrected_count: int
    handling: HandlingCounts


def summary_json(summary: Summary) -> bytes:
    """A `SummaryOut`."""
    totals, handling = summary.totals, summary.handling
    counts = {state.value: count for state, count in handling.counts.items()}
    answer: SummaryOut = {
        "series": [
            {"bucket": bucket, **shown(Counts, each)} for bucket, each in summary.series.items()
        ],
        "clusters": [
            {"cluster": name, "count": each.count, **shown(Counts, each)}
            for name, each in summary.clusters
        ],
        "totals": {
            "count": totals.count,
            **shown(Counts, totals),
            "average_confidence": totals.average_confidence,
        },
        "corrected_count": summary.corrected,
        "handling": shown(HandlingCounts, handling, **counts),
    }
    return to_json(answer)


class AuthorOut(TypedDict):
    """`count` is of the posts that count, or where there are none of the own ones; `negative` are
    those of `count` that are negative; `last` is the newest timestamp; `own` are accounts of one's
    own, as the settings name them."""

    author: str
    count: int
    negative: int
    last: ShownTime
    own: bool


@built_late
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


@built_late
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


@built_late
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


@built_late
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
    return shown(ConversationCore, found, conversation_id=found.id, raw_data=None)


def _with_raw_data(answer: ConversationCore, found: StoredConversation) -> bytes:
    """`raw_data` is stored as JSON, and put into the answer as it is."""
    members = {name: value for name, value in answer.items() if name != "raw_data"}
    return b'%b,"raw_data":%b}' % (to_json(members)[:-1], (found.raw_data or "null").encode())


class ErrorOut(Shape):
    """`retry_after` (whole seconds) is there where waiting helps, as in the Retry-After header."""

    error: str = Field(examples=["invalid_schema"])
    details: str = Field(examples=["Missing required field: text"])
    retry_after: int | None = None
