"""Conversations, insights and the clusters of each insight."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_SEQUENTIAL_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.String(13), primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("author", sa.Text),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("raw_data", sa.JSON),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("lane", sa.String(4), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("deaths", sa.Integer, nullable=False, server_default="0"),
        sa.Column("not_before", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("lease_token", sa.String(32)),
        sa.Column("leased_until", sa.BigInteger),
        sa.Column("last_error", sa.Text),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("body_hash", sa.String(64)),
        sa.CheckConstraint(
            "status in ('pending','processing','completed','failed')", name="conv_status"
        ),
        sa.CheckConstraint("lane in ('live','bulk')", name="conv_lane"),
    )
    op.create_index("idx_conv_timestamp", "conversations", ["timestamp"])
    op.create_index("idx_conv_status", "conversations", ["status", "lane", "created_at"])
    op.create_index(
        "idx_conv_idempotency_key",
        "conversations",
        ["idempotency_key"],
        unique=True,
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )

    op.create_table(
        "insights",
        sa.Column("id", _SEQUENTIAL_ID, primary_key=True, autoincrement=True),
        sa.Column(
            "conversation_id",
            sa.String(13),
            sa.ForeignKey("conversations.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("author", sa.Text),
        sa.Column("sentiment_score", sa.Double, nullable=False),
        sa.Column("clusters", sa.JSON, nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("reasoning", sa.Text, nullable=False),
        sa.Column("grok_analysis", sa.JSON, nullable=False),
        sa.Column("cost_usd_ticks", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("idx_insight_conversation_id", "insights", ["conversation_id"], unique=True)
    op.create_index("idx_insight_timestamp", "insights", ["timestamp", "id"])
    op.create_index("idx_insight_sentiment", "insights", ["sentiment_score", "timestamp"])
    op.create_index("idx_insight_confidence", "insights", ["confidence", "timestamp"])
    op.create_index("idx_insight_author", "insights", ["author", "timestamp", "id"])
    op.create_index("idx_insight_created_at", "insights", ["created_at"])

    op.create_table(
        "insight_clusters",
        sa.Column("cluster", sa.String(64), primary_key=True),
        sa.Column("timestamp", sa.BigInteger, primary_key=True),
        sa.Column(
            "insight_id",
            _SEQUENTIAL_ID,
            sa.ForeignKey("insights.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("idx_cluster_insight_id", "insight_clusters", ["insight_id"])
