"""What was done about one conversation, as it is told: the last lines, as many as make a page.

Notes and reasons may be long, and anybody with a key may write thousands of them.
"""

from collections.abc import Iterator
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection, Row, Select, Table, bindparam, select

from store.insight_row import BYTES_OF_PAGE

MOST_LINES = 1_000
_LINES_AT_A_TIME = 200
_NAMES_OF_LINE = 100
"""Bytes of JSON that a line takes besides its values."""

Lines = list[Row[*tuple[Any, ...]]]


def history_in(log: Table) -> Select[*tuple[Any, ...]]:
    """For `last_lines`, of a table with the lines of all conversations."""
    return (
        select(log)
        .where(log.c.conversation_id == bindparam("of"), log.c.id < bindparam("before"))
        .order_by(log.c.id.desc())
        .limit(bindparam("limit"))
    )


def last_lines(
    history: Select[*tuple[Any, ...]], conversation_id: str, connection: Connection
) -> Lines:
    """`MOST_LINES`, or as many as are `BYTES_OF_PAGE` of JSON, but one at least where there is one;
    the oldest first."""
    taken: Lines = []
    size = 0
    for line in _newest_first(history, conversation_id, connection):
        size += len(to_json(tuple(line))) + _NAMES_OF_LINE
        if taken and size > BYTES_OF_PAGE:
            break
        taken.append(line)
    return taken[::-1]


def _newest_first(
    history: Select[*tuple[Any, ...]], conversation_id: str, connection: Connection
) -> Iterator[Row[*tuple[Any, ...]]]:
    """A few at a time, so that no more is in memory than is told."""
    before = 2**63 - 1
    for _ in range(MOST_LINES // _LINES_AT_A_TIME):
        values = {"of": conversation_id, "before": before, "limit": _LINES_AT_A_TIME}
        lines = connection.execute(history, values).all()
        yield from lines
        if len(lines) < _LINES_AT_A_TIME:
            return
        before = lines[-1].id
