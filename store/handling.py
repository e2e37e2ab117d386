"""Handling: who has claimed a conversation, whether it is answered, and the history of that.

What is stored is what counts, filters and pages see. So claims and snoozes that have run out are
put back to open by whoever is about to ask for states (`HandlingStore.end_leases`), some at a time.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, bindparam, func, literal_column, select

from analysis.handling import OPEN, Handling, HandlingChange, HandlingState
from database import Database
from errors import Conflict, Unavailable
from models import Status, conversations, from_micros, insights, now_micros, time_or_none
from store import derived
from store.bulk_insert import ManyChanges, ManyRows
from store.derived import priority
from store.histories import history_in, last_lines
from store.insight_row import COLUMNS, InsightRow, to_row
from store.lookup import no_insight
from store.statements import Prepared, among
from tables.people import handling_log

MOST_AT_ONCE = 500
_ENDED_AT_ONCE = 100
_EVENTS_AT_A_TIME = 1000
WROTE_AGAIN = "its author wrote again"


@dataclass(frozen=True, slots=True)
class HandlingEntry:
    """One line of the history. `by` is None where the author's next conversation did it;
    `key_name` is None where no API key was needed."""

    at: datetime
    state: HandlingState
    by: str | None
    key_name: str | None
    until: datetime | None
    note: str | None


@dataclass(frozen=True, slots=True)
class HandlingRecord:
    """`history` is what `last_lines` gives."""

    handling: Handling
    history: Sequence[HandlingEntry]


class Handled(NamedTuple):
    before: Handling
    after: Handling


class HandlingEvent(NamedTuple):
    """`id` is that of the history's line; `handling` is what there is by now."""

    id: int
    conversation_id: str
    handling: Handling


class HandlingStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def change(
        self, conversation_id: str, change: HandlingChange, *, key_name: str, now: int
    ) -> Handling:
        """`now`, when it was asked for, is in microseconds. Raises NotFound, and Conflict where
        there is no insight yet or another one holds it."""
        work = partial(_change_one, conversation_id, change, key_name, now)
        return await self._database.write(work)

    async def find(self, conversation_id: str) -> HandlingRecord:
        """Raises NotFound, and Conflict where there is no insight yet."""
        return await self._database.read(partial(_find, conversation_id))

    async def end_leases(self) -> bool:
        """Put claims and snoozes that have run out back to open, up to `_ENDED_AT_ONCE`; whether
        there were any. Where the database cannot be written they stay as they are."""
        one = {"now": now_micros(), "limit": 1}
        if not await self._database.read(lambda connection: connection.scalar(_RUN_OUT, one)):
            return False
        try:
            return bool(await self._database.write(end_leases))
        except Unavailable:
            return False

    async def newest_event(self) -> int:
        """The id; 0 where there is none yet."""
        return await self._database.read(lambda connection: connection.scalar(_NEWEST) or 0)

    async def events_since(self, id_: int) -> Sequence[HandlingEvent]:
        """Changes after this one, the oldest first; not more than `_EVENTS_AT_A_TIME`."""
        return await self._database.read(partial(_events_since, id_))


# --- changing -------------------------------------------------------------------------------------


def change_many(
    connection: Connection,
    ids: Collection[str],
    change: HandlingChange,
    *,
    key_name: str,
    now: int,
) -> Mapping[str, Handled]:
    """Change the handling of up to `MOST_AT_ONCE` conversations, and tell what it was and is.
    Left out are those that are not completed or gone, and claims of others, whatever is asked."""
    found = _lock(connection, ids)
    wanted = {
        id_: change.handling(now)
        for id_, each in found.items()
        if not change.is_anothers(each.handling, now)
    }
    return _write(connection, found, wanted, _Signature(now, change.by, key_name, change.note))


def put_back_many(
    connection: Connection,
    wanted: Mapping[str, Handled],
    *,
    by: str,
    key_name: str,
    now: int,
    note: str | None = None,
) -> Mapping[str, Handled]:
    """Undo changes of up to `MOST_AT_ONCE` conversations that `wanted` tells. Left out are those
    whose handling is not what such a change had left it at."""
    found = _lock(connection, list(wanted))
    before = {
        id_: wanted[id_].before for id_, each in found.items() if each.handling == wanted[id_].after
    }
    return _write(connection, found, before, _Signature(now, by, key_name, note))


