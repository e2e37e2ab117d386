"""What the worker does with plans: the next step of a walk, its end; and pruning old ones.

Of several processes one walks at a time: whoever wrote the last step holds the plan's lease until
that runs out. A step also names the position that it goes on from. So where two meet nevertheless,
one finds the plan elsewhere and writes nothing.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy import Connection, Text, bindparam, cast, delete, exists, or_, select, update

from database import LONG_READ_SECONDS, Database
from models import conversations, now_micros, to_micros
from store import derived
from store.bulk_insert import ManyRows
from store.handling import HandlingStore, run_out_of
from store.insights import InsightStore
from store.plans.kinds import kinds_of_plans
from store.plans.plan import (
    SELECT_PLANS,
    TIME_TO_APPLY,
    TIME_TO_UNDO,
    WALKING,
    Change,
    Plan,
    PlanKind,
    PlanState,
    read_plan,
)
from store.plans.selections import Candidate, Selection
from store.statements import Prepared, among
from tables.people import plan_rows, plans

MOST_ROWS = 500
"""Of a step."""

_LEASE = 30_000_000
"""Microseconds: longer than any read or write may take."""


class Step(NamedTuple):
    """The plan as a step has left it, how many rows it passed, and how many seconds that took
    without the commit."""

    plan: Plan
    rows: int
    seconds: float


class WalkStore:
    """For one worker in one process."""

    def __init__(self, database: Database, insights: InsightStore) -> None:
        self._database = database
        self._handling = HandlingStore(database)
        self._kinds = kinds_of_plans(insights)
        self._token = uuid4().hex

    async def take_over(self) -> None:
        """Where no other process can exist, end the leases of those that died."""
        if self._database.is_sqlite:
            await self._database.write(lambda connection: connection.execute(_END_LEASES).rowcount)

    async def next(self, *, but: Collection[str] = ()) -> Plan | None:
        """The plan whose turn it is, unless another process walks it; none of those by the ids in
        `but`."""
        values = {"but": list(but)}
        row = await self._database.read(
            lambda connection: connection.execute(_NEXT, values).one_or_none()
        )
        if row is None or (
            row.lease_token not in (None, self._token) and row.leased_until > now_micros()
        ):
            return None
        return read_plan(row)

    async def candidates(self, plan: Plan) -> Sequence[Candidate]:
        """The next rows of a plan that is being applied; none at the end."""
        if "handling" in plan.filter:
            while await self._handling.end_leases():  # some at a time
                pass
        selection = self._kinds[plan.kind].selection(plan)
        work = partial(selection.next, plan.position, MOST_ROWS, plan.bound)
        return await self._database.read(work, costly=True, seconds=LONG_READ_SECONDS)

    async def apply(
        self,
        plan: Plan,
        candidates: Sequence[Candidate],
        rate: float | None,
        *,
        at_a_time: int = MOST_ROWS,
    ) -> Step:
        """Change rows, the next ones after the plan's position; fewer than are given where
        another write waits after any `at_a_time` of them. With none the plan is applied.

        `rate` is to be shown. Raises WalkedElsewhere, and then nothing is changed.
        """
        work = partial(self._step, plan, rate, candidates, at_a_time)
        return await self._database.write_in_background(work)

    async def undo(
        self, plan: Plan, most: int, rate: float | None, *, at_a_time: int = MOST_ROWS
    ) -> Step:
        """Put up to `most` rows back, as `apply` does; without any left the plan is undone."""
        work = partial(self._step_back, plan, rate, most, at_a_time)
        return await self._database.write_in_background(work)

    async def fail(self, plan: Plan, error: str) -> None:
        """Nobody walks it any more. What it has changed can be undone."""
        values = {"state": PlanState.FAILED.value, "error": error, "rate": None}
        statement = update(plans).where(plans.c.id == plan.id).values(**values, **_NOT_LEASED)
        await self._database.write(lambda connection: connection.execute(statement).rowcount)

    async def prune(self, *, limit: int) -> int:
        """Forget up to `limit` plans that nobody has applied within twice the time for it; else
        up to `limit` rows of what a plan has changed that can be neither applied nor undone any
        more, and after them its sample. 0 where nothing is left to forget."""
        return await self._database.write(partial(_prune, limit))

    # --- in a transaction -----------------------------------------------------------------------

    def _step(
        self,
        plan: Plan,
        rate: float | None,
        candidates: Sequence[Candidate],
        at_a_time: int,
        connection: Connection,
        others_wait: Callable[[], bool],
    ) -> Step:
        began = time.thread_time()
        _check_turn(plan, connection)
        if not candidates:
            skipped = max(0, plan.matched - plan.done)
            passed = plan.done + skipped
            ended = replace(plan, state=PlanState.APPLIED, done=passed, skipped=skipped)
            return _ended(ended, connection)
        passed, selection = 0, self._kinds[plan.kind].selection(plan)
        with derived.counted_together(connection):
            while passed < len(candidates) and not (passed and others_wait()):
                some = candidates[passed : passed + at_a_time]
                plan = self._change(plan, selection, some, connection)
                passed += len(some)
        plan = replace(plan, rate=rate)
        self._write(plan, connection)
        return Step(plan, passed, time.thread_time() - began)

    def _change(
        self,
        plan: Plan,
        selection: Selection,
        candidates: Sequence[Candidate],
        connection: Connection,
    ) -> Plan:
        ids = [each.conversation_id for each in candidates if not each.later]
        _lock(ids, connection)
        now = now_micros()
        ids = selection.still(ids, to_micros(plan.created_at), connection)
        if plan.is_over(now):
            ids = []
        elif "handling" in plan.filter:
            run_out = run_out_of(connection, ids, now=now)
            ids = [id_ for id_ in ids if id_ not in run_out]
        changes = self._kinds[plan.kind].apply(plan, ids, now, connection)
        _PLAN_ROWS.insert(connection, [(plan.id, *change) for change in changes])
        return replace(
            plan,
            position=list(candidates[-1].position),
            done=plan.done + len(ids),
            changed=plan.changed + len(changes),
            later=plan.later + sum(each.later for each in candidates),
        )

    def _step_back(
        self,
        plan: Plan,
        rate: float | None,
        most: int,
        at_a_time: int,
        connection: Connection,
        others_wait: Callable[[], bool],
    ) -> Step:
        began = time.thread_time()
        _check_turn(plan, connection)
        passed = 0
        with derived.counted_together(connection):
            while passed < most and not (passed and others_wait()):
                limit = min(at_a_time, most - passed)
                rows = connection.execute(_CHANGED, {"plan_id": plan.id, "limit": limit})
                if not (changes := [Change(*row) for row in rows]):
                    break
                plan = self._put_back(plan, changes, connection)
                passed += len(changes)
        if not passed:
            erased = plan.changed - plan.done
            return _ended(
                replace(
                    plan,
                    state=PlanState.UNDONE,
                    done=plan.changed,
                    left_alone=plan.left_alone + erased,
                ),
                connection,
            )
        plan = replace(plan, rate=rate)
        self._write(plan, connection)
        return Step(plan, passed, time.thread_time() - began)

    def _put_back(self, plan: Plan, changes: Sequence[Change], connection: Connection) -> Plan:
        ids = [each.conversation_id for each in changes]
        _lock(ids, connection)
        count = self._kinds[plan.kind].undo(plan, changes, now_micros(), connection)
        _FORGET.run(connection, {"plan_id": plan.id, "ids": ids})
        return replace(
            plan,
            done=plan.done + len(ids),
            left_alone=plan.left_alone + len(ids) - count,
        )

    def _write(self, plan: Plan, connection: Connection) -> None:
        until = now_micros() + _LEASE
        _write(plan, connection, lease_token=self._token, leased_until=until)


class WalkedElsewhere(Exception):
    """Another process has walked the plan further, or it is walked no more."""


_NOT_LEASED: dict[str, Any] = {"lease_token": None, "leased_until": None}
_COLUMNS = plans.c
_END_LEASES = update(plans).where(_COLUMNS.lease_token.is_not(None)).values(**_NOT_LEASED)
_NEXT = (
    SELECT_PLANS.where(
        _COLUMNS.state.in_([state.value for state in WALKING]),
        _COLUMNS.kind.in_([kind.value for kind in PlanKind]),  # a newer version may know more
        _COLUMNS.id.not_in(bindparam("but", expanding=True)),
    )
    .order_by(_COLUMNS.queued_at, _COLUMNS.id)
    .limit(1)
)
_LOCK_PLAN = (
    select(_COLUMNS.state, _COLUMNS.done, _COLUMNS.position)
    .where(_COLUMNS.id == bindparam("id"))
    .with_for_update()
)
_LOCK = (
    select(conversations.c.id)
    .where(conversations.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(conversations.c.id)
    .with_for_update()
)
_PLAN_ROWS = ManyRows(plan_rows)
_CHANGED = (
    select(plan_rows.c.conversation_id, plan_rows.c.before, plan_rows.c.after)
    .where(plan_rows.c.plan_id == bindparam("plan_id"))
    .order_by(plan_rows.c.conversation_id)
    .limit(bindparam("limit"))
)
_FORGET = Prepared(
    delete(plan_rows).where(
        plan_rows.c.plan_id == bindparam("plan_id"), among(plan_rows.c.conversation_id, "ids")
    )
)


def _lock(ids: Sequence[str], connection: Connection) -> None:
    """Nobody else changes these conversations until the transaction ends."""
    if connection.dialect.name != "sqlite":  # where nobody else writes
        connection.execute(_LOCK, {"ids": list(ids)})


_WALKED = ("state", "position", "done", "rate", "changed", "skipped", "later", "left_alone")
"""The columns that a walk changes."""
_WRITE = (
    update(plans)
    .where(_COLUMNS.id == bindparam("plan_id"))
    .values({name: bindparam(name) for name in (*_WALKED, *_NOT_LEASED)})
)


def _check_turn(plan: Plan, connection: Connection) -> None:
    row = connection.execute(_LOCK_PLAN, {"id": plan.id}).one()
    if (row.state, row.done, row.position) != (plan.state, plan.done, plan.position):
        raise WalkedElsewhere(plan.id)


def _ended(plan: Plan, connection: Connection) -> Step:
    plan = replace(plan, rate=None)
    _write(plan, connection, **_NOT_LEASED)
    return Step(plan, 0, 0.0)


def _write(plan: Plan, connection: Connection, **lease: Any) -> None:
    values = {name: getattr(plan, name) for name in _WALKED}
    connection.execute(_WRITE, {"plan_id": plan.id, **values, **lease})


_OLD = (
    select(_COLUMNS.id)
    .where(
        _COLUMNS.created_at < bindparam("before"),
        _COLUMNS.state.not_in([state.value for state in WALKING]),
        or_(_COLUMNS.applied_at.is_(None), _COLUMNS.applied_at < bindparam("before")),
        or_(
            cast(_COLUMNS.sample, Text) != "[]",
            exists().where(plan_rows.c.plan_id == _COLUMNS.id),
        ),
    )
    .limit(1)
)


_NEVER_APPLIED = delete(plans).where(
    _COLUMNS.id.in_(
        select(_COLUMNS.id)
        .where(_COLUMNS.state == PlanState.READY.value, _COLUMNS.created_at < bindparam("before"))
        .limit(bindparam("limit"))
        .with_for_update(skip_locked=True)
    )
)


def _prune(limit: int, connection: Connection) -> int:
    # For a while it is still told that one is too old.
    before = now_micros() - 2 * TIME_TO_APPLY // timedelta(microseconds=1)
    if count := connection.execute(_NEVER_APPLIED, {"before": before, "limit": limit}).rowcount:
        return count
    before = now_micros() - TIME_TO_UNDO // timedelta(microseconds=1)
    plan_id = connection.scalar(_OLD, {"before": before})
    if plan_id is None:
        return 0
    rows = connection.execute(_CHANGED, {"plan_id": plan_id, "limit": limit})
    if ids := [row.conversation_id for row in rows]:
        _FORGET.run(connection, {"plan_id": plan_id, "ids": ids})
        return len(ids)
    return connection.execute(
        update(plans).where(_COLUMNS.id == plan_id).values(sample=[])
    ).rowcount
