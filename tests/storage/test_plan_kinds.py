"""What plans of each kind change: rules, labels taken back, handling, retries."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, update

from analysis.handling import HandlingChange, HandlingState
from analysis.labels import Labelling
from analysis.outcomes import Fail
from database import Database
from errors import Conflict, InvalidInput, NotFound
from models import insights, now_micros
from store import handling, labels
from store.conversations import ConversationStore
from store.handling import HandlingStore
from store.plans.plan import Plan, PlanKind, PlanState
from store.queue import WorkQueue
from store.rules import RuleStore
from tables.people import plans
from tests.support.factories import accept, claim_all, new_conversation, run_sql, scalar
from tests.support.http_helpers import eventually
from tests.support.plans import (
    applied,
    insert,
    insight_list,
    label,
    made,
    make_rule,
    plan_store,
    scores,
    served,
    undone,
    walk_store,
    walked,
)


async def test_a_rule_is_applied_to_what_its_own_filter_means_narrowed_by_the_plans(
    database: Database,
) -> None:
    rule_id = await make_rule(database, {"q": '"war zone"'})
    ids = await insert(
        database,
        [
            {"text": "Lost in the war zone again", "author": "ana"},
            {"text": "Lost in the war zone again", "author": "ben"},
            {"text": "Lost in the warehouse", "author": "ana"},
        ],
    )

    plan = await made(
        database, kind=PlanKind.RULE, filter={"author": "ana"}, set=None, by=None, rule_id=rule_id
    )
    plan = await applied(database, plan)

    assert plan.filter == {"q": '"war zone"', "author": "ana"}
    assert await scores(database) == {ids[0]: 0.0, ids[1]: -0.65, ids[2]: -0.65}


async def test_a_rule_that_is_gone_or_asked_for_another_thing_is_not_applied(
    database: Database,
) -> None:
    rule_id = await make_rule(database, {"sentiment": "negative"})
    asked: dict[str, Any] = {"kind": PlanKind.RULE, "set": None, "rule_id": rule_id}
    await insight_list(database, -0.5)
    plan = await made(database, **asked, filter={})

    with pytest.raises(InvalidInput, match=r"filter\.sentiment"):
        await made(database, **asked, filter={"sentiment": "positive"})
    with pytest.raises(NotFound):
        await made(database, **asked | {"rule_id": "rule_00000009"}, filter={})
    await RuleStore(database).delete(rule_id)
    with pytest.raises(Conflict, match="deleted"):
        await plan_store(database).apply(plan.id)
    with pytest.raises(NotFound):
        await made(database, **asked, filter={})


async def test_labels_are_taken_back_of_one_giver_alone(database: Database) -> None:
    rule_id = await make_rule(database, {"sentiment": "negative"})
    ids = await insight_list(database, -0.5, -0.6)
    of_rule = await made(database, kind=PlanKind.RULE, set=None, rule_id=rule_id, filter={})
    await applied(database, of_rule)
    await label(database, ids[0], 0.9)
    await RuleStore(database).delete(rule_id)

    back: dict[str, Any] = {"kind": PlanKind.UNLABEL, "set": None, "by": None}
    plan = await made(database, **back, filter={}, rule_id=rule_id)
    assert plan.matched == 2
    await applied(database, plan)
    assert await scores(database) == {ids[0]: 0.9, ids[1]: -0.6}

    plan = await made(database, **back, filter={"q": "parcel", "cluster": "delivery_problems"})
    assert plan.matched == 1
    await applied(database, plan)
    assert await scores(database) == {ids[0]: -0.5, ids[1]: -0.6}


async def test_a_rules_word_is_taken_back_of_own_posts_as_well(database: Database) -> None:
    """A rule labels them as they are written; its number of labels is what a plan finds."""
    store = RuleStore(database)
    ids = await insert(
        database,
        [
            {"text": "a late parcel", "author": "ana"},
            {"text": "a late answer", "author": "shop", "own": 1},
            {"text": "a late refund", "author": "shop", "own": 1, "clusters": ["refund"]},
        ],
    )
    rule = await store.create("late", {"q": "late"}, {"sentiment": "neutral"}, enabled=True)
    labelling = Labelling(sentiment_score=0.0)
    await database.write(
        lambda connection: labels.give(
            connection, ids, rule.number, labelling, name=rule.name, at=now_micros()
        )
    )
    asked: dict[str, Any] = {
        "kind": PlanKind.UNLABEL,
        "set": None,
        "by": None,
        "rule_id": rule.id,
    }
    matched = [
        (await made(database, **asked, filter=filter_)).matched
        for filter_ in ({"q": "late"}, {"q": "answer"}, {"cluster": "refund"}, {"author": "shop"})
    ]
    assert matched == [3, 1, 1, 2]

    deleted = await store.delete(rule.id)
    plan = await made(database, **asked, filter={})
    assert deleted.labelled == plan.matched == 3
    assert (await applied(database, plan)).changed == 3
    assert await scores(database) == dict.fromkeys(ids, -0.65)
    assert (await undone(database, plan)).left_alone == 0
    assert await scores(database) == dict.fromkeys(ids, 0.0)


async def test_handling_is_changed_but_for_claims_of_others_and_put_back(
    database: Database,
) -> None:
    await insight_list(database, -0.5, -0.6)
    before = await served(database)
    asked = {"kind": PlanKind.HANDLING, "set": {"state": "ignored"}}

    plan = await made(database, **asked)
    assert [change.after["state"] for change in plan.sample] == ["ignored", "ignored"]
    await applied(database, plan)
    states = select(insights.c.handling).distinct()
    assert await scalar(database, states) == "ignored"
    await undone(database, plan)

    assert await served(database) == before


@pytest.mark.parametrize(
    "set_",
    [
        {"state": "answered"},
        {"state": "open"},
        {"state": "ignored"},
        {"state": "snoozed", "minutes": 60},
        {"state": "claimed", "minutes": 15},
    ],
)
async def test_whatever_a_plan_does_it_leaves_alone_what_somebody_else_has_claimed(
    database: Database, set_: dict[str, Any]
) -> None:
    """But for claims that have run out, and where it is to take them over."""
    ids = await insight_list(database, *[-0.5] * 4)
    now = now_micros()
    for id_, by, until in (
        (ids[0], "ben", now + 10**9),
        (ids[1], "ana", now + 10**9),
        (ids[2], "ben", now + 1),
    ):
        claim = HandlingChange(HandlingState.CLAIMED, by, until)
        await database.write(
            partial(handling.change_many, ids=[id_], change=claim, key_name="", now=now)
        )
    asked: dict[str, Any] = {"kind": PlanKind.HANDLING, "by": "ana"}

    plan = await made(database, **asked, set=set_)
    assert plan.warnings[-1] == "It would leave 1 alone, which somebody else has claimed."
    assert {each.conversation_id for each in plan.sample} == set(ids[1:])
    plan = await applied(database, plan)
    assert (plan.matched, plan.changed, plan.skipped) == (4, 3, 1)
    assert await who_has(database, ids[0]) == ("claimed", "ben")

    plan = await made(database, **asked, set={**set_, "take_over": True})
    assert "somebody else" not in "".join(plan.warnings)
    plan = await applied(database, plan)
    assert (plan.changed, plan.skipped) == (4, 0)
    now_by = None if set_["state"] == "open" else "ana"
    assert await who_has(database, ids[0]) == (set_["state"], now_by)


async def who_has(database: Database, id_: str) -> tuple[str, str | None]:
    columns = select(insights.c.handling, insights.c.handling_by)
    statement = columns.where(insights.c.conversation_id == id_)
    row = await database.read(lambda connection: connection.execute(statement).one())
    return row.handling, row.handling_by


async def test_failed_conversations_are_retried_by_author_and_time(database: Database) -> None:
    ana = await accept(database, new_conversation(author="ana"))
    await accept(database, new_conversation(author="ben"))
    await _fail_all(database)
    before = await served(database)

    plan = await made(database, kind=PlanKind.RETRY, filter={"author": "ana"}, set=None, by=None)
    assert (plan.matched, plan.sample[0].before) == (1, {"status": "failed", "last_error": "no"})
    later = await accept(database, new_conversation(author="ana"))
    await _fail_all(database)
    plan = await applied(database, plan)

    assert (plan.changed, plan.later) == (1, 1)
    assert [claimed.id for claimed in await claim_all(database)] == [ana]
    await _settle_all_as_failed(database)
    await ConversationStore(database).erase(later)
    assert (await undone(database, plan)).left_alone == 1
    assert len(await served(database)) == len(before)


async def _fail_all(database: Database) -> None:
    claimed = await claim_all(database)
    await WorkQueue(database).settle([(item, Fail("no")) for item in claimed])


async def _settle_all_as_failed(database: Database) -> None:
    await WorkQueue(database).rescue(all_orphaned=True)
    await _fail_all(database)


async def test_a_retry_that_nobody_began_with_is_undone(database: Database) -> None:
    await accept(database)
    await _fail_all(database)
    before = await served(database)
    everything = {"end_time": "2100-01-01T00:00:00Z"}

    plan = await made(database, kind=PlanKind.RETRY, filter=everything, set=None, by=None)
    plan = await applied(database, plan)
    assert await served(database) != before
    plan = await undone(database, plan)

    assert plan.left_alone == 0
    assert await served(database) == before


async def test_a_snooze_is_not_applied_once_its_time_is_over(database: Database) -> None:
    """It would open what is answered."""
    await insight_list(database, -0.5, author="ben")
    await applied(database, await _handling_plan(database, {"state": "answered"}))
    until = datetime.now(UTC) + timedelta(milliseconds=50)
    plan = await _handling_plan(database, {"state": "snoozed", "until": until.isoformat()})
    before = await served(database)

    await eventually(lambda: datetime.now(UTC) > until)
    with pytest.raises(Conflict, match=r"snoozes until .* which is over"):
        await plan_store(database).apply(plan.id)

    assert (await plan_store(database).find(plan.id)).state is PlanState.READY
    assert await served(database) == before


@pytest.mark.parametrize(
    "what",
    [{"state": "snoozed", "until": "2025-01-20T12:00:00Z"}, {"state": "claimed", "minutes": 5}],
    ids=["snooze", "claim"],
)
async def test_what_a_walk_comes_to_when_the_time_is_over_is_skipped(
    database: Database, what: dict[str, Any]
) -> None:
    """As where the process died amid the walk, and was started again late."""
    await insight_list(database, -0.5, -0.5, -0.5, author="ben")
    await applied(database, await _handling_plan(database, {"state": "ignored"}))
    plan = await _handling_plan(database, {"state": "snoozed", "minutes": 5})
    await plan_store(database).apply(plan.id)
    await walked(database, rows=1, steps=1)
    hour_ago = now_micros() - 3_600_000_000
    await run_sql(
        database, update(plans).where(plans.c.id == plan.id).values(set=what, applied_at=hour_ago)
    )
    plan = await walked(database)

    assert (plan.state, plan.done, plan.changed, plan.skipped) == (PlanState.APPLIED, 3, 1, 2)
    states = select(insights.c.handling).order_by(insights.c.handling)
    found = await database.read(lambda connection: connection.scalars(states).all())
    assert found == ["ignored", "ignored", "snoozed"]


async def test_what_a_plan_means_by_its_state_is_skipped_once_that_has_run_out(
    database: Database,
) -> None:
    """Both before the walk comes to it, and between reading and writing a step."""
    ids = await insight_list(database, -0.5, -0.6)
    snoozed = HandlingChange(HandlingState.SNOOZED, "ben", now_micros() + 3_600_000_000)
    for id_ in ids:
        await HandlingStore(database).change(id_, snoozed, key_name="", now=now_micros())
    plan = await made(database, filter={"handling": "snoozed"})
    assert plan.matched == 2
    plan = await plan_store(database).apply(plan.id)
    walks = walk_store(database)

    runs_out = update(insights).values(handling_until=now_micros())
    await run_sql(database, runs_out.where(insights.c.conversation_id == ids[0]))
    candidates = await walks.candidates(plan)
    assert [each.conversation_id for each in candidates] == ids[1:]
    await run_sql(database, runs_out.where(insights.c.conversation_id == ids[1]))
    plan = (await walks.apply(plan, candidates, None)).plan

    assert (plan.done, plan.changed) == (0, 0)
    assert (await walked(database)).skipped == 2


async def _handling_plan(database: Database, what: dict[str, Any]) -> Plan:
    return await made(database, kind=PlanKind.HANDLING, filter={"author": "ben"}, set=what)
