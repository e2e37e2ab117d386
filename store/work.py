"""The queue as the worker sees it: claim, settle, extend, rescue."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, assert_never
from uuid import uuid4

from sqlalchemy import insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from analysis import Analysis, Complete, Fail, Outcome, PutBack, Retry
from database import Database
from group_commit import GroupCommit
from models import Lane, Status, conversations, insight_clusters, insights, now_micros

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
        now = now_micros()
        async with self._database.write() as connection:
            picked = await _pick(connection, Lane.BULK, min(bulk_first, limit), now)
            picked += await _pick(connection, Lane.LIVE, limit - len(picked), now)
            picked += await _pick(connection, Lane.BULK, limit - len(picked), now, but=picked)
            if not picked:
                return []
            token = uuid4().hex
            columns = conversations.c
            result = await connection.execute(
                update(conversations)
                .where(columns.id.in_(picked))
                .values(
                    status=Status.PROCESSING.value,
                    attempts=columns.attempts + 1,
                    lease_token=token,
                    leased_until=now + lease // timedelta(microseconds=1),
                )
                .returning(columns.id, columns.text, columns.lane, columns.attempts)
            )
            rows = {row.id: row for row in result}
        return [
            Claimed(id_, rows[id_].text, Lane(rows[id_].lane), rows[id_].attempts, token)
            for id_ in picked
        ]

    async def settle(self, results: Results) -> set[Claimed]:
        """Carry out what was decided, each for its own row; the claims for which that happened.

        One that is left out had been erased or claimed anew meanwhile: its result is dropped.
        """
        return await self._group_commit.submit(results)

    async def drained(self) -> None:
        """Wait until every result handed in so far is written, or refused."""
        await self._group_commit.drained()

    async def _settle_group(self, group: Sequence[Results]) -> list[set[Claimed]]:
        now = now_micros()
        everything = [result for results in group for result in results]
        async with self._database.write() as connection:
            held = await _held(connection, [claimed for claimed, _ in everything])
            completed: dict[Claimed, Analysis] = {}
            put_back: list[Claimed] = []
            for claimed, outcome in everything:
                if claimed not in held:
                    continue
                match outcome:
                    case Complete(analysis):
                        completed[claimed] = analysis
                    case PutBack():
                        put_back.append(claimed)
                    case Retry(error, delay):
                        due = now + int(delay * 1_000_000)
                        await _end(
                            connection, [claimed], Status.PENDING, last_error=error, not_before=due
                        )
                    case Fail(error):
                        await _end(connection, [claimed], Status.FAILED, last_error=error)
                    case _:
                        assert_never(outcome)
            if put_back:
                attempts = conversations.c.attempts - 1
                await _end(connection, put_back, Status.PENDING, attempts=attempts)
            if completed:
                await _end(connection, completed, Status.COMPLETED, last_error=None)
                await _add_insights(connection, completed, held, now)
        return [held.keys() & {claimed for claimed, _ in results} for results in group]

    async def extend(self, tokens: Collection[str], *, lease: timedelta) -> None:
        """Keep what these claims still hold until `lease` from now."""
        async with self._database.write() as connection:
            await connection.execute(
                update(conversations)
                .where(
                    conversations.c.status == Status.PROCESSING,
                    conversations.c.lease_token.in_(tokens),
                )
                .values(leased_until=now_micros() + lease // timedelta(microseconds=1))
            )

    async def rescue(self, *, all_orphaned: bool = False) -> Rescued:
        """Put back what dead workers left: rows whose lease has run out, or all in processing.

        One that was in flight at its third such death fails instead.
        """
        columns = conversations.c
        orphaned = columns.status == Status.PROCESSING
        if not all_orphaned:
            orphaned &= columns.leased_until < now_micros()
        change = update(conversations).where(orphaned).values(deaths=columns.deaths + 1)
        async with self._database.write() as connection:
            failed = await connection.execute(
                change.where(columns.deaths + 1 >= MAX_DEATHS).values(
                    status=Status.FAILED.value, last_error=DIED, **_NOT_LEASED
                )
            )
            pending = await connection.execute(
                change.values(status=Status.PENDING.value, not_before=0, **_NOT_LEASED)
            )
        return Rescued(back_to_pending=pending.rowcount, failed=failed.rowcount)


async def _pick(
    connection: AsyncConnection, lane: Lane, limit: int, now: int, *, but: Collection[str] = ()
) -> list[str]:
    """Ids of the oldest pending rows of a lane, locked where the database locks rows."""
    if limit <= 0:
        return []
    columns = conversations.c
    statement = (
        select(columns.id)
        .where(columns.status == Status.PENDING, columns.lane == lane, columns.not_before <= now)
        .order_by(columns.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    if but:
        statement = statement.where(columns.id.not_in(but))
    return list(await connection.scalars(statement))


async def _held(connection: AsyncConnection, claimed: Sequence[Claimed]) -> dict[Claimed, _HeldRow]:
    """The fence: those whose row still bears their token. What was erased, rescued or claimed anew
    does not; and until the transaction ends, what does cannot be."""
    columns = conversations.c
    bearing = tuple_(columns.id, columns.lease_token).in_([(one.id, one.token) for one in claimed])
    found = await connection.execute(
        select(columns.id, columns.lease_token, columns.text, columns.author, columns.timestamp)
        .where(columns.status == Status.PROCESSING, bearing)
        .with_for_update()
    )
    rows = {(id_, token): _HeldRow(*row) for id_, token, *row in found}
    return {one: rows[one.id, one.token] for one in claimed if (one.id, one.token) in rows}


async def _end(
    connection: AsyncConnection, claimed: Collection[Claimed], status: Status, **values: Any
) -> None:
    """End claims that are held: a new status, no lease, and `values`."""
    await connection.execute(
        update(conversations)
        .where(conversations.c.id.in_([one.id for one in claimed]))
        .values(status=status.value, **_NOT_LEASED, **values)
    )


async def _add_insights(
    connection: AsyncConnection,
    completed: Mapping[Claimed, Analysis],
    held: Mapping[Claimed, _HeldRow],
    now: int,
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
    columns = insights.c
    inserted = await connection.execute(
        insert(insights).returning(columns.id, columns.conversation_id, columns.timestamp), rows
    )
    clusters = {claimed.id: analysis.clusters for claimed, analysis in completed.items()}
    await connection.execute(
        insert(insight_clusters),
        [
            {"cluster": cluster, "timestamp": timestamp, "insight_id": insight_id}
            for insight_id, conversation_id, timestamp in inserted
            for cluster in clusters[conversation_id]
        ],
    )
