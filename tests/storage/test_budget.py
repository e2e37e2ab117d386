"""The budget of a day, on both databases: what fits is reserved, by however many at once."""

import asyncio
import random
from dataclasses import replace

from sqlalchemy import update

from analysis.micros import DAY
from analysis.outcomes import Call, CallOutcome
from database import Database
from models import calls, daily_usage
from store.ledger import Ledger, PlannedCall, Usage
from tests.support.factories import run_sql
from tests.support.ledger_rows import ANSWERED, reserve, rows, settle, today, total


def with_budget(database: Database, ticks: int) -> Ledger:
    return Ledger(database, daily_budget_ticks=ticks)


async def reserve_if_it_fits(ledger: Ledger, highest_cost: int) -> int | None:
    reservation = await ledger.reserve(PlannedCall("r", "m", 1, highest_cost))
    assert reservation.fits is (reservation.id is not None)
    return reservation.id


async def test_what_fits_to_the_tick_is_reserved_and_no_more(
    database: Database, ledger: Ledger
) -> None:
    tight = with_budget(database, 100)
    assert await reserve_if_it_fits(tight, 101) is None
    assert await reserve_if_it_fits(tight, 60) is not None
    assert await reserve_if_it_fits(tight, 41) is None
    assert await reserve_if_it_fits(tight, 40) is not None
    assert await reserve_if_it_fits(tight, 1) is None
    assert len(await rows(database)) == 2
    assert await today(database) == Usage(calls=2, held_usd_ticks=100)


async def test_what_a_call_did_not_cost_is_there_for_the_next(
    database: Database, ledger: Ledger
) -> None:
    tight = with_budget(database, 100)
    first = await reserve(tight, 100)
    assert await reserve_if_it_fits(tight, 60) is None

    await settle(database, first, ANSWERED)

    assert await reserve_if_it_fits(tight, 61) is None
    assert await reserve_if_it_fits(tight, 60) is not None


async def test_a_call_of_unknown_cost_is_counted_as_the_dearest_that_it_may_have_been(
    database: Database, ledger: Ledger
) -> None:
    tight = with_budget(database, 100)
    await settle(
        database, await reserve(tight, 100), Call(CallOutcome.TIMEOUT, cost_usd_ticks=None)
    )
    assert await reserve_if_it_fits(tight, 1) is None


async def test_a_budget_is_a_days(database: Database, ledger: Ledger) -> None:
    tight = with_budget(database, 100)
    await reserve(tight, 100)
    assert await reserve_if_it_fits(tight, 1) is None

    yesterday = daily_usage.c.day - 1
    await run_sql(database, update(daily_usage).values(day=yesterday))

    assert await reserve_if_it_fits(tight, 100) is not None
    assert await today(database) == Usage(calls=1, held_usd_ticks=100)
    assert await total(database) == Usage(calls=2, held_usd_ticks=200)


async def test_a_call_belongs_to_the_day_on_which_it_began(
    database: Database, ledger: Ledger
) -> None:
    reserved = await reserve(ledger)
    await run_sql(
        database,
        update(calls).values(started_at=calls.c.started_at - DAY),
        update(daily_usage).values(day=daily_usage.c.day - 1),
    )

    await settle(database, reserved, ANSWERED)

    assert await today(database) == Usage()
    assert (await total(database)).cost_usd_ticks == 40


async def test_a_budget_of_nothing_lets_no_call_through(database: Database, ledger: Ledger) -> None:
    assert await reserve_if_it_fits(with_budget(database, 0), 1) is None


async def test_many_that_book_at_once_never_exceed_the_budget(
    database: Database, replicas: list[Database], ledger: Ledger
) -> None:
    tight = [with_budget(one, 1000) for one in replicas]

    reserved = await asyncio.gather(
        *(reserve_if_it_fits(one, 90) for one in tight for _ in range(15))
    )

    assert len([id_ for id_ in reserved if id_ is not None]) == 11
    assert await today(database) == Usage(calls=11, held_usd_ticks=990)


async def test_many_that_book_and_settle_at_once_never_exceed_the_budget(
    database: Database, replicas: list[Database], ledger: Ledger
) -> None:
    """Whenever it is looked: what is spent and what is held, together."""
    chance = random.Random(7)

    async def work(database: Database) -> None:
        tight = with_budget(database, 2000)
        for _ in range(20):
            highest = chance.randint(50, 300)
            reserved = await reserve_if_it_fits(tight, highest)
            found = await today(database)
            assert found.cost_usd_ticks + found.held_usd_ticks <= 2000
            if reserved is not None:
                cost = chance.randint(0, highest)
                ended = [None, Call(CallOutcome.ANSWERED, cost_usd_ticks=cost)]
                await settle(database, reserved, chance.choice(ended))

    await asyncio.gather(*(work(one) for one in replicas for _ in range(2)))

    found = await today(database)
    assert found.held_usd_ticks == 0
    assert 1000 < found.cost_usd_ticks <= 2000


async def test_a_budget_is_kept_to_though_the_days_calls_are_forgotten(database: Database) -> None:
    ledger = Ledger(database, daily_budget_ticks=100)
    await settle(database, await reserve(ledger, 60), replace(ANSWERED, cost_usd_ticks=60))
    await database.write(lambda connection: connection.execute(update(calls).values(started_at=0)))
    await ledger.forget(older_than_days=1, limit=10)

    refused = await reserve_if_it_fits(ledger, 41)

    assert refused is None
    assert await reserve(ledger, 40)