def preview_many(
    connection: Connection, ids: Collection[str], change: HandlingChange, *, now: int
) -> Mapping[str, Handled]:
    """What `change_many` would do; nothing is written."""
    return {
        id_: Handled(each.handling.effective(now), change.handling(now))
        for id_, each in _read(connection, ids).items()
        if not change.is_anothers(each.handling, now)
    }


def held_by_others(
    connection: Connection, ids: Collection[str], change: HandlingChange, *, now: int
) -> set[str]:
    """Those of the conversations that `change_many` would leave alone as claims of others."""
    found = _read(connection, ids)
    return {id_ for id_, each in found.items() if change.is_anothers(each.handling, now)}


def reopen_snoozed(connection: Connection, authors: Collection[str], now: int) -> None:
    """For a transaction that accepts conversations of these authors: what was snoozed of theirs is
    open again."""
    if not authors:
        return
    waiting = [id_ for (id_,) in _SNOOZED.run(connection, {"authors": authors, "now": now})]
    if not waiting:
        return
    _lock_rows(connection, waiting)
    for start in range(0, len(waiting), MOST_AT_ONCE):
        found = _read(connection, waiting[start : start + MOST_AT_ONCE])
        snoozed = {
            id_: OPEN
            for id_, each in found.items()
            if each.handling.effective(now).state is HandlingState.SNOOZED
        }
        _write(connection, found, snoozed, _Signature(now, "", "", WROTE_AGAIN))


def end_leases(connection: Connection) -> int:
    """Put back to open what has run out, the oldest first; how many, `_ENDED_AT_ONCE` at most."""
    now = now_micros()
    ids = connection.scalars(_RUN_OUT, {"now": now, "limit": _ENDED_AT_ONCE}).all()
    found = _lock(connection, ids) if ids else {}
    run_out = {id_: OPEN for id_, each in found.items() if each.handling.effective(now) is OPEN}
    return len(_write(connection, found, run_out))


def run_out_of(connection: Connection, ids: Collection[str], *, now: int) -> set[str]:
    """Those of the conversations whose claim or snooze is over, though it is stored still."""
    return set(connection.scalars(_RUN_OUT_OF, {"ids": list(ids), "now": now}))


def _change_one(
    conversation_id: str, change: HandlingChange, key_name: str, now: int, connection: Connection
) -> Handling:
    found = _lock(connection, [conversation_id]).get(conversation_id)
    if found is None:
        raise no_insight(conversation_id, "can be handled", connection)
    if change.held_by_another(found.handling, now):
        assert found.handling.until is not None
        until = from_micros(found.handling.until)
        raise Conflict(f"claimed by {found.handling.by} until {until:%H:%M} UTC")
    after = change.handling(now)
    signature = _Signature(now, change.by, key_name, change.note)
    _write(connection, {conversation_id: found}, {conversation_id: after}, signature)
    return after


class _Found(NamedTuple):
    row: InsightRow
    handling: Handling
    kept: priority.Kept


def _lock(connection: Connection, ids: Collection[str]) -> dict[str, _Found]:
    """Those that are completed. Their rows of `conversations` are locked, as whoever changes or
    erases an insight locks them."""
    assert len(ids) <= MOST_AT_ONCE
    _lock_rows(connection, ids)
    return _read(connection, ids)


def _lock_rows(connection: Connection, ids: Collection[str]) -> None:
    if connection.dialect.name != "sqlite":  # where nobody else writes
        connection.execute(_LOCK, {"ids": list(ids)})
        derived.take_turn(connection)


def _read(connection: Connection, ids: Collection[str]) -> dict[str, _Found]:
    """In the order of the ids."""
    found = {}
    for id_, by, at, until, *others in connection.execute(_READ, {"ids": list(ids)}):
        of_row, kept = others[: len(COLUMNS)], others[len(COLUMNS) :]
        row = to_row(of_row)
        handling = Handling(HandlingState(row.handling), by, at, until)
        found[id_] = _Found(row, handling, priority.Kept._make(kept))
    return {id_: found[id_] for id_ in ids if id_ in found}


