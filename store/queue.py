"""The queue as the worker sees it: claim, settle, extend, rescue."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple, TypeVar, assert_never
from uuid import uuid4

from sqlalchemy import (
    ColumnElement,
    Connection,
    Update,
    and_,
    bindparam,
    literal,
    or_,
    select,
    update,
)

from analysis.outcomes import (
    LONGEST_REQUEUE_SECONDS,
    LONGEST_RETRY_SECONDS,
    Complete,
    Fail,
    Outcome,
    Requeue,
    Retry,
    Sighting,
)
from backends.errors import translated_errors
from backends.group_commit import GroupCommit
from database import Database
from errors import ServiceError
from models import Lane, Status, conversations, now_micros
from runtime.turns import give_back_right_of_way, take_right_of_way
from store.bulk_insert import sent_together
from store.earlier import Earlier, analysed_before, recent_sightings
from store.ledger import CallReceipt, DayUsage, add_usage, completed_at, end_call, settle_call
from store.new_insights import HeldRow, InsightWriter
from store.orphans import NOT_LEASED, SUSPECT, SUSPECT_DEATHS, Rescued, rescue, suspects_wait
from store.rising import RisingTopics
from store.statements import Prepared, among
from store.versions import count_insights

T = TypeVar("T")

_ROWS_PER_COMMIT = 500
NOT_STORED = "the result could not be stored"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A conversation that is ours until its lease runs out.

    `attempts` includes this one. `token` names the claim: a result counts only while the row
    still bears it. `alone`: it must not share a call with others. `timestamp` is the
    conversation's own, in microseconds.
    """

    id: str
    text: str
    lane: Lane
    attempts: int
    token: str
    alone: bool = False
    author: str | None = None
    timestamp: int = 0


class Claim(NamedTuple):
    """`waiting` tells how many were seen to wait in each lane before, counted no further than was
    asked for; a lane that nobody looked at is not in it. `made` is what was made of them in
    the same transaction."""

    items: list[Claimed]
    waiting: Mapping[Lane, int]
    made: Any = None


Results = Sequence[tuple[Claimed, Outcome]]


class Settlement(NamedTuple):
    """What one call brought, or what was answered without one. `not_theirs` are conversations that
    failed before, as it turns out for no fault of theirs: they go back to pending."""

    results: Results
    receipt: CallReceipt | None = None
    not_theirs: Sequence[str] = ()


class Settled(NamedTuple):
    """What became of a settlement. `done` are the claims whose outcome was carried out. `rejected`
    has those whose result the database did not take, with its error: they failed for it. Claims in
    neither had been erased or claimed anew: their results were dropped. `receipt_error` tells why
    the call's receipt was not taken."""

    done: set[Claimed]
    rejected: Mapping[Claimed, Exception]
    receipt_error: Exception | None = None


