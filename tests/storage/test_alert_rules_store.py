"""Alert rules as they are stored, and the endpoints that they name."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import delete

from analysis.alerts import AlertState, Change
from database import Database
from errors import Conflict, InvalidInput
from store.alert_changes import store_change
from store.alert_rules import MAX_RULES, AlertRuleStore
from store.endpoints import EndpointStore
from tables.alerts import endpoints
from tests.support.alerts import (
    alert_store,
    all_alerts,
    fill,
    judge_at,
    make_endpoint,
    make_rule,
)
from tests.support.factories import NOON, of_another_process

GONE, OTHER = "ep_00000001", "ep_00000002"


async def test_an_endpoint_that_a_rule_names_is_not_deleted(database: Database) -> None:
    await make_endpoint(database, GONE)
    rule = await make_rule(database, to=[GONE])
    disabled = await make_rule(database, "share", to=[GONE], enabled=False)
    await make_rule(database)
    store = EndpointStore(database)
    with pytest.raises(Conflict, match=f"{rule.id}.*{disabled.id}.*first"):
        await store.delete(GONE)
    for named in (rule, disabled):
        await AlertRuleStore(database).change(named.id, lambda _: {"to": []})
    await store.delete(GONE)
    assert await store.all() == []


async def test_a_rule_that_names_an_endpoint_that_is_gone_can_be_changed(
    database: Database,
) -> None:
    await make_endpoint(database, GONE)
    await make_endpoint(database, OTHER)
    rule = await make_rule(database, to=[GONE])
    gone = delete(endpoints).where(endpoints.c.id == GONE)
    await database.write(lambda connection: connection.execute(gone).rowcount)
    store = AlertRuleStore(database)
    assert not (await store.change(rule.id, lambda _: {"to": [GONE], "enabled": False})).enabled
    assert (await store.change(rule.id, lambda _: {"to": [GONE, OTHER]})).to == [GONE, OTHER]
    with pytest.raises(InvalidInput, match="ep_00000003"):
        await store.change(rule.id, lambda _: {"to": [OTHER, "ep_00000003"]})


async def test_a_rule_about_the_machine_closes_what_the_built_in_one_has_open(
    database: Database,
) -> None:
    await make_endpoint(database)
    store = alert_store(database)
    assert await judge_at(store, NOON, {"budget": "Nothing is left."}) == 1
    await make_rule(database, "machine")
    (listed,) = await all_alerts(store)
    assert listed.alert.state is AlertState.CLOSED


async def test_processes_that_make_rules_at_once_make_no_more_than_the_most(
    database: Database,
) -> None:
    for _ in range(MAX_RULES - 1):
        await make_rule(database)
    async with of_another_process(database) as other:
        made = await asyncio.gather(
            *(make_rule(each) for each in (database, other) * 3), return_exceptions=True
        )
    refused = [each for each in made if isinstance(each, InvalidInput)]
    assert len(refused) == 5
    assert len(await AlertRuleStore(database).all()) == MAX_RULES


async def test_a_judgement_leaves_an_alert_muted_that_was_muted_meanwhile(
    database: Database,
) -> None:
    rule = await make_rule(database)
    await fill(database, 6)
    store = alert_store(database)
    await judge_at(store)
    (before,) = await all_alerts(store)
    muted = await store.mute(before.alert.id, 1)
    change = Change(replace(before.alert, peak=7.0))
    await database.write(lambda connection: store_change(rule, before.alert, change, connection))
    (after,) = await all_alerts(store)
    assert (after.alert.peak, after.alert.muted_until) == (7.0, muted.alert.muted_until)
