"""An index of what authors were unhappy with, by which the repeats of their posts are counted."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    unhappy = sa.text("sentiment_score < -0.1 AND own = 0")
    op.create_index(
        "idx_insight_unhappy",
        "insights",
        ["author", "timestamp", "sentiment_score", "own"],
        sqlite_where=unhappy,
        postgresql_where=unhappy,
    )