class WorkQueue:
    def __init__(self, database: Database) -> None:
        self._database = database
        self.writer = InsightWriter()
        self._rising = RisingTopics(database)
        # Calls that end at the same moment share one commit, as posts do.
        self._group_commit = GroupCommit[Settlement, Settled](
            self._settle_group,
            weigh=lambda settlement: max(1, len(settlement.results)),
            max_weight=_ROWS_PER_COMMIT,
        )

    async def claim(
        self,
        lanes: Sequence[Lane],
        *,
        look: int,
        take: Callable[[int], int],
        lease: timedelta,
        then: Callable[[list[Claimed], Connection], Any] | None = None,
        durable: bool = False,
    ) -> Claim:
        """Take the oldest pending conversations of the first of `lanes` that has any, suspects
        left out.

        Counts up to `look` waiting ones, and takes as many as `take` makes of that number. They are
        ours until `lease` from now; each has one attempt charged. Several processes never get the
        same row.

        `then` is called with what was taken, in the same transaction. Where that is not `durable`
        a power cut may undo it on SQLite while nothing has come of it: what a call reserves has to
        be on the disk before the call leaves, and with that are the claims before it.
        """

        def work(connection: Connection) -> Claim:
            items, waiting = _claim(lanes, look, take, lease, connection)
            made = then(items, connection) if then is not None and items else None
            return Claim(items, waiting, made)

        right_of_way = take_right_of_way()
        claim = await self._database.write(work, durable=durable)
        if not claim.items:
            give_back_right_of_way(right_of_way)
        return claim

    async def claim_suspect(self, *, lease: timedelta) -> tuple[Claimed | None, bool]:
        """Take the oldest conversation that was in flight at two deaths, which `claim` leaves out:
        None where none is to be had now. And whether more of them wait."""
        return await self._database.write(partial(_claim_suspect, lease))

    async def settle(
        self,
        results: Results,
        receipt: CallReceipt | None = None,
        not_theirs: Sequence[str] = (),
    ) -> Settled:
        """Carry out what was decided, each for its own row, in one transaction with what the call
        cost that `receipt` names, whatever becomes of the rows.

        A result or a receipt that the database rejects fails no other, and its conversation with
        `NOT_STORED`.
        """
        return await self._group_commit.submit(Settlement(results, receipt, not_theirs))

    async def drained(self) -> None:
        """Wait until every result handed in so far is written, or refused."""
        await self._group_commit.drained()

    async def _settle_group(self, group: Sequence[Settlement]) -> list[Settled]:
        self.writer.rising = await self._rising.names()
        right_of_way = take_right_of_way()
        try:
            settle = partial(_settle, group, self.writer, False)
            return await self._database.write(settle, preemptible=True)
        except ServiceError:
            raise
        except Exception:  # one row that the database rejects does not fail the others
            return await self._database.write(partial(_settle, group, self.writer, True))
        finally:
            give_back_right_of_way(right_of_way)

    async def analysed_before(
        self, fingerprints: Collection[str], *, within: timedelta
    ) -> Mapping[str, Earlier]:
        """The newest analysis of each fingerprint that has one, not older than `within`."""
        return await self._database.read(partial(analysed_before, fingerprints, within))

    async def recent_sightings(self, limit: int) -> list[Sighting]:
        """The clusters of the newest analyses, oldest first: those of their own, of texts that
        are not suspected of anything, among the newest `limit` insights. Before them, for the
        names that are most frequent there, what shows who else used them and on which other days.
        """
        return await self._database.read(partial(recent_sightings, limit))

    async def extend(self, tokens: Collection[str], *, lease: timedelta) -> None:
        """Keep what these claims still hold until `lease` from now."""
        statement = (
            update(conversations)
            .where(
                conversations.c.status == Status.PROCESSING,
                conversations.c.lease_token.in_(tokens),
            )
            .values(leased_until=now_micros() + _micros(lease))
        )
        await self._database.write(lambda connection: connection.execute(statement).rowcount)

    async def rescue(self, *, all_orphaned: bool = False) -> Rescued:
        """Put back what dead workers left: rows whose lease has run out, or all in processing.

        One that was in flight at its third such death, then alone, fails instead.
        """
        return await self._database.write(partial(rescue, all_orphaned))


def _micros(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)


_COLUMNS = conversations.c


def _later_than(seconds: float) -> ColumnElement[bool]:
    longest = literal(round(seconds * 1_000_000), _COLUMNS.not_before.type)
    return _COLUMNS.not_before - longest > bindparam("now")


_DUE = or_(
    _COLUMNS.not_before <= bindparam("now"),
    # No outcome asks for so long a wait: a clock that was ahead has planned it. Only a retry has
    # an error.
    _later_than(LONGEST_REQUEUE_SECONDS),
    and_(_COLUMNS.last_error.is_not(None), _later_than(LONGEST_RETRY_SECONDS)),
)

