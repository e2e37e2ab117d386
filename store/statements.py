"""Statements as they are run often and over many rows, at the least cost.

SQLAlchemy writes a statement anew for each number of values of an IN, and takes longer over a few
hundred than SQLite to find them: `among` is the same with one parameter. `Prepared` takes the rest
of what SQLAlchemy does for each execution off SQLite.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Connection, Dialect, Text, TypeDecorator, bindparam
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import Executable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeEngine

from backends.sqlite_driver import execute


class _Values(TypeDecorator[Sequence[Any]]):
    """A list, as JSON or as an array."""

    impl = Text
    cache_ok = True

    def __init__(self, of: type[TypeEngine[Any]]) -> None:
        super().__init__()
        self.of = of

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else ARRAY(self.of))

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Dialect) -> Any:
        assert value is not None
        return json.dumps(list(value)) if dialect.name == "sqlite" else list(value)


class _Among(FunctionElement[Any]):
    type = NullType()  # SQLAlchemy would compare a Boolean with 1, past every index of SQLite
    inherit_cache = True


def among(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Whether the column's value is in the list that the parameter `name` is given."""
    return _Among(column, bindparam(name, type_=_Values(type(column.type))))


@compiles(_Among, "sqlite")
def _on_sqlite(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(each, **options) for each in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608  a column and a parameter


@compiles(_Among, "postgresql")
def _on_postgresql(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(each, **options) for each in element.clauses)
    return f"{column} = ANY({values})"


_SQLITE = sqlite.dialect()


class Prepared:
    """`statement` has parameters by name. What it selects or returns must need no processing by
    SQLAlchemy: no JSON, and booleans are 0 or 1 on SQLite."""

    def __init__(self, statement: Any) -> None:
        self._statement: Executable = statement
        self._has_rows = statement.is_select or len(statement.exported_columns) > 0
        compiled = statement.compile(dialect=_SQLITE)
        self.on_sqlite = str(compiled)
        self._constants = compiled.params
        self._parameters = [
            (name, compiled.binds[name].type.bind_processor(_SQLITE))
            for name in compiled.positiontup
        ]

    def run(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """The rows, where the statement has some to return."""
        if connection.dialect.name != "sqlite":
            result = connection.execute(self._statement, values)
            return result.all() if self._has_rows else []
        given = self._constants | values
        parameters = [
            process(given[name]) if process else given[name] for name, process in self._parameters
        ]
        found = execute(connection, self.on_sqlite, parameters)
        return found.fetchall() if self._has_rows else []

    def value(self, connection: Connection, values: Mapping[str, Any]) -> Any:
        """The first column of the first row; None where there is no row."""
        rows = self.run(connection, values)
        return rows[0][0] if rows else None
