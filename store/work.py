"""The queue as the worker sees it: claim, settle, extend, rescue."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple, assert_never
from uuid import uuid4

from sqlalchemy import Connection, bindparam, insert, select, tuple_, update

from analysis import Analysis, Complete, Fail, Outcome, PutBack, Retry
from database import Database
from group_commit import GroupCommit
from models import Lane, Status, conversations, insights, now_micros
from store import derived
from store.rows import InsightRow

MAX_DEATHS = 3
_ROWS_PER_COMMIT = 500
DIED = "the worker died while analysing this"

_NOT_LEASED: dict[str, Any] = {"lease_token": None, "leased_until": None}


@dataclass(frozen=True, slots=True)
class Claimed:
    """A conversation that is ours until its lease runs out.

    `attempts` includes this one. `token` names the claim: a result counts only while the row
    still bears it.
    """

    id: str
    text: str
    lane: Lane
    attempts: int
    token: str


@dataclass(frozen=True, slots=True)
class Rescued:
    back_to_pending: int
    failed: int


class _HeldRow(NamedTuple):
    """What the row of a claim that is still ours passes on to its insight."""

    text: str
    author: str | None
    timestamp: int


Results = Sequence[tuple[Claimed, Outcome]]


class WorkQueue:
    def __init__(self, database: Database) -> None:
        self._database = database
        # Calls that end at the same moment share one commit, as posts do.
        self._group_commit = GroupCommit[Results, set[Claimed]](
            self._settle_group, weigh=len, max_weight=_ROWS_PER_COMMIT
        )

    async def claim(self, limit: int, *, bulk_first: int, lease: timedelta) -> list[Claimed]:
        """Take up to `limit` pending conversations: live before bulk, then oldest first.

        Up to `bulk_first` of them come from the bulk lane before any live one. They are ours until
        `lease` from now; each has one attempt charged. Several processes never get the same row.
        """
        return await self._database.write(partial(_claim, limit, bulk_first, lease))

    async def settle(self, results: Results) -> set[Claimed]:
        """Carry out what was decided, each for its own row; the claims for which that happened.

        One that is left out had been erased or claimed anew meanwhile: its result is dropped.
        """
        return await self._group_commit.submit(results)

    async def drained(self) -> None:
        """Wait until every result handed in so far is written, or refused."""
        await self._group_commit.drained()

    async def _settle_group(self, group: Sequence[Results]) -> list[set[Claimed]]:
        everything = [result for results in group for result in results]
        held = await self._database.write(partial(_settle, everything))
        return [held & {claimed for claimed, _ in results} for results in group]

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

        One that was in flight at its third such death fails instead.
        """
        return await self._database.write(partial(_rescue, all_orphaned))


def _micros(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)


_COLUMNS = conversations.c