_PICK = Prepared(
    select(_COLUMNS.id)
    .where(
        _COLUMNS.status == Status.PENDING,
        _COLUMNS.lane == bindparam("lane"),
        _DUE,
        _COLUMNS.deaths < SUSPECT_DEATHS,
    )
    .order_by(_COLUMNS.created_at)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
"""Ids of the oldest pending rows of a lane, locked where the database locks rows."""

_CLAIM = Prepared(
    update(conversations)
    .where(among(_COLUMNS.id, "ids"))
    .values(
        status=Status.PROCESSING.value,
        attempts=_COLUMNS.attempts + 1,
        lease_token=bindparam("token"),
        leased_until=bindparam("until"),
    )
    .returning(
        _COLUMNS.id,
        _COLUMNS.text,
        _COLUMNS.lane,
        _COLUMNS.attempts,
        _COLUMNS.alone,
        _COLUMNS.author,
        _COLUMNS.timestamp,
    )
)

_HELD = Prepared(
    select(_COLUMNS.id, _COLUMNS.lease_token, *(_COLUMNS[name] for name in HeldRow._fields))
    .where(among(_COLUMNS.id, "ids"), among(_COLUMNS.lease_token, "tokens"))
    .with_for_update()
)
"""The fence: those whose row still bears their token, which only one in processing does. What was
erased, rescued or claimed anew does not; and until the transaction ends, what does cannot be."""


def _ending(status: Status, **values: Any) -> Update:
    """A new status, no lease, and `values`."""
    return (
        update(conversations)
        .where(_COLUMNS.id.in_(bindparam("ids", expanding=True)))
        .values(status=status.value, **NOT_LEASED, **values)
    )


_COMPLETE = Prepared(
    update(conversations)
    .where(among(_COLUMNS.id, "ids"))
    .values(status=Status.COMPLETED.value, **NOT_LEASED, last_error=None)
)
_REQUEUE = _ending(Status.PENDING, attempts=_COLUMNS.attempts - 1)
_REOPEN = _ending(Status.PENDING, attempts=_COLUMNS.attempts - 1, last_error=None).where(
    _COLUMNS.status == Status.FAILED
)


def _claim(
    lanes: Sequence[Lane],
    look: int,
    take: Callable[[int], int],
    lease: timedelta,
    connection: Connection,
) -> tuple[list[Claimed], Mapping[Lane, int]]:
    now = now_micros()
    waiting: dict[Lane, int] = {}
    picked: Sequence[str] = []
    for lane in lanes:
        # Once there is something to do, all that matters of the other lane is whether it is empty.
        values = {"lane": lane.value, "now": now, "limit": 1 if picked else look}
        found = [id_ for (id_,) in _PICK.run(connection, values)]
        waiting[lane] = len(found)
        picked = picked or found[: take(len(found))]
    return _take(picked, now + _micros(lease), connection) if picked else [], waiting


def _claim_suspect(lease: timedelta, connection: Connection) -> tuple[Claimed | None, bool]:
    now = now_micros()
    picked = connection.scalars(SUSPECT.where(_DUE), {"now": now}).all()
    items = _take(picked, now + _micros(lease), connection) if picked else [None]
    return items[0], suspects_wait(connection)


def _take(picked: Sequence[str], until: int, connection: Connection) -> list[Claimed]:
    token = uuid4().hex
    claimed = _CLAIM.run(connection, {"ids": picked, "token": token, "until": until})
    items = {
        id_: Claimed(id_, text, Lane(lane), attempts, token, bool(alone), *rest)
        for id_, text, lane, attempts, alone, *rest in claimed
    }
    return [items[id_] for id_ in picked]


def _settle(
    group: Sequence[Settlement], writer: InsightWriter, one_by_one: bool, connection: Connection
) -> list[Settled]:
    """With `one_by_one` each result and receipt has a savepoint, and so its own error. Without it
    all this may be rolled back and done again: nothing that it calls may keep what it has written
    anywhere but in the database."""
    now = now_micros()
    results = [result for settlement in group for result in settlement.results]
    not_theirs = [id_ for settlement in group for id_ in settlement.not_theirs]
    done: dict[Claimed, Outcome] = {}
    rejected: dict[Claimed, Exception] = {}
    receipts = [settlement.receipt for settlement in group if settlement.receipt is not None]
    receipt_errors: dict[int, Exception] = {}
    used: list[DayUsage] = []
    if one_by_one:
        for claimed, outcome in results:
            settled = _try(_end_claims, [(claimed, outcome)], writer, now, connection)
            if isinstance(settled, Exception):
                if _end_claims([(claimed, Fail(NOT_STORED))], writer, now, connection):
                    rejected[claimed] = settled
            else:
                done |= settled
        for receipt in receipts:
            if error := _try(settle_call, receipt, connection):
                receipt_errors[receipt.id] = error
    else:
        used = [each for receipt in receipts for each in end_call(receipt, connection)]
    # From the first insight that is written until the end all others wait for their turn.
    with sent_together(connection):
        if not one_by_one:
            done = _end_claims(results, writer, now, connection)
        if not_theirs:
            connection.execute(_REOPEN, {"ids": not_theirs})
        completed = [outcome for outcome in done.values() if isinstance(outcome, Complete)]
        if completed:
            reused = sum("reused_from" in outcome.notes for outcome in completed)
            used.append(completed_at(now, conversations=len(completed), reused=reused))
            count_insights(writer.version, len(completed), now, connection)
        add_usage(used, connection)
    return [
        Settled(
            {claimed for claimed, _ in results if claimed in done},
            {claimed: rejected[claimed] for claimed, _ in results if claimed in rejected},
            None if receipt is None else receipt_errors.get(receipt.id),
        )
        for results, receipt, _ in group
    ]


def _try(work: Callable[..., T], *arguments: Any) -> T | Exception:
    """What `work` gives in a savepoint, or its error where that is the data's. Its last argument
    is the connection. Raises Unavailable."""
    connection: Connection = arguments[-1]
    try:
        with translated_errors(), connection.begin_nested():
            return work(*arguments)
    except ServiceError:
        raise
    except Exception as error:
        return error


def _end_claims(
    results: Results, writer: InsightWriter, now: int, connection: Connection
) -> dict[Claimed, Outcome]:
    """Carry out the outcomes whose claim still holds, and return these."""
    held = _held([claimed for claimed, _ in results], connection)
    done = {claimed: outcome for claimed, outcome in results if claimed in held}
    completed: dict[Claimed, Complete] = {}
    requeued: list[Claimed] = []
    for claimed, outcome in done.items():
        match outcome:
            case Complete():
                completed[claimed] = outcome
            case Requeue(delay) if delay:
                due = now + int(delay * 1_000_000)
                _end([claimed], _REQUEUE.values(not_before=due, last_error=None), connection)
            case Requeue():
                requeued.append(claimed)
            case Retry(error, delay, alone):
                due = now + int(delay * 1_000_000)
                kept = {"alone": True} if alone else {}
                retry = _ending(Status.PENDING, last_error=error, not_before=due, **kept)
                _end([claimed], retry, connection)
            case Fail(error):
                _end([claimed], _ending(Status.FAILED, last_error=error), connection)
            case _:
                assert_never(outcome)
    if requeued:
        _end(requeued, _REQUEUE, connection)
    if completed:
        _COMPLETE.run(connection, {"ids": [one.id for one in completed]})
        writer.add(
            {one.id: (held[one], outcome) for one, outcome in completed.items()}, now, connection
        )
    return done


def _held(claimed: Sequence[Claimed], connection: Connection) -> dict[Claimed, HeldRow]:
    named = {"ids": [one.id for one in claimed], "tokens": {one.token for one in claimed}}
    rows = {(id_, token): HeldRow(*row) for id_, token, *row in _HELD.run(connection, named)}
    return {one: rows[one.id, one.token] for one in claimed if (one.id, one.token) in rows}


def _end(claimed: Collection[Claimed], ending: Update, connection: Connection) -> None:
    """End claims that `_held` found in this transaction."""
    connection.execute(ending, {"ids": [one.id for one in claimed]})
