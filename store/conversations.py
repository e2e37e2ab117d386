"""Conversations as their senders see them: accept, find, erase, retry."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select, text, update

from analysis.senders import account
from backends.group_commit import GroupCommit
from database import Database
from errors import Conflict, ServiceError, Unavailable
from models import (
    Lane,
    Status,
    conversations,
    now_micros,
    to_micros,
)
from store import cursors
from store.bulk_insert import SqliteInsert, insert_arrays
from store.derived.status_counts import counted_in
from store.erasure import ErasureStore
from store.handling import reopen_snoozed
from store.idempotency import EVERYBODY, Key, Known, known_keys
from store.ids import Ids, RunningIds
from store.lookup import (
    FAILED_LIST,
    FailedPage,
    StoredConversation,
    failed_page,
    find,
    no_such_conversation,
    wrong_status,
)
from store.positions import QueuePositions
from store.statements import Prepared, among

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


class KeyConflict(Conflict):
    """The idempotency keys of the items at `positions`, rising, were used before: all of them with
    another text, or all with the same and other details. There may be items of the other sort."""

    def __init__(self, positions: Sequence[int], *, other_text: bool) -> None:
        what = "another text" if other_text else "a different body"
        super().__init__(f"The idempotency key was used before with {what}.")
        self.positions = positions


class NewConversation(NamedTuple):
    """What a client hands in. `timestamp` None means the moment of acceptance; `raw_data` is JSON.

    `body_hash` is over what was sent, and there whenever `idempotency_key` is. `outbound` is what
    the company itself sent, whichever its account.
    """

    text: str
    author: str | None = None
    timestamp: datetime | None = None
    raw_data: str | None = None
    idempotency_key: str | None = None
    body_hash: str | None = None
    outbound: bool = False
    followers: int | None = None


class _Submission(NamedTuple):
    """One request's conversations: stored all together or not at all."""

    items: Sequence[NewConversation]
    lane: Lane
    owner: str


_COLUMNS = (
    "id",
    "text",
    "author",
    "timestamp",
    "status",
    "created_at",
    "lane",
    "idempotency_key",
    "key_owner",
    "body_hash",
    "raw_data",
    "own",
    "followers",
)
_AUTHOR, _OWNER, _KEY = map(_COLUMNS.index, ("author", "key_owner", "idempotency_key"))
_NewRow = tuple[Any, ...]
"""The values of `_COLUMNS`. A class with their names takes three times as long to make."""


class _Clash(NamedTuple):
    """The item at `position` has the key, but not the body, of the conversation `with_id`."""

    position: int
    with_id: str


_Clashes = tuple[_Clash, ...]


class AcceptedIds(list[str]):
    """The ids of one request's items, in order. `replayed` are the positions of those whose key
    was known, so that nothing was stored for them."""

    replayed: Sequence[int] = ()


_Answer = AcceptedIds | ServiceError


class _IdsTaken(Exception):
    """An id or key met an existing row; the transaction is rolled back and planned anew."""


