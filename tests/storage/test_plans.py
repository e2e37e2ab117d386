"""Plans: what they would change, what they change, and what undoing leaves."""

import random
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update

from database import Database
from errors import Conflict, InvalidInput, NotFound
from models import now_micros, to_micros
from store.conversations import ConversationStore
from store.plans.plan import PlanKind, PlanState
from store.plans.walks import WalkedElsewhere
from tables.people import plan_rows, plans
from tests.support.factories import NOON, run_sql, scalar
from tests.support.http_helpers import eventually
from tests.support.plans import (
    MINUTE,
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
from worker.plans import PlanWorker

# --- making ---------------------------------------------------------------------------------------


async def test_a_plan_says_how_many_rows_it_would_change_and_changes_none(
    database: Database,
) -> None:
    ids = await insight_list(database, -0.8, 0.5, -0.3)
    before = await served(database)

    plan = await made(database)

    assert (plan.state, plan.matched, plan.done) == (PlanState.READY, 2, 0)
    assert [change.conversation_id for change in plan.sample] == [ids[0], ids[2]]
    assert plan.sample[0].before["sentiment_score"] == -0.8
    assert plan.sample[0].after == {
        "sentiment_score": 0.0,
        "clusters": ["delivery_problems"],
        "confidence": 1.0,
        "labelled": "person",
    }
    assert await served(database) == before
    assert await plan_store(database).find(plan.id) == plan


async def test_a_sample_has_ten_of_many(database: Database) -> None:
    await insight_list(database, *[-0.5] * 25)

    plan = await made(database)

    assert (plan.matched, len(plan.sample)) == (25, 10)


async def test_a_plan_that_matches_nothing_says_which_part_of_the_filter_emptied_it(
    database: Database,
) -> None:
    await insight_list(database, -0.5, -0.5)

    plan = await made(database, filter={"sentiment": "negative", "cluster": "no_such_topic"})
    other = await made(database, filter={"sentiment": "positive", "cluster": "no_such_topic"})

    assert plan.warnings == ["Nothing matches: without cluster it would be 2."]
    assert other.warnings == [
        "Nothing matches, and nothing would without any one part of the filter."
    ]


async def test_a_filter_that_says_nothing_is_refused(database: Database) -> None:
    with pytest.raises(InvalidInput, match="filter"):
        await made(database, filter={})


async def test_a_plan_that_touches_much_of_the_last_week_warns(database: Database) -> None:
    now = {"timestamp": now_micros() - 1_000_000}
    await insert(database, [{**now, "sentiment_score": score} for score in [-1, 1, 1, 1]])

    plan = await made(database)
    rare = await made(database, filter={"sentiment": "negative", "author": "nobody"})

    assert plan.warnings == ["It touches 25% of the insights of the last seven days."]
    assert "touches" not in rare.warnings[0]


# --- applying -------------------------------------------------------------------------------------


async def test_applying_changes_each_row_of_the_filter_once_however_small_the_steps(
    database: Database,
) -> None:
    ids = await insight_list(database, -0.8, 0.5, -0.3, -0.2, 0.7, -0.9)

    plan = await applied(database, await made(database), rows=1)

    assert (plan.state, plan.done, plan.changed, plan.total) == (PlanState.APPLIED, 4, 4, 4)
    assert (plan.skipped, plan.later) == (0, 0)
    assert await scores(database) == dict(zip(ids, [0.0, 0.5, 0.0, 0.0, 0.7, 0.0], strict=True))
    assert await scalar(database, text("SELECT count(*) FROM label_log")) == 4


async def test_what_is_completed_after_the_plan_was_made_is_not_touched_but_counted(
    database: Database,
) -> None:
    (old,) = await insight_list(database, -0.8)
    plan = await made(database)
    (new,) = await insight_list(database, -0.8)

    plan = await applied(database, plan)

    assert (plan.done, plan.changed, plan.later) == (1, 1, 1)
    assert await scores(database) == {old: 0.0, new: -0.8}


async def test_what_matches_no_more_or_was_erased_is_skipped_and_counted(
    database: Database,
) -> None:
    erased, labelled, left = await insight_list(database, -0.8, -0.8, -0.8)
    plan = await made(database)
    await ConversationStore(database).erase(erased)
    await label(database, labelled, 0.9)

    plan = await applied(database, plan)

    assert (plan.matched, plan.done, plan.changed, plan.skipped) == (3, 3, 1, 2)
    assert await scores(database) == {labelled: 0.9, left: 0.0}


async def test_what_was_changed_between_reading_and_writing_a_step_is_skipped(
    database: Database,
) -> None:
    ids = await insight_list(database, -0.8, -0.8)
    plan = await made(database)
    await plan_store(database).apply(plan.id)
    walks = walk_store(database)
    candidates = await walks.candidates(plan := await plan_store(database).find(plan.id))
    await label(database, ids[0], 0.9)

    plan = (await walks.apply(plan, candidates, None)).plan

    assert plan.changed == 1
    assert await scores(database) == {ids[0]: 0.9, ids[1]: 0.0}


async def test_a_walk_goes_on_where_a_process_that_died_left_it(database: Database) -> None:
    await insight_list(database, *[-0.5] * 5)

    plan = await applied(database, await made(database), rows=2, steps=1)
    assert (plan.state, plan.done) == (PlanState.APPLYING, 2)
    plan = await walked(database)

    assert (plan.state, plan.done, plan.changed) == (PlanState.APPLIED, 5, 5)


async def test_of_two_that_take_the_same_step_one_finds_it_taken(database: Database) -> None:
    await insight_list(database, *[-0.5] * 5)
    plan = await made(database)
    await plan_store(database).apply(plan.id)
    one, other = walk_store(database), walk_store(database)
    plan = await plan_store(database).find(plan.id)
    candidates = await one.candidates(plan)
    await one.apply(plan, candidates[:2], None)

    with pytest.raises(WalkedElsewhere):
        await other.apply(plan, candidates[:2], None)
    assert await other.next() is None  # as long as the other's lease holds
    found = await one.next()
    assert found is not None
    assert found.done == 2


async def test_plans_are_applied_one_after_the_other_in_the_order_of_asking(
    database: Database,
) -> None:
    await insight_list(database, -0.5)
    first = await made(database)
    second = await made(database, set={"sentiment": "positive"})
    await plan_store(database).apply(second.id)
    await plan_store(database).apply(first.id)

    walks = [await walked(database), await walked(database)]

    assert [plan.id for plan in walks] == [second.id, first.id]
    assert walks[1].skipped == 1


async def test_only_a_ready_plan_of_the_last_day_is_applied(database: Database) -> None:
    await insight_list(database, -0.5)
    plan = await applied(database, await made(database))
    with pytest.raises(Conflict, match="this one is applied"):
        await plan_store(database).apply(plan.id)

    old = await made(database)
    await run_sql(database, update(plans).values(created_at=now_micros() - 25 * 3600 * 1_000_000))
    with pytest.raises(Conflict, match="24 hours"):
        await plan_store(database).apply(old.id)
    with pytest.raises(NotFound):
        await plan_store(database).apply("plan_00000000")


# --- undoing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1000, 1])
async def test_undoing_leaves_all_that_is_served_as_it_was(database: Database, steps: int) -> None:
    """Also of a walk that a process left in the middle, in either direction."""
    draw = random.Random(3)
    await insert(
        database,
        [
            {
                "timestamp": NOON - place * MINUTE * 45,
                "sentiment_score": round(draw.uniform(-1, 1), 2),
                "clusters": draw.sample(["billing", "delivery", "praise", "other"], k=2),
                "confidence": round(draw.random(), 2),
                "text": f"words {place} of a game",
            }
            for place in range(40)
        ],
    )
    rule_id = await make_rule(
        database, {"q": "game"}, {"replace_cluster": ["billing", "billing_problems"]}
    )
    await applied(database, await made(database, filter={"cluster": "praise"}))
    await applied(
        database, await made(database, kind=PlanKind.RULE, filter={}, set=None, rule_id=rule_id)
    )
    before = await served(database)
    set_ = {"sentiment_score": -0.1, "clusters": ["praise"]}
    one = await made(database, filter={"q": "words", "sentiment": "positive"}, set=set_)
    back: dict[str, Any] = {"set": None, "by": None, "kind": PlanKind.UNLABEL}
    two = await made(database, **back, filter={}, rule_id=rule_id)
    three = await made(database, **back, filter={"min_confidence": 0.5})

    for plan in (one, two, three):
        changed = await applied(database, plan, rows=3, steps=steps)
        changed = await walked(database) if changed.state is PlanState.APPLYING else changed
        assert changed.changed
    assert await served(database) != before
    for plan in (three, two, one):
        reverted = await undone(database, plan, rows=3, steps=steps)
        reverted = await walked(database) if reverted.state is PlanState.UNDOING else reverted
        assert (reverted.state, reverted.left_alone) == (PlanState.UNDONE, 0)

    assert await served(database) == before
    assert await scalar(database, text("SELECT count(*) FROM plan_rows")) > 0


async def test_undoing_leaves_alone_what_was_changed_or_erased_since(database: Database) -> None:
    kept, erased, back = await insight_list(database, -0.8, -0.7, -0.6)
    plan = await applied(database, await made(database))
    await label(database, kept, 0.9)
    await ConversationStore(database).erase(erased)

    plan = await undone(database, plan)

    assert (plan.state, plan.done, plan.total) == (PlanState.UNDONE, 3, 3)
    assert plan.left_alone == 2
    assert await scores(database) == {kept: 0.9, back: -0.6}


async def test_only_a_plan_that_was_applied_in_the_last_month_is_undone(database: Database) -> None:
    await insight_list(database, -0.5)
    plan = await made(database)
    with pytest.raises(Conflict, match="this one is ready"):
        await plan_store(database).undo(plan.id)

    await applied(database, plan)
    month = 31 * 86_400 * 1_000_000
    await run_sql(database, update(plans).values(applied_at=now_micros() - month))
    with pytest.raises(Conflict, match="30 days"):
        await plan_store(database).undo(plan.id)


async def test_a_plan_that_failed_can_be_undone(database: Database) -> None:
    await insight_list(database, *[-0.5] * 5)
    before = await served(database)
    plan = await applied(database, await made(database), rows=2, steps=1)
    await walk_store(database).fail(plan, "a bug")

    assert await walk_store(database).next() is None
    plan = await undone(database, plan)

    assert (plan.state, plan.changed, plan.error) == (PlanState.UNDONE, 2, None)
    assert await served(database) == before


# --- pruning --------------------------------------------------------------------------------------


async def test_what_is_kept_for_undoing_goes_after_a_month_and_the_figures_stay(
    database: Database,
) -> None:
    await insight_list(database, *[-0.5] * 5)
    old = await applied(database, await made(database))
    month = to_micros(NOON - timedelta(days=31)) - to_micros(NOON)
    await run_sql(
        database,
        update(plans).values(applied_at=now_micros() + month, created_at=now_micros() + month),
    )
    await label_back(database)
    new = await applied(database, await made(database))
    walks = walk_store(database)

    while await walks.prune(limit=2):
        pass

    kept = select(plan_rows.c.plan_id).distinct()
    left = await database.read(lambda connection: connection.scalars(kept).all())
    assert new.id in left
    assert old.id not in left
    found = await plan_store(database).find(old.id)
    assert (found.matched, found.changed, found.sample) == (5, 5, [])


async def label_back(database: Database) -> None:
    asked: dict[str, Any] = {"kind": PlanKind.UNLABEL, "set": None, "by": None}
    await applied(database, await made(database, **asked, filter={"labelled": "person"}))


async def test_erasing_takes_a_conversation_out_of_plans(database: Database) -> None:
    (id_,) = await insight_list(database, -0.5)
    plan = await applied(database, await made(database))

    await ConversationStore(database).erase(id_)

    assert await scalar(database, text("SELECT count(*) FROM plan_rows")) == 0
    assert await plan_store(database).texts(plan) == {}


async def test_a_walk_whose_process_died_goes_on_at_once_where_no_other_can_be(
    database: Database,
) -> None:
    await insight_list(database, -0.8, -0.7)
    plan = await made(database)
    await plan_store(database).apply(plan.id)
    later = now_micros() + 10**9
    await run_sql(database, update(plans).values(lease_token="dead", leased_until=later))
    worker = PlanWorker(walk_store(database), yields=database.is_sqlite)

    async def is_applied() -> bool:
        return (await plan_store(database).find(plan.id)).state is PlanState.APPLIED

    worker.start()
    if database.is_sqlite:
        await eventually(is_applied)
    await worker.stop()
    assert await is_applied() == database.is_sqlite
