"""What is stored of conversations, as tests look at it."""

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import func, select

from analysis.outcomes import Outcome
from database import Database
from errors import StartRefused
from models import conversations, insight_clusters, insights
from store.queue import Claimed, WorkQueue
from tests.support.factories import scalar


async def row_of(database: Database, id_: str) -> Any:
    statement = select(conversations).where(conversations.c.id == id_)
    return await database.read(lambda connection: connection.execute(statement).one())


async def count(database: Database, table: Any = conversations) -> int:
    return int(await scalar(database, select(func.count()).select_from(table)))


async def counts(database: Database) -> tuple[int, int]:
    """Of insights and of their clusters."""
    return await count(database, insights), await count(database, insight_clusters)


async def settled_ids(queue: WorkQueue, results: Sequence[tuple[Claimed, Outcome]]) -> set[str]:
    """Of the conversations whose results count."""
    return {claimed.id for claimed in (await queue.settle(results)).done}


async def refused(url: str, why: str) -> None:
    """Holds that a start is refused with one line, without the password."""
    database = Database(url)
    try:
        with pytest.raises(StartRefused, match=why) as raised:
            await database.open()
        assert len(raised.value.details.splitlines()) == 1
        assert "hunter2" not in raised.value.details
    finally:
        await database.close()
