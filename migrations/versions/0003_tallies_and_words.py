"""Rollups, the index of words, and covering indexes.

`ensure` in `store/derived/__init__.py` fills the tables from the insights after all migrations.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_SEQUENTIAL_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _indexes_of_insights()
    _figures_of_clusters()
    op.create_table(
        "insight_tallies",
        sa.Column("cluster", sa.String(64), primary_key=True),
        sa.Column("grain", sa.SmallInteger, primary_key=True),
        sa.Column("bucket", sa.BigInteger, primary_key=True),
        sa.Column("step", sa.SmallInteger, primary_key=True),
        *(
            sa.Column(f"{sentiment}{what}", kind, nullable=False)
            for sentiment in ("positive", "neutral", "negative")
            for what, kind in (
                ("", sa.Integer),
                ("_score", sa.BigInteger),
                ("_confidence", sa.BigInteger),
            )
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "completed_counts",
        sa.Column("lane", sa.String(4), primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE VIRTUAL TABLE insight_words"
            " USING fts5(words, content='', columnsize=0, tokenize='ascii')"
        )
        op.execute(
            "CREATE TABLE words_to_sweep"
            " (id INTEGER PRIMARY KEY, in_round INTEGER NOT NULL DEFAULT 0)"
        )
    else:
        op.execute("CREATE TABLE insight_words (key BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)")
        op.execute("CREATE INDEX idx_insight_words ON insight_words USING gin (words)")


def _indexes_of_insights() -> None:
    op.add_column(
        "insights",
        sa.Column(
            "sentiment",
            sa.SmallInteger,
            sa.Computed(
                "CASE WHEN sentiment_score > 0.1 THEN 1"
                " WHEN sentiment_score < -0.1 THEN -1 ELSE 0 END",
                persisted=op.get_bind().dialect.name == "postgresql",
            ),
        ),
    )
    figures = ["sentiment_score", "confidence"]
    for name, columns in {
        "timestamp": ["timestamp", "id", *figures],
        "sentiment": ["sentiment", "confidence", "timestamp", "id", "sentiment_score"],
        "author": ["author", "timestamp", "id", *figures],
    }.items():
        op.drop_index(f"idx_insight_{name}", "insights")
        op.create_index(f"idx_insight_{name}", "insights", columns)
    op.drop_index("idx_insight_confidence", "insights")


def _figures_of_clusters() -> None:
    """A new table in place of the old, since SQLite cannot add columns that must not be null."""
    op.execute("ALTER TABLE insight_clusters RENAME TO insight_clusters_before")
    op.drop_index("idx_cluster_insight_id", "insight_clusters_before")
    op.create_table(
        "insight_clusters",
        sa.Column("cluster", sa.String(64), nullable=False),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column(
            "insight_id",
            _SEQUENTIAL_ID,
            sa.ForeignKey("insights.id", ondelete="CASCADE", name="fk_cluster_insight_id"),
            nullable=False,
        ),
        sa.Column("sentiment_score", sa.Double, nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("cluster", "timestamp", "insight_id", name="pk_insight_clusters"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO insight_clusters"
        " SELECT cluster, before.timestamp, insight_id, sentiment_score, confidence"
        " FROM insight_clusters_before AS before JOIN insights ON insights.id = insight_id"
    )
    op.drop_table("insight_clusters_before")
    op.create_index("idx_cluster_insight_id", "insight_clusters", ["insight_id"])
