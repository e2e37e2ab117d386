"""What rules find, and that an alert and what is told of it are one transaction."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from analysis.alerts import AlertState
from analysis.handling import HandlingChange, HandlingState
from analysis.messages import Message, MessageType
from analysis.report_times import ReportTime
from database import Database
from errors import InvalidInput, NotFound
from models import now_micros
from notices.wording import words_of
from store import alert_changes, alert_turn
from store.alert_rules import MAX_RULES, AlertRuleStore
from store.handling import HandlingStore
from store.insights import InsightStore
from store.reports import ReportStore
from store.summaries import SummaryStore
from tables.alerts import alerts, deliveries
from tests.support.alerts import (
    advisory_lock_held,
    alert_store,
    all_alerts,
    fill,
    judge_at,
    make_endpoint,
    make_rule,
    messages,
    posts,
)
from tests.support.factories import (
    NOON,
    insert_insights,
    of_another_process,
    scalar,
)

MINUTE = timedelta(minutes=1)
SUSPECTED = {"suspected_injection": ["ignore_instructions"]}


async def test_a_count_that_is_reached_is_told_with_its_evidence(database: Database) -> None:
    await make_endpoint(database)
    rule = await make_rule(database, texts=True)
    ids = await fill(database, 6)
    store = alert_store(database)
    assert await judge_at(store) == 1
    ((type_, data),) = await messages(database)
    assert type_ == "alert.opened"
    assert (data["rule_id"], data["rule"], data["state"]) == (rule.id, rule.name, "open")
    evidence = data["evidence"]
    assert (evidence["count"], evidence["authors"], evidence["copies"]) == (6, 6, 0.0)
    assert evidence["conversations"] == ids[:-4:-1]
    assert len(evidence["texts"]) == 3
    assert evidence["link"].startswith("/dashboard?start_time=2025-01-20T11")
    (listed,) = await all_alerts(store)
    assert {**listed.alert.evidence, "texts": evidence["texts"]} == evidence


async def test_claims_that_have_run_out_are_open_to_a_rule(database: Database) -> None:
    await make_rule(database, filter={"handling": "open"}, above=6.0)
    for id_ in await fill(database, 6):
        claimed = HandlingChange(HandlingState.CLAIMED, "ana", until=now_micros() - 1)
        await HandlingStore(database).change(id_, claimed, key_name="", now=now_micros())
    store = alert_store(database)
    await judge_at(store)
    (listed,) = await all_alerts(store)
    assert listed.alert.evidence["count"] == 6


async def test_it_is_told_once_and_then_told_to_be_over(database: Database) -> None:
    await make_endpoint(database)
    await make_rule(database, window="15m", clear=2)
    await fill(database, 6)
    store = alert_store(database)
    for minute in range(20):
        await judge_at(store, NOON + minute * MINUTE)
    assert [type_ for type_, _ in await messages(database)] == ["alert.opened", "alert.closed"]
    (listed,) = await all_alerts(store)
    assert listed.alert.state is AlertState.CLOSED


async def test_nothing_is_told_where_the_same_minute_is_judged_again(database: Database) -> None:
    await make_endpoint(database)
    await make_rule(database, hold=2)
    await fill(database, 6)
    async with of_another_process(database) as other:
        assert await judge_at(alert_store(database)) == 0
        assert await judge_at(alert_store(other), NOON + timedelta(seconds=20)) == 0
        assert await judge_at(alert_store(other), NOON + MINUTE) == 1


async def test_a_share_is_of_negative_ones_among_enough(database: Database) -> None:
    await make_rule(database, "share", at_least=10)
    await fill(database, 9)
    store = alert_store(database)
    await judge_at(store)
    assert await all_alerts(store) == []
    await fill(database, 3, sentiment_score=0.5)
    await judge_at(store, NOON + MINUTE)
    (listed,) = await all_alerts(store)
    assert listed.alert.evidence["share"] == 0.75
    assert listed.alert.evidence["count"] == 12  # of which that is the share
    assert "sentiment=negative" in listed.alert.evidence["link"]


async def rhythm(database: Database, *, topics: int = 3) -> None:
    """Ten posts an hour of each topic for a day."""
    rows = []
    for hour in range(1, 25):
        for topic in range(topics):
            rows += posts(10, before=NOON - timedelta(hours=hour), clusters=[f"topic{topic}"])
    await insert_insights(database, rows)


async def test_a_topic_that_rises_is_told_by_its_name(database: Database) -> None:
    await rhythm(database)
    await make_rule(database, "rising")
    for topic in range(3):
        await fill(database, 40 if topic == 1 else 10, clusters=[f"topic{topic}"])
    store = alert_store(database)
    await judge_at(store)
    (listed,) = await all_alerts(store)
    assert listed.alert.key == "topic1"
    assert "cluster=topic1" in listed.alert.evidence["link"]
    assert listed.alert.evidence["expected"] == pytest.approx(10, abs=1)


async def test_an_hour_that_is_lively_for_all_topics_is_no_rise(database: Database) -> None:
    await rhythm(database)
    await make_rule(database, "rising")
    for topic in range(3):
        await fill(database, 40, clusters=[f"topic{topic}"])
    store = alert_store(database)
    await judge_at(store)
    assert await all_alerts(store) == []


@pytest.mark.parametrize(
    "conditions", [{"q": "parcel"}, {"language": "und"}, {"cluster": "topic1"}, {"author": "ann"}]
)
async def test_a_rising_rule_with_another_filter_looks_at_all_that_it_finds(
    database: Database, conditions: dict[str, Any]
) -> None:
    quiet = posts(40, before=NOON - timedelta(hours=3), text="Where is it?", clusters=["other"])
    spread = [
        {**post, "timestamp": post["timestamp"] - timedelta(minutes=30 * number)}
        for number, post in enumerate(quiet)
    ]
    await insert_insights(database, spread)
    await make_rule(database, "rising", filter=conditions)
    author = "ann" if "author" in conditions else None
    await insert_insights(
        database,
        [{**post, "author": author} for post in posts(30, clusters=["topic1"])],
    )
    store = alert_store(database)
    await judge_at(store)
    (listed,) = await all_alerts(store)
    assert listed.alert.evidence["count"] == 30


async def test_suspected_injections_and_own_posts_do_not_count(database: Database) -> None:
    await make_rule(database)
    await make_rule(database, filter={"author": "us"})
    await fill(database, 4)
    await fill(database, 20, notes=SUSPECTED)
    await insert_insights(database, [{**post, "author": "us", "own": 1} for post in posts(10)])
    store = alert_store(database)
    await judge_at(store)
    assert await all_alerts(store) == []
    await fill(database, 1)
    await judge_at(store, NOON + MINUTE / 2)
    (listed,) = await all_alerts(store)
    assert (listed.alert.evidence["count"], listed.alert.evidence["suspected"]) == (5, 20)


@pytest.mark.parametrize(
    ("change", "held_back"),
    [
        ({"author": "ann"}, "authors"),
        ({"text": "Copied"}, "copies"),
        ({"author": None}, None),
    ],
)
async def test_no_crowd_is_shown_and_not_told(
    database: Database, change: dict[str, Any], held_back: str | None
) -> None:
    await make_endpoint(database)
    await make_rule(database)
    await fill(database, 8, **change)
    store = alert_store(database)
    told = await judge_at(store)
    (listed,) = await all_alerts(store)
    assert told == (0 if held_back else 1)
    if held_back:
        assert held_back in str(listed.alert.held_back)


async def test_a_transaction_that_fails_leaves_neither_alert_nor_message(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_endpoint(database)
    await make_rule(database)
    await fill(database, 6)

    def fail(*_args: Any, **_kwargs: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(alert_changes, "enqueue", fail)
        with pytest.raises(RuntimeError):
            await judge_at(alert_store(database))
    assert await scalar(database, select(func.count()).select_from(alerts)) == 0
    assert await judge_at(alert_store(database)) == 1
    assert await scalar(database, select(func.count()).select_from(deliveries)) == 1


async def test_only_those_that_a_rule_names_are_told(database: Database) -> None:
    named = await make_endpoint(database, "ep_00000001", events=["report"])
    await make_endpoint(database, "ep_00000002")
    await make_rule(database, to=[named])
    await fill(database, 6)
    assert await judge_at(alert_store(database)) == 1
    assert await scalar(database, select(deliveries.c.endpoint_id)) == named


async def test_what_is_wrong_with_the_machine_is_told_without_a_rule(database: Database) -> None:
    await make_endpoint(database)
    store = alert_store(database)
    assert await judge_at(store, NOON, {"budget": "Nothing is left."}) == 1
    for minute in (1, 2, 3, 4):
        await judge_at(store, NOON + minute * MINUTE)
    told = await messages(database)
    assert [type_ for type_, _ in told] == ["machine", "machine"]
    assert [data["sentence"] for _, data in told] == [
        "Nothing is left.",
        "Over: Nothing is left.",
    ]
    assert [data["state"] for _, data in told] == ["open", "closed"]
    (listed,) = await all_alerts(store)
    assert listed.rule_id is None
    assert await AlertRuleStore(database).all() == []


async def test_a_rule_about_the_machine_takes_the_place_of_the_built_in_one(
    database: Database,
) -> None:
    await make_endpoint(database)
    rule = await make_rule(database, "machine", hold=2)
    store = alert_store(database)
    assert await judge_at(store, NOON, {"budget": "Nothing is left."}) == 0
    assert await judge_at(store, NOON + MINUTE, {"budget": "Nothing is left."}) == 1
    (listed,) = await all_alerts(store)
    assert listed.rule_id == rule.id


# --- rules ----------------------------------------------------------------------------------------


async def test_there_are_at_most_so_many_rules(database: Database) -> None:
    for _ in range(MAX_RULES):
        await make_rule(database)
    with pytest.raises(InvalidInput, match=str(MAX_RULES)):
        await make_rule(database)


async def test_a_rule_that_looks_at_something_else_closes_its_alerts(database: Database) -> None:
    await make_endpoint(database)
    rule = await make_rule(database)
    await fill(database, 6)
    store = alert_store(database)
    await judge_at(store)
    await AlertRuleStore(database).change(rule.id, lambda _: {"above": 50.0})
    (listed,) = await all_alerts(store)
    assert listed.alert.state is AlertState.CLOSED
    assert len(await messages(database)) == 1


async def test_a_deleted_rule_takes_its_alerts_with_it(database: Database) -> None:
    rule = await make_rule(database)
    await fill(database, 6)
    store = alert_store(database)
    await judge_at(store)
    await AlertRuleStore(database).delete(rule.id)
    assert await all_alerts(store) == []
    with pytest.raises(NotFound):
        await AlertRuleStore(database).find(rule.id)


async def test_pages_of_alerts_neither_skip_nor_repeat(database: Database) -> None:
    for number in range(5):
        await make_rule(database, filter={"author": f"author {number}"}, above=1.0)
    await fill(database, 5)
    store = alert_store(database)
    await judge_at(store)
    seen, cursor = [], None
    while True:
        page = await store.page(AlertState.OPEN, limit=2, cursor=cursor)
        seen += [each.alert.id for each in page.alerts]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert (len(seen), len(set(seen)), page.open_count) == (5, 5, 5)


async def test_a_muted_alert_tells_nothing(database: Database) -> None:
    await make_endpoint(database)
    await make_rule(database, window="15m", cooldown_seconds=0)
    await fill(database, 6)
    store = alert_store(database)
    await judge_at(store)
    (listed,) = await all_alerts(store)
    assert (await store.acknowledge(listed.alert.id, "ana")).acknowledged_by == "ana"
    await store.mute(listed.alert.id, 24 * 365 * 20)
    await judge_at(store, NOON + 30 * MINUTE)
    assert len(await messages(database)) == 1
    with pytest.raises(NotFound):
        await store.mute("alrt_00000000", 1)


async def test_what_is_long_closed_is_forgotten_and_what_is_open_is_not(
    database: Database,
) -> None:
    """The examples are of long ago."""
    await make_rule(database, window="15m")
    await make_rule(database, window="24h")
    await fill(database, 6)
    store = alert_store(database)
    await judge_at(store)
    await judge_at(store, NOON + 20 * MINUTE)
    assert await store.prune(limit=1)
    assert not await store.prune(limit=1)
    (listed,) = await all_alerts(store)
    assert listed.alert.state is AlertState.OPEN


# --- reports --------------------------------------------------------------------------------------


async def test_a_report_is_sent_once_whoever_sends_it(database: Database) -> None:
    await make_endpoint(database)
    await make_endpoint(database, "ep_00000002", events=["alert"])
    await fill(database, 3, before=NOON - timedelta(days=1))
    at = ReportTime.parse("11:00")
    async with of_another_process(database) as other:
        stores = [
            ReportStore(each, SummaryStore(each), InsightStore(each)) for each in (database, other)
        ]
        sent = await asyncio.gather(*(store.send_due(at, NOON) for store in stores))
        sent += [await stores[0].send_due(at, NOON + 5 * MINUTE)]
    assert sum(sent) == 1
    ((type_, data),) = await messages(database)
    assert (type_, data["period"], data["ending"]) == ("report", "day", "2025-01-19")
    assert data["summary"]["totals"]["count"] == 3
    assert data["markdown"].startswith("# Report of 2025-01-19")
    told = words_of(Message("msg_report", MessageType.REPORT, data)).text
    assert "• delivery_problems: now 3, before 0" in told
    assert "|" not in told
    assert await stores[0].send_due(at, NOON - 2 * 60 * MINUTE) == 0


# --- who judges -----------------------------------------------------------------------------------


async def test_while_another_process_judges_nothing_is_told_twice(
    fresh_postgres_url: str,
) -> None:
    async with Database(fresh_postgres_url) as database:
        await make_endpoint(database)
        await make_rule(database)
        await fill(database, 6)
        async with advisory_lock_held(database, alert_turn.LOCK):
            assert await judge_at(alert_store(database)) == 0
        assert await judge_at(alert_store(database)) == 1
