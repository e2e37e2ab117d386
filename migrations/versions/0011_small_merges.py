"""SQLite's index of words no longer merges its parts by itself, much of it at a time."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("INSERT INTO insight_terms (insight_terms, rank) VALUES ('automerge', 0)")
