"""Calls in the ledger's table: reserved, settled and read back."""

from functools import partial
from typing import Any

from sqlalchemy import select

from analysis.outcomes import Call, CallOutcome
from database import Database
from models import calls
from store.ledger import (
    CallReceipt,
    Ledger,
    PlannedCall,
    Usage,
    settle_call,
    usage_in_all,
    usage_today,
)

ANSWERED = Call(
    CallOutcome.ANSWERED,
    model="grok-4.3",
    prompt_tokens=700,
    cached_tokens=64,
    completion_tokens=90,
    cost_usd_ticks=40,
    seconds=1.5,
)


async def today(database: Database) -> Usage:
    return await database.read(usage_today)


async def total(database: Database) -> Usage:
    return await database.read(usage_in_all)


async def reserve(ledger: Ledger, highest_cost: int = 100, *, conversations: int = 1) -> int:
    """The id of a call that must fit."""
    planned = PlannedCall("request-1", "grok-4.3", conversations, highest_cost)
    id_ = (await ledger.reserve(planned)).id
    assert id_ is not None
    return id_


async def settle(database: Database, reserved: int, call: Call | None) -> None:
    await database.write(partial(settle_call, CallReceipt(reserved, call)))


async def row_of(database: Database, reserved: int) -> Any:
    statement = select(calls).where(calls.c.id == reserved)
    return await database.read(lambda connection: connection.execute(statement).one())


async def rows(database: Database) -> list[Any]:
    return list(await database.read(lambda connection: connection.execute(select(calls)).all()))
