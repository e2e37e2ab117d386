"""Conversations as their senders see them: accept, find, erase, retry."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from pydantic_core import to_json
from sqlalchemy import (
    Connection,
    Row,
    Select,
    Text,
    bindparam,
    cast,
    func,
    null,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql

from backends.group_commit import GroupCommit
from database import Database
from errors import Conflict, NotFound, ServiceError, Unavailable
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
from store.bulk_insert import SqliteInsert
from store.derived.status_counts import counted_in
from store.erasure import ErasureStore
from store.ids import Ids, RunningIds
from store.insight_row import BYTES_OF_PAGE, how_many_fit, read_notes
from store.positions import QueuePositions

_ROWS_PER_COMMIT = 500
_RETRIED_AT_ONCE = 1000
"""They hold the writer for some 5 ms."""
_FEW_ROWS = 10
"""What hands in no more than this has commits of its own, which go first: it does not wait behind
an import, but for one write at most."""


MAX_PENDING = 1_000_000
"""Hours of work at any rate: what is handed in beyond that had better wait with its sender."""
_MUCH_ROOM = 100_000
"""Several replicas take in less than this within a second."""
_ROOM_KNOWN_SECONDS = 1.0
_FULL_RETRY_SECONDS = 30

EVERYBODY = ""
"""Owner of what comes in without an API key, and came in before idempotency keys had owners."""


class KeyConflict(Conflict):
    """An idempotency key of the item at `position` was used before, with another text, or with the
    same and other details."""

    def __init__(self, position: int, *, other_text: bool) -> None:
        what = "another text" if other_text else "a different body"
        super().__init__(f"The idempotency key was used before with {what}.")
        self.position = position


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
    insight: StoredInsight | None


@dataclass(frozen=True, slots=True)
class FailedPage:
    """`total_count` is of all that failed; `next_cursor` is None on the last page. A page may be
    shorter than asked for: it ends at `BYTES_OF_PAGE` of JSON."""

    conversations: Sequence[StoredConversation]
    total_count: int
    next_cursor: str | None


class _Submission(NamedTuple):
    """One request's conversations: stored all together or not at all."""

    items: Sequence[NewConversation]
    lane: Lane
    owner: str


class _Key(NamedTuple):
    """An idempotency key and whose it is."""

    key: str
    owner: str


class _Known(NamedTuple):
    """The conversation that a key led to."""

    id: str
    body_hash: str


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
    key_owner: str
    body_hash: str | None
    raw_data: Mapping[str, Any] | None


class _Clash(NamedTuple):
    """The item at `position` has the key, but not the body, of the conversation `with_id`."""

    position: int
    with_id: str


