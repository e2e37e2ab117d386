"""What plans of each kind change: rules, labels taken back, handling, retries."""

from typing import Any

import pytest
from sqlalchemy import select

from analysis.outcomes import Fail
from database import Database
from errors import Conflict, InvalidInput, NotFound
from models import insights
from store.conversations import ConversationStore
from store.plans.plan import PlanKind
from store.queue import WorkQueue
from store.rules import RuleStore
from tests.support.factories import accept, claim_all, new_conversation, scalar
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
