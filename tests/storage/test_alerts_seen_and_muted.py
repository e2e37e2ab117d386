"""What people do to alerts: how far it reaches, and how long."""

import asyncio
from datetime import timedelta

import pytest

from analysis.alerts import AlertState
from database import Database
from errors import NotFound
from store import alert_turn
from store.alerts import AlertStore
from tests.support.alerts import (
    advisory_lock_held,
    alert_store,
    all_alerts,
    fill,
    judge_at,
    make_endpoint,
    make_rule,
)
from tests.support.factories import NOON

MINUTE = timedelta(minutes=1)
YEARS = 24.0 * 365 * 20
"""In hours: the examples are of long ago."""


async def two_of_a_rule(database: Database) -> tuple[AlertStore, str, str]:
    """An older alert and a newer one of the same rule and key, both over, and one of another."""
    await make_endpoint(database)
    rule = await make_rule(database, window="15m")
    await make_rule(database, "share", window="15m", at_least=5)
    store = alert_store(database)
    for minute in (0, 30):
        await fill(database, 6, before=NOON + minute * MINUTE)
        assert await judge_at(store, NOON + minute * MINUTE) == 2
        assert await judge_at(store, NOON + (minute + 20) * MINUTE) == 2
    found = [each.alert.id for each in await all_alerts(store) if each.rule_id == rule.id]
    newer, older = found
    return store, older, newer


async def is_muted(store: AlertStore) -> dict[str, bool]:
    return {each.alert.id: each.alert.muted_until is not None for each in await all_alerts(store)}


async def test_whichever_alert_is_muted_the_next_one_of_its_rule_and_key_tells_nothing(
    database: Database,
) -> None:
    store, older, newer = await two_of_a_rule(database)
    await store.mute(older, YEARS)
    muted = await is_muted(store)
    assert {id_ for id_ in muted if muted[id_]} == {older, newer}
    await fill(database, 6, before=NOON + 60 * MINUTE)
    assert await judge_at(store, NOON + 60 * MINUTE) == 1  # of the other rule

    assert (await store.mute(older, 0)).alert.muted_until is None
    assert not any((await is_muted(store)).values())
    assert await judge_at(store, NOON + 61 * MINUTE) == 1
    with pytest.raises(NotFound):
        await store.mute("alrt_00000000", 1)


async def test_an_alert_is_muted_after_a_judgement_that_is_under_way(
    fresh_postgres_url: str,
) -> None:
    """Which may make another one of its rule and key."""
    async with Database(fresh_postgres_url) as database:
        store, older, newer = await two_of_a_rule(database)
        async with advisory_lock_held(database, alert_turn.LOCK):
            muting = asyncio.create_task(store.mute(older, YEARS))
            await asyncio.sleep(0.2)
            assert not muting.done()
        await muting
        assert (await is_muted(store))[newer]


async def test_who_has_seen_an_alert_has_not_seen_it_when_it_is_told_again(
    database: Database,
) -> None:
    await make_endpoint(database)
    await make_rule(database, window="15m", cooldown_seconds=3600)
    store = alert_store(database)
    await fill(database, 6)
    await judge_at(store)
    (listed,) = await all_alerts(store)
    await store.acknowledge(listed.alert.id, "ana")
    await judge_at(store, NOON + 20 * MINUTE)
    await fill(database, 6, before=NOON + 21 * MINUTE)
    assert await judge_at(store, NOON + 21 * MINUTE) == 0
    (listed,) = await all_alerts(store)
    assert listed.alert.state is AlertState.OPEN
    assert listed.acknowledged_by == "ana"  # of what was told

    await fill(database, 6, before=NOON + 22 * MINUTE)
    assert await judge_at(store, NOON + 22 * MINUTE) == 1
    (listed,) = await all_alerts(store)
    assert (listed.acknowledged_by, listed.acknowledged_at) == (None, None)


async def test_who_has_seen_an_alert_before_quiet_hours_end_has_seen_it(
    database: Database,
) -> None:
    await make_endpoint(database)
    await make_rule(database, quiet={"from": "11:00", "to": "12:05", "zone": "UTC"})
    store = alert_store(database)
    await fill(database, 6)
    assert await judge_at(store) == 0
    (listed,) = await all_alerts(store)
    await store.acknowledge(listed.alert.id, "ana")
    assert await judge_at(store, NOON + 5 * MINUTE) == 1
    (listed,) = await all_alerts(store)
    assert listed.acknowledged_by == "ana"
