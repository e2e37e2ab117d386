"""The ledger of calls, and what equal texts and packed calls need to know."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_SEQUENTIAL_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def upgrade() -> None:
    op.add_column(
        "conversations", sa.Column("alone", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.add_column("insights", sa.Column("fingerprint", sa.String(32)))
    op.add_column("insights", sa.Column("notes", sa.JSON))
    op.create_index(
        "idx_insight_fingerprint",
        "insights",
        ["fingerprint", "created_at"],
        sqlite_where=sa.text("fingerprint IS NOT NULL"),
        postgresql_where=sa.text("fingerprint IS NOT NULL"),
    )

    op.create_table(
        "calls",
        sa.Column("id", _SEQUENTIAL_ID, primary_key=True, autoincrement=True),
        sa.Column("request_id", sa.String(36), nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("conversations", sa.Integer, nullable=False),
        sa.Column("model_asked", sa.String(100), nullable=False),
        sa.Column("model_answered", sa.String(100)),
        _count("prompt_tokens"),
        _count("cached_tokens"),
        _count("completion_tokens"),
        _count("cost_usd_ticks"),
        _count("held_usd_ticks"),
        sa.Column("outcome", sa.String(16), nullable=False),
    )
    op.create_index("idx_call_started_at", "calls", ["started_at"])
    op.create_index(
        "idx_call_under_way",
        "calls",
        ["id"],
        sqlite_where=sa.text("outcome = 'under_way'"),
        postgresql_where=sa.text("outcome = 'under_way'"),
    )

    op.create_table(
        "daily_usage",
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        _count("calls"),
        _count("conversations"),
        _count("reused"),
        _count("prompt_tokens"),
        _count("cached_tokens"),
        _count("completion_tokens"),
        _count("cost_usd_ticks"),
        _count("held_usd_ticks"),
    )
