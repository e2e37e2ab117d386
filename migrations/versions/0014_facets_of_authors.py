"""The index of an author's insights holds all that they are counted by: some have very many."""

from alembic import op

revision = "0014"
down_revision = "0013"

_FIGURES = ["author", "timestamp", "id", "sentiment_score", "confidence", "own"]
_FACETS = ["language", "urgency", "labelled", "handling"]


def upgrade() -> None:
    op.drop_index("idx_insight_author", "insights")
    op.create_index("idx_insight_author", "insights", [*_FIGURES, *_FACETS])
