"""Until when the receiver of an endpoint has asked for time."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("endpoints", sa.Column("asked_until", sa.BigInteger))
