"""SQLite's index of words merges its parts eight at a time, in place of four."""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("INSERT INTO insight_terms (insight_terms, rank) VALUES ('usermerge', 8)")
