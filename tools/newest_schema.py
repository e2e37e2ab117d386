"""python -m tools.newest_schema: write `migrations/new_file.sql`, after a new migration.

What all migrations make of an empty SQLite file. No database of the service is touched.
"""

import argparse
import sqlite3

from sqlalchemy import create_engine

from migrations.new_file import BETWEEN_STATEMENTS, SCRIPT
from migrations.upgrade import upgrade


def script() -> str:
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as connection:
            upgrade(connection, None)
            driver = connection.connection.dbapi_connection
            assert isinstance(driver, sqlite3.Connection)
            return script_of(driver)
    finally:
        engine.dispose()


def script_of(database: sqlite3.Connection) -> str:
    """The statements that make it, in their order, but for what SQLite makes by itself."""
    found = database.execute(
        "SELECT name, sql FROM sqlite_master"
        " WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY rowid"
    ).fetchall()
    indexes = [name for name, sql in found if sql.startswith("CREATE VIRTUAL TABLE")]
    parts = tuple(f"{name}_" for name in indexes)
    ((row,),) = database.execute(
        "SELECT 'INSERT INTO alembic_version VALUES (' || quote(version_num) || ')'"
        " FROM alembic_version"
    )
    statements = [sql for name, sql in found if not name.startswith(parts)]
    for name in indexes:
        options = database.execute(f"SELECT k, v FROM {name}_config WHERE k != 'version'")  # noqa: S608
        statements += (
            f"INSERT INTO {name} ({name}, rank) VALUES ('{option}', {value})"  # noqa: S608
            for option, value in options
        )
    return BETWEEN_STATEMENTS.join((*statements, row))


def main() -> None:
    SCRIPT.write_text(script())
    print(f"{SCRIPT} is written anew.")


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m tools.newest_schema", description=__doc__).parse_args()
    main()
