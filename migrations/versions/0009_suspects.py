"""An index of the conversations that are to be tried alone, since a worker died with them twice."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    suspects = sa.text("status = 'pending' AND deaths >= 2")
    op.create_index(
        "idx_conv_suspect",
        "conversations",
        ["created_at"],
        sqlite_where=suspects,
        postgresql_where=suspects,
    )
