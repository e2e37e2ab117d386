"""Alerts that no endpoint takes: told once one does, and their end to those alone that heard of
them."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select

from analysis.alerts import NOBODY_TO_TELL, AlertState
from analysis.messages import Event
from database import Database
from models import to_micros
from store.alert_evidence import EvidenceReader
from store.alert_rules import AlertRuleStore
from store.alert_singles import A_MINUTE, SingleStore
from store.endpoints import EndpointStore
from tables.alerts import deliveries
from tests.support.alerts import (
    ENDPOINT,
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
LATER = NOON + 20 * MINUTE
"""When the posts before noon are out of a window of fifteen minutes."""
OTHER = "ep_00000002"


async def told(database: Database) -> list[tuple[str, str]]:
    asked = select(deliveries.c.endpoint_id, deliveries.c.type).order_by(deliveries.c.id)
    return [tuple(row) for row in await database.read(lambda c: c.execute(asked).all())]


async def test_what_reached_nobody_is_told_once_somebody_can_be_told(
    database: Database, monkeypatch: Any
) -> None:
    await make_endpoint(database, enabled=False)
    await make_rule(database, to=[ENDPOINT], texts=True, window="15m")
    await fill(database, 6)
    store = alert_store(database)
    assert await judge_at(store) == 0
    with monkeypatch.context() as patched:
        patched.setattr(EvidenceReader, "read", None)  # nothing is looked at for nobody
        assert await judge_at(store, NOON + MINUTE) == 0
    (listed,) = await all_alerts(store)
    assert (listed.alert.state, listed.alert.told_at) == (AlertState.OPEN, None)
    assert listed.alert.held_back == NOBODY_TO_TELL
    await EndpointStore(database).enable(ENDPOINT)
    assert await judge_at(store, NOON + 2 * MINUTE) == 1
    ((_, data),) = await messages(database)
    assert (len(data["evidence"]["texts"]), data["held_back"]) == (3, None)
    (listed,) = await all_alerts(store)
    assert (listed.alert.told_at, listed.alert.held_back) == (to_micros(NOON + 2 * MINUTE), None)
    assert await judge_at(store, LATER) == 1


async def test_what_is_muted_does_not_say_that_nobody_takes_it_once_somebody_does(
    database: Database,
) -> None:
    await make_rule(database, window="15m")
    await fill(database, 6)
    store = alert_store(database)
    await judge_at(store)
    (listed,) = await all_alerts(store)
    await store.mute(listed.alert.id, 8)
    await make_endpoint(database)
    assert await judge_at(store, NOON + MINUTE) == 0
    (listed,) = await all_alerts(store)
    assert (listed.alert.told_at, listed.alert.held_back) == (None, None)


async def test_what_reached_nobody_is_not_told_to_be_over(database: Database) -> None:
    await make_rule(database, window="15m")
    await fill(database, 6)
    store = alert_store(database)
    assert await judge_at(store) == 0
    await make_endpoint(database)
    assert await judge_at(store, LATER) == 0
    (listed,) = await all_alerts(store)
    assert (listed.alert.state, listed.alert.held_back) == (AlertState.CLOSED, NOBODY_TO_TELL)


async def test_what_is_worse_again_and_reaches_nobody_stays_told_as_it_was(
    database: Database,
) -> None:
    await make_endpoint(database)
    await make_rule(database, window="15m", cooldown_seconds=3600)
    await fill(database, 6)
    store, endpoints = alert_store(database), EndpointStore(database)
    assert [await judge_at(store, moment) for moment in (NOON, LATER)] == [1, 1]
    await endpoints.change(ENDPOINT, enabled=False)
    await fill(database, 12, before=LATER + MINUTE)
    assert await judge_at(store, LATER + MINUTE) == 0
    (listed,) = await all_alerts(store)
    assert (listed.alert.told_at, listed.alert.told_peak) == (to_micros(NOON), 6.0)
    await endpoints.enable(ENDPOINT)
    assert await judge_at(store, LATER + 2 * MINUTE) == 1


async def test_an_end_is_told_to_those_that_had_its_beginning(database: Database) -> None:
    await make_endpoint(database)
    await make_endpoint(database, OTHER, enabled=False)
    await make_rule(database, window="15m")
    await fill(database, 6)
    store = alert_store(database)
    await judge_at(store)
    await EndpointStore(database).enable(OTHER)
    assert await judge_at(store, LATER) == 1
    assert await told(database) == [(ENDPOINT, "alert.opened"), (ENDPOINT, "alert.closed")]


@pytest.mark.parametrize(("named", "names"), [([ENDPOINT], [OTHER]), ([], [OTHER])])
async def test_an_end_is_told_to_those_that_had_its_beginning_whom_the_rule_names_no_more(
    database: Database, named: list[str], names: list[str]
) -> None:
    await make_endpoint(database)
    await make_endpoint(database, OTHER, events=["report"])
    rule = await make_rule(database, window="15m", to=named)
    await fill(database, 6)
    store = alert_store(database)
    await judge_at(store)
    await AlertRuleStore(database).change(rule.id, lambda _rule: {"to": names})
    assert await judge_at(store, LATER) == 1
    assert await told(database) == [(ENDPOINT, "alert.opened"), (ENDPOINT, "alert.closed")]


async def test_who_takes_no_alerts_any_more_is_told_of_no_end(database: Database) -> None:
    await make_endpoint(database)
    await make_rule(database, window="15m")
    await fill(database, 6)
    store = alert_store(database)
    await judge_at(store)
    await EndpointStore(database).change(ENDPOINT, events=[Event.REPORT])
    assert await judge_at(store, LATER) == 0


async def test_where_a_beginning_has_failed_its_end_tells_of_both(database: Database) -> None:
    await make_endpoint(database)
    await make_endpoint(database, OTHER, enabled=False)
    store, endpoints = alert_store(database), EndpointStore(database)
    assert await judge_at(store, NOON, {"budget": "Nothing is left."}) == 1
    await endpoints.change(ENDPOINT, enabled=False)
    for each in (ENDPOINT, OTHER):
        await endpoints.enable(each)
    for minute in range(1, 6):
        await judge_at(store, NOON + minute * MINUTE)
    assert await told(database) == [(ENDPOINT, "machine")] * 2


async def test_an_end_is_told_where_nothing_is_kept_of_its_beginning_any_more(
    database: Database,
) -> None:
    """Deliveries are kept for thirty days, and the examples are of long ago."""
    await make_endpoint(database)
    await make_rule(database, window="15m")
    await fill(database, 6)
    store = alert_store(database)
    await judge_at(store)
    await database.write(lambda connection: connection.execute(delete(deliveries)).rowcount)
    assert await judge_at(store, LATER) == 1


async def test_single_posts_that_reached_nobody_are_told_ten_a_minute(database: Database) -> None:
    await make_rule(database, "single", window="24h")
    await fill(database, A_MINUTE, urgency="now", sentiment_score=-0.9)
    singles, store = SingleStore(database), alert_store(database)

    async def judge(minute: int) -> int:
        return await singles.judge(sum_up=True, now=to_micros(NOON + minute * MINUTE))

    assert await judge(0) == 0
    await fill(database, A_MINUTE, urgency="now", sentiment_score=-0.9)
    assert [await judge(minute) for minute in (2, 3)] == [0, 0]
    first, *_ = (await all_alerts(store))[::-1]
    await store.mute(first.alert.id, 24 * 365 * 20)
    await make_endpoint(database)
    assert [await judge(minute) for minute in range(4, 7)] == [A_MINUTE, A_MINUTE - 1, 0]
