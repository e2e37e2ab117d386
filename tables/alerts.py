"""Alerts and how they reach people: endpoints, what is delivered to them, alert rules, alerts and
the reports that were sent."""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    false,
    text,
    true,
)

from tables.base import Micros, SequentialId, metadata

endpoints = Table(
    "endpoints",
    metadata,
    Column("id", String(13), primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", String(8), nullable=False),
    # An address of the web, or of a mailbox.
    Column("target", Text, nullable=False),
    # As it is shown once: `whsec_` and base64. Those before it, which also sign until a time:
    # pairs of secret and microseconds; null where there never were any.
    Column("secret", Text),
    Column("old_secrets", JSON(none_as_null=True)),
    Column("events", JSON, nullable=False),
    Column("enabled", Boolean, nullable=False, server_default=true()),
    Column("disabled_reason", Text),
    # Since when nothing has arrived; null after a success.
    Column("failing_since", Micros),
    # Until when its receiver has asked for time, which all that is to be sent to it waits for.
    Column("asked_until", Micros),
    Column("created_at", Micros, nullable=False),
    Index("idx_endpoint_created_at", "created_at", "id"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", SequentialId, primary_key=True, autoincrement=True),
    Column(
        "endpoint_id", String(13), ForeignKey("endpoints.id", ondelete="CASCADE"), nullable=False
    ),
    # The `webhook-id`: the same at every try, and to every endpoint.
    Column("message_id", String(40), nullable=False),
    Column("type", String(16), nullable=False),
    # What is to be told, before it takes the shape of the endpoint's kind.
    Column("data", JSON, nullable=False),
    Column("alert_id", String(13)),
    Column("created_at", Micros, nullable=False),
    # `pending`, `delivered`, `failed` for good, or `dropped`: told by a later message, or wanted
    # no more.
    Column("state", String(9), nullable=False, server_default="pending"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    # How many of them were answered with a time to wait.
    Column("waits", Integer, nullable=False, server_default="0"),
    # False for a test.
    Column("retries", Boolean, nullable=False, server_default=true()),
    # When it is due, and while it is on its way when others may take it over; null once it is no
    # longer pending.
    Column("next_at", Micros),
    # The random mark of who is sending it.
    Column("lease_token", String(32)),
    Column("last_at", Micros),
    Column("last_status", Integer),
    Column("last_error", Text),
    Index("idx_delivery_message", "endpoint_id", "message_id", unique=True),
    Index(
        "idx_delivery_next_at",
        "endpoint_id",
        "next_at",
        sqlite_where=text("next_at IS NOT NULL"),
    ),
    Index("idx_delivery_endpoint_id", "endpoint_id", "id"),
    Index("idx_delivery_alert_id", "alert_id"),
    sqlite_autoincrement=True,
)
"""The outbox: a row is written by the transaction that makes it true."""

alert_rules = Table(
    "alert_rules",
    metadata,
    Column("id", String(13), primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", String(7), nullable=False),
    Column("filter", JSON, nullable=False),
    # As the API has it: `1h`, `22:00`; null where the kind has none.
    Column("window", String(3)),
    Column("above", Double),
    Column("at_least", Integer),
    Column("hold", Integer, nullable=False),
    Column("clear", Integer, nullable=False),
    Column("cooldown_seconds", Integer, nullable=False),
    Column("quiet", JSON(none_as_null=True)),
    Column("to", JSON, nullable=False),
    Column("texts", Boolean, nullable=False, server_default=false()),
    Column("enabled", Boolean, nullable=False, server_default=true()),
    Column("created_at", Micros, nullable=False),
    # The minute that was judged last.
    Column("judged_at", Micros),
    # Of `single`: the newest insight that it has judged.
    Column("judged_id", SequentialId),
    Index("idx_alert_rule_created_at", "created_at", "id"),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", String(13), primary_key=True),
    Column("rule_id", String(13), ForeignKey("alert_rules.id", ondelete="CASCADE"), nullable=False),
    # Which of the things that the rule looks at: a topic, a conversation, a part of the machine.
    Column("key", Text, nullable=False),
    # `waiting` for enough judgements that breach, `open`, or `closed`.
    Column("state", String(7), nullable=False),
    # Judgements in a row that breached while it waits, that were calm while it is open.
    Column("streak", Integer, nullable=False, server_default="0"),
    Column("opened_at", Micros),
    Column("closed_at", Micros),
    Column("peak", Double),
    # The peak that was last told.
    Column("told_peak", Double),
    Column("told_at", Micros),
    # When quiet hours end that put a notice off; null where none waits.
    Column("put_off_until", Micros),
    Column("evidence", JSON, nullable=False),
    # Why it is shown but not sent; null where it is sent.
    Column("held_back", Text),
    Column("acknowledged_by", Text),
    Column("acknowledged_at", Micros),
    Column("muted_until", Micros),
    # Of the machine: the last minute in which a process found it.
    Column("reported_at", Micros),
    # One alert of a rule and a key is not closed.
    Index(
        "idx_alert_unclosed",
        "rule_id",
        "key",
        unique=True,
        sqlite_where=text("state <> 'closed'"),
    ),
    Index("idx_alert_rule", "rule_id", "key", "closed_at"),
    Index("idx_alert_opened_at", "opened_at", "id"),
    # Those of which it is still to be told that they are over.
    Index(
        "idx_alert_put_off",
        "put_off_until",
        sqlite_where=text("put_off_until IS NOT NULL"),
    ),
)

reports_sent = Table(
    "reports_sent",
    metadata,
    Column("period", String(4), primary_key=True),
    # The last day of the report, in UTC.
    Column("ending", String(10), primary_key=True),
    Column("sent_at", Micros, nullable=False),
)
"""So that none is sent twice."""
