"""Plans: what they would change, what they change, and what undoing leaves."""

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Table, select, text, update

from analysis.handling import HandlingState
from analysis.labels import PERSON, Labelling, LastWord
from analysis.outcomes import Fail
from analysis.sentiment import Sentiment, sentiment_of
from database import Database
from errors import Conflict, InvalidInput, NotFound
from models import conversations, insight_clusters, insight_rollups, insights, now_micros, to_micros
from store import derived, labels
from store.conversations import ConversationStore
from store.derived import priority
from store.insights import InsightStore
from store.plans.plan import Plan, PlanKind, PlanState
from store.plans.walks import WalkedElsewhere
from store.queue import WorkQueue
from store.rules import RuleStore
from tables.people import labels as labels_table
from tables.people import plan_rows, plans
from tests.support.factories import (
    NOON,
    accept,
    claim_all,
    insert_insights,
    insight_filter,
    new_conversation,
    run_sql,
    scalar,
)
from tests.support.http_helpers import eventually
from tests.support.plans import applied, made, plan_store, undone, walk_store, walked
from worker.plans import PlanWorker

MINUTE = timedelta(minutes=1)
SERVED: Sequence[Table] = (conversations, insights, insight_clusters, insight_rollups, labels_table)


async def served(database: Database) -> list[list[tuple[Any, ...]]]:
    """All rows that are served or counted, and which insights the index finds by which terms."""

    def work(connection: Connection) -> list[list[tuple[Any, ...]]]:
        found = [
            [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for table in SERVED
        ]
        if connection.dialect.name == "sqlite":
            terms = "SELECT term, doc FROM words_in_index ORDER BY term, doc"
            connection.execute(
                text(
                    "CREATE VIRTUAL TABLE temp.words_in_index USING fts5vocab(main,"
                    " insight_terms, instance)"
                )
            )
            found.append([tuple(row) for row in connection.execute(text(terms))])
            connection.execute(text("DROP TABLE temp.words_in_index"))
        else:
            terms = "SELECT key, CAST(terms AS text) FROM insight_terms ORDER BY key"
            found.append([tuple(row) for row in connection.execute(text(terms))])
        return found

    return await database.write(work)


async def scores(database: Database) -> dict[str, float]:
    statement = select(insights.c.conversation_id, insights.c.sentiment_score)
    rows = await database.read(lambda connection: connection.execute(statement).all())
    return {row.conversation_id: row.sentiment_score for row in rows}


async def insert(database: Database, rows: Sequence[dict[str, Any]]) -> list[str]:
    """With the keys of their priority, which are written after all that they are made of."""
    ids = await insert_insights(database, rows)

    def work(connection: Connection) -> None:
        priority.refresh(connection, connection.scalars(select(insights.c.id)).all())

    await database.write(work)
    return ids


async def insight_list(database: Database, *scores: float, **more: Any) -> list[str]:
    """One for each score, each a minute older than the one before."""
    rows = [
        {"timestamp": NOON - place * MINUTE, "sentiment_score": score, **more}
        for place, score in enumerate(scores)
    ]
    return await insert(database, rows)


async def label(database: Database, id_: str, score: float, by: str = "ben") -> None:
    at = now_micros()
    await database.write(
        lambda connection: labels.give(
            connection, [id_], PERSON, Labelling(sentiment_score=score), name=by, at=at
        )
    )


async def make_rule(
    database: Database, filter_: dict[str, Any], set_: dict[str, Any] | None = None
) -> str:
    set_ = set_ or {"sentiment": "neutral"}
    rule = await RuleStore(database).create("War Zone", filter_, set_, enabled=True)
    return rule.id


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

    assert (plan.matched, plan.done, plan.changed, plan.skipped) == (3, 1, 1, 2)
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


# --- kinds ----------------------------------------------------------------------------------------


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


# --- any mix --------------------------------------------------------------------------------------

TOPICS = ["billing", "delivery", "praise"]


def random_plan(draw: random.Random, rule_id: str) -> dict[str, Any]:
    conditions: list[dict[str, Any]] = [
        {"sentiment": draw.choice(list(Sentiment))},
        {"cluster": draw.choice(TOPICS)},
        {"q": draw.choice(["late", '"war zone"'])},
        {"labelled": draw.choice(["person", "rule", "model"])},
        {"handling": "open", "min_confidence": 0.5},
        {"start_time": (NOON - 20 * MINUTE).isoformat()},
    ]
    filter_ = draw.choice(conditions) | draw.choice(conditions)
    by: dict[str, Any] = {"filter": filter_, "by": draw.choice(["ana", "ben"])}
    mood: dict[str, Any] = {"sentiment": draw.choice(list(Sentiment))}
    topics: dict[str, Any] = {"clusters": draw.sample(TOPICS, k=2)}
    without = {"set": None, "by": None}
    return draw.choice(
        [
            by | {"set": draw.choice([mood, topics])},
            by | {"set": mood | topics},
            by | {"kind": PlanKind.HANDLING, "set": {"state": "answered"}},
            {"kind": PlanKind.RULE, "filter": {}, "rule_id": rule_id, **without},
            {"kind": PlanKind.UNLABEL, "filter": {}, "rule_id": rule_id, **without},
            {"kind": PlanKind.UNLABEL, "filter": filter_, **without},
        ]
    )


async def assert_figures_are_right(database: Database) -> None:
    """The rollups are those of a recount, and each filter finds what looking at every row does."""
    columns = ("sentiment_score", "clusters", "labelled", "handling")
    statement = select(*(insights.c[name] for name in columns))
    rows = await database.read(lambda connection: connection.execute(statement).all())
    store = InsightStore(database)

    async def total(**named: Any) -> int:
        page = await store.page(insight_filter(**named), limit=1, cursor=None)
        return page.total_count

    for sentiment in Sentiment:
        by_hand = sum(sentiment_of(row.sentiment_score) is sentiment for row in rows)
        assert await total(sentiment=sentiment) == by_hand
    for topic in TOPICS:
        assert await total(cluster=topic) == sum(topic in row.clusters for row in rows)
        by_hand = sum(topic in row.clusters and row.labelled == "person" for row in rows)
        assert await total(cluster=topic, labelled=LastWord.PERSON) == by_hand
    answered = sum(row.handling == "answered" for row in rows)
    assert await total(handling=HandlingState.ANSWERED) == answered
    assert not await derived.rebuild(database)


@pytest.mark.parametrize("seed", range(3))
async def test_any_mix_of_plans_undoing_labels_erasures_and_deaths_leaves_every_figure_right(
    database: Database, seed: int
) -> None:
    draw = random.Random(seed)
    rows = [
        {
            "timestamp": NOON - place * MINUTE,
            "sentiment_score": round(draw.uniform(-1, 1), 2),
            "clusters": draw.sample(TOPICS, k=draw.randint(1, 3)),
            "confidence": round(draw.random(), 2),
            "text": draw.choice(["It is late", "Lost in the war zone", "Thanks"]),
        }
        for place in range(40)
    ]
    ids = await insert(database, rows)
    rule_id = await make_rule(database, {"q": "war"}, {"add_cluster": "praise"})
    done: list[Plan] = []
    for _ in range(10):
        match draw.choice(["apply", "apply", "undo", "label", "erase"]):
            case "apply":
                plan = await made(database, **random_plan(draw, rule_id))
                before = await served(database)
                size = draw.randint(1, 9)
                plan = await applied(database, plan, rows=size, steps=draw.randint(1, 9))
                if plan.state is PlanState.APPLYING:  # the process has died
                    plan = await walked(database, rows=size)
                if draw.random() < 0.5:
                    await undone(database, plan, rows=size)
                    assert await served(database) == before
                else:
                    done.append(plan)
            case "undo" if done:
                await undone(database, done.pop(draw.randrange(len(done))))
            case "label":
                await label(database, draw.choice(ids), draw.uniform(-1, 1))
            case "erase":
                await ConversationStore(database).erase(ids.pop())
    await assert_figures_are_right(database)


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
