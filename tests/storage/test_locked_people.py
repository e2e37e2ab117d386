"""What people and their rules change, while another process writes to the file."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import text, update

from analysis.handling import HandlingChange, HandlingState
from analysis.labels import Labelling
from analysis.priority import Weights
from database import Database
from errors import Unavailable
from models import now_micros
from store.authors import AuthorStore
from store.derived.word_counts import MatchCounter
from store.handling import HandlingStore
from store.label_history import LabelStore
from store.plans.plan import Plan
from store.plans.requests import PlanStore
from store.plans.walks import WalkStore
from store.priority import PriorityStore
from store.rules import RuleStore
from tables.people import plans
from tests.storage.conftest import Locks
from tests.support.factories import insert_insights, run_sql
from tests.support.plans import applied, made, new_plan, plan_store, walk_store, walked

HOUR = 3_600_000_000
NEUTRAL = Labelling(sentiment_score=0.0)


class Rows:
    """What each of the writes needs to find."""

    ids: list[str]
    rule: str
    ready: Plan
    used: Plan
    undoing: Plan
    applying: Plan

    @classmethod
    async def make(cls, database: Database) -> "Rows":
        rows = cls()
        rows.ids = await insert_insights(database, [{"author": name} for name in "ruvw" * 2])
        rows.rule = (
            await RuleStore(database).create(
                "late", {"q": "late"}, {"sentiment": "neutral"}, enabled=True
            )
        ).id
        old, rows.ready, rows.used, rows.undoing, rows.applying = [
            await made(database, filter={"author": name}) for name in "rruvw"
        ]
        rows.used = await applied(database, rows.used)
        rows.undoing = await applied(database, rows.undoing)
        await plan_store(database).apply(rows.applying.id)
        rows.applying = await walked(database, rows=1, steps=1)
        rows.undoing = await plan_store(database).undo(rows.undoing.id)
        await LabelStore(database).label(rows.ids[1], NEUTRAL, by="ana", reason=None)
        run_out = HandlingChange(HandlingState.CLAIMED, "ana", until=now_micros() - 1)
        await HandlingStore(database).change(rows.ids[2], run_out, key_name="", now=now_micros())
        of_old = plans.c.id == old.id
        created_at = now_micros() - 49 * HOUR
        await run_sql(database, update(plans).where(of_old).values(created_at=created_at))
        await PriorityStore(database, MatchCounter()).take_up(Weights(negative=1))
        return rows


async def step(database: Database, rows: Rows) -> None:
    candidates = await walk_store(database).candidates(rows.applying)
    await walk_store(database).apply(rows.applying, candidates[:1], None)


Write = Callable[[Database, Rows], Awaitable[object]]
WRITES: dict[str, Write] = {
    "label": lambda database, rows: LabelStore(database).label(
        rows.ids[0], Labelling(sentiment_score=0.9), by="ana", reason=None
    ),
    "take_back": lambda database, rows: LabelStore(database).take_back(rows.ids[1], by="ana"),
    "create": lambda database, _: RuleStore(database).create(
        "x", {"author": "x"}, {"sentiment": "neutral"}, enabled=True
    ),
    "change a rule": lambda database, rows: RuleStore(database).change(rows.rule, enabled=False),
    "delete": lambda database, rows: RuleStore(database).delete(rows.rule),
    "make": lambda database, _: plan_store(database).make(new_plan()),
    "apply": lambda database, rows: plan_store(database).apply(rows.ready.id),
    "undo": lambda database, rows: plan_store(database).undo(rows.used.id),
    "take_over": lambda database, _: walk_store(database).take_over(),
    "apply a step": step,
    "undo a step": lambda database, rows: walk_store(database).undo(rows.undoing, 1, None),
    "fail": lambda database, rows: walk_store(database).fail(rows.applying, "a bug"),
    "prune": lambda database, _: walk_store(database).prune(limit=1),
    "change handling": lambda database, rows: HandlingStore(database).change(
        rows.ids[0], HandlingChange(HandlingState.ANSWERED, "ana"), key_name="", now=now_micros()
    ),
    "take_up": lambda database, _: PriorityStore(database, MatchCounter()).take_up(
        Weights(negative=2)
    ),
    "catch_up": lambda database, _: PriorityStore(database, MatchCounter()).catch_up(limit=1),
}
READS = {
    *("find", "all", "record", "newest", "texts", "next", "candidates", "page", "most"),
    *("newest_event", "events_since"),
}
PUT_OFF = {"end_leases"}
"""These leave it at that for now."""
_WRITTEN = (
    *("insights", "labels", "label_log", "rules", "plans", "plan_rows", "handling_log"),
    "applied_settings",
)


def test_every_public_method_is_in_the_tables_of_writes_or_reads() -> None:
    stores = (
        *(LabelStore, RuleStore, PlanStore, WalkStore),
        *(HandlingStore, PriorityStore, AuthorStore),
    )
    methods = {
        name
        for store in stores
        for name, value in vars(store).items()
        if callable(value) and not name.startswith("_")
    }
    assert methods - READS - PUT_OFF == {name.split()[0] for name in WRITES}


async def snapshot(database: Database) -> list[Any]:
    return await database.read(
        lambda connection: [
            connection.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2")).all()
            for table in _WRITTEN
        ]
    )


@pytest.mark.parametrize("name", WRITES)
async def test_every_write_to_a_locked_file_is_unavailable_and_works_after(
    quick: Database, locked: Locks, name: str
) -> None:
    rows = await Rows.make(quick)
    before = await snapshot(quick)
    with locked():
        with pytest.raises(Unavailable, match="locked by another process") as raised:
            await WRITES[name](quick, rows)
        assert (raised.value.retry_after or 0) >= 1
        assert await snapshot(quick) == before
    async with asyncio.timeout(10):
        await WRITES[name](quick, rows)
    assert await snapshot(quick) != before


async def test_claims_that_have_run_out_wait_for_a_locked_file(
    quick: Database, locked: Locks
) -> None:
    await Rows.make(quick)
    store = HandlingStore(quick)
    with locked():
        assert not await store.end_leases()
    assert await store.end_leases()
    assert not await store.end_leases()
