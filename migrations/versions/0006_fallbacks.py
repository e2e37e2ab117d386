"""An index of the insights without any confidence, by which fallbacks are counted."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    unsure = sa.text("confidence = 0")
    op.create_index(
        "idx_insight_unsure",
        "insights",
        ["created_at"],
        sqlite_where=unsure,
        postgresql_where=unsure,
    )
