"""Endpoints, deliveries, alert rules, alerts and reports that were sent; replicas."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_SEQUENTIAL_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _endpoints()
    _rules_and_alerts()
    op.create_table(
        "reports_sent",
        sa.Column("period", sa.String(4), primary_key=True),
        sa.Column("ending", sa.String(10), primary_key=True),
        sa.Column("sent_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "replicas",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("analyses", sa.Boolean, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
    )


def _endpoints() -> None:
    op.create_table(
        "endpoints",
        sa.Column("id", sa.String(13), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("secret", sa.Text),
        sa.Column("old_secrets", sa.JSON),
        sa.Column("events", sa.JSON, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("disabled_reason", sa.Text),
        sa.Column("failing_since", sa.BigInteger),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("idx_endpoint_created_at", "endpoints", ["created_at", "id"])
    op.create_table(
        "deliveries",
        sa.Column("id", _SEQUENTIAL_ID, primary_key=True, autoincrement=True),
        sa.Column(
            "endpoint_id",
            sa.String(13),
            sa.ForeignKey("endpoints.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("message_id", sa.String(40), nullable=False),
        sa.Column("type", sa.String(16), nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("alert_id", sa.String(13)),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(9), nullable=False, server_default="pending"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("waits", sa.Integer, nullable=False, server_default="0"),
        sa.Column("retries", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("next_at", sa.BigInteger),
        sa.Column("lease_token", sa.String(32)),
        sa.Column("last_at", sa.BigInteger),
        sa.Column("last_status", sa.Integer),
        sa.Column("last_error", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "idx_delivery_message", "deliveries", ["endpoint_id", "message_id"], unique=True
    )
    _partial_index(
        "idx_delivery_next_at", "deliveries", ["endpoint_id", "next_at"], "next_at IS NOT NULL"
    )
    op.create_index("idx_delivery_endpoint_id", "deliveries", ["endpoint_id", "id"])
    op.create_index("idx_delivery_alert_id", "deliveries", ["alert_id"])


def _rules_and_alerts() -> None:
    op.create_table(
        "alert_rules",
        sa.Column("id", sa.String(13), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.String(7), nullable=False),
        sa.Column("filter", sa.JSON, nullable=False),
        sa.Column("window", sa.String(3)),
        sa.Column("above", sa.Double),
        sa.Column("at_least", sa.Integer),
        sa.Column("hold", sa.Integer, nullable=False),
        sa.Column("clear", sa.Integer, nullable=False),
        sa.Column("cooldown_seconds", sa.Integer, nullable=False),
        sa.Column("quiet", sa.JSON),
        sa.Column("to", sa.JSON, nullable=False),
        sa.Column("texts", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("enabled", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("judged_at", sa.BigInteger),
        sa.Column("judged_id", _SEQUENTIAL_ID),
    )
    op.create_index("idx_alert_rule_created_at", "alert_rules", ["created_at", "id"])
    op.create_table(
        "alerts",
        sa.Column("id", sa.String(13), primary_key=True),
        sa.Column(
            "rule_id",
            sa.String(13),
            sa.ForeignKey("alert_rules.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("state", sa.String(7), nullable=False),
        sa.Column("streak", sa.Integer, nullable=False, server_default="0"),
        sa.Column("opened_at", sa.BigInteger),
        sa.Column("closed_at", sa.BigInteger),
        sa.Column("peak", sa.Double),
        sa.Column("told_peak", sa.Double),
        sa.Column("told_at", sa.BigInteger),
        sa.Column("put_off_until", sa.BigInteger),
        sa.Column("evidence", sa.JSON, nullable=False),
        sa.Column("held_back", sa.Text),
        sa.Column("acknowledged_by", sa.Text),
        sa.Column("acknowledged_at", sa.BigInteger),
        sa.Column("muted_until", sa.BigInteger),
        sa.Column("reported_at", sa.BigInteger),
    )
    _partial_index(
        "idx_alert_unclosed", "alerts", ["rule_id", "key"], "state <> 'closed'", unique=True
    )
    op.create_index("idx_alert_rule", "alerts", ["rule_id", "key", "closed_at"])
    op.create_index("idx_alert_opened_at", "alerts", ["opened_at", "id"])
    _partial_index("idx_alert_put_off", "alerts", ["put_off_until"], "put_off_until IS NOT NULL")
    _partial_index(
        "idx_insight_suspected",
        "insights",
        ["timestamp"],
        "(notes ->> 'suspected_injection') IS NOT NULL",
    )


def _partial_index(
    name: str, table: str, columns: list[str], condition: str, *, unique: bool = False
) -> None:
    op.create_index(
        name,
        table,
        columns,
        unique=unique,
        sqlite_where=sa.text(condition),
        postgresql_where=sa.text(condition),
    )
