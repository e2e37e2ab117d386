"""What PostgreSQL's planner knows of new rows before the server looks by itself."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from database import Database
from errors import Unavailable
from store.planner_statistics import PlannerStatistics
from tests.support.factories import NOON, insert_insights, run_sql
from tests.support.http_helpers import eventually
from worker.statistics import StatisticsKeeper

_KNOWN = text("SELECT reltuples FROM pg_class WHERE oid = CAST('insights' AS regclass)")


async def known_rows(database: Database) -> float:
    return await database.read(lambda connection: connection.execute(_KNOWN).scalar_one())


async def fill(database: Database, count: int) -> None:
    await insert_insights(
        database,
        [
            {"text": f"late again {number}", "timestamp": NOON + timedelta(seconds=number)}
            for number in range(count)
        ],
    )


async def test_a_table_is_looked_at_again_once_it_has_doubled(fresh_postgres_url: str) -> None:
    async with Database(fresh_postgres_url) as database:
        statistics = PlannerStatistics(database)
        await fill(database, 400)
        assert await statistics.refresh() == []  # so few are found in any way
        await fill(database, 800)
        await eventually(statistics.refresh, within=20)
        assert await known_rows(database) == 1200
        assert await statistics.refresh() == []
        await fill(database, 1000)
        assert "insights" not in await statistics.refresh()


async def test_what_the_server_passes_over_is_asked_for_once(fresh_postgres_url: str) -> None:
    """As it does with the tables of another owner."""
    async with Database(fresh_postgres_url) as database:
        statistics = PlannerStatistics(database)
        await fill(database, 1200)
        await eventually(statistics.refresh, within=20)
        forget = text("UPDATE pg_class SET reltuples = -1 WHERE relname = 'insights'")
        await database.write(lambda connection: connection.execute(forget).rowcount)
        assert await statistics.refresh() == []


async def test_a_table_that_somebody_keeps_is_looked_at_later(fresh_postgres_url: str) -> None:
    async with Database(fresh_postgres_url) as database, Database(fresh_postgres_url) as other:
        statistics = PlannerStatistics(database)
        await fill(database, 1200)
        is_kept, may_go = asyncio.Event(), asyncio.Event()

        async def keep() -> None:
            async with other._backend.reworking() as connection:
                await connection.execute(text("LOCK insights IN SHARE UPDATE EXCLUSIVE MODE"))
                is_kept.set()
                await may_go.wait()

        keeping = asyncio.create_task(keep())
        await is_kept.wait()
        with pytest.raises(Unavailable):
            await eventually(statistics.refresh, within=20)
        may_go.set()
        await keeping
        assert "insights" in await statistics.refresh()


async def test_tables_of_others_are_left_alone(fresh_postgres_url: str) -> None:
    async with Database(fresh_postgres_url) as database:
        other = 'CREATE TABLE "an""other" AS SELECT n, n AS m FROM generate_series(1, 2000) AS n'
        await run_sql(database, text(other))
        await fill(database, 1200)
        names = await eventually(PlannerStatistics(database).refresh, within=20)
        assert 'an"other' not in names


async def test_it_is_done_beside_the_work(fresh_postgres_url: str) -> None:
    async with Database(fresh_postgres_url) as database:
        keeper = StatisticsKeeper(PlannerStatistics(database), round_seconds=0.05)
        keeper.start()
        try:
            await fill(database, 1100)

            async def are_known() -> bool:
                return await known_rows(database) == 1100

            await eventually(are_known, within=20)
        finally:
            await keeper.stop()
