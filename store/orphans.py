"""Conversations that a dead worker left in `processing`, and those suspected of its death."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, literal_column, select, update

from models import Status, conversations, now_micros

SUSPECT_DEATHS = 2
"""What was in flight at so many deaths may be their cause: it is tried with nothing beside it."""
DIED = "the worker died while analysing this"

NOT_LEASED: dict[str, Any] = {"lease_token": None, "leased_until": None}

_COLUMNS = conversations.c

# Word for word as in the index.
_PENDING_SUSPECT: tuple[ColumnElement[bool], ...] = (
    _COLUMNS.status == literal_column("'pending'"),
    _COLUMNS.deaths >= literal_column(str(SUSPECT_DEATHS)),
)
SUSPECT = (
    select(_COLUMNS.id)
    .where(*_PENDING_SUSPECT)
    .order_by(_COLUMNS.created_at)
    .limit(1)
    .with_for_update(skip_locked=True)
)
"""The id of the oldest pending suspect that no other process is taking."""
_ANY_SUSPECT = select(exists().where(*_PENDING_SUSPECT))


@dataclass(frozen=True, slots=True)
class Rescued:
    """`suspects`: whether any waits to be tried, of this rescue or an earlier one."""

    back_to_pending: int
    failed: int
    suspects: bool = False


def rescue(all_orphaned: bool, connection: Connection) -> Rescued:
    """Put back rows whose lease has run out, or all that are in processing. A suspect was the only
    one in flight: it fails instead."""
    orphaned = _COLUMNS.status == Status.PROCESSING
    if not all_orphaned:
        orphaned &= _COLUMNS.leased_until < now_micros()
    change = update(conversations).where(orphaned).values(deaths=_COLUMNS.deaths + 1)
    failed = connection.execute(
        change.where(_COLUMNS.deaths >= SUSPECT_DEATHS).values(
            status=Status.FAILED.value, last_error=DIED, **NOT_LEASED
        )
    )
    pending = connection.execute(
        change.values(status=Status.PENDING.value, not_before=0, **NOT_LEASED)
    )
    return Rescued(pending.rowcount, failed.rowcount, suspects_wait(connection))


def suspects_wait(connection: Connection) -> bool:
    return bool(connection.scalar(_ANY_SUSPECT))
