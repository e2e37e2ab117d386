"""Conversations that a dead worker left in `processing`."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, case, update

from models import Status, conversations, now_micros

MAX_DEATHS = 3
DIED = "the worker died while analysing this"

NOT_LEASED: dict[str, Any] = {"lease_token": None, "leased_until": None}

_COLUMNS = conversations.c


@dataclass(frozen=True, slots=True)
class Rescued:
    back_to_pending: int
    failed: int


def rescue(all_orphaned: bool, connection: Connection) -> Rescued:
    """Put back rows whose lease has run out, or all that are in processing. One that was in flight
    at its third such death fails instead."""
    orphaned = _COLUMNS.status == Status.PROCESSING
    if not all_orphaned:
        orphaned &= _COLUMNS.leased_until < now_micros()
    # One that was there at two deaths may be their cause, and takes no others with it next time.
    change = (
        update(conversations)
        .where(orphaned)
        .values(
            deaths=_COLUMNS.deaths + 1,
            alone=case((_COLUMNS.deaths > 0, True), else_=_COLUMNS.alone),
        )
    )
    failed = connection.execute(
        change.where(_COLUMNS.deaths + 1 >= MAX_DEATHS).values(
            status=Status.FAILED.value, last_error=DIED, **NOT_LEASED
        )
    )
    pending = connection.execute(
        change.values(status=Status.PENDING.value, not_before=0, **NOT_LEASED)
    )
    return Rescued(back_to_pending=pending.rowcount, failed=failed.rowcount)
