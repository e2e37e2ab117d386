"""Posts of accounts of one's own: taking up another list of these accounts, step by step.

What comes in is marked as it comes (`store/conversations.py`). What is there already is marked
here, with all that counts it, in transactions so short that nobody waits for them.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from sqlalchemy import BindParameter, Connection, bindparam, select, update

from analysis.senders import account, is_outbound
from database import Database
from models import conversations, insights
from store import derived
from store.applied_settings import applied, note_applied

SETTING = "OWN_AUTHORS"
_ROWS_READ = 2000
_ROWS_PER_COMMIT = 100


class _Wrong(NamedTuple):
    """The last id that was read, None after the last of all; and the ids of conversations that are
    to be marked as one's own (1) or not (0)."""

    last: str | None
    to_mark: Mapping[int, Sequence[str]]


class OwnPostStore:
    def __init__(self, database: Database, own_authors: Collection[str]) -> None:
        """`own_authors` as `senders.account` writes them."""
        self._database = database
        self._own_authors = frozenset(own_authors)

    async def is_taken_up(self) -> bool:
        """Whether what is stored goes by these accounts already."""
        before = await self._database.read(partial(applied, SETTING))
        return frozenset(before or ()) == self._own_authors

    async def step(self, after: str) -> str | None:
        """Mark those of the next conversations, by id after this one, that are marked otherwise
        than they should be. The id to go on from, None when all are done."""
        last, to_mark = await self._database.read(partial(_find, self._own_authors, after))
        for own, ids in to_mark.items():
            for start in range(0, len(ids), _ROWS_PER_COMMIT):
                some = ids[start : start + _ROWS_PER_COMMIT]
                await self._database.write(partial(_mark, some, own))
        if last is None:
            accounts = sorted(self._own_authors)
            await self._database.write(partial(note_applied, SETTING, accounts))
        return last


_COLUMNS = conversations.c
_NEXT = (
    select(_COLUMNS.id, _COLUMNS.author, _COLUMNS.own)
    .where(_COLUMNS.id > bindparam("after"))
    .order_by(_COLUMNS.id)
    .limit(bindparam("limit"))
)
_IDS: BindParameter[str] = bindparam("ids", expanding=True)
_RAW_DATA = select(_COLUMNS.id, _COLUMNS.raw_data).where(_COLUMNS.id.in_(_IDS))


def _find(own_authors: Collection[str], after: str, connection: Connection) -> _Wrong:
    rows = connection.execute(_NEXT, {"after": after, "limit": _ROWS_READ}).all()
    wrong: dict[int, list[str]] = {0: [], 1: []}
    for id_, author, own in rows:
        is_own = author is not None and account(author) in own_authors
        if is_own != bool(own):
            wrong[int(is_own)].append(id_)
    if wrong[0]:
        raw_data = connection.execute(_RAW_DATA, {"ids": wrong[0]})
        wrong[0] = [id_ for id_, data in raw_data if not is_outbound(data or {})]
    return _Wrong(rows[-1].id if len(rows) == _ROWS_READ else None, wrong)


_LOCK = (
    select(_COLUMNS.id)
    .where(_COLUMNS.id.in_(_IDS), _COLUMNS.own != bindparam("own"))
    .order_by(_COLUMNS.id)
    .with_for_update()
)
_MARK_CONVERSATIONS = (
    update(conversations).where(_COLUMNS.id.in_(_IDS)).values(own=bindparam("marked"))
)
_MARK_INSIGHTS = (
    update(insights)
    .where(insights.c.conversation_id.in_(_IDS))
    .values(own=bindparam("marked"), priority=None)
)


def _mark(ids: Sequence[str], own: int, connection: Connection) -> None:
    # Who settles one meanwhile has locked it, and so has either been waited for or waits.
    locked = connection.scalars(_LOCK, {"ids": ids, "own": own}).all()
    if not locked:
        return
    derived.take_turn(connection)
    if own:
        derived.take_out(connection, locked)
    values = {"ids": locked, "marked": own}
    connection.execute(_MARK_CONVERSATIONS, values)
    connection.execute(_MARK_INSIGHTS, values)
    if not own:
        derived.take_in(connection, locked)
