"""Erasing conversations with all that is kept of them, one or those that are too old."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, bindparam, delete, literal_column, select

from database import Database
from errors import Unavailable
from models import Status, conversations, insights, to_micros
from store import derived, versions
from store.derived import word_index
from store.erased_evidence import forget_evidence
from store.filters import COUNTS
from store.told_texts import forget_conversations

_STEPS_AT_A_TIME = 20


class ErasureStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def erase(self, conversation_id: str) -> bool:
        """Remove the conversation and its insight, and overwrite what the files hold of them.

        Returns whether it was there. One that is being analysed is erased, too: its result will be
        dropped.
        """
        if not await self._database.write(partial(_erase, conversation_id)):
            return False
        with suppress(Unavailable):  # it is erased; the housekeeper sweeps up behind it
            await self.sweep()
        return True

    async def erase_older_than(self, moment: datetime, *, limit: int) -> int:
        """Remove up to `limit` conversations whose timestamp is before, but for those that are
        being analysed right now; how many. `sweep` is to follow."""
        values = {"before": to_micros(moment), "limit": limit}
        ids = await self._database.read(partial(_older_than, values), costly=True)
        if not ids:
            return 0
        return await self._database.write(partial(_erase_old, {**values, "ids": ids}))

    async def sweep(self) -> bool:
        """Overwrite a little more of what the files still hold of what was erased; whether
        something is left."""
        for _ in range(_STEPS_AT_A_TIME):
            if not await self._database.write(word_index.sweep):
                await self._database.checkpoint_truncate()
                return False
        return True


_LOCK = select(conversations.c.id).where(conversations.c.id == bindparam("id")).with_for_update()
_IS_OLD = conversations.c.timestamp < bindparam("before")
_AT_REST = conversations.c.status != Status.PROCESSING.value
_WAYS_TO_OLD_ONES = (
    select(insights.c.conversation_id)
    .where(COUNTS, insights.c.timestamp < bindparam("before"))
    .order_by(insights.c.timestamp)
    .limit(bindparam("limit")),
    select(conversations.c.id)
    .where(conversations.c.own != literal_column("0"), _IS_OLD, _AT_REST)
    .order_by(conversations.c.timestamp)
    .limit(bindparam("limit")),
    # All that have no insight are looked at, in the index alone.
    select(conversations.c.id)
    .where(conversations.c.status.in_([Status.PENDING.value, Status.FAILED.value]), _IS_OLD)
    .limit(bindparam("limit")),
)
"""There is no index of all conversations by time: each row of an import would change another page
of it, which took more than all else of accepting it."""
_LOCK_OLD = (
    select(conversations.c.id)
    .where(conversations.c.id.in_(bindparam("ids", expanding=True)), _IS_OLD, _AT_REST)
    .with_for_update(skip_locked=True)
)
_DELETE = delete(conversations).where(conversations.c.id.in_(bindparam("ids", expanding=True)))


def _erase(conversation_id: str, connection: Connection) -> int:
    return _erase_locked(connection.scalars(_LOCK, {"id": conversation_id}).all(), connection)


def _older_than(values: Mapping[str, Any], connection: Connection) -> Sequence[str]:
    for way in _WAYS_TO_OLD_ONES:
        if ids := connection.scalars(way, values).all():
            return ids
    return []


def _erase_old(values: Mapping[str, Any], connection: Connection) -> int:
    return _erase_locked(connection.scalars(_LOCK_OLD, values).all(), connection)


def _erase_locked(ids: Collection[str], connection: Connection) -> int:
    """Since their rows are locked no result for them can be written any more, and of two who erase
    the same one only one takes it out of the rollups."""
    if ids:
        forget_evidence(ids, connection)
        derived.take_turn(connection)
        derived.subtract(connection, ids)
        borne = versions.borne_by(ids, connection)
        connection.execute(_DELETE, {"ids": list(ids)})
        word_index.note_erased(connection)
        forget_conversations(ids, connection)
        versions.subtract_insights(borne, connection)
    return len(ids)
