"""Plans in tests: made, and walked to their end without a worker's task."""

from typing import Any

from sqlalchemy import update

from database import Database
from store.insights import InsightStore
from store.plans.plan import Plan, PlanKind, PlanState
from store.plans.requests import NewPlan, PlanStore
from store.plans.walks import WalkStore
from tables.people import plans
from tests.support.factories import run_sql


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
