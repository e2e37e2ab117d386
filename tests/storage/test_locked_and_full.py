"""SQLite files that another process has locked, and disks that are full."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from analysis.outcomes import Complete, Fail, Requeue, Retry
from database import Database
from errors import Unavailable
from models import Lane
from store.conversations import ConversationStore
from store.erasure import ErasureStore
from store.figures import FigureStore
from store.insights import InsightStore
from store.ledger import Ledger, PlannedCall
from store.own_posts import OwnPostStore
from store.queue import Claimed, WorkQueue
from store.summaries import SummaryStore
from store.trends import TrendStore
from store.versions import Asked, VersionStore
from tests.storage.conftest import Locks
from tests.support.factories import (
    LEASE,
    accept,
    analysis,
    claim_all,
    claim_some,
    complete,
    insight_filter,
    new_conversation,
    new_conversations,
)
from tests.support.ledger_rows import reserve
from tests.support.stored import count

# --- a locked SQLite file -------------------------------------------------------------------------


class Rows:
    """One conversation in each state that a write needs."""

    failed: str
    pending: str
    claimed: list[Claimed]

    @classmethod
    async def make(cls, database: Database) -> "Rows":
        rows = cls()
        rows.failed = await accept(database)
        (failing,) = await claim_all(database)
        await WorkQueue(database).settle([(failing, Fail("refused"))])
        await ConversationStore(database).accept(new_conversations(4), lane=Lane.LIVE)
        rows.claimed = await claim_all(database)
        await reserve(Ledger(database), 1)
        rows.pending = await accept(database)
        return rows


Write = Callable[[Database, Rows], Awaitable[object]]
WRITES: dict[str, Write] = {
    "accept": lambda database, _: ConversationStore(database).accept(
        [new_conversation()], lane=Lane.LIVE
    ),
    "erase": lambda database, rows: ConversationStore(database).erase(rows.pending),
    "erase_older_than": lambda database, _: ErasureStore(database).erase_older_than(
        datetime(2100, 1, 1, tzinfo=UTC), limit=1
    ),
    "sweep": lambda database, _: ErasureStore(database).sweep(),
    "retry": lambda database, rows: ConversationStore(database).retry(rows.failed),
    "retry_failed": lambda database, _: ConversationStore(database).retry_failed(),
    "claim": lambda database, _: claim_some(database, limit=1),
    "claim and reserve": lambda database, _: WorkQueue(database).claim(
        tuple(Lane),
        look=1,
        take=lambda waiting: waiting,
        lease=LEASE,
        then=lambda _items, connection: Ledger(database).reserve_within(
            PlannedCall("request", "grok", 1, 1), connection
        ),
        durable=True,
    ),
    "claim_suspect": lambda database, _: WorkQueue(database).claim_suspect(lease=LEASE),
    "reserve": lambda database, _: reserve(Ledger(database), 1),
    "forget": lambda database, _: Ledger(database).forget(older_than_days=1, limit=1),
    "close_orphans": lambda database, _: Ledger(database).close_orphans(),
    "settle a completion": lambda database, rows: WorkQueue(database).settle(
        [(rows.claimed[0], Complete(analysis()))]
    ),
    "settle a failure": lambda database, rows: WorkQueue(database).settle(
        [(rows.claimed[1], Fail("refused"))]
    ),
    "settle a retry": lambda database, rows: WorkQueue(database).settle(
        [(rows.claimed[2], Retry("503", 1.0))]
    ),
    "settle what is put back": lambda database, rows: WorkQueue(database).settle(
        [(rows.claimed[3], Requeue())]
    ),
    "extend": lambda database, rows: WorkQueue(database).extend(
        {rows.claimed[0].token}, lease=LEASE
    ),
    "rescue": lambda database, _: WorkQueue(database).rescue(all_orphaned=True),
    "take_up": lambda database, _: VersionStore(database).take_up(
        Asked("offline", "words", "", None, "open", ("praise",))
    ),
    "step": lambda database, _: OwnPostStore(database, ["shop"]).step(""),
    "check_writable": lambda database, _: database.check_writable(),
}


def test_every_public_method_of_the_stores_is_in_the_tables_of_writes_or_reads() -> None:
    """A method that is added has to meet a locked database as well."""
    reads = {
        "drained",
        "find",
        "failed",
        "page",
        "all_of",
        "has_cluster",
        "newest",
        "newest_id",
        "since",
        "summary",
        "trends",
        "all",
        "completed_per_second",
        "stalled_seconds",
        "analysed_before",
        "recent_sightings",
        "called_lately",
        "today",
        "total",
        "is_taken_up",
        # Parts of a transaction of somebody else's.
        "count",
        "keys_after",
        "reserve_within",
    }
    methods = {
        name
        for store in (
            ConversationStore,
            ErasureStore,
            WorkQueue,
            Ledger,
            InsightStore,
            SummaryStore,
            TrendStore,
            FigureStore,
            VersionStore,
            OwnPostStore,
        )
        for name, value in vars(store).items()
        if callable(value) and not name.startswith("_")
    }
    assert methods - reads == {name.split()[0] for name in WRITES} - {"check_writable"}


_WRITTEN = ("conversations", "insights", "calls", "analysis_versions", "applied_settings")


async def snapshot(database: Database) -> list[Any]:
    return await database.read(
        lambda connection: [
            connection.execute(text(f"SELECT * FROM {table} ORDER BY 1")).all()
            for table in _WRITTEN
        ]
    )


@pytest.mark.parametrize("name", WRITES)
async def test_every_write_to_a_locked_file_is_unavailable_and_works_after(
    quick: Database, locked: Locks, name: str
) -> None:
    rows = await Rows.make(quick)
    before = await snapshot(quick)
    with locked():
        for _ in range(2):
            with pytest.raises(Unavailable, match="locked by another process") as raised:
                await WRITES[name](quick, rows)
            assert raised.value.retry_after is not None
            assert raised.value.retry_after >= 1
        assert await snapshot(quick) == before
    async with asyncio.timeout(10):
        await WRITES[name](quick, rows)
    with_nothing_to_do = ("check_writable", "sweep", "claim_suspect", "forget")
    if name not in with_nothing_to_do:
        assert await snapshot(quick) != before


async def test_a_locked_file_can_still_be_read(quick: Database, locked: Locks) -> None:
    (id_,) = await complete(quick, new_conversation())
    with locked():
        assert (await ConversationStore(quick).find(id_)).id == id_
        queue = (await FigureStore(quick).all()).queue
        page = await InsightStore(quick).page(insight_filter(), limit=10, cursor=None)
    assert sum(queue.counts.values()) == 1
    assert page.next_cursor is None


async def test_all_who_wait_at_a_locked_file_hear_of_it_together(
    quick: Database, locked: Locks
) -> None:
    store = ConversationStore(quick)
    with locked():
        answers = await asyncio.gather(
            *(store.accept([item], lane=Lane.LIVE) for item in new_conversations(50)),
            return_exceptions=True,
        )
    assert {type(answer) for answer in answers} == {Unavailable}
    assert await count(quick) == 0
    await store.accept(new_conversations(50), lane=Lane.LIVE)
    assert await count(quick) == 50


async def test_a_short_lock_is_waited_for(sqlite_url: str, locked: Locks) -> None:
    """As long as `BUSY_TIMEOUT_SECONDS`, which is as in the service here."""
    async with Database(sqlite_url) as database:
        with ExitStack() as held:
            held.enter_context(locked())
            accepting = asyncio.create_task(accept(database))
            done, _ = await asyncio.wait([accepting], timeout=0.2)
            assert done == set()
        assert (await asyncio.wait_for(accepting, 10)).startswith("conv_")


# --- a full disk ----------------------------------------------------------------------------------


async def test_a_full_disk_is_unavailable_and_works_once_there_is_room(small_disk: Path) -> None:
    async with Database(f"sqlite+aiosqlite:///{small_disk}/insights.db") as database:
        (small_disk / "ballast").write_bytes(b"x" * 300_000)
        stored = 0

        async def fill() -> None:
            nonlocal stored
            async with asyncio.timeout(60):
                while True:
                    await accept(database, "x" * 5000)
                    stored += 1

        with pytest.raises(Unavailable, match="disk"):
            await fill()
        assert await count(database) == stored > 0
        (small_disk / "ballast").unlink()
        await database.check_writable()
        await accept(database, "x" * 5000)
        assert await count(database) == stored + 1
