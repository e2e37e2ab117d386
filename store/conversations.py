"""Conversations as their senders see them: accept, find, erase, retry."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Row,
    Select,
    Text,
    bindparam,
    case,
    cast,
    func,
    null,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql

from database import Database
from errors import Conflict, NotFound, ServiceError
from group_commit import GroupCommit
from models import (
    Lane,
    Status,
    conversations,
    from_micros,
    insights,
    now_micros,
    to_micros,
)
from store import cursors
from store.erasure import ErasureStore
from store.ids import Ids, RunningIds
from store.many import SqliteInsert
from store.rows import read_notes

_ROWS_PER_COMMIT = 500
_FEW_ROWS = 10
"""What hands in no more than this has commits of its own, which go first: it does not wait behind
an import, but for one write at most."""


class NewConversation(NamedTuple):
    """What a client hands in. `timestamp` None means the moment of acceptance.

    `body_hash` is over what was sent, and there whenever `idempotency_key` is.
    """

    text: str
    author: str | None = None
    timestamp: datetime | None = None
    raw_data: Mapping[str, Any] | None = None
    idempotency_key: str | None = None
    body_hash: str | None = None


@dataclass(frozen=True, slots=True)
class StoredInsight:
    sentiment_score: float
    clusters: list[str]
    confidence: float
    reasoning: str
    notes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredConversation:
    """`queue_position` counts from 1, and is None unless pending."""

    id: str
    status: Status
    lane: Lane
    text: str
    author: str | None
    timestamp: datetime
    created_at: datetime
    attempts: int
    last_error: str | None
    raw_data: dict[str, Any] | None
    queue_position: int | None
    insight: StoredInsight | None


@dataclass(frozen=True, slots=True)
class FailedPage:
    """`total_count` is of all that failed; `next_cursor` is None on the last page."""

    conversations: Sequence[StoredConversation]
    total_count: int
    next_cursor: str | None


class _Submission(NamedTuple):
    """One request's conversations: stored all together or not at all."""

    items: Sequence[NewConversation]
    lane: Lane


class _NewRow(NamedTuple):
    """A row to insert; the fields are its columns."""

    id: str
    text: str
    author: str | None
    timestamp: int
    status: str
    created_at: int
    lane: str
    idempotency_key: str | None
    body_hash: str | None
    raw_data: Mapping[str, Any] | None


class _IdsTaken(Exception):
    """An id or key met an existing row; the transaction is rolled back and planned anew."""


