"""What people and their rules say of insights: labels, rules, plans, handling, and their logs; and
which settings the figures were made with."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    text,
    true,
)

from tables.base import Micros, SequentialId, metadata


def _conversation_id(*, primary_key: bool = False) -> Column[str]:
    return Column(
        "conversation_id",
        String(13),
        ForeignKey("conversations.id", ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=False,
    )


labels = Table(
    "labels",
    metadata,
    _conversation_id(primary_key=True),
    # 0 is a person; else the number of the rule.
    Column("giver", Integer, primary_key=True, autoincrement=False),
    # What is null is left to the next one who has a say.
    Column("sentiment_score", Double),
    Column("clusters", JSON(none_as_null=True)),
    # The person's or the rule's.
    Column("name", Text, nullable=False),
    Column("at", Micros, nullable=False),
    Column("reason", Text),
    Index("idx_label_giver", "giver", "conversation_id"),
    sqlite_with_rowid=False,
)
"""Who says what of a conversation. A person has the last word, else the newest rule, else the
model, for mood and topics each. The insight itself holds what comes of it."""

label_log = Table(
    "label_log",
    metadata,
    Column("id", SequentialId, primary_key=True, autoincrement=True),
    _conversation_id(),
    Column("at", Micros, nullable=False),
    Column("by", Text, nullable=False),
    # Served sentiment_score, clusters and confidence.
    Column("before", JSON, nullable=False),
    Column("after", JSON, nullable=False),
    Column("reason", Text),
    Index("idx_label_log_conversation_id", "conversation_id", "id"),
)

rules = Table(
    "rules",
    metadata,
    # The newest rule wins.
    Column("number", SequentialId, primary_key=True, autoincrement=True),
    Column("id", String(13), nullable=False),
    Column("name", Text, nullable=False),
    Column("filter", JSON, nullable=False),
    Column("set", JSON, nullable=False),
    Column("enabled", Boolean, nullable=False, server_default=true()),
    Column("created_at", Micros, nullable=False),
    # What a deleted rule has set stays until a plan takes it back.
    Column("deleted_at", Micros),
    # The number of the change that made the row what it is, counted over all rules.
    Column("revision", BigInteger, nullable=False),
    Index("idx_rule_revision", "revision"),
    Index("idx_rule_id", "id", unique=True),
    sqlite_autoincrement=True,
)

plans = Table(
    "plans",
    metadata,
    Column("id", String(13), primary_key=True),
    Column("kind", String(10), nullable=False),
    Column("filter", JSON, nullable=False),
    Column("set", JSON(none_as_null=True)),
    Column("by", Text),
    Column("rule_number", Integer),
    # As in the log of handling; of whoever made, applied or undid it last.
    Column("key_name", Text, nullable=False, server_default=text("''")),
    Column("state", String(8), nullable=False),
    # What was written later is not touched: the newest insight's id, or the time in microseconds.
    Column("bound", BigInteger, nullable=False),
    Column("matched", Integer, nullable=False),
    # What was shown to the person who applies it.
    Column("sample", JSON, nullable=False),
    Column("warnings", JSON, nullable=False),
    Column("created_at", Micros, nullable=False),
    Column("applied_at", Micros),
    # Of the present walk, applying or undoing: when it was asked for; the last position that it has
    # passed, whose shape is the kind's own; how many it has passed, and how many a second.
    Column("queued_at", Micros),
    Column("position", JSON(none_as_null=True)),
    Column("done", Integer, nullable=False, server_default="0"),
    Column("rate", Double),
    # How many were changed; passed over when applying, as they no longer match or are newer than
    # the plan; and left alone when undoing.
    Column("changed", Integer, nullable=False, server_default="0"),
    Column("skipped", Integer, nullable=False, server_default="0"),
    Column("later", Integer, nullable=False, server_default="0"),
    Column("left_alone", Integer, nullable=False, server_default="0"),
    Column("error", Text),
    # Which process walks, and until when no other takes over.
    Column("lease_token", String(32)),
    Column("leased_until", Micros),
    Index("idx_plan_state", "state", "queued_at"),
    Index("idx_plan_created_at", "created_at", "id"),
)
"""Changes of many rows: what each would do, and how far it is."""

plan_rows = Table(
    "plan_rows",
    metadata,
    Column(
        "plan_id",
        String(13),
        ForeignKey("plans.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    _conversation_id(primary_key=True),
    # What undoing puts back, and what it expects to find; null is nothing.
    Column("before", JSON(none_as_null=True)),
    Column("after", JSON(none_as_null=True)),
    Index("idx_plan_row_conversation_id", "conversation_id"),
    sqlite_with_rowid=False,
)

handling_log = Table(
    "handling_log",
    metadata,
    Column("id", SequentialId, primary_key=True, autoincrement=True),
    _conversation_id(),
    Column("at", Micros, nullable=False),
    Column("state", String(8), nullable=False),
    Column("by", Text, nullable=False),
    # The name of the API key that was used; empty where none was needed.
    Column("key_name", Text, nullable=False),
    Column("until", Micros),
    Column("note", Text),
    Index("idx_handling_log_conversation_id", "conversation_id", "id"),
)

analysis_versions = Table(
    "analysis_versions",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("analyser", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("prompt_version", Text, nullable=False),
    Column("temperature", Double),
    Column("clusters_mode", String(6), nullable=False),
    Column("clusters", JSON, nullable=False),
    Column("first_used", Micros, nullable=False),
    Column("last_used", Micros, nullable=False),
    # How many insights bear it.
    Column("insights", BigInteger, nullable=False, server_default="0"),
)
"""What the settings asked of an analyser, each time that they asked something else."""

applied_settings = Table(
    "applied_settings",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", JSON, nullable=False),
)
"""Settings that stored figures depend on, as they were when the figures were made."""
