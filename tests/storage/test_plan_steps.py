"""A step of a plan: how many rows it changes, and by which statements."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection

from database import Database
from store.plans.plan import Plan, PlanState
from tests.support.factories import insert_insights
from tests.support.plans import applied, made, plan_store, undone, walk_store

Work = Callable[[Connection, Callable[[], bool]], Any]


@pytest.fixture(params=[True, False], ids=["somebody_waits", "nobody_waits"])
def somebody_waits(
    request: pytest.FixtureRequest, database: Database, monkeypatch: pytest.MonkeyPatch
) -> bool:
    waits: bool = request.param

    async def write_in_background(work: Work) -> Any:
        return await database.write(lambda connection: work(connection, lambda: waits))

    monkeypatch.setattr(database, "write_in_background", write_in_background)
    return waits


async def asked_for(database: Database, count: int) -> Plan:
    await insert_insights(database, [{"sentiment_score": -0.5}] * count)
    plan = await made(database)
    await plan_store(database).apply(plan.id)
    return await plan_store(database).find(plan.id)


async def test_a_step_that_applies_a_plan_ends_after_some_rows_where_somebody_waits(
    database: Database, somebody_waits: bool
) -> None:
    plan = await asked_for(database, 7)
    walks = walk_store(database)
    candidates = await walks.candidates(plan)
    steps = []
    while plan.state is PlanState.APPLYING:
        plan, rows, _ = await walks.apply(plan, candidates, None, at_a_time=3)
        candidates = candidates[rows:]
        steps.append((rows, plan.done, plan.changed))
        assert await plan_store(database).find(plan.id) == plan
    expected = [(3, 3, 3), (3, 6, 6), (1, 7, 7)] if somebody_waits else [(7, 7, 7)]
    assert steps == [*expected, (0, 7, 7)]


async def test_a_step_that_undoes_a_plan_does_so_too(
    database: Database, somebody_waits: bool
) -> None:
    plan = await asked_for(database, 7)
    walks = walk_store(database)
    plan = (await walks.apply(plan, await walks.candidates(plan), None)).plan
    plan = (await walks.apply(plan, [], None)).plan
    await plan_store(database).undo(plan.id)
    plan = await plan_store(database).find(plan.id)
    steps = []
    while plan.state is PlanState.UNDOING:
        plan, rows, _ = await walks.undo(plan, 6, None, at_a_time=2)
        steps.append((rows, plan.done, plan.left_alone))
    expected = [(2, 2, 0), (2, 4, 0), (2, 6, 0)] if somebody_waits else [(6, 6, 0)]
    assert steps == [*expected, (1, 7, 0), (0, 7, 0)]


def plan_of(statement: str, connection: Connection) -> list[str]:
    return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")]


async def statements_of_walking(database: Database) -> list[str]:
    """With their values, as SQLite carries them out to apply a plan and undo it."""
    seen: list[str] = []
    topics = [["late"], ["late", "rude"], ["praise"]]
    await insert_insights(
        database,
        [
            {"sentiment_score": -0.5, "author": f"author{n % 5}", "clusters": topics[n % 3]}
            for n in range(30)
        ],
    )

    def listen(connection: Connection) -> None:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        driver.set_trace_callback(seen.append)

    await database.write(listen)
    what = {"sentiment": "neutral", "clusters": ["other"]}
    plan = await applied(database, await made(database, set=what), rows=10)
    await undone(database, plan, rows=10)
    return [each.strip() for each in seen]


async def test_no_statement_of_a_walk_goes_through_a_table(opened: Database) -> None:
    tables = ("insights", "insight_clusters", "insight_rollups", "labels", "plan_rows")

    found: dict[str, list[str]] = {}
    for statement in await statements_of_walking(opened):
        if statement.startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            found[statement] = await opened.read(partial(plan_of, statement))
    scans = [
        (statement, detail)
        for statement, details in found.items()
        for detail in details
        if detail.startswith("SCAN") and detail.split()[1] in tables
    ]
    assert scans == []
    # SQLite may use the first column of a key alone.
    of_clusters = [
        detail
        for statement, details in found.items()
        if statement.startswith("DELETE FROM insight_clusters")
        for detail in details
    ]
    assert any("idx_cluster_insight_id" in detail for detail in of_clusters)


async def test_earlier_complaints_are_looked_for_among_complaints_alone(opened: Database) -> None:
    """Not among all that an author has written, which are most once a plan has put many right."""

    plans_of = [
        await opened.read(partial(plan_of, statement))
        for statement in await statements_of_walking(opened)
        if "earlier" in statement
    ]
    assert len(plans_of) >= 2
    for details in plans_of:
        assert any("idx_insight_unhappy" in each for each in details if " earlier " in each)