class _Signature(NamedTuple):
    """What the history says of a change beside the state."""

    at: int
    by: str
    key_name: str
    note: str | None


def _write(
    connection: Connection,
    found: Mapping[str, _Found],
    wanted: Mapping[str, Handling],
    signature: _Signature | None = None,
) -> Mapping[str, Handled]:
    """Without a signature nothing goes into the history."""
    if not wanted:
        return {}
    after = {id_: found[id_].row._replace(handling=new.state) for id_, new in wanted.items()}
    weights = priority.read_weights(connection)
    _CHANGE.update(
        connection,
        [
            (row.id, *wanted[id_], priority.key_of(row, found[id_].kept, weights))
            for id_, row in after.items()
        ],
    )
    if signature is not None:
        at, *signed = signature
        by, key_name, note = signed
        _LOG.insert(
            connection,
            [(id_, at, new.state, by, key_name, new.until, note) for id_, new in wanted.items()],
        )
    derived.replace(connection, [found[id_].row for id_ in wanted], list(after.values()))
    return {id_: Handled(found[id_].handling, new) for id_, new in wanted.items()}


_LOCK = (
    select(conversations.c.id)
    .where(
        conversations.c.id.in_(bindparam("ids", expanding=True)),
        conversations.c.status == Status.COMPLETED.value,
    )
    .order_by(conversations.c.id)  # everybody locks in one order
    .with_for_update()
)
_HANDLING = (insights.c.handling_by, insights.c.handling_at, insights.c.handling_until)
_READ = select(
    insights.c.conversation_id,
    *_HANDLING,
    *COLUMNS,
    *priority.KEPT,
).where(insights.c.conversation_id.in_(bindparam("ids", expanding=True)))
_CHANGE = ManyChanges(
    insights, ("handling", "handling_by", "handling_at", "handling_until", "priority")
)
_LOG = ManyRows(handling_log)

_SNOOZED = Prepared(
    select(insights.c.conversation_id)
    .where(
        insights.c.handling == literal_column("'snoozed'"),
        among(insights.c.author, "authors"),
        insights.c.handling_until > bindparam("now"),
    )
    .with_hint(insights, "INDEXED BY idx_insight_snoozed", "sqlite")
)
_HAS_RUN_OUT = insights.c.handling_until <= bindparam("now")
_RUN_OUT = (
    select(insights.c.conversation_id)
    .where(_HAS_RUN_OUT)
    .order_by(insights.c.handling_until)
    .limit(bindparam("limit"))
)
_RUN_OUT_OF = select(insights.c.conversation_id).where(
    insights.c.conversation_id.in_(bindparam("ids", expanding=True)), _HAS_RUN_OUT
)


# --- reading --------------------------------------------------------------------------------------

_HISTORY = history_in(handling_log)
_NEWEST = select(func.max(handling_log.c.id))
_EVENTS = (
    select(handling_log.c.id, insights.c.conversation_id, insights.c.handling, *_HANDLING)
    .join(insights, insights.c.conversation_id == handling_log.c.conversation_id)
    .where(handling_log.c.id > bindparam("id"))
    .order_by(handling_log.c.id)
    .limit(_EVENTS_AT_A_TIME)
)


def _find(conversation_id: str, connection: Connection) -> HandlingRecord:
    found = _read(connection, [conversation_id]).get(conversation_id)
    if found is None:
        raise no_insight(conversation_id, "can be handled", connection)
    lines = last_lines(_HISTORY, conversation_id, connection)
    return HandlingRecord(found.handling.effective(now_micros()), list(map(_entry, lines)))


def _entry(row: Row[*tuple[Any, ...]]) -> HandlingEntry:
    return HandlingEntry(
        from_micros(row.at),
        HandlingState(row.state),
        row.by or None,
        row.key_name or None,
        time_or_none(row.until),
        row.note,
    )


def _events_since(id_: int, connection: Connection) -> Sequence[HandlingEvent]:
    now = now_micros()
    return [
        HandlingEvent(number, conversation_id, Handling(HandlingState(state), *rest).effective(now))
        for number, conversation_id, state, *rest in connection.execute(_EVENTS, {"id": id_})
    ]
