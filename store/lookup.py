"""Conversations as they are shown: one by its id, and pages of those that failed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic_core import to_json
from sqlalchemy import (
    Connection,
    Row,
    Select,
    Text,
    bindparam,
    cast,
    func,
    select,
    tuple_,
    union_all,
)

from errors import Conflict, NotFound, ServiceError
from models import Lane, Status, conversations, from_micros, to_micros
from store import cursors
from store.derived.status_counts import counted_in
from store.insight_row import BYTES_OF_PAGE, how_many_fit
from store.listed import ListedInsight, find_listed
from store.positions import QueuePositions
from store.statements import Prepared

FAILED_LIST = "failed"
"""Whose cursors they are."""


@dataclass(frozen=True, slots=True)
class StoredConversation:
    """`queue_position` counts from 1, and is None unless pending. `raw_data` is JSON, since it
    would take up to 30 times as much memory as what it stands for."""

    id: str
    status: Status
    lane: Lane
    text: str
    author: str | None
    timestamp: datetime
    created_at: datetime
    attempts: int
    last_error: str | None
    raw_data: str | None
    queue_position: int | None
    insight: ListedInsight | None


@dataclass(frozen=True, slots=True)
class FailedPage:
    """`total_count` is of all that failed; `next_cursor` is None on the last page. A page may be
    shorter than asked for: it ends at `BYTES_OF_PAGE` of JSON."""

    conversations: Sequence[StoredConversation]
    total_count: int
    next_cursor: str | None


def no_such_conversation(conversation_id: str) -> NotFound:
    return NotFound(f"There is no conversation {conversation_id!r}.")


def wrong_status(
    conversation_id: str, only: str, what: str, connection: Connection
) -> ServiceError:
    """What to raise of a conversation that is not `only`; `what` says what only such a one does."""
    status = connection.scalar(_STATUS, {"id": conversation_id})
    if status is None:
        return no_such_conversation(conversation_id)
    return Conflict(f"Only a {only} conversation {what}; this one is {status}.")


def no_insight(conversation_id: str, what: str, connection: Connection) -> ServiceError:
    """What to raise of a conversation without one."""
    return wrong_status(conversation_id, "completed", what, connection)


_STATUS = select(conversations.c.status).where(conversations.c.id == bindparam("id"))

_RAW_DATA = cast(conversations.c.raw_data, Text)
_SHOWN = (
    conversations.c.id,
    conversations.c.status,
    conversations.c.lane,
    conversations.c.text,
    conversations.c.author,
    conversations.c.timestamp,
    conversations.c.created_at,
    conversations.c.attempts,
    conversations.c.last_error,
    _RAW_DATA.label("raw_data"),
)
"""What `_to_conversation` reads."""

_FIND = Prepared(select(*_SHOWN).where(conversations.c.id == bindparam("id")))


def find(
    conversation_id: str, positions: QueuePositions, connection: Connection
) -> StoredConversation:
    """Raises NotFound."""
    rows = _FIND.run(connection, {"id": conversation_id})
    if not rows:
        raise no_such_conversation(conversation_id)
    found = _to_conversation(rows[0])
    if found.status is Status.PENDING:
        position = positions.find(found.lane, to_micros(found.created_at), connection)
        return replace(found, queue_position=position)
    if found.status is Status.COMPLETED:  # others have no insight
        return replace(found, insight=find_listed(conversation_id, connection))
    return found


def failed_page(limit: int, position: tuple[int, int] | None, connection: Connection) -> FailedPage:
    """Up to `limit` failed conversations after `position`, those accepted last first."""
    # One more tells whether there is a next page.
    found = connection.execute(_failed_statement(limit + 1, position)).all()
    count = how_many_fit((row.size for row in found[:limit]), BYTES_OF_PAGE)
    ids = [row.id for row in found[:count]]
    rows = connection.execute(_FAILED, {"ids": ids}).all() if ids else []
    sizes = (len(to_json((row.text, row.last_error))) + len(row.raw_data or "") for row in rows)
    rows = rows[: how_many_fit(sizes, BYTES_OF_PAGE)]
    return FailedPage(
        conversations=[_to_conversation(row) for row in rows],
        total_count=counted_in(Status.FAILED, connection),
        next_cursor=cursors.encode(FAILED_LIST, *_position(rows[-1]))
        if len(rows) < len(found)
        else None,
    )


def _failed_statement(limit: int, position: tuple[int, int] | None) -> Select[*tuple[Any, ...]]:
    """The newest of each lane, by the index that has the lane before the time, and of both of them
    the newest: their ids, and how long they are."""
    columns = conversations.c
    newest = []
    for lane in Lane:
        of_lane = select(columns.id).where(
            columns.status == Status.FAILED, columns.lane == lane.value
        )
        if position is not None:
            created_at, number = position
            before = (created_at, f"conv_{number % 2**32:08x}")
            of_lane = of_lane.where(tuple_(columns.created_at, columns.id) < before)
        newest.append(of_lane.order_by(*_NEWEST_FIRST).limit(limit).subquery())
    ids = union_all(*(select(part.c.id) for part in newest))
    size = func.length(columns.text) + func.coalesce(func.length(_RAW_DATA), 0)
    return (
        select(columns.id, size.label("size"))
        .where(columns.id.in_(ids))
        .order_by(*_NEWEST_FIRST)
        .limit(limit)
    )


_NEWEST_FIRST = (conversations.c.created_at.desc(), conversations.c.id.desc())

_FAILED = (
    select(*_SHOWN)
    .where(conversations.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(*_NEWEST_FIRST)
)


def _position(row: Row[*tuple[Any, ...]]) -> tuple[int, int]:
    return row.created_at, int(row.id.removeprefix("conv_"), 16)


def _to_conversation(row: Sequence[Any]) -> StoredConversation:
    id_, status, lane, text, author, timestamp, created_at, attempts, last_error, raw_data = row
    return StoredConversation(
        id_,
        Status(status),
        Lane(lane),
        text,
        author,
        from_micros(timestamp),
        from_micros(created_at),
        attempts,
        last_error,
        raw_data,
        queue_position=None,
        insight=None,
    )
