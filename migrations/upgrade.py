"""Bring a database to the newest schema, on a connection whose transaction the caller commits."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from sqlalchemy import Connection

from errors import StartRefused


def upgrade(connection: Connection, current: str | None) -> None:
    """`current` is the revision found in the database, None for an empty one.

    Raises StartRefused if the database is at a revision that this version does not have.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    if current is not None:
        try:
            ScriptDirectory.from_config(config).get_revision(current)
        except (CommandError, ResolutionError):
            raise StartRefused(
                f"The database has schema revision {current}, which this version does not know: "
                "it was made by a newer one. Start that version, or restore a backup."
            ) from None
    command.upgrade(config, "head")
