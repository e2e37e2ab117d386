"""A new SQLite file gets the newest schema at once, since most starts of the service are its first.

`new_file.sql` holds what all migrations make of an empty file, one statement up to each line of
dashes. `python -m tools.newest_schema` writes it.
"""

from pathlib import Path

from sqlalchemy import Connection

SCRIPT = Path(__file__).with_name("new_file.sql")
BETWEEN_STATEMENTS = "\n--\n"


def is_empty(connection: Connection) -> bool:
    """Nothing has ever been made in this database: always false where it is not SQLite."""
    if connection.dialect.name != "sqlite":
        return False
    return not connection.exec_driver_sql("SELECT 1 FROM sqlite_master LIMIT 1").first()


def make(connection: Connection) -> None:
    for statement in SCRIPT.read_text().split(BETWEEN_STATEMENTS):
        connection.exec_driver_sql(statement)
