"""The tables, as SQLAlchemy Core sees them. Statements live in `store/`.

Times are integers: microseconds since 1970-01-01 UTC. They sort, compare and bucket alike on
SQLite and PostgreSQL, and take 8 bytes in an index (docs/decisions/0003-times-as-integers.md).
"""

import time
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Double,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    Table,
    Text,
    false,
    literal_column,
    text,
)

import tables.alerts
import tables.people
import tables.replicas  # noqa: F401 - its tables belong to `metadata`
from analysis.sentiment import NEGATIVE_BELOW, POSITIVE_ABOVE
from tables.base import Micros, SequentialId
from tables.base import metadata as metadata

SCHEMA_REVISION = "0015"
"""The migration that makes these tables; a test holds it equal to the newest in `migrations/`."""


class Status(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


class Lane(StrEnum):
    LIVE = "live"
    BULK = "bulk"


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_micros(moment: datetime) -> int:
    """`moment` must be aware."""
    since = moment - _EPOCH  # whose division takes three times as long as its parts
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_micros(micros: int) -> datetime:
    """Aware and in UTC."""
    return _EPOCH + micros * _MICROSECOND


def format_time(moment: datetime) -> str:
    """Of a moment in UTC `2025-01-20T10:00:00Z`, with a fraction only where there is one; as
    `to_json` writes it."""
    return moment.isoformat().replace("+00:00", "Z")


def time_or_none(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


# What the database's clock said, and this machine's count of nanoseconds at that moment.
_followed: tuple[int, int] | None = None


def now_micros() -> int:
    """By this machine's clock, or by the one that is followed."""
    if _followed is None:
        return time.time_ns() // 1000
    said, at = _followed
    return said + (time.monotonic_ns() - at) // 1000


def utc_now() -> datetime:
    """As `now_micros`: what is stored, and what is asked for by default, goes by one clock."""
    return from_micros(now_micros())


def follow_clock(said: int, at: int) -> None:
    """Go by a clock that said `said`, in microseconds, when `time.monotonic_ns()` was `at`: that of
    a database which several machines share, so that all agree on leases and days."""
    global _followed
    _followed = said, at


def follow_own_clock() -> None:
    global _followed
    _followed = None


conversations = Table(
    "conversations",
    metadata,
    Column("id", String(13), primary_key=True),
    Column("text", Text, nullable=False),
    Column("author", Text),
    Column("timestamp", Micros, nullable=False),
    Column("raw_data", JSON(none_as_null=True)),
    Column("status", String(10), nullable=False),
    Column("created_at", Micros, nullable=False),
    Column("lane", String(4), nullable=False),
    # Charged tries: raised by a claim, lowered again when the claim was only waiting.
    Column("attempts", Integer, nullable=False, server_default="0"),
    # Times that a worker died while this was in flight.
    Column("deaths", Integer, nullable=False, server_default="0"),
    # Not to share a call with others: one that it shared was spoiled, perhaps by this.
    Column("alone", Boolean, nullable=False, server_default=false()),
    # A pending row is not claimed before this time; 0 is at once.
    Column("not_before", Micros, nullable=False, server_default="0"),
    # Names one claim, and is the fence of its result; null unless processing.
    Column("lease_token", String(32)),
    Column("leased_until", Micros),
    Column("last_error", Text),
    Column("idempotency_key", String(255)),
    # The name of the API key that the idempotency key belongs to; empty is everybody.
    Column("key_owner", Text, nullable=False, server_default=text("''")),
    # SHA-256 over the content that was sent; null without a key.
    Column("body_hash", String(64)),
    # Written by an account of one's own: 1, else 0, as an index's condition takes it.
    Column("own", SmallInteger, nullable=False, server_default="0"),
    # The author's, where `raw_data` tells.
    Column("followers", BigInteger),
    CheckConstraint("status in ('pending','processing','completed','failed')", name="conv_status"),
    CheckConstraint("lane in ('live','bulk')", name="conv_lane"),
    # Not by time: that of an import is in any order, and each row would change another page.
    # `timestamp` is in it for `store/erasure.py`.
    Index("idx_conv_status", "status", "lane", "created_at", "timestamp"),
)
Index(
    "idx_conv_own",
    conversations.c.timestamp,
    sqlite_where=conversations.c.own != literal_column("0"),
)
# For those that a worker died with twice (`store/orphans.py`).
Index(
    "idx_conv_suspect",
    conversations.c.created_at,
    sqlite_where=text("status = 'pending' AND deaths >= 2"),
)
Index(
    "idx_conv_idempotency_key",
    conversations.c.idempotency_key,
    conversations.c.key_owner,
    unique=True,
    sqlite_where=conversations.c.idempotency_key.is_not(None),
)

insights = Table(
    "insights",
    metadata,
    Column("id", SequentialId, primary_key=True, autoincrement=True),
    Column(
        "conversation_id",
        String(13),
        ForeignKey("conversations.id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("timestamp", Micros, nullable=False),
    Column("text", Text, nullable=False),
    Column("author", Text),
    Column("sentiment_score", Double, nullable=False),
    Column("clusters", JSON, nullable=False),
    Column("confidence", Double, nullable=False),
    Column("reasoning", Text, nullable=False),
    # The analyser's whole answer, for debugging; its shape is the analyser's own.
    Column("grok_analysis", JSON, nullable=False),
    # 1 USD is 10,000,000,000 ticks, as xAI bills them.
    Column("cost_usd_ticks", BigInteger, nullable=False, server_default="0"),
    Column("created_at", Micros, nullable=False),
    # Equal for texts that may be answered from one analysis; null where this is none of its own.
    Column("fingerprint", String(32)),
    # What a reader should know besides: `reused_from`, `suspected_injection`. Null is nothing.
    Column("notes", JSON(none_as_null=True)),
    # 1 positive, 0 neutral, -1 negative.
    Column(
        "sentiment",
        SmallInteger,
        Computed(
            f"CASE WHEN sentiment_score > {POSITIVE_ABOVE} THEN 1"
            f" WHEN sentiment_score < {NEGATIVE_BELOW} THEN -1 ELSE 0 END",
            persisted=True,  # but not on SQLite, which can add such a column only so
        ),
    ),
    # Row of `analysis_versions`.
    Column("version", Integer, nullable=False, server_default="1"),
    # An ISO 639-1 code, or `und`.
    Column("language", String(3), nullable=False, server_default="und"),
    Column("urgency", String(4), nullable=False, server_default="none"),
    # Who has the last word on score, clusters and confidence: `person`, `rule` or `model`.
    Column("labelled", String(6), nullable=False, server_default="model"),
    # Of a person or rule: `{"name", "at", "reason"}`.
    Column("label", JSON(none_as_null=True)),
    # The model's own, where somebody else has the last word.
    Column("model_sentiment_score", Double),
    Column("model_clusters", JSON(none_as_null=True)),
    Column("model_confidence", Double),
    # Written by an account of one's own: 1, which counts nowhere, else 0.
    Column("own", SmallInteger, nullable=False, server_default="0"),
    # What people do about it: a claim or a snooze holds until a time, and is `open` after it.
    Column("handling", String(8), nullable=False, server_default="open"),
    Column("handling_by", Text),
    Column("handling_at", Micros),
    Column("handling_until", Micros),
    # Terms of the priority that the analysis does not say: unhappy ones of this author before it,
    # the reach of the author in 0..1, and whether one of its topics was rising.
    Column("repeats", SmallInteger, nullable=False, server_default="0"),
    Column("reach", Double, nullable=False, server_default="0"),
    Column("rising", SmallInteger, nullable=False, server_default="0"),
    # Whom to answer first, the highest first, whatever the time is (`analysis/priority.py`); null
    # where nobody is to answer.
    Column("priority", BigInteger),
    # One insight per conversation, whatever happens.
    Index("idx_insight_conversation_id", "conversation_id", unique=True),
    # Counting and picking a page needs no more than is in these.
    Index(
        "idx_insight_author",
        *("author", "timestamp", "id", "sentiment_score", "confidence", "own"),
        *("language", "urgency", "labelled", "handling"),
    ),
    Index("idx_insight_created_at", "created_at"),
    sqlite_autoincrement=True,  # an id is never given twice, also after the newest row is erased
)

# These two hold what counts.
for _name, *_columns in (
    (
        "idx_insight_timestamp",
        *("timestamp", "id", "sentiment_score", "confidence"),
        *("language", "urgency", "labelled", "handling"),
    ),
    (
        "idx_insight_sentiment",
        *("sentiment", "confidence", "timestamp", "id", "sentiment_score"),
        *("language", "urgency", "labelled", "handling"),
    ),
):
    Index(
        _name,
        *(insights.c[column] for column in _columns),
        sqlite_where=insights.c.own == literal_column("0"),
    )

Index(
    "idx_insight_priority",
    insights.c.priority,
    insights.c.id,
    insights.c.timestamp,
    insights.c.handling,
    sqlite_where=insights.c.priority.is_not(None),
)

# For claims and snoozes that have run out.
Index(
    "idx_insight_lease",
    insights.c.handling_until,
    insights.c.id,
    sqlite_where=insights.c.handling_until.is_not(None),
)

# For how long answers took.
Index(
    "idx_insight_answered",
    *(insights.c[name] for name in ("timestamp", "handling_at", "sentiment_score", "confidence")),
    *(insights.c[name] for name in ("language", "urgency", "labelled", "own")),
    sqlite_where=insights.c.handling == literal_column("'answered'"),
)

_UNHAPPY = text(f"sentiment_score < {NEGATIVE_BELOW} AND own = 0")

# For how often an author has complained before. SQLite prefers it to the index of all that an
# author wrote only where it has the columns of its own condition, too.
Index(
    "idx_insight_unhappy",
    *(insights.c[name] for name in ("author", "timestamp", "sentiment_score", "own")),
    sqlite_where=_UNHAPPY,
)

IS_SUSPECTED = text("(notes ->> 'suspected_injection') IS NOT NULL")
"""Of an insight whose text may be written for the model; word for word as the index has it."""

# For leaving them out of what alerts count.
Index(
    "idx_insight_suspected",
    insights.c.timestamp,
    sqlite_where=IS_SUSPECTED,
)

# For authors who write again.
Index(
    "idx_insight_snoozed",
    insights.c.author,
    sqlite_where=insights.c.handling == literal_column("'snoozed'"),
)

Index(
    "idx_insight_fingerprint",
    insights.c.fingerprint,
    insights.c.created_at,
    sqlite_where=insights.c.fingerprint.is_not(None),
)

# For counting fallback insights: hardly any others have a confidence of 0.
Index(
    "idx_insight_unsure",
    insights.c.created_at,
    sqlite_where=insights.c.confidence == literal_column("0"),
)

insight_clusters = Table(
    "insight_clusters",
    metadata,
    Column("cluster", String(64), primary_key=True),
    Column("timestamp", Micros, primary_key=True),
    Column(
        "insight_id",
        SequentialId,
        ForeignKey("insights.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("sentiment_score", Double, nullable=False),
    Column("confidence", Double, nullable=False),
    Index("idx_cluster_insight_id", "insight_id"),
    sqlite_with_rowid=False,
)
"""Which insights a cluster holds, newest first within the cluster by its key."""

calls = Table(
    "calls",
    metadata,
    Column("id", SequentialId, primary_key=True, autoincrement=True),
    # What the call is named to the other side.
    Column("request_id", String(36), nullable=False),
    Column("started_at", Micros, nullable=False),
    Column("ended_at", Micros),
    Column("conversations", Integer, nullable=False),
    Column("model_asked", String(100), nullable=False),
    Column("model_answered", String(100)),
    Column("prompt_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cached_tokens", BigInteger, nullable=False, server_default="0"),
    Column("completion_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cost_usd_ticks", BigInteger, nullable=False, server_default="0"),
    # What it may have cost, as long as that is not known: counted to the budget.
    Column("held_usd_ticks", BigInteger, nullable=False, server_default="0"),
    Column("outcome", String(16), nullable=False),
    Index("idx_call_started_at", "started_at"),
)
"""The ledger: every call that was paid for, or may have been."""

Index(
    "idx_call_under_way",
    calls.c.id,
    sqlite_where=calls.c.outcome == "under_way",
)

daily_usage = Table(
    "daily_usage",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),  # since 1970-01-01, UTC
    Column("calls", BigInteger, nullable=False, server_default="0"),
    # Completed ones, and those among them that were answered from an earlier analysis.
    Column("conversations", BigInteger, nullable=False, server_default="0"),
    Column("reused", BigInteger, nullable=False, server_default="0"),
    Column("prompt_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cached_tokens", BigInteger, nullable=False, server_default="0"),
    Column("completion_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cost_usd_ticks", BigInteger, nullable=False, server_default="0"),
    Column("held_usd_ticks", BigInteger, nullable=False, server_default="0"),
)
"""The ledger's sums, a row for each day on which calls began or conversations were completed."""

insight_rollups = Table(
    "insight_rollups",
    metadata,
    # A cluster's name, a facet's value as in `language=en`, or empty for all insights together.
    Column("name", String(64), primary_key=True),
    Column("grain", SmallInteger, primary_key=True),
    # The start of the hour or day.
    Column("bucket", Micros, primary_key=True),
    Column("confidence_bin", SmallInteger, primary_key=True),
    *(
        Column(f"{sentiment}{what}", kind, nullable=False)
        for sentiment in ("positive", "neutral", "negative")
        for what, kind in (("", Integer), ("_score", BigInteger), ("_confidence", BigInteger))
    ),
    sqlite_with_rowid=False,
)
"""The rollups: how many insights, and the sums of their scores and confidences, by hour and by day
(`store/derived/rollups.py`)."""

insight_days = Table(
    "insight_days",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),  # since 1970-01-01, UTC
    Column("changes", BigInteger, nullable=False),
)
"""A number for each day that ever had insights, raised whenever its insights change."""

derived_data = Table(
    "derived_data",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
)
"""One row: which version of `store/derived/__init__.py` made all that it keeps."""

status_counts = Table(
    "status_counts",
    metadata,
    Column("status", String(10), primary_key=True),
    Column("lane", String(4), primary_key=True),
    # Several rows are one count, so that connections do not wait for each other. Single ones may
    # be below zero.
    Column("part", SmallInteger, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""How many conversations there are, so that nobody needs to count them. Triggers on `conversations`
keep it (migration 0005): a migration that makes that table anew has to make them anew as well."""
