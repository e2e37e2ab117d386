"""An index of words that holds an insight's figures too, and versions of days.

A new table with another name is in place of the old one: a replica of the version before that still
runs must not write to it. `ensure` in `store/derived/__init__.py` fills it from the insights after
all migrations.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("DROP TABLE insight_words")
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE VIRTUAL TABLE insight_terms"
            " USING fts5(terms, content='', columnsize=0, tokenize='ascii')"
        )
    else:
        op.execute("CREATE TABLE insight_terms (key BIGINT PRIMARY KEY, terms TSVECTOR NOT NULL)")
        op.execute("CREATE INDEX idx_insight_terms ON insight_terms USING gin (terms)")
    op.create_table(
        "insight_days",
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("changes", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "derived_data",
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    )