class ConversationStore:
    def __init__(
        self,
        database: Database,
        *,
        ids: Ids | None = None,
        on_commit: Callable[[int], None] = lambda _rows: None,
    ) -> None:
        """`on_commit` hears the number of rows of each group commit."""
        self._database = database
        self._erasure = ErasureStore(database)
        self._ids = ids or RunningIds()
        self._on_commit = on_commit
        self._last_created_at = 0
        self._few = self._grouped(urgent=True)
        self._many = self._grouped(urgent=False)

    def _grouped(self, *, urgent: bool) -> GroupCommit[_Submission, list[str]]:
        return GroupCommit(
            partial(self._store_group, urgent),
            weigh=lambda submission: len(submission.items),
            max_weight=_ROWS_PER_COMMIT,
        )

    # --- accept -------------------------------------------------------------------------------

    async def accept(self, items: Sequence[NewConversation], *, lane: Lane) -> list[str]:
        """Store all of `items` or none, and give their ids in order. On return they are on disk.

        An item whose idempotency key is known, with the same body, gives the known id and stores
        nothing. Raises Conflict if the body differs.
        """
        group_commit = self._few if len(items) <= _FEW_ROWS else self._many
        return await group_commit.submit(_Submission(items, lane))

    async def drained(self) -> None:
        """Wait until everything handed in so far has been answered."""
        await self._few.drained()
        await self._many.drained()

    async def _store_group(
        self, urgent: bool, submissions: Sequence[_Submission]
    ) -> Sequence[list[str] | ServiceError]:
        count = sum(len(submission.items) for submission in submissions)
        while True:
            try:
                rows, answers = await self._database.write(
                    partial(self._store, submissions, self._ids.draw(count)), urgent=urgent
                )
            except _IdsTaken:
                self._ids.jump()
            else:
                self._on_commit(rows)
                return answers

    def _store(
        self, submissions: Sequence[_Submission], ids: Sequence[str], connection: Connection
    ) -> tuple[int, list[list[str] | ServiceError]]:
        """How many rows were inserted, and what each submission is answered."""

        def text_of(id_: str) -> str | None:
            return connection.scalar(select(conversations.c.text).where(conversations.c.id == id_))

        known = _known_keys(connection, submissions)
        rows, answers = self._plan(submissions, ids, known, text_of)
        if rows and _insert(connection, rows) < len(rows):
            raise _IdsTaken
        return len(rows), answers

    def _plan(
        self,
        submissions: Sequence[_Submission],
        ids: Sequence[str],
        known: dict[str, tuple[str, str]],
        text_of: Callable[[str], str | None],
    ) -> tuple[list[_NewRow], list[list[str] | ServiceError]]:
        """Which rows to insert, and what each submission is answered.

        `known` maps an idempotency key to its conversation's id and body hash; keys planned here
        join it, so that two equal requests in one group store one row. `text_of` gives a stored
        conversation's text.
        """
        rows: list[_NewRow] = []
        answers: list[list[str] | ServiceError] = []
        free_ids = iter(ids)
        for items, lane in submissions:
            answer: list[str] = []
            planned: list[_NewRow] = []
            new_keys: dict[str, tuple[str, str]] = {}
            conflict: Conflict | None = None
            for position, item in enumerate(items):
                id_ = next(free_ids)
                key, body_hash = item.idempotency_key, item.body_hash
                if key is not None and body_hash is not None:
                    found = new_keys.get(key) or known.get(key)
                    if found and found[1] != body_hash and conflict is None:
                        planned_texts = (row.text for row in rows + planned if row.id == found[0])
                        text = next(planned_texts, None) or text_of(found[0])
                        conflict = _key_conflict(position, len(items), same_text=text == item.text)
                    if found:
                        answer.append(found[0])
                        continue
                    new_keys[key] = (id_, body_hash)
                created_at = self._next_created_at()
                timestamp = created_at if item.timestamp is None else to_micros(item.timestamp)
                planned.append(
                    _NewRow(
                        id_,
                        item.text,
                        item.author,
                        timestamp,
                        Status.PENDING.value,
                        created_at,
                        lane.value,
                        key,
                        body_hash,
                        item.raw_data,
                    )
                )
                answer.append(id_)
            if conflict:
                answers.append(conflict)
            else:
                rows += planned
                known.update(new_keys)
                answers.append(answer)
        return rows, answers

    def _next_created_at(self) -> int:
        """Now, but never twice the same, so that the order of arrival is the order of work."""
        self._last_created_at = max(now_micros(), self._last_created_at + 1)
        return self._last_created_at

    # --- look up, erase, retry ----------------------------------------------------------------

    async def find(self, conversation_id: str) -> StoredConversation:
        """Raises NotFound."""
        row = await self._database.read(
            lambda connection: connection.execute(_FIND, {"id": conversation_id}).one_or_none()
        )
        if row is None:
            raise no_such_conversation(conversation_id)
        return _to_conversation(row)

    async def failed(self, *, limit: int, cursor: str | None) -> FailedPage:
        """Up to `limit` failed conversations after `cursor`, those accepted last first.

        Raises InvalidInput for a cursor that is none of ours.
        """
        page = _failed_statement(limit + 1, cursor)  # one more tells whether there is a next page
        rows, total = await self._database.read(
            lambda connection: (connection.execute(page).all(), connection.scalar(_COUNT_FAILED))
        )
        more = len(rows) > limit
        rows = rows[:limit]
        return FailedPage(
            conversations=[_to_conversation(row) for row in rows],
            total_count=total or 0,
            next_cursor=cursors.encode(*_position(rows[-1])) if more else None,
        )

    async def erase(self, conversation_id: str) -> None:
        """Remove the conversation and its insight, and overwrite what the files hold of them.

        Raises NotFound.
        """
        if not await self._erasure.erase(conversation_id):
            raise no_such_conversation(conversation_id)

    async def retry(self, conversation_id: str) -> None:
        """Put a failed conversation back in the queue. Raises NotFound, Conflict if not failed."""
        await self._database.write(partial(_retry, conversation_id))

    async def retry_failed(self) -> int:
        """Put all failed conversations back in the queue; how many there were."""
        return await self._database.write(lambda connection: connection.execute(_RETRY).rowcount)


def _insert(connection: Connection, rows: Sequence[_NewRow]) -> int:
    """How many were inserted: fewer than `rows` where an id or key exists already."""
    if connection.dialect.name == "sqlite":
        # By hand, as this is what most of the service's time goes to: half the cost of the below.
        as_json = [
            (*row[:-1], None if row.raw_data is None else json.dumps(row.raw_data)) for row in rows
        ]
        return _SQLITE_INSERT.run(connection, as_json)
    statement = postgresql.insert(conversations).on_conflict_do_nothing()
    inserted = connection.scalars(
        statement.returning(conversations.c.id), [row._asdict() for row in rows]
    )
    return len(inserted.all())


_SQLITE_INSERT = SqliteInsert("conversations", _NewRow._fields, "ON CONFLICT DO NOTHING")

_RETRY = (
    update(conversations)
    .where(conversations.c.status == Status.FAILED)
    .values(
        status=Status.PENDING.value,
        attempts=0,
        deaths=0,
        alone=False,
        not_before=0,
        last_error=None,
    )
)