_PICK = (
    select(_COLUMNS.id)
    .where(
        _COLUMNS.status == Status.PENDING,
        _COLUMNS.lane == bindparam("lane"),
        _COLUMNS.not_before <= bindparam("now"),
    )
    .order_by(_COLUMNS.created_at)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
"""Ids of the oldest pending rows of a lane, locked where the database locks rows."""

_CLAIM = (
    update(conversations)
    .where(_COLUMNS.id.in_(bindparam("ids", expanding=True)))
    .values(
        status=Status.PROCESSING.value,
        attempts=_COLUMNS.attempts + 1,
        lease_token=bindparam("token"),
        leased_until=bindparam("until"),
    )
    .returning(_COLUMNS.id, _COLUMNS.text, _COLUMNS.lane, _COLUMNS.attempts)
)

_HELD = (
    select(_COLUMNS.id, _COLUMNS.lease_token, _COLUMNS.text, _COLUMNS.author, _COLUMNS.timestamp)
    .where(
        _COLUMNS.status == Status.PROCESSING,
        tuple_(_COLUMNS.id, _COLUMNS.lease_token).in_(bindparam("claims", expanding=True)),
    )
    .with_for_update()
)
"""The fence: those whose row still bears their token. What was erased, rescued or claimed anew does
not; and until the transaction ends, what does cannot be."""

_ADD_INSIGHTS = insert(insights).returning(insights.c.id, insights.c.conversation_id)


def _claim(limit: int, bulk_first: int, lease: timedelta, connection: Connection) -> list[Claimed]:
    now = now_micros()

    def pick(lane: Lane, count: int) -> Sequence[str]:
        if count <= 0:
            return []
        return connection.scalars(_PICK, {"lane": lane.value, "now": now, "limit": count}).all()

    bulk = pick(Lane.BULK, min(bulk_first, limit))
    live = pick(Lane.LIVE, limit - len(bulk))
    if (short := limit - len(bulk) - len(live)) > 0:
        bulk = pick(Lane.BULK, len(bulk) + short)  # those picked before are among them
    picked = [*live, *bulk]
    if not picked:
        return []
    token = uuid4().hex
    claimed = connection.execute(
        _CLAIM, {"ids": picked, "token": token, "until": now + _micros(lease)}
    )
    rows = {row.id: row for row in claimed}
    return [
        Claimed(id_, rows[id_].text, Lane(rows[id_].lane), rows[id_].attempts, token)
        for id_ in picked
    ]


def _settle(results: Results, connection: Connection) -> set[Claimed]:
    now = now_micros()
    held = _held([claimed for claimed, _ in results], connection)
    completed: dict[Claimed, Analysis] = {}
    put_back: list[Claimed] = []
    for claimed, outcome in results:
        if claimed not in held:
            continue
        match outcome:
            case Complete(analysis):
                completed[claimed] = analysis
            case PutBack():
                put_back.append(claimed)
            case Retry(error, delay):
                due = now + int(delay * 1_000_000)
                _end([claimed], Status.PENDING, connection, last_error=error, not_before=due)
            case Fail(error):
                _end([claimed], Status.FAILED, connection, last_error=error)
            case _:
                assert_never(outcome)
    if put_back:
        _end(put_back, Status.PENDING, connection, attempts=_COLUMNS.attempts - 1)
    if completed:
        _end(completed, Status.COMPLETED, connection, last_error=None)
        _add_insights(completed, held, now, connection)
    return set(held)


def _held(claimed: Sequence[Claimed], connection: Connection) -> dict[Claimed, _HeldRow]:
    found = connection.execute(_HELD, {"claims": [(one.id, one.token) for one in claimed]})
    rows = {(id_, token): _HeldRow(*row) for id_, token, *row in found}
    return {one: rows[one.id, one.token] for one in claimed if (one.id, one.token) in rows}


def _end(
    claimed: Collection[Claimed], status: Status, connection: Connection, **values: Any
) -> None:
    """End claims that `_held` found in this transaction: a new status, no lease, and `values`."""
    connection.execute(
        update(conversations)
        .where(_COLUMNS.id.in_([one.id for one in claimed]))
        .values(status=status.value, **_NOT_LEASED, **values)
    )


def _add_insights(
    completed: Mapping[Claimed, Analysis],
    held: Mapping[Claimed, _HeldRow],
    now: int,
    connection: Connection,
) -> None:
    rows = [
        {
            "conversation_id": claimed.id,
            **held[claimed]._asdict(),
            "sentiment_score": analysis.sentiment_score,
            "clusters": list(analysis.clusters),
            "confidence": analysis.confidence,
            "reasoning": analysis.reasoning,
            "grok_analysis": dict(analysis.details),
            "cost_usd_ticks": analysis.cost_usd_ticks,
            "created_at": now,
        }
        for claimed, analysis in completed.items()
    ]
    derived.take_turn(connection)
    ids = {id_: insight_id for insight_id, id_ in connection.execute(_ADD_INSIGHTS, rows)}
    added = [
        InsightRow(
            id=ids[claimed.id],
            timestamp=held[claimed].timestamp,
            text=held[claimed].text,
            sentiment_score=analysis.sentiment_score,
            confidence=analysis.confidence,
            clusters=analysis.clusters,
            lane=claimed.lane.value,
        )
        for claimed, analysis in completed.items()
    ]
    derived.add(connection, added)


def _rescue(all_orphaned: bool, connection: Connection) -> Rescued:
    orphaned = _COLUMNS.status == Status.PROCESSING
    if not all_orphaned:
        orphaned &= _COLUMNS.leased_until < now_micros()
    change = update(conversations).where(orphaned).values(deaths=_COLUMNS.deaths + 1)
    failed = connection.execute(
        change.where(_COLUMNS.deaths + 1 >= MAX_DEATHS).values(
            status=Status.FAILED.value, last_error=DIED, **_NOT_LEASED
        )
    )
    pending = connection.execute(
        change.values(status=Status.PENDING.value, not_before=0, **_NOT_LEASED)
    )
    return Rescued(back_to_pending=pending.rowcount, failed=failed.rowcount)
