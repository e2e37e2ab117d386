"""Settings that stored figures depend on, as they were when the figures were made."""

from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from tables.people import applied_settings


def applied(name: str, connection: Connection) -> Any:
    """The value as JSON; None where there is none yet."""
    statement = select(applied_settings.c.value).where(applied_settings.c.name == name)
    return connection.scalar(statement)


def note_applied(name: str, value: Any, connection: Connection) -> None:
    """The figures are now as this value makes them."""
    insert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert
    statement = insert(applied_settings)
    statement = statement.on_conflict_do_update(
        index_elements=["name"], set_={"value": statement.excluded.value}
    )
    connection.execute(statement, {"name": name, "value": value})
