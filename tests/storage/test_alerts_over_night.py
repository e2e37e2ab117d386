"""Alerts that quiet hours keep from being told, as they are stored."""

from datetime import timedelta

from sqlalchemy import insert

from analysis.alerts import AlertState
from database import Database
from models import to_micros
from store.alert_rules import AlertRuleStore
from tables.alerts import alerts
from tests.support.alerts import (
    alert_store,
    all_alerts,
    fill,
    judge_at,
    make_endpoint,
    make_rule,
    messages,
)
from tests.support.factories import NOON

MINUTE = timedelta(minutes=1)
QUIET = {"from": "12:10", "to": "14:00", "zone": "UTC"}


async def test_one_that_breaches_after_its_cooldown_is_judged_on_until_quiet_hours_end(
    database: Database,
) -> None:
    await make_endpoint(database)
    await make_rule(database, window="15m", cooldown_seconds=600, quiet=QUIET)
    await fill(database, 6)
    await fill(database, 6, before=NOON + 60 * MINUTE)
    store = alert_store(database)
    for minute in (0, 20, 60, 61, 62, 80, 119, 120, 121):
        await judge_at(store, NOON + minute * MINUTE)
    (listed,) = await all_alerts(store)
    assert listed.alert.state is AlertState.CLOSED
    assert [type_ for type_, _ in await messages(database)] == ["alert.opened", "alert.closed"]


async def test_one_that_is_told_when_somebody_ends_the_quiet_hours_has_the_figures_of_now(
    database: Database,
) -> None:
    await make_endpoint(database)
    rule = await make_rule(database, quiet={**QUIET, "from": "11:00"}, texts=True)
    await fill(database, 9, before=NOON - MINUTE)
    store = alert_store(database)
    assert await judge_at(store) == 0
    await AlertRuleStore(database).change(rule.id, lambda _rule: {"quiet": None})
    assert await judge_at(store, NOON + MINUTE) == 1
    ((_, told),) = await messages(database)
    assert len(told["evidence"]["texts"]) == 3  # which are not kept


async def test_beside_one_that_is_still_to_be_told_an_open_one_is_judged(
    database: Database,
) -> None:
    rule = await make_rule(database, window="15m")
    noon = to_micros(NOON)
    told = {"rule_id": rule.id, "key": "", "opened_at": noon, "told_at": noon, "evidence": {}}
    told |= {"peak": 6.0, "told_peak": 6.0, "closed_at": None, "put_off_until": None}
    later = {"closed_at": noon, "put_off_until": to_micros(NOON + 60 * MINUTE)}
    rows = [
        {**told, "id": "alrt_00000000", "state": "open"},
        {**told, **later, "id": "alrt_00000001", "state": "closed"},
    ]
    await database.write(lambda connection: connection.execute(insert(alerts), rows).rowcount)
    await fill(database, 6)
    store = alert_store(database)
    await judge_at(store)
    await judge_at(store, NOON + 20 * MINUTE)
    assert [each.alert.state for each in await all_alerts(store)] == [AlertState.CLOSED] * 2
