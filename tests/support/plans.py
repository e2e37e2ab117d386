"""Plans in tests: what they are made of, made, and walked to their end without a worker's task."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Table, select, text, update

from analysis.labels import PERSON, Labelling
from database import Database
from models import conversations, insight_clusters, insight_rollups, insights, now_micros
from store import labels
from store.derived import priority
from store.insights import InsightStore
from store.plans.plan import Plan, PlanKind, PlanState
from store.plans.requests import NewPlan, PlanStore
from store.plans.walks import WalkStore
from store.rules import RuleStore
from tables.people import labels as labels_table
from tables.people import plans
from tests.support.factories import NOON, insert_insights, run_sql

MINUTE = timedelta(minutes=1)
SERVED: Sequence[Table] = (conversations, insights, insight_clusters, insight_rollups, labels_table)


def plan_store(database: Database) -> PlanStore:
    return PlanStore(database, InsightStore(database))


def walk_store(database: Database) -> WalkStore:
    return WalkStore(database, InsightStore(database))


def new_plan(**overrides: Any) -> NewPlan:
    """What is negative is to be neutral, says Ana."""
    return NewPlan(
        **{
            "kind": PlanKind.LABEL,
            "filter": {"sentiment": "negative"},
            "set": {"sentiment": "neutral"},
            "by": "ana",
            **overrides,
        }
    )


async def made(database: Database, **overrides: Any) -> Plan:
    return await plan_store(database).make(new_plan(**overrides))


async def walked(database: Database, *, rows: int = 3, steps: int = 1000) -> Plan:
    """Walk the plan whose turn it is, to its end or for some steps of some rows each, two at a
    time; whoever walked before is dead for long."""
    walks = walk_store(database)
    await run_sql(database, update(plans).values(leased_until=0))
    plan = await walks.next()
    assert plan is not None
    for _ in range(steps):
        if plan.state is PlanState.APPLYING:
            candidates = await walks.candidates(plan)
            plan = (await walks.apply(plan, candidates[:rows], None, at_a_time=2)).plan
        elif plan.state is PlanState.UNDOING:
            plan = (await walks.undo(plan, rows, None, at_a_time=2)).plan
        else:
            break
    return plan


async def applied(database: Database, plan: Plan, **steps: int) -> Plan:
    """Applied, and walked."""
    await plan_store(database).apply(plan.id)
    return await walked(database, **steps)


async def undone(database: Database, plan: Plan, **steps: int) -> Plan:
    await plan_store(database).undo(plan.id)
    return await walked(database, **steps)


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
