"""The plan worker through trouble, and which rows and plans are passed over."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from analysis.handling import HandlingChange, HandlingState
from analysis.labels import PERSON, Labelling
from analysis.outcomes import Fail
from database import Database
from errors import Conflict, NotFound
from models import insights, now_micros
from store import handling, labels
from store.insights import InsightStore
from store.plans.plan import Plan, PlanKind, PlanState
from store.plans.requests import PlanStore
from store.plans.selections import Candidate
from store.plans.walks import Step, WalkStore
from store.queue import WorkQueue
from tables.people import plans
from tests.support.factories import NOON, accept, claim_all, insert_insights, run_sql, scalar
from tests.support.http_helpers import captured_log, eventually
from tests.support.plans import applied, made, plan_store, walk_store
from worker.plans import PlanWorker

MINUTE = timedelta(minutes=1)


@asynccontextmanager
async def walking(walks: WalkStore, *, trouble_seconds: float = 0.02) -> AsyncIterator[None]:
    worker = PlanWorker(walks, yields=False, trouble_seconds=trouble_seconds)
    worker.start()
    try:
        yield
    finally:
        await worker.stop()


async def in_state(store: PlanStore, plan: Plan, state: PlanState) -> Plan:
    found = plan

    async def has_state() -> bool:
        nonlocal found
        found = await store.find(plan.id)
        return found.state is state

    await eventually(has_state, within=30, what=f"the plan is {state}")
    return found


async def two_asked_for(database: Database) -> tuple[Plan, Plan]:
    """The first is to label what is negative, the second what is positive."""
    rows = [{"sentiment_score": score} for score in (-0.5, 0.5)]
    await insert_insights(database, rows)
    first = await made(database)
    second = await made(database, filter={"sentiment": "positive"})
    for plan in (first, second):
        await plan_store(database).apply(plan.id)
    return first, second


class Failing(WalkStore):
    """Raises for one plan, so many times."""

    def __init__(self, database: Database, plan_id: str, times: int, *, fails_too: bool) -> None:
        super().__init__(database, InsightStore(database))
        self.plan_id, self.left, self.fails_too = plan_id, times, fails_too
        self.tries = 0

    async def candidates(self, plan: Plan) -> Sequence[Candidate]:
        self._meet(plan)
        return await super().candidates(plan)

    async def fail(self, plan: Plan, error: str) -> None:
        if self.fails_too:
            raise ZeroDivisionError
        await super().fail(plan, error)

    def _meet(self, plan: Plan) -> None:
        if plan.id == self.plan_id:
            self.tries += 1
            if self.left:
                self.left -= 1
                raise ZeroDivisionError


async def test_a_plan_whose_steps_raise_fails_after_three_tries_and_the_next_one_is_applied(
    database: Database,
) -> None:
    first, second = await two_asked_for(database)
    walks = Failing(database, first.id, times=99, fails_too=False)
    async with walking(walks):
        await in_state(plan_store(database), second, PlanState.APPLIED)
    failed = await plan_store(database).find(first.id)
    assert (failed.state, failed.error) == (PlanState.FAILED, "ZeroDivisionError: see the log")
    assert walks.tries == 3


async def test_a_plan_whose_step_raises_twice_is_applied(database: Database) -> None:
    first, _ = await two_asked_for(database)
    async with walking(Failing(database, first.id, times=2, fails_too=False)):
        plan = await in_state(plan_store(database), first, PlanState.APPLIED)
    assert (plan.changed, plan.error) == (1, None)


async def test_a_plan_that_cannot_even_be_marked_as_failed_is_passed_over(
    database: Database,
) -> None:
    first, second = await two_asked_for(database)
    walks = Failing(database, first.id, times=99, fails_too=True)
    async with walking(walks):
        await in_state(plan_store(database), second, PlanState.APPLIED)
    assert (await plan_store(database).find(first.id)).state is PlanState.APPLYING
    assert walks.tries == 3


async def test_whose_turn_it_is_may_not_be_known_for_a_while(database: Database) -> None:
    """Whatever is raised there does not end the worker."""
    first, _ = await two_asked_for(database)

    class Lost(WalkStore):
        tries = 0

        async def next(self, **but: Any) -> Plan | None:
            self.tries += 1
            if self.tries < 4:
                raise ZeroDivisionError
            return await super().next(**but)

    walks = Lost(database, InsightStore(database))
    async with walking(walks):
        await in_state(plan_store(database), first, PlanState.APPLIED)


async def test_a_plan_of_a_kind_that_is_not_known_keeps_no_other_waiting(
    database: Database,
) -> None:
    """As a newer version beside this one may have made it."""
    first, second = await two_asked_for(database)
    await run_sql(database, update(plans).where(plans.c.id == first.id).values(kind="erasure"))
    plan = await walk_store(database).next()
    assert plan is not None
    assert plan.id == second.id


async def test_on_a_full_disk_a_plan_waits_says_so_and_goes_on_once_there_is_room(
    small_disk: Path,
) -> None:
    database = Database(f"sqlite+aiosqlite:///{small_disk}/insights.db")
    await database.open()
    ballast = small_disk / "ballast"

    class FilledUp(WalkStore):
        async def apply(
            self, plan: Plan, candidates: Sequence[Candidate], rate: float | None, **how: int
        ) -> Step:
            if plan.done == 40 and not ballast.exists() and not log.named("plans_wait"):
                with ballast.open("wb", buffering=0) as file:
                    while file.write(b"x" * 4096) == 4096:
                        pass
            return await super().apply(plan, candidates[:40], rate, **how)

    try:
        await insert_insights(database, [{"sentiment_score": -0.5}] * 120)
        plan = await made(database)
        await plan_store(database).apply(plan.id)
        worker = PlanWorker(
            FilledUp(database, InsightStore(database)), yields=True, trouble_seconds=0.02
        )
        with captured_log() as log:
            worker.start()
            await eventually(lambda: bool(log.named("plans_wait")), what="it waits")
            waiting = await plan_store(database).find(plan.id)
            assert (waiting.state, waiting.done, waiting.error) == (PlanState.APPLYING, 40, None)
            ballast.unlink()
            plan = await in_state(plan_store(database), plan, PlanState.APPLIED)
        await worker.stop()
        assert (plan.done, plan.changed, plan.skipped) == (120, 120, 0)
        (waited,) = log.named("plans_wait")  # not one at each try
        assert "disk" in waited["reason"]
        changed = select(func.count()).where(insights.c.labelled == "person")
        assert await scalar(database, changed) == 120
    finally:
        await database.close()


# --- what came to match after the plan was made ---------------------------------------------------


async def label(database: Database, id_: str, labelling: Labelling, by: str = "ben") -> None:
    at = now_micros()
    await database.write(
        lambda connection: labels.give(connection, [id_], PERSON, labelling, name=by, at=at)
    )


async def handled(database: Database, id_: str, state: HandlingState) -> None:
    change = HandlingChange(state, "ben")
    await database.write(
        lambda connection: handling.change_many(
            connection, [id_], change, key_name="", now=now_micros()
        )
    )


@pytest.mark.parametrize(
    ("filter_", "labelling"),
    [
        ({"sentiment": "negative"}, Labelling(sentiment_score=-0.6)),
        ({"cluster": "praise"}, Labelling(clusters=("praise",))),
        ({"min_confidence": 0.95}, Labelling(clusters=("delivery_problems", "praise"))),
        ({"labelled": "person"}, Labelling(sentiment_score=0.1)),
    ],
)
async def test_what_came_to_match_by_its_labels_is_not_touched(
    database: Database, filter_: dict[str, Any], labelling: Labelling
) -> None:
    matching = {"sentiment_score": -0.5, "clusters": ["praise"], "confidence": 0.97}
    there, came = await insert_insights(database, [matching, {"sentiment_score": 0.5}])
    if "labelled" in filter_:
        await label(database, there, Labelling(sentiment_score=-0.4))
    plan = await made(database, filter=filter_, set={"clusters": ["billing_problems"]})
    assert plan.matched == 1
    await label(database, came, labelling)

    plan = await applied(database, plan)

    assert (plan.done, plan.changed, plan.skipped) == (1, 1, 0)


async def test_what_still_matches_after_another_label_is_changed(database: Database) -> None:
    (id_,) = await insert_insights(database, [{"sentiment_score": -0.5}])
    plan = await made(database)
    await label(database, id_, Labelling(sentiment_score=-0.9))
    plan = await applied(database, plan)
    assert (plan.done, plan.changed) == (1, 1)


async def test_what_came_to_match_by_its_handling_is_not_touched(database: Database) -> None:
    there, came, other = await insert_insights(database, [{}] * 3)
    for id_ in (there, came):
        await handled(database, id_, HandlingState.ANSWERED)
    await handled(database, came, HandlingState.OPEN)
    plan = await made(database, filter={"handling": "answered"})
    assert plan.matched == 1
    for id_ in (came, other):
        await handled(database, id_, HandlingState.ANSWERED)

    plan = await applied(database, plan)

    assert (plan.done, plan.changed, plan.skipped) == (1, 1, 0)


async def test_labels_given_after_the_plan_are_not_taken_back_by_it(database: Database) -> None:
    there, came = await insert_insights(database, [{}] * 2)
    await label(database, there, Labelling(sentiment_score=0.6), by="ana")
    filter_ = {"start_time": (NOON - MINUTE).isoformat()}
    plan = await made(database, kind=PlanKind.UNLABEL, filter=filter_, set=None)
    await label(database, came, Labelling(sentiment_score=0.6))

    plan = await applied(database, plan)

    assert (plan.matched, plan.done, plan.changed) == (1, 1, 1)


# --- plans that nobody applies --------------------------------------------------------------------

HOUR = 3_600_000_000


async def aged(database: Database, plan: Plan, hours: int) -> None:
    created_at = now_micros() - hours * HOUR
    await run_sql(
        database, update(plans).where(plans.c.id == plan.id).values(created_at=created_at)
    )


async def test_a_plan_that_nobody_applied_is_forgotten_a_day_after_it_expired(
    database: Database,
) -> None:
    await insert_insights(database, [{"sentiment_score": -0.5}])
    store = plan_store(database)
    old, expired, used = [await made(database) for _ in range(3)]
    await applied(database, used)
    for plan, hours in ((old, 49), (expired, 47), (used, 49)):
        await aged(database, plan, hours)

    assert await walk_store(database).prune(limit=100) == 1
    assert await walk_store(database).prune(limit=100) == 0

    with pytest.raises(NotFound):
        await store.find(old.id)
    with pytest.raises(Conflict, match="24 hours ago"):
        await store.apply(expired.id)
    assert (await store.find(used.id)).state is PlanState.APPLIED


async def test_so_many_plans_wait_to_be_applied_and_of_more_the_oldest_is_forgotten(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.plans.requests.MAX_READY", 2)
    await insert_insights(database, [{"sentiment_score": -0.5}])
    first, second = [await made(database) for _ in range(2)]
    third = await made(database)
    assert await are_there(database, first, second, third) == [False, True, True]

    await aged(database, second, 25)
    await applied(database, third)
    fourth, fifth = [await made(database) for _ in range(2)]
    assert await are_there(database, second, third, fourth, fifth) == [True] * 4


async def test_who_makes_many_plans_keeps_nobody_from_making_and_applying_theirs(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.plans.requests.MAX_READY", 3)
    await insert_insights(database, [{"sentiment_score": -0.5}])
    mine = await made(database, key_name="desk")
    greedy = [await made(database, key_name="script") for _ in range(5)]
    another = await made(database, key_name="desk")

    assert await are_there(database, mine, another) == [True, True]
    assert await are_there(database, *greedy) == [False] * 4 + [True]


async def are_there(database: Database, *plans: Plan) -> list[bool]:
    there = {each.id for each in await plan_store(database).newest(100)}
    return [each.id in there for each in plans]


async def test_the_other_worker_is_woken_by_what_goes_back_to_the_queue_alone(
    database: Database,
) -> None:
    woken: list[str] = []
    await accept(database)
    for claimed in await claim_all(database):
        await WorkQueue(database).settle([(claimed, Fail("refused"))])
    await insert_insights(database, [{"sentiment_score": -0.5}])
    for kind, asked in (
        (PlanKind.LABEL, {}),
        (PlanKind.RETRY, {"filter": {"start_time": "2000-01-01T00:00:00Z"}, "set": None}),
    ):
        plan = await made(database, kind=kind, **asked)
        assert plan.matched == 1
        await plan_store(database).apply(plan.id)
        worker = PlanWorker(walk_store(database), yields=False, on_step=partial(woken.append, kind))
        worker.start()
        await in_state(plan_store(database), plan, PlanState.APPLIED)
        await worker.stop()
    assert set(woken) == {PlanKind.RETRY}
