"""Settings that stored figures depend on, as they were when the figures were made."""

from typing import Any

from sqlalchemy import Connection, bindparam, select

from store.bulk_insert import ManyRows
from tables.people import applied_settings


def applied(name: str, connection: Connection) -> Any:
    """The value as JSON; None where there is none yet."""
    return connection.scalar(_VALUE, {"name": name})


_VALUE = select(applied_settings.c.value).where(applied_settings.c.name == bindparam("name"))


def note_applied(name: str, value: Any, connection: Connection) -> None:
    """The figures are now as this value makes them."""
    _VALUES.insert(connection, [(name, value)])


_VALUES = ManyRows(applied_settings, replacing=True)