_Answer = list[str] | ServiceError


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
        self._positions = QueuePositions()
        self._last_created_at = 0
        self._room = 0
        self._room_known_until = 0.0
        self._few = self._grouped(urgent=True)
        self._many = self._grouped(urgent=False)

    def _grouped(self, *, urgent: bool) -> GroupCommit[_Submission, list[str]]:
        return GroupCommit(
            partial(self._store_group, urgent),
            weigh=lambda submission: len(submission.items),
            max_weight=_ROWS_PER_COMMIT,
        )

    # --- accept -------------------------------------------------------------------------------

    async def accept(
        self, items: Sequence[NewConversation], *, lane: Lane, owner: str = EVERYBODY
    ) -> list[str]:
        """Store all of `items` or none, and give their ids in order. On return they are on disk.

        An item whose idempotency key is known, with the same body, gives the known id and stores
        nothing. `owner`, the name of the API key that they came with, has idempotency keys of its
        own, and knows those of everybody. Raises KeyConflict if the body differs, Unavailable if
        more would be pending than may be.
        """
        group_commit = self._few if len(items) <= _FEW_ROWS else self._many
        return await group_commit.submit(_Submission(items, lane, owner))

    async def drained(self) -> None:
        """Wait until everything handed in so far has been answered."""
        await self._few.drained()
        await self._many.drained()

    async def _store_group(
        self, urgent: bool, submissions: Sequence[_Submission]
    ) -> Sequence[_Answer]:
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
    ) -> tuple[int, list[_Answer]]:
        """How many rows were inserted, and what each submission is answered."""
        known = _known_keys(connection, submissions)
        rows, answers = self._plan(submissions, ids, known, self._find_room(connection))
        self._room -= len(rows)
        if rows and _insert(connection, rows) < len(rows):
            raise _IdsTaken
        return len(rows), [
            _key_conflict(answer, submission, connection) if isinstance(answer, _Clash) else answer
            for answer, submission in zip(answers, submissions, strict=True)
        ]

    def _find_room(self, connection: Connection) -> int:
        """How many more may be pending. As long as that is many, it is counted once a second."""
        if self._room < _MUCH_ROOM or time.monotonic() > self._room_known_until:
            self._room = MAX_PENDING - counted_in(Status.PENDING, connection)
            self._room_known_until = time.monotonic() + _ROOM_KNOWN_SECONDS
        return self._room

    def _plan(
        self,
        submissions: Sequence[_Submission],
        ids: Sequence[str],
        known: dict[_Key, _Known],
        room: int,
    ) -> tuple[list[_NewRow], list[_Answer | _Clash]]:
        """Which rows to insert, and what each submission is answered.

        Keys planned here join the `known` ones, so that two equal requests in one group store one
        row. No more than `room` rows are planned.
        """
        rows: list[_NewRow] = []
        answers: list[_Answer | _Clash] = []
        free_ids = iter(ids)
        for items, lane, owner in submissions:
            answer: list[str] = []
            planned: list[_NewRow] = []
            new_keys: dict[_Key, _Known] = {}
            clash: _Clash | None = None
            for position, item in enumerate(items):
                id_ = next(free_ids)
                if item.idempotency_key is not None and item.body_hash is not None:
                    key = _Key(item.idempotency_key, owner)
                    found = new_keys.get(key) or known.get(key) or known.get(_of_everybody(key))
                    if found and found.body_hash != item.body_hash:
                        clash = clash or _Clash(position, found.id)
                    if found:
                        answer.append(found.id)
                        continue
                    new_keys[key] = _Known(id_, item.body_hash)
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
                        item.idempotency_key,
                        owner if item.idempotency_key is not None else EVERYBODY,
                        item.body_hash,
                        item.raw_data,
                    )
                )
                answer.append(id_)
            if clash:
                answers.append(clash)
            elif len(rows) + len(planned) > room and planned:
                answers.append(_too_many_pending())
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
        return await self._database.read(partial(self._find, conversation_id))

    def _find(self, conversation_id: str, connection: Connection) -> StoredConversation:
        row = connection.execute(_FIND, {"id": conversation_id}).one_or_none()
        if row is None:
            raise no_such_conversation(conversation_id)
        position = None
        if row.status == Status.PENDING:
            position = self._positions.find(Lane(row.lane), row.created_at, connection)
        return _to_conversation(row, queue_position=position)

    async def failed(self, *, limit: int, cursor: str | None) -> FailedPage:
        """Up to `limit` failed conversations after `cursor`, those accepted last first.

        Raises InvalidInput for a cursor that is none of ours.
        """
        # One more tells whether there is a next page.
        keys = _failed_statement(limit + 1, cursor)
        return await self._database.read(partial(_failed, keys, limit))

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
        """Put all failed conversations back in the queue, some at a time; how many there were."""
        failed = await self._database.write(partial(counted_in, Status.FAILED))
        retried = 0
        # No more than there were: a retried one may fail again meanwhile.
        while some := await self._database.write(partial(_retry_some, failed - retried)):
            retried += some
        return retried


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


_SOME_FAILED = (
    select(conversations.c.id)
    .where(conversations.c.status == Status.FAILED)
    .order_by(conversations.c.lane, conversations.c.created_at)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)


def _retry_some(most: int, connection: Connection) -> int:
    limit = min(most, _RETRIED_AT_ONCE)
    ids = connection.scalars(_SOME_FAILED, {"limit": limit}).all()
    return connection.execute(_RETRY.where(conversations.c.id.in_(ids))).rowcount if ids else 0


def _retry(conversation_id: str, connection: Connection) -> None:
    if connection.execute(_RETRY.where(conversations.c.id == conversation_id)).rowcount:
        return
    status = connection.scalar(
        select(conversations.c.status).where(conversations.c.id == conversation_id)
    )
    if status is None:
        raise no_such_conversation(conversation_id)
    raise Conflict(f"Only a failed conversation can be retried; this one is {status}.")


