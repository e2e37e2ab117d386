"""The service as a later version of it, for uvicorn: its schema has one migration more, which adds
to the tables under those that still run."""

import models

models.SCHEMA_REVISION = LATER = f"{int(models.SCHEMA_REVISION) + 1:04}"

from sqlalchemy import Connection, text

from migrations import upgrade

_MORE = f"""
ALTER TABLE conversations ADD COLUMN of_later text NOT NULL DEFAULT 'nothing';
ALTER TABLE insights ADD COLUMN of_later bigint NOT NULL DEFAULT 0;
CREATE INDEX idx_of_later ON insights (of_later);
CREATE TABLE of_later (conversation_id text REFERENCES conversations ON DELETE CASCADE);
UPDATE alembic_version SET version_num = '{LATER}'
"""

_as_before = upgrade.upgrade


def _upgrade(connection: Connection, current: str | None) -> None:
    _as_before(connection, current)
    for statement in _MORE.split(";"):
        connection.execute(text(statement))


upgrade.upgrade = _upgrade

from main import app  # noqa: F401
