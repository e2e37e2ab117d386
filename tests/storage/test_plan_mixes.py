"""Any mix of plans, undoing, labels, erasures and deaths leaves every figure right."""

import random
from typing import Any

import pytest
from sqlalchemy import select

from analysis.handling import HandlingState
from analysis.labels import LastWord
from analysis.sentiment import Sentiment, sentiment_of
from database import Database
from models import insights
from store import derived
from store.conversations import ConversationStore
from store.insights import InsightStore
from store.plans.plan import Plan, PlanKind, PlanState
from tests.support.factories import NOON, insight_filter
from tests.support.plans import (
    MINUTE,
    applied,
    insert,
    insight_list,
    label,
    made,
    make_rule,
    plan_store,
    served,
    undone,
    walk_store,
    walked,
)

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


async def test_a_step_of_many_rows_a_few_at_a_time_counts_each_once(database: Database) -> None:
    await insight_list(database, *[-0.5] * 150)
    await plan_store(database).apply((await made(database)).id)
    walks = walk_store(database)
    plan = await walks.next()
    assert plan is not None
    step = await walks.apply(plan, await walks.candidates(plan), None, at_a_time=20)
    assert step.rows == 150
    await assert_figures_are_right(database)
