"""Rules about one post at a time: what they tell, and that no post is passed over."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from analysis.alerts import AlertState
from database import Database
from store import alert_singles
from store.alert_rules import AlertRuleStore
from store.alert_singles import A_MINUTE, SingleStore
from store.erasure import ErasureStore
from tests.support.alerts import (
    alert_store,
    all_alerts,
    fill,
    make_endpoint,
    make_rule,
    messages,
)
from tests.support.factories import NOON

MINUTE = timedelta(minutes=1)
SUSPECTED = {"suspected_injection": ["ignore_instructions"]}
URGENT = {"urgency": "now", "sentiment_score": -0.9}


def now_at(moment: Any) -> int:
    return round(moment.timestamp() * 1e6)


async def test_a_single_post_is_told_as_soon_as_it_is_there(database: Database) -> None:
    await make_endpoint(database)
    await fill(database, 1, **URGENT)  # before there is a rule
    await make_rule(database, "single", window="24h", filter={"q": "parcel"})
    (id_,) = await fill(database, 1, **URGENT)
    await fill(database, 1, urgency="now", sentiment_score=-0.7)
    await fill(database, 1, urgency="soon", sentiment_score=-0.9)
    await fill(database, 1, **URGENT, text="Another thing")
    await fill(database, 1, **URGENT, notes=SUSPECTED)
    await fill(database, 1, **URGENT, before=NOON - timedelta(days=2))
    singles = SingleStore(database)
    assert await singles.judge(sum_up=False, now=now_at(NOON)) == 1
    assert await singles.judge(sum_up=False, now=now_at(NOON)) == 0
    assert await SingleStore(database).judge(sum_up=True, now=now_at(NOON + MINUTE)) == 0
    ((type_, data),) = await messages(database)
    assert (type_, data["key"], data["evidence"]["count"]) == ("alert.opened", id_, 1)


async def test_what_is_too_much_for_a_minute_is_told_in_one_message(database: Database) -> None:
    await make_endpoint(database)
    await make_rule(database, "single", window="24h")
    await fill(database, A_MINUTE + 15, **URGENT)
    singles = SingleStore(database)
    assert await singles.judge(sum_up=False, now=now_at(NOON)) == A_MINUTE
    assert await singles.judge(sum_up=False, now=now_at(NOON)) == 0
    assert await singles.judge(sum_up=True, now=now_at(NOON + MINUTE / 2)) == 1
    *_, (_, data) = await messages(database)
    assert data["evidence"]["count"] == 15
    assert await singles.judge(sum_up=True, now=now_at(NOON + MINUTE)) == 0


async def test_a_post_that_is_erased_before_it_is_told_is_told_to_nobody(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_endpoint(database)
    await make_rule(database, "single", window="24h")
    erased, other = await fill(database, 2, **URGENT)
    write, erasing = database.write, ErasureStore(database)

    async def after_an_erasure(work: Any) -> Any:
        monkeypatch.setattr(database, "write", write)
        await erasing.erase(erased)
        return await write(work)

    monkeypatch.setattr(database, "write", after_an_erasure)
    singles = SingleStore(database)
    assert await singles.judge(sum_up=True, now=now_at(NOON)) == 0
    assert await singles.judge(sum_up=True, now=now_at(NOON)) == 1
    ((_, data),) = await messages(database)
    assert data["key"] == other


async def test_a_post_that_is_handled_closes_its_alert_and_nothing_is_told(
    database: Database,
) -> None:
    await make_endpoint(database)
    await make_rule(database, "single", window="24h")
    (id_,) = await fill(database, 1, **URGENT)
    singles, store = SingleStore(database), alert_store(database)
    await singles.judge(sum_up=True, now=now_at(NOON))
    await singles.judge(sum_up=True, now=now_at(NOON + MINUTE))
    assert (await all_alerts(store))[0].alert.state is AlertState.OPEN
    answered = text("UPDATE insights SET handling = 'answered' WHERE conversation_id = :id")
    await database.write(lambda c: c.execute(answered, {"id": id_}).rowcount)
    await singles.judge(sum_up=True, now=now_at(NOON + 2 * MINUTE))
    assert (await all_alerts(store))[0].alert.state is AlertState.CLOSED
    assert len(await messages(database)) == 1


async def test_single_posts_that_quiet_hours_put_off_are_told_ten_a_minute(
    database: Database,
) -> None:
    await make_endpoint(database)
    quiet = {"from": "11:00", "to": "12:30", "zone": "UTC"}
    await make_rule(database, "single", window="24h", quiet=quiet)
    singles = SingleStore(database)
    for minute in range(2):
        moment = NOON + 2 * minute * MINUTE
        await fill(database, A_MINUTE, before=moment, **URGENT)
        assert await singles.judge(sum_up=False, now=now_at(moment)) == 0
    assert await singles.judge(sum_up=True, now=now_at(NOON + 29 * MINUTE)) == 0
    assert await singles.judge(sum_up=True, now=now_at(NOON + 30 * MINUTE)) == A_MINUTE
    assert await singles.judge(sum_up=True, now=now_at(NOON + 31 * MINUTE)) == A_MINUTE
    assert await singles.judge(sum_up=True, now=now_at(NOON + 32 * MINUTE)) == 0


async def test_single_posts_are_told_when_somebody_ends_the_quiet_hours(
    database: Database,
) -> None:
    await make_endpoint(database)
    quiet = {"from": "11:00", "to": "12:30", "zone": "UTC"}
    rule = await make_rule(database, "single", window="24h", quiet=quiet)
    await fill(database, 1, **URGENT)
    singles = SingleStore(database)
    assert await singles.judge(sum_up=True, now=now_at(NOON)) == 0
    await AlertRuleStore(database).change(rule.id, lambda _rule: {"quiet": None})
    assert await singles.judge(sum_up=True, now=now_at(NOON + MINUTE)) == 1


async def test_no_post_is_passed_over_while_another_process_judges(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_endpoint(database)
    await make_rule(database, "single", window="24h")
    await fill(database, 1, **URGENT)
    singles = SingleStore(database)
    with monkeypatch.context() as patched:
        patched.setattr(alert_singles, "has_turn", lambda _connection: False)
        assert await singles.judge(sum_up=True, now=now_at(NOON)) == 0
    assert await singles.judge(sum_up=False, now=now_at(NOON)) == 1


async def test_no_post_is_passed_over_while_its_rule_is_changed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_endpoint(database)
    rule = await make_rule(database, "single", window="24h")
    await fill(database, 1, **URGENT)
    singles = SingleStore(database)
    found = iter([[rule], [replace(rule, name="changed")], []])
    with monkeypatch.context() as patched:
        patched.setattr(alert_singles, "_rules", lambda _connection: next(found))
        assert await singles.judge(sum_up=True, now=now_at(NOON)) == 0
    assert await singles.judge(sum_up=False, now=now_at(NOON)) == 1


async def test_of_a_rule_only_so_many_are_open_and_the_oldest_are_closed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_singles, "MOST_OPEN", 3)
    await make_endpoint(database)
    await make_rule(database, "single", window="24h")
    singles, store = SingleStore(database), alert_store(database)
    ids = []
    for minute in range(5):
        ids += await fill(database, 1, **URGENT)
        await singles.judge(sum_up=True, now=now_at(NOON + minute * MINUTE))
    page = await store.page(AlertState.OPEN, limit=100, cursor=None)
    assert [each.alert.key for each in page.alerts] == ids[:1:-1]
    assert len(await messages(database)) == 5


async def test_of_too_many_those_that_nobody_was_told_of_are_closed_last(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_singles, "MOST_OPEN", 1)
    await make_endpoint(database)
    quiet = {"from": "11:00", "to": "12:01", "zone": "UTC"}
    await make_rule(database, "single", window="24h", quiet=quiet)
    singles, store = SingleStore(database), alert_store(database)
    ids = []
    with monkeypatch.context() as patched:
        patched.setattr(alert_singles, "A_MINUTE", 1)
        for minute in (0, 2):
            ids += await fill(database, 1, **URGENT)
            await singles.judge(sum_up=False, now=now_at(NOON + minute * MINUTE))
    await singles.judge(sum_up=True, now=now_at(NOON + 2 * MINUTE))
    page = await store.page(AlertState.OPEN, limit=100, cursor=None)
    assert [each.alert.key for each in page.alerts] == ids[:1]
    assert len(await messages(database)) == 2
