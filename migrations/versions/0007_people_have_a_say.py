"""Labels, rules, plans, handling, priority, versions, language and urgency.

New columns have constant defaults, so that no row is rewritten: what was there before is of
version 1, of no known language, labelled by the model alone, and open.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_SEQUENTIAL_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.rename_table("insight_tallies", "insight_rollups")
    op.execute("ALTER TABLE insight_rollups RENAME COLUMN cluster TO name")
    op.execute("ALTER TABLE insight_rollups RENAME COLUMN step TO confidence_bin")
    op.add_column(
        "conversations", sa.Column("own", sa.SmallInteger, nullable=False, server_default="0")
    )
    op.add_column("conversations", sa.Column("followers", sa.BigInteger))
    _columns_of_insights()
    _indexes_of_insights()
    _labels_and_rules()
    _plans()
    _handling_log()
    _versions_and_settings()


def _columns_of_insights() -> None:
    for column in (
        sa.Column("version", sa.Integer, nullable=False, server_default="1"),
        sa.Column("language", sa.String(3), nullable=False, server_default="und"),
        sa.Column("urgency", sa.String(4), nullable=False, server_default="none"),
        sa.Column("labelled", sa.String(6), nullable=False, server_default="model"),
        sa.Column("label", sa.JSON),
        sa.Column("model_sentiment_score", sa.Double),
        sa.Column("model_clusters", sa.JSON),
        sa.Column("model_confidence", sa.Double),
        sa.Column("own", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("handling", sa.String(8), nullable=False, server_default="open"),
        sa.Column("handling_by", sa.Text),
        sa.Column("handling_at", sa.BigInteger),
        sa.Column("handling_until", sa.BigInteger),
        sa.Column("repeats", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("reach", sa.Double, nullable=False, server_default="0"),
        sa.Column("rising", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("priority", sa.BigInteger),
    ):
        op.add_column("insights", column)


def _indexes_of_insights() -> None:
    facets = ["language", "urgency", "labelled", "handling"]
    op.drop_index("idx_insight_author", "insights")
    op.drop_index("idx_insight_timestamp", "insights")
    op.drop_index("idx_insight_sentiment", "insights")
    figures = ["sentiment_score", "confidence"]
    by_author = ["author", "timestamp", "id", *figures, "own", "handling"]
    op.create_index("idx_insight_author", "insights", by_author)
    for name, columns, condition in (
        (
            "timestamp",
            ["timestamp", "id", "sentiment_score", "confidence", *facets],
            "own = 0",
        ),
        (
            "sentiment",
            ["sentiment", "confidence", "timestamp", "id", "sentiment_score", *facets],
            "own = 0",
        ),
        ("priority", ["priority", "id", "timestamp", "handling"], "priority IS NOT NULL"),
        ("lease", ["handling_until", "id"], "handling_until IS NOT NULL"),
        (
            "answered",
            ["timestamp", "handling_at", "sentiment_score", "confidence", *facets[:3], "own"],
            "handling = 'answered'",
        ),
        ("snoozed", ["author"], "handling = 'snoozed'"),
    ):
        op.create_index(
            f"idx_insight_{name}",
            "insights",
            columns,
            sqlite_where=sa.text(condition),
            postgresql_where=sa.text(condition),
        )


def _conversation_id(*, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column(
        "conversation_id",
        sa.String(13),
        sa.ForeignKey("conversations.id", ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=False,
    )


def _labels_and_rules() -> None:
    op.create_table(
        "labels",
        _conversation_id(primary_key=True),
        sa.Column("giver", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sentiment_score", sa.Double),
        sa.Column("clusters", sa.JSON),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_index("idx_label_giver", "labels", ["giver", "conversation_id"])
    op.create_table(
        "label_log",
        sa.Column("id", _SEQUENTIAL_ID, primary_key=True, autoincrement=True),
        _conversation_id(),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("before", sa.JSON, nullable=False),
        sa.Column("after", sa.JSON, nullable=False),
        sa.Column("reason", sa.Text),
    )
    op.create_index("idx_label_log_conversation_id", "label_log", ["conversation_id", "id"])
    op.create_table(
        "rules",
        sa.Column("number", _SEQUENTIAL_ID, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(13), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("filter", sa.JSON, nullable=False),
        sa.Column("set", sa.JSON, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("deleted_at", sa.BigInteger),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("idx_rule_id", "rules", ["id"], unique=True)
    op.create_index("idx_rule_revision", "rules", ["revision"])


def _plans() -> None:
    op.create_table(
        "plans",
        sa.Column("id", sa.String(13), primary_key=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("filter", sa.JSON, nullable=False),
        sa.Column("set", sa.JSON),
        sa.Column("by", sa.Text),
        sa.Column("rule_number", sa.Integer),
        sa.Column("key_name", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("bound", sa.BigInteger, nullable=False),
        sa.Column("matched", sa.Integer, nullable=False),
        sa.Column("sample", sa.JSON, nullable=False),
        sa.Column("warnings", sa.JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("applied_at", sa.BigInteger),
        sa.Column("queued_at", sa.BigInteger),
        sa.Column("position", sa.JSON),
        sa.Column("done", sa.Integer, nullable=False, server_default="0"),
        sa.Column("rate", sa.Double),
        sa.Column("changed", sa.Integer, nullable=False, server_default="0"),
        sa.Column("skipped", sa.Integer, nullable=False, server_default="0"),
        sa.Column("later", sa.Integer, nullable=False, server_default="0"),
        sa.Column("left_alone", sa.Integer, nullable=False, server_default="0"),
        sa.Column("error", sa.Text),
        sa.Column("lease_token", sa.String(32)),
        sa.Column("leased_until", sa.BigInteger),
    )
    op.create_index("idx_plan_state", "plans", ["state", "queued_at"])
    op.create_index("idx_plan_created_at", "plans", ["created_at", "id"])
    op.create_table(
        "plan_rows",
        sa.Column(
            "plan_id",
            sa.String(13),
            sa.ForeignKey("plans.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        _conversation_id(primary_key=True),
        sa.Column("before", sa.JSON),
        sa.Column("after", sa.JSON),
        sqlite_with_rowid=False,
    )
    op.create_index("idx_plan_row_conversation_id", "plan_rows", ["conversation_id"])


def _handling_log() -> None:
    op.create_table(
        "handling_log",
        sa.Column("id", _SEQUENTIAL_ID, primary_key=True, autoincrement=True),
        _conversation_id(),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("key_name", sa.Text, nullable=False),
        sa.Column("until", sa.BigInteger),
        sa.Column("note", sa.Text),
    )
    op.create_index("idx_handling_log_conversation_id", "handling_log", ["conversation_id", "id"])


def _versions_and_settings() -> None:
    op.create_table(
        "analysis_versions",
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("analyser", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("prompt_version", sa.Text, nullable=False),
        sa.Column("temperature", sa.Double),
        sa.Column("clusters_mode", sa.String(6), nullable=False),
        sa.Column("clusters", sa.JSON, nullable=False),
        sa.Column("first_used", sa.BigInteger, nullable=False),
        sa.Column("last_used", sa.BigInteger, nullable=False),
        sa.Column("insights", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.create_table(
        "applied_settings",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.JSON, nullable=False),
    )
