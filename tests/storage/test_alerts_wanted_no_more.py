"""What still waits to be told of an alert that nobody wants to hear of any more; and that whoever
says so does not meet the judge halfway."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, select

from analysis.alerts import AlertState
from analysis.deliveries import Delivered, TryAgain
from database import Database
from models import to_micros
from store import alert_turn
from store.alert_rules import AlertRule, AlertRuleStore
from store.alert_singles import SingleStore
from store.dispatch import Dispatch, DispatchStore
from store.endpoints import EndpointStore
from tables.alerts import alert_rules, endpoints
from tests.support.alerts import (
    ENDPOINT,
    advisory_lock_held,
    alert_store,
    all_alerts,
    fill,
    judge_at,
    make_endpoint,
    make_rule,
)
from tests.support.factories import NOON
from tests.support.outbox import make_due, rows

LEASE = timedelta(seconds=60)
LATER = TryAgain(300.0, "answered 500", 500)

Ending = Callable[[Database, AlertRule], Awaitable[object]]


async def claim(database: Database) -> list[Dispatch]:
    outbox = DispatchStore(database)
    return list(await outbox.claim(await outbox.due(), lease=LEASE))


async def failed_once(database: Database, kind: str) -> AlertRule:
    """A rule whose alert could not be told yet."""
    await make_endpoint(database)
    rule = await make_rule(database, kind)
    await fill(database, 6)
    assert await judge_at(alert_store(database), NOON, {"budget": "Nothing is left."}) >= 1
    while claimed := await claim(database):
        await DispatchStore(database).settle(claimed[0], LATER)
    await make_due(database)
    return rule


async def delete_rule(database: Database, rule: AlertRule) -> None:
    await AlertRuleStore(database).delete(rule.id)


async def change_rule(database: Database, rule: AlertRule, values: dict[str, Any]) -> None:
    await AlertRuleStore(database).change(rule.id, lambda _: values)


async def disable_rule(database: Database, rule: AlertRule) -> None:
    await change_rule(database, rule, {"enabled": False})


async def sent_keys(database: Database) -> list[str]:
    """Of the alerts that are sent next."""
    return [each.messages[0].data["key"] for each in await claim(database)]


ENDINGS = [
    (delete_rule, "not sent: its alert rule is deleted"),
    (disable_rule, "not sent: its alert rule is disabled"),
]


@pytest.mark.parametrize("kind", ["count", "machine"])
@pytest.mark.parametrize(("end", "why"), ENDINGS)
async def test_that_an_alert_is_open_is_not_sent_any_more(
    database: Database, kind: str, end: Ending, why: str
) -> None:
    rule = await failed_once(database, kind)
    await end(database, rule)
    sent = await sent_keys(database)
    of_kind = "budget" if kind == "machine" else ""
    assert of_kind not in sent
    dropped = [row for row in await rows(database) if row.data["key"] == of_kind]
    assert [(row.state, row.last_error, row.next_at) for row in dropped] == [("dropped", why, None)]


async def test_an_alert_that_is_wanted_is_sent_again(database: Database) -> None:
    await failed_once(database, "count")
    assert len(await claim(database)) == 1


@pytest.mark.parametrize(
    "changes",
    [[{"enabled": False}, {"enabled": True}], [{"filter": {"author": "somebody else"}}]],
    ids=["disabled for a while", "looking at something else"],
)
async def test_one_that_a_change_of_its_rule_has_ended_is_not_sent(
    database: Database, changes: list[dict[str, Any]]
) -> None:
    rule = await failed_once(database, "count")
    for values in changes:
        await change_rule(database, rule, values)
    assert await sent_keys(database) == ["budget"]
    dropped = [row for row in await rows(database) if row.state == "dropped"]
    assert [row.last_error for row in dropped] == ["not sent: its alert is over"]


async def test_a_single_post_that_somebody_has_handled_is_told_all_the_same(
    database: Database,
) -> None:
    """Its alert closes by itself, and nobody tells that."""
    await make_endpoint(database)
    await make_rule(database, "single")
    await fill(database, 1, urgency="now", sentiment_score=-0.9)
    singles = SingleStore(database)
    assert await singles.judge(sum_up=False, now=to_micros(NOON)) == 1
    await singles.judge(sum_up=True, now=to_micros(NOON + timedelta(days=2)))
    (listed,) = await all_alerts(alert_store(database))
    assert listed.alert.state is AlertState.CLOSED
    assert len(await claim(database)) == 1


async def test_what_was_written_before_somebody_muted_it_is_sent(database: Database) -> None:
    """It would be told at no other time: whoever asks for quiet is not told again."""
    await failed_once(database, "count")
    store = alert_store(database)
    for listed in await all_alerts(store):
        await store.mute(listed.alert.id, 1)
    assert len(await claim(database)) == 1


async def test_an_end_of_a_deleted_rule_is_sent_all_the_same(database: Database) -> None:
    """To whom its beginning was told."""
    await make_endpoint(database)
    rule = await make_rule(database, window="15m")
    await fill(database, 6)
    store = alert_store(database)
    await judge_at(store)
    for claimed in await claim(database):
        await DispatchStore(database).settle(claimed, Delivered(200))
    await judge_at(store, NOON + timedelta(minutes=20))
    await delete_rule(database, rule)
    (claimed,) = await claim(database)
    assert [each.type for each in claimed.messages] == ["alert.closed"]


async def delete_endpoint(database: Database, _rule: AlertRule) -> None:
    await EndpointStore(database).delete(ENDPOINT)


def are_free(connection: Connection) -> bool:
    for table in (alert_rules, endpoints):
        every = select(table.c.id)
        free = connection.scalars(every.with_for_update(skip_locked=True)).all()
        if set(free) != set(connection.scalars(every)):
            return False
    return True


@pytest.mark.parametrize("end", [delete_rule, disable_rule, delete_endpoint])
async def test_whoever_ends_it_waits_for_the_judge_before_anything_is_locked(
    fresh_postgres_url: str, end: Ending
) -> None:
    """Who judges goes from alerts to rules and endpoints, and the other way meets it halfway."""
    async with Database(fresh_postgres_url) as database:
        rule = await failed_once(database, "count")
        async with advisory_lock_held(database, alert_turn.LOCK):
            ending = asyncio.ensure_future(end(database, rule))
            await asyncio.sleep(0.2)
            assert not ending.done()
            assert await database.write(are_free)
        await ending