class ConversationStore:
    def __init__(
        self,
        database: Database,
        *,
        ids: Ids | None = None,
        own_authors: Collection[str] = (),
        on_commit: Callable[[int], None] = lambda _rows: None,
    ) -> None:
        """`own_authors` are accounts of one's own, as `senders.account` writes them; `on_commit`
        hears the number of rows of each group commit."""
        self._database = database
        self._erasure = ErasureStore(database)
        self._ids = ids or RunningIds()
        self._own_authors = frozenset(own_authors)
        self._on_commit = on_commit
        self._positions = QueuePositions()
        self._last_created_at = 0
        self._room = 0
        self._room_known_until = 0.0
        self._few = self._grouped(urgent=True)
        self._many = self._grouped(urgent=False)

    def _grouped(self, *, urgent: bool) -> GroupCommit[_Submission, AcceptedIds]:
        return GroupCommit(
            partial(self._store_group, urgent),
            weigh=lambda submission: len(submission.items),
            max_weight=_ROWS_PER_COMMIT,
        )

    # --- accept -------------------------------------------------------------------------------

    async def accept(
        self, items: Sequence[NewConversation], *, lane: Lane, owner: str = EVERYBODY
    ) -> AcceptedIds:
        """Store all of `items` or none, and give their ids in order. On return they are on disk.

        An item whose idempotency key is known, with the same body, gives the known id and stores
        nothing: its position is among those `replayed`. `owner`, the name of the API key that they
        came with, has idempotency keys of its own, and knows those of everybody. Raises KeyConflict
        if the body differs, Unavailable if more would be pending than may be.
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
        known = known_keys(connection, _keys_in(submissions))
        rows, answers = self._plan(submissions, ids, known, self._find_room(connection))
        self._room -= len(rows)
        if rows and _insert(connection, rows) < len(rows):
            raise _IdsTaken
        if rows:
            authors = {row[_AUTHOR] for row in rows} - {None}
            reopen_snoozed(connection, authors, self._last_created_at)
        return len(rows), [
            _key_conflict(answer, submission, connection) if isinstance(answer, tuple) else answer
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
        known: dict[Key, Known],
        room: int,
    ) -> tuple[list[_NewRow], list[_Answer | _Clashes]]:
        """Which rows to insert, and what each submission is answered.

        Keys planned here join the `known` ones, so that two equal requests in one group store one
        row. No more than `room` rows are planned. No two are created at the same time, so that the
        order of arrival is the order of work.
        """
        rows: list[_NewRow] = []
        answers: list[_Answer | _Clashes] = []
        free_ids = iter(ids)
        pending = Status.PENDING.value  # looking a value up takes as long as half a row
        now = now_micros()
        for items, lane, owner in submissions:
            lane_name = lane.value
            answer = AcceptedIds()
            replayed: list[int] = []
            planned: list[_NewRow] = []
            new_keys: dict[Key, Known] = {}
            clashes: list[_Clash] = []
            for position, item in enumerate(items):
                id_ = next(free_ids)
                if item.idempotency_key is not None and item.body_hash is not None:
                    key = Key(item.idempotency_key, owner)
                    found = (
                        new_keys.get(key)
                        or known.get(key)
                        or known.get(key._replace(owner=EVERYBODY))
                    )
                    if found and found.body_hash != item.body_hash:
                        clashes.append(_Clash(position, found.id))
                    if found:
                        answer.append(found.id)
                        replayed.append(position)
                        continue
                    new_keys[key] = Known(id_, item.body_hash)
                created_at = self._last_created_at = max(now, self._last_created_at + 1)
                timestamp = created_at if item.timestamp is None else to_micros(item.timestamp)
                planned.append(
                    (
                        id_,
                        item.text,
                        item.author,
                        timestamp,
                        pending,
                        created_at,
                        lane_name,
                        item.idempotency_key,
                        owner if item.idempotency_key is not None else EVERYBODY,
                        item.body_hash,
                        item.raw_data,
                        int(item.outbound or self._is_own(item.author)),
                        item.followers,
                    )
                )
                answer.append(id_)
            if clashes:
                answers.append(tuple(clashes))
            elif len(rows) + len(planned) > room and planned:
                answers.append(_too_many_pending())
            else:
                rows += planned
                known.update(new_keys)
                if replayed:
                    answer.replayed = replayed
                answers.append(answer)
        return rows, answers

    def _is_own(self, author: str | None) -> bool:
        return (
            bool(self._own_authors) and author is not None and account(author) in self._own_authors
        )

    # --- look up, erase, retry ----------------------------------------------------------------

    async def find(self, conversation_id: str) -> StoredConversation:
        """Raises NotFound."""
        return await self._database.read(partial(find, conversation_id, self._positions))

    async def failed(self, *, limit: int, cursor: str | None) -> FailedPage:
        """Up to `limit` failed conversations after `cursor`, those accepted last first.

        Raises InvalidInput for a cursor that is none of ours.
        """
        position = None if cursor is None else cursors.decode(FAILED_LIST, cursor)
        return await self._database.read(partial(failed_page, limit, position))

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
        return _SQLITE_INSERT.run(connection, rows)
    # In one order, so that no two with the same keys wait for each other.
    in_order = sorted(rows, key=lambda row: (row[_OWNER], row[_KEY] or ""))
    arrays = map(list, zip(*in_order, strict=True))
    inserted = connection.execute(_POSTGRESQL_INSERT, dict(zip(_COLUMNS, arrays, strict=True)))
    return len(inserted.all())


_SQLITE_INSERT = SqliteInsert("conversations", _COLUMNS, "ON CONFLICT DO NOTHING")
_POSTGRESQL_INSERT = text(
    insert_arrays(conversations, _COLUMNS, "ON CONFLICT DO NOTHING RETURNING id")
)

AS_NEW: Mapping[str, Any] = {
    "attempts": 0,
    "deaths": 0,
    "alone": False,
    "not_before": 0,
    "last_error": None,
}
"""What a conversation that waits for its first try has in these columns."""

RETRY = (
    update(conversations)
    .where(conversations.c.status == Status.FAILED)
    .values(status=Status.PENDING.value, **AS_NEW)
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
    return connection.execute(RETRY.where(conversations.c.id.in_(ids))).rowcount if ids else 0


def _retry(conversation_id: str, connection: Connection) -> None:
    if connection.execute(RETRY.where(conversations.c.id == conversation_id)).rowcount:
        return
    raise wrong_status(conversation_id, "failed", "can be retried", connection)


def _keys_in(submissions: Sequence[_Submission]) -> list[str]:
    return [
        item.idempotency_key
        for submission in submissions
        for item in submission.items
        if item.idempotency_key is not None
    ]


def _key_conflict(
    clashes: _Clashes, submission: _Submission, connection: Connection
) -> KeyConflict:
    stored = _TEXTS.run(connection, {"ids": [clash.with_id for clash in clashes]})
    texts = {id_: text for id_, text in stored}  # noqa: C416 - `dict` takes no rows
    of_keys: dict[str | None, str] = {}  # what clashes in the same request is not stored
    for item in submission.items:
        of_keys.setdefault(item.idempotency_key, item.text)
    by_kind: dict[bool, list[int]] = {}
    for position, with_id in clashes:
        item = submission.items[position]
        earlier = texts.get(with_id, of_keys[item.idempotency_key])
        by_kind.setdefault(earlier != item.text, []).append(position)
    other_text, positions = next(iter(by_kind.items()))
    return KeyConflict(positions, other_text=other_text)


_TEXTS = Prepared(
    select(conversations.c.id, conversations.c.text).where(among(conversations.c.id, "ids"))
)


def _too_many_pending() -> Unavailable:
    return Unavailable(
        f"At most {MAX_PENDING:,} conversations may wait for analysis, and no more are taken now.",
        retry_after=_FULL_RETRY_SECONDS,
    )