def _retry(conversation_id: str, connection: Connection) -> None:
    if connection.execute(_RETRY.where(conversations.c.id == conversation_id)).rowcount:
        return
    status = connection.scalar(
        select(conversations.c.status).where(conversations.c.id == conversation_id)
    )
    if status is None:
        raise no_such_conversation(conversation_id)
    raise Conflict(f"Only a failed conversation can be retried; this one is {status}.")


def _known_keys(
    connection: Connection, submissions: Sequence[_Submission]
) -> dict[str, tuple[str, str]]:
    keys = [
        item.idempotency_key
        for submission in submissions
        for item in submission.items
        if item.idempotency_key is not None
    ]
    if not keys:
        return {}
    if connection.dialect.name == "sqlite":
        found = connection.exec_driver_sql(_SQLITE_KNOWN_KEYS, (json.dumps(keys),))
    else:
        found = connection.execute(_KNOWN_KEYS, {"keys": keys})
    return {key: (id_, body_hash) for key, id_, body_hash in found}


_KNOWN_KEYS = select(
    conversations.c.idempotency_key, conversations.c.id, conversations.c.body_hash
).where(conversations.c.idempotency_key.in_(bindparam("keys", expanding=True)))
# The same with one parameter for all keys, which takes a third of the time.
_SQLITE_KNOWN_KEYS = """
SELECT idempotency_key, id, body_hash FROM conversations
WHERE idempotency_key IN (SELECT value FROM json_each(?))
"""


def _key_conflict(position: int, count: int, *, same_text: bool) -> Conflict:
    """An importer tells by it a row that it knows from one whose key somebody else has taken."""
    place = f"conversations[{position}].idempotency_key: " if count > 1 else ""
    difference = "a different body" if same_text else "another text"
    return Conflict(f"{place}The idempotency key was used before with {difference}.")


def no_such_conversation(conversation_id: str) -> NotFound:
    return NotFound(f"There is no conversation {conversation_id!r}.")


def _find_statement() -> Select[*tuple[Any, ...]]:
    """One conversation with its insight and its place in the queue, in one statement.

    Ahead of a pending one are the older of its lane, and for a bulk one all live ones.
    """
    columns, ahead = conversations.c, conversations.alias()
    waiting = select(func.count()).where(ahead.c.status == Status.PENDING)
    older = waiting.where(ahead.c.lane == columns.lane, ahead.c.created_at < columns.created_at)
    live = waiting.where(ahead.c.lane == Lane.LIVE, columns.lane == Lane.BULK)
    position = 1 + older.scalar_subquery() + live.scalar_subquery()
    return (
        select(
            conversations,
            case((columns.status == Status.PENDING, position)).label("queue_position"),
            insights.c.id.label("insight_id"),
            insights.c.sentiment_score,
            insights.c.clusters,
            insights.c.confidence,
            insights.c.reasoning,
            cast(insights.c.notes, Text).label("notes"),
        )
        .outerjoin(insights, insights.c.conversation_id == columns.id)
        .where(columns.id == bindparam("id"))
    )


_FIND = _find_statement()


_COUNT_FAILED = select(func.count()).where(conversations.c.status == Status.FAILED)


def _failed_statement(limit: int, cursor: str | None) -> Select[*tuple[Any, ...]]:
    """The newest of each lane, by the index that has the lane before the time, and of both of them
    the newest."""
    columns = conversations.c
    newest = []
    for lane in Lane:
        of_lane = select(columns.id).where(
            columns.status == Status.FAILED, columns.lane == lane.value
        )
        if cursor is not None:
            created_at, number = cursors.decode(cursor)
            before = (created_at, f"conv_{number % 2**32:08x}")
            of_lane = of_lane.where(tuple_(columns.created_at, columns.id) < before)
        newest.append(of_lane.order_by(*_NEWEST_FIRST).limit(limit).subquery())
    ids = union_all(*(select(part.c.id) for part in newest))
    no_value = null()
    return (
        select(conversations, no_value.label("queue_position"), no_value.label("insight_id"))
        .where(columns.id.in_(ids))
        .order_by(*_NEWEST_FIRST)
        .limit(limit)
    )


_NEWEST_FIRST = (conversations.c.created_at.desc(), conversations.c.id.desc())


def _position(row: Row[*tuple[Any, ...]]) -> tuple[int, int]:
    return row.created_at, int(row.id.removeprefix("conv_"), 16)


def _to_conversation(row: Row[*tuple[Any, ...]]) -> StoredConversation:
    insight = None
    if row.insight_id is not None:
        insight = StoredInsight(
            row.sentiment_score,
            row.clusters,
            row.confidence,
            row.reasoning,
            read_notes(row.notes),
        )
    return StoredConversation(
        id=row.id,
        status=Status(row.status),
        lane=Lane(row.lane),
        text=row.text,
        author=row.author,
        timestamp=from_micros(row.timestamp),
        created_at=from_micros(row.created_at),
        attempts=row.attempts,
        last_error=row.last_error,
        raw_data=row.raw_data,
        queue_position=row.queue_position,
        insight=insight,
    )