def _known_keys(connection: Connection, submissions: Sequence[_Submission]) -> dict[_Key, _Known]:
    """Of all owners."""
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
    return {_Key(key, owner): _Known(id_, body_hash) for key, owner, id_, body_hash in found}


_KNOWN_KEYS = select(
    conversations.c.idempotency_key,
    conversations.c.key_owner,
    conversations.c.id,
    conversations.c.body_hash,
).where(conversations.c.idempotency_key.in_(bindparam("keys", expanding=True)))
# The same with one parameter for all keys, which takes a third of the time.
_SQLITE_KNOWN_KEYS = """
SELECT idempotency_key, key_owner, id, body_hash FROM conversations
WHERE idempotency_key IN (SELECT value FROM json_each(?))
"""


def _key_conflict(clash: _Clash, submission: _Submission, connection: Connection) -> KeyConflict:
    item = submission.items[clash.position]
    earlier = connection.scalar(_TEXT, {"id": clash.with_id})
    if earlier is None:  # in the same request, of which nothing is stored
        same_key = (
            one.text for one in submission.items if one.idempotency_key == item.idempotency_key
        )
        earlier = next(same_key)
    return KeyConflict(clash.position, other_text=earlier != item.text)


_TEXT = select(conversations.c.text).where(conversations.c.id == bindparam("id"))


def _of_everybody(key: _Key) -> _Key:
    return key._replace(owner=EVERYBODY)


def _too_many_pending() -> Unavailable:
    return Unavailable(
        f"At most {MAX_PENDING:,} conversations may wait for analysis, and no more are taken now.",
        retry_after=_FULL_RETRY_SECONDS,
    )


def no_such_conversation(conversation_id: str) -> NotFound:
    return NotFound(f"There is no conversation {conversation_id!r}.")


_RAW_DATA = cast(conversations.c.raw_data, Text)
_SHOWN = (
    *(column for column in conversations.c if column.name != "raw_data"),
    _RAW_DATA.label("raw_data"),
)


_FIND = (
    select(
        *_SHOWN,
        insights.c.id.label("insight_id"),
        insights.c.sentiment_score,
        insights.c.clusters,
        insights.c.confidence,
        insights.c.reasoning,
        cast(insights.c.notes, Text).label("notes"),
    )
    .outerjoin(insights, insights.c.conversation_id == conversations.c.id)
    .where(conversations.c.id == bindparam("id"))
)


def _failed(keys: Select[*tuple[Any, ...]], limit: int, connection: Connection) -> FailedPage:
    found = connection.execute(keys).all()
    count = how_many_fit((row.size for row in found[:limit]), BYTES_OF_PAGE)
    ids = [row.id for row in found[:count]]
    rows = connection.execute(_FAILED, {"ids": ids}).all() if ids else []
    sizes = (len(to_json((row.text, row.last_error))) + len(row.raw_data or "") for row in rows)
    rows = rows[: how_many_fit(sizes, BYTES_OF_PAGE)]
    return FailedPage(
        conversations=[_to_conversation(row) for row in rows],
        total_count=counted_in(Status.FAILED, connection),
        next_cursor=cursors.encode(*_position(rows[-1])) if len(rows) < len(found) else None,
    )


def _failed_statement(limit: int, cursor: str | None) -> Select[*tuple[Any, ...]]:
    """The newest of each lane, by the index that has the lane before the time, and of both of them
    the newest: their ids, and how long they are."""
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
    size = func.length(columns.text) + func.coalesce(func.length(_RAW_DATA), 0)
    return (
        select(columns.id, size.label("size"))
        .where(columns.id.in_(ids))
        .order_by(*_NEWEST_FIRST)
        .limit(limit)
    )


_NEWEST_FIRST = (conversations.c.created_at.desc(), conversations.c.id.desc())

_FAILED = (
    select(*_SHOWN, null().label("insight_id"))
    .where(conversations.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(*_NEWEST_FIRST)
)


def _position(row: Row[*tuple[Any, ...]]) -> tuple[int, int]:
    return row.created_at, int(row.id.removeprefix("conv_"), 16)


def _to_conversation(
    row: Row[*tuple[Any, ...]], *, queue_position: int | None = None
) -> StoredConversation:
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
        queue_position=queue_position,
        insight=insight,
    )
