"""Conversations are no longer indexed by their time, which cost more than all else of accepting
them: those that are too old are found by their insights, or by what they wait for."""

from alembic import op
from sqlalchemy import text

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.drop_index("idx_conv_timestamp", "conversations")
    op.drop_index("idx_conv_status", "conversations")
    op.create_index(
        "idx_conv_status", "conversations", ["status", "lane", "created_at", "timestamp"]
    )
    op.create_index(
        "idx_conv_own",
        "conversations",
        ["timestamp"],
        sqlite_where=text("own <> 0"),
        postgresql_where=text("own <> 0"),
    )
