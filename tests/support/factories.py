"""Values for tests, each with defaults for all that the test does not speak of."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Executable, insert, text
from sqlalchemy.util import await_only

from analysis.outcomes import Analysis, Complete
from database import Database
from models import Lane, Status, conversations, insights, now_micros, to_micros
from store import derived
from store.conversations import ConversationStore, NewConversation
from store.filters import InsightFilter
from store.insight_row import InsightRow
from store.queue import Claimed, WorkQueue

NOON = datetime(2025, 1, 20, 12, tzinfo=UTC)
"""The time that examples revolve around."""

LEASE = timedelta(seconds=30)
RUN_OUT = timedelta(seconds=-1)
"""A lease that has run out when it is given."""


def new_conversation(text: str = "The parcel has not arrived", **overrides: Any) -> NewConversation:
    return NewConversation(text, **overrides)


def new_conversations(count: int, **overrides: Any) -> list[NewConversation]:
    return [new_conversation(f"text {number}", **overrides) for number in range(count)]


def keyed_conversation(
    key: str = "key-1", body_hash: str = "0" * 64, **overrides: Any
) -> NewConversation:
    return new_conversation(idempotency_key=key, body_hash=body_hash, **overrides)


def analysis(sentiment_score: float = -0.65, **overrides: Any) -> Analysis:
    defaults: dict[str, Any] = {
        "clusters": ("delivery_problems",),
        "confidence": 0.9,
        "reasoning": "It is late.",
        "details": {"model": "test"},
    }
    return Analysis(sentiment_score, **{**defaults, **overrides})


def insight_filter(**overrides: Any) -> InsightFilter:
    """A week to either side of `NOON`, and whatever is named."""
    week = timedelta(days=7)
    return InsightFilter(**{"start_time": NOON - week, "end_time": NOON + week, **overrides})


async def accept(
    database: Database,
    item: NewConversation | str = "The parcel has not arrived",
    *,
    lane: Lane = Lane.LIVE,
) -> str:
    """Store one conversation; its id."""
    if isinstance(item, str):
        item = new_conversation(item)
    (id_,) = await ConversationStore(database).accept([item], lane=lane)
    return id_


async def claim_all(
    database: Database, *, limit: int = 1000, lease: timedelta = LEASE
) -> list[Claimed]:
    """The live lane's first, then the bulk lane's."""
    return [
        item
        for lane in Lane
        for item in await claim_some(database, lanes=[lane], limit=limit, lease=lease)
    ]


async def claim_some(
    database: Database,
    *,
    limit: int,
    lanes: Sequence[Lane] = (Lane.LIVE, Lane.BULK),
    lease: timedelta = LEASE,
) -> list[Claimed]:
    """Up to `limit` of the first of the lanes that has any."""
    claim = await WorkQueue(database).claim(
        lanes, look=limit, take=lambda waiting: waiting, lease=lease
    )
    return claim.items


async def claim_one(database: Database, *, lease: timedelta = LEASE) -> Claimed:
    """Claim the only conversation that is pending."""
    (claimed,) = await claim_all(database, lease=lease)
    return claimed


async def complete(database: Database, *items: NewConversation, **result: Any) -> list[str]:
    """Store conversations and bring each to an insight, as accept, claim and settle do; the ids."""
    ids = await ConversationStore(database).accept(items, lane=Lane.LIVE)
    claimed = [item for item in await claim_all(database) if item.id in ids]
    await WorkQueue(database).settle([(item, Complete(analysis(**result))) for item in claimed])
    return ids


_numbers = iter(range(2**31))


async def insert_insight(database: Database, **overrides: Any) -> str:
    """One completed conversation with its insight, written straight into the tables; its id."""
    (id_,) = await insert_insights(database, [overrides])
    return id_


async def insert_insights(database: Database, rows: Sequence[dict[str, Any]]) -> list[str]:
    """As `insert_insight`, for many; `timestamp` and `created_at` may be datetimes."""
    listed = []
    for row in rows:
        whole = {
            "conversation_id": f"conv_{next(_numbers):08x}",
            "timestamp": NOON,
            "text": "The parcel has not arrived",
            "author": None,
            "sentiment_score": -0.65,
            "clusters": ["delivery_problems"],
            "confidence": 0.9,
            "reasoning": "It is late.",
            "grok_analysis": {},
            "created_at": now_micros(),
            "own": 0,
            **row,
        }
        for name in ("timestamp", "created_at"):
            if isinstance(whole[name], datetime):
                whole[name] = to_micros(whole[name])
        listed.append(whole)

    def work(connection: Connection) -> None:
        connection.execute(
            insert(conversations),
            [
                {
                    "id": row["conversation_id"],
                    "text": row["text"],
                    "author": row["author"],
                    "timestamp": row["timestamp"],
                    "status": Status.COMPLETED.value,
                    "created_at": row["created_at"],
                    "lane": Lane.LIVE.value,
                    "attempts": 1,
                    "own": row["own"],
                }
                for row in listed
            ],
        )
        inserted = connection.execute(
            insert(insights).returning(insights.c.id, insights.c.conversation_id), listed
        )
        ids = {conversation_id: id_ for id_, conversation_id in inserted}
        for row in listed:
            row["id"] = ids[row["conversation_id"]]
        derived.add(
            connection,
            [
                InsightRow(**{name: row[name] for name in InsightRow._fields if name in row})
                for row in listed
            ],
        )

    await database.write(work)
    return [row["conversation_id"] for row in listed]


async def scalar(database: Database, statement: Executable) -> Any:
    """The first column of the first row that a statement finds."""
    return await database.read(lambda connection: connection.scalar(statement))


async def is_known_to_the_planner(url: str) -> bool:
    """Whether PostgreSQL has looked at what is in the insights."""
    async with Database(url) as database:
        figures = text("SELECT count(*) FROM pg_stats WHERE tablename = 'insights'")
        found = await scalar(database, figures)
    return bool(found)


@asynccontextmanager
async def of_another_process(database: Database) -> AsyncIterator[Database]:
    """The database as another process has it open; on SQLite, where none can, the same again."""
    if database.is_sqlite:
        yield database
        return
    async with Database(database.url.render_as_string(hide_password=False)) as other:
        yield other


@asynccontextmanager
async def open_read(database: Database, statement: Executable) -> AsyncIterator[asyncio.Task[Any]]:
    """While this is entered a read is under way, which asks before and after; both answers."""
    loop, begun, over = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def work(connection: Connection) -> list[Any]:
        before = connection.scalar(statement)
        if connection.dialect.name == "sqlite":
            loop.call_soon_threadsafe(begun.set)
            assert over.wait(20)
        else:  # in the loop's own thread, on SQLAlchemy's bridge
            begun.set()
            await_only(asyncio.to_thread(over.wait, 20))
        return [before, connection.scalar(statement)]

    task = asyncio.create_task(database.read(work))
    try:
        async with asyncio.timeout(20):
            await begun.wait()
        yield task
    finally:
        over.set()
        await asyncio.wait([task])


async def run_sql(database: Database, *statements: Executable) -> None:
    """Carry out statements in one write transaction."""

    def work(connection: Connection) -> None:
        for statement in statements:
            connection.execute(statement)

    await database.write(work)
