"""The service with one bug planted into it, for uvicorn: `TORTURE_PLANT` names the bug.

    TORTURE_PLANT=no_fence uvicorn tools.torture.planted:app

A torture that does not notice these would not notice them in earnest either. Nothing but this
module reads the variable, and nothing imports this module.
"""

import asyncio
import os
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, select

import main
from analysis.messages import Message
from backends import sqlite, sqlite_engine
from backends.sqlite_driver import begin_writing
from models import Status, conversations
from store import alert_changes, derived, queue
from store.alert_singles import SingleStore
from store.ledger import settle_call
from store.new_insights import HeldRow
from store.outbox import enqueue
from store.queue import Claimed, Settled, Settlement, WorkQueue

T = TypeVar("T")

_GAP_SECONDS = 0.05
"""Between two transactions that ought to be one: wide enough for a death to fall into it."""


def synchronous_normal() -> None:
    """A commit is on the disk at the next checkpoint only."""
    sqlite.DURABLE = sqlite_engine.NOT_DURABLE  # type: ignore[attr-defined]
    sqlite_engine._PRAGMAS = (*sqlite_engine._PRAGMAS, sqlite_engine.NOT_DURABLE)


def answered_before_the_commit() -> None:
    """Whoever writes is told so a moment before it is true."""

    def in_transaction(
        self: Any, work: Callable[[Connection], T], deadline: float, durable: bool = True
    ) -> T:
        _commit(self)
        if self._connection is None:
            self._connection = self._writer.connect()
        transaction = self._connection.begin()
        try:
            begin_writing(self._connection, deadline)
            result = work(self._connection)
        except BaseException:
            transaction.rollback()
            raise
        self.uncommitted = transaction
        with suppress(RuntimeError):  # at the end of the service nothing new can be handed in
            self._thread.submit(_commit_later, self)
        return result

    sqlite.SqliteFile._in_transaction = in_transaction  # type: ignore[method-assign]


def _commit_later(file: Any) -> None:
    time.sleep(_GAP_SECONDS)
    _commit(file)


def _commit(file: Any) -> None:
    transaction, file.uncommitted = getattr(file, "uncommitted", None), None
    if transaction is not None:
        transaction.commit()


def no_fence() -> None:
    """A result counts whoever has the conversation by now."""
    columns = conversations.c
    statement = select(columns.id, *(columns[name] for name in HeldRow._fields)).where(
        columns.id.in_(bindparam("ids", expanding=True))
    )

    def held(claimed: Sequence[Claimed], connection: Connection) -> dict[Claimed, HeldRow]:
        found = connection.execute(statement, {"ids": [one.id for one in claimed]})
        rows = {id_: HeldRow(*row) for id_, *row in found}
        return {one: rows[one.id] for one in claimed if one.id in rows}

    queue._held = held


def rescue_by_age() -> None:
    """What a dead process had in hand waits until its lease has run out."""
    rescue = WorkQueue.rescue

    async def only_old(self: WorkQueue, *, all_orphaned: bool = False) -> Any:
        return await rescue(self)

    WorkQueue.rescue = only_old  # type: ignore[method-assign]


def charged_for_waiting() -> None:
    """A claim that only waited for a rate costs an attempt."""
    queue._REQUEUE = queue._ending(Status.PENDING)


def ledger_apart() -> None:
    """A call is settled after its results, in a transaction of its own."""
    settle_group = WorkQueue._settle_group

    async def apart(self: WorkQueue, group: Sequence[Settlement]) -> list[Settled]:
        settled = await settle_group(self, [each._replace(receipt=None) for each in group])
        await asyncio.sleep(_GAP_SECONDS)
        for receipt in (each.receipt for each in group if each.receipt is not None):
            await self._database.write(partial(settle_call, receipt))
        return settled

    WorkQueue._settle_group = apart  # type: ignore[method-assign]


def rollups_apart() -> None:
    """Insights are counted after they are written, in a transaction of their own."""
    settle_group, add = WorkQueue._settle_group, derived.add
    uncounted: list[tuple[Any, ...]] = []

    def keep(_connection: Connection, *arguments: Any) -> None:
        uncounted.append(arguments)

    async def apart(self: WorkQueue, group: Sequence[Settlement]) -> list[Settled]:
        settled = await settle_group(self, group)
        await asyncio.sleep(_GAP_SECONDS)
        while uncounted:
            arguments = uncounted.pop()
            await self._database.write(partial(_call, add, arguments))
        return settled

    derived.add = keep  # type: ignore[assignment]
    WorkQueue._settle_group = apart  # type: ignore[method-assign]


def outbox_apart() -> None:
    """What is told of an alert is written after it, in a transaction of its own."""
    judge = SingleStore.judge
    unwritten: list[tuple[Any, ...]] = []

    def keep(_connection: Connection, message: Message, *, endpoints: Collection[str]) -> list[str]:
        unwritten.append((message, list(endpoints)))
        return []

    async def apart(self: SingleStore, **options: Any) -> int:
        messages = await judge(self, **options)
        await asyncio.sleep(_GAP_SECONDS)
        while unwritten:
            message, ids = unwritten.pop()
            await self._database.write(partial(enqueue, message=message, endpoints=ids))
            messages += 1
        return messages

    alert_changes.enqueue = keep  # type: ignore[attr-defined, assignment]
    SingleStore.judge = apart  # type: ignore[method-assign]


def _call(work: Callable[..., None], arguments: tuple[Any, ...], connection: Connection) -> None:
    work(connection, *arguments)


PLANTS: dict[str, Callable[[], None]] = {
    plant.__name__: plant
    for plant in (
        synchronous_normal,
        answered_before_the_commit,
        no_fence,
        rescue_by_age,
        charged_for_waiting,
        ledger_apart,
        rollups_apart,
        outbox_apart,
    )
}


def __getattr__(name: str) -> Any:
    if name == "app":
        PLANTS[os.environ["TORTURE_PLANT"]]()
        return main.app
    raise AttributeError(name)
