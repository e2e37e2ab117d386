"""What is wrong with one of several processes, as all of them judge it."""

import asyncio
from datetime import timedelta
from functools import partial

import pytest

from analysis.alerts import AlertState
from database import Database
from models import to_micros
from store import alert_turn
from store.alerts import _write
from tests.support.alerts import (
    advisory_lock_held,
    alert_store,
    all_alerts,
    fill,
    judge_at,
    make_endpoint,
    make_rule,
    messages,
)
from tests.support.factories import NOON, of_another_process

MINUTE = timedelta(minutes=1)
BROKEN = {"breaker": "No texts are analysed."}


async def test_what_one_process_reports_stays_open_though_others_find_nothing(
    database: Database,
) -> None:
    await make_endpoint(database)
    async with of_another_process(database) as other:
        healthy, broken = alert_store(database), alert_store(other)
        for minute in range(10):
            await judge_at(healthy, NOON + minute * MINUTE)
            await judge_at(broken, NOON + (minute + 0.1) * MINUTE, BROKEN)
        assert len(await messages(database)) == 1
        for minute in range(10, 14):
            await judge_at(healthy, NOON + minute * MINUTE)
            await judge_at(broken, NOON + (minute + 0.1) * MINUTE)
    assert [data["sentence"] for _, data in await messages(database)] == [
        "No texts are analysed.",
        "Over: No texts are analysed.",
    ]


async def test_what_two_processes_report_in_a_minute_is_one_judgement(database: Database) -> None:
    await make_endpoint(database)
    await make_rule(database, "machine", hold=2)
    async with of_another_process(database) as other:
        stores = alert_store(database), alert_store(other)
        assert [await judge_at(each, NOON, BROKEN) for each in stores] == [0, 0]
        assert [await judge_at(each, NOON + MINUTE, BROKEN) for each in stores] == [1, 0]


async def test_what_is_reported_while_another_process_judges_counts_after_it(
    database: Database,
) -> None:
    if database.is_sqlite:
        pytest.skip("a SQLite file belongs to one process")
    async with advisory_lock_held(database, alert_turn.LOCK):
        judging = asyncio.create_task(judge_at(alert_store(database), NOON, BROKEN))
        await asyncio.wait([judging], timeout=0.2)
    await judging
    (listed,) = await all_alerts(alert_store(database))
    assert listed.alert.state is AlertState.OPEN


async def test_who_looked_before_others_judged_leaves_their_minute_judged(
    database: Database,
) -> None:
    await make_endpoint(database)
    await make_rule(database, hold=2)
    await fill(database, 6)
    store, noon = alert_store(database), to_micros(NOON)
    looked = await database.read(partial(store._look, BROKEN, noon))
    assert await judge_at(store, NOON + MINUTE) == 0
    assert await database.write(partial(_write, looked, noon)) == 1  # of the machine
    assert await judge_at(store, NOON + MINUTE) == 0
    assert await judge_at(store, NOON + 2 * MINUTE) == 1
