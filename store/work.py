"""The queue as the worker sees it: claim, settle, extend, rescue."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_never
from uuid import uuid4

from sqlalchemy import insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from analysis import Analysis, Complete, Fail, Outcome, PutBack, Retry
from database import Database
from models import Lane, Status, conversations, insight_clusters, insights, now_micros

MAX_DEATHS = 3
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


class WorkQueue:
    def __init__(self, database: Database) -> None:
        self._database = database

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

    async def settle(self, results: Sequence[tuple[Claimed, Outcome]]) -> set[str]:
        """Carry out what was decided, each for its own row; the ids for which that happened.

        An id that is left out had been erased or claimed anew meanwhile: its result is dropped.
        """
        now = now_micros()
        settled: set[str] = set()
        completed: dict[Claimed, Analysis] = {}
        put_back: list[Claimed] = []
        async with self._database.write() as connection:
            for claimed, outcome in results:
                match outcome:
                    case Complete(analysis):
                        completed[claimed] = analysis
                    case PutBack():
                        put_back.append(claimed)
                    case Retry(error, delay):
                        due = now + int(delay * 1_000_000)
                        settled |= await _change(
                            connection, [claimed], Status.PENDING, last_error=error, not_before=due
                        )
                    case Fail(error):
                        settled |= await _change(
                            connection, [claimed], Status.FAILED, last_error=error
                        )
                    case _:
                        assert_never(outcome)
            settled |= await _put_back(connection, put_back)
            settled |= await _complete(connection, completed, now)
        return settled

    async def release(self, claimed: Sequence[Claimed]) -> None:
        """Back to pending, uncharged."""
        async with self._database.write() as connection:
            await _put_back(connection, claimed)

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


def _still_ours(claimed: Iterable[Claimed]) -> Any:
    """The fence: what was erased, rescued or claimed anew no longer matches."""
    pairs = [(item.id, item.token) for item in claimed]
    columns = conversations.c
    return (columns.status == Status.PROCESSING) & tuple_(columns.id, columns.lease_token).in_(
        pairs
    )


async def _change(
    connection: AsyncConnection, claimed: Sequence[Claimed], status: Status, **values: Any
) -> set[str]:
    """End these claims; the ids for which they were still ours."""
    statement = (
        update(conversations)
        .where(_still_ours(claimed))
        .values(status=status.value, **_NOT_LEASED, **values)
        .returning(conversations.c.id)
    )
    return set(await connection.scalars(statement))


async def _put_back(connection: AsyncConnection, claimed: Sequence[Claimed]) -> set[str]:
    if not claimed:
        return set()
    return await _change(connection, claimed, Status.PENDING, attempts=conversations.c.attempts - 1)


async def _complete(
    connection: AsyncConnection, completed: Mapping[Claimed, Analysis], now: int
) -> set[str]:
    """Status, insight and its clusters, for those that are still ours."""
    if not completed:
        return set()
    columns = conversations.c
    finished = await connection.execute(
        update(conversations)
        .where(_still_ours(completed))
        .values(status=Status.COMPLETED.value, last_error=None, **_NOT_LEASED)
        .returning(columns.id, columns.text, columns.author, columns.timestamp)
    )
    analyses = {claimed.id: analysis for claimed, analysis in completed.items()}
    rows = []
    for id_, text, author, timestamp in finished:
        analysis = analyses[id_]
        rows.append(
            {
                "conversation_id": id_,
                "timestamp": timestamp,
                "text": text,
                "author": author,
                "sentiment_score": analysis.sentiment_score,
                "clusters": list(analysis.clusters),
                "confidence": analysis.confidence,
                "reasoning": analysis.reasoning,
                "grok_analysis": dict(analysis.details),
                "cost_usd_ticks": analysis.cost_usd_ticks,
                "created_at": now,
            }
        )
    if not rows:
        return set()
    inserted = await connection.execute(
        insert(insights).returning(insights.c.id, insights.c.conversation_id, insights.c.timestamp),
        rows,
    )
    await connection.execute(
        insert(insight_clusters),
        [
            {"cluster": cluster, "timestamp": timestamp, "insight_id": insight_id}
            for insight_id, conversation_id, timestamp in inserted
            for cluster in analyses[conversation_id].clusters
        ],
    )
    return {row["conversation_id"] for row in rows}
