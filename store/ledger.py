"""The money: every call that is paid for, reserved before it leaves and settled with its result.

A call that is under way holds what it may cost at most; so do those of which nobody knows what they
cost. A call is reserved only where it fits, with what is spent and held, into the day's budget.
Days are UTC, and a call belongs to the one on which it began.
"""

import operator
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, delete, func, insert, select, update

from analysis.micros import DAY
from analysis.outcomes import Call, CallOutcome
from database import Database
from models import calls, daily_usage, now_micros
from store.bulk_insert import ManyRows
from store.statements import Prepared

_RECENT_MICROS = 5_000_000
"""More than the second for which a call counts and what it waits, in most cases, between being
reserved and being sent."""


class PlannedCall(NamedTuple):
    """What is known of a call before it is made. `highest_cost` is in ticks, None where there is
    nothing to pay."""

    request_id: str
    model: str
    conversations: int
    highest_cost: int | None


class CallReceipt(NamedTuple):
    """What became of a reserved call; `call` None means that it was never sent."""

    id: int
    call: Call | None


class Reservation(NamedTuple):
    """A call that may be made, or with `fits` False must not. `id` is the ledger's, None where
    there is nothing to pay or it does not fit."""

    request_id: str
    id: int | None = None
    fits: bool = True

    def receipt(self, call: Call | None) -> CallReceipt | None:
        """What to settle with what came of it."""
        return None if self.id is None else CallReceipt(self.id, call)


class Usage(NamedTuple):
    """Sums of calls. `held_usd_ticks` is what calls may cost whose cost is not known, or not yet.

    `conversations` counts the completed ones, `reused` those of them for which no call was made.
    The fields are the columns of `daily_usage` after the day.
    """

    calls: int = 0
    conversations: int = 0
    reused: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost_usd_ticks: int = 0
    held_usd_ticks: int = 0

    @property
    def reused_share(self) -> float:
        """0.0 to 1.0 of the completed ones."""
        return self.reused / self.conversations if self.conversations else 0.0


class DayUsage(NamedTuple):
    """What is to be added to a day, counted from 1970-01-01 UTC."""

    day: int
    usage: Usage


class Ledger:
    def __init__(self, database: Database, *, daily_budget_ticks: int | None = None) -> None:
        """Without a budget every call fits."""
        self._database = database
        self._budget = daily_budget_ticks

    async def reserve(self, call: PlannedCall) -> Reservation:
        """Record a call that is about to be made, where its highest cost fits into the budget."""
        if call.highest_cost is None:
            return Reservation(call.request_id)
        return await self._database.write(partial(self.reserve_within, call))

    def reserve_within(self, call: PlannedCall, connection: Connection) -> Reservation:
        """As `reserve`, at the end of the caller's transaction, which is to be on the disk before
        the call leaves."""
        if call.highest_cost is None:
            return Reservation(call.request_id)
        row = {
            "request_id": call.request_id,
            "started_at": now_micros(),
            "conversations": call.conversations,
            "model_asked": call.model[:100],
            "held_usd_ticks": call.highest_cost,
            "outcome": CallOutcome.UNDER_WAY.value,
        }
        id_ = _reserve(row, self._budget, connection)
        return Reservation(call.request_id, id_, fits=id_ is not None)

    async def close_orphans(self, *, older_than_seconds: float | None = None) -> int:
        """Mark calls under way for longer than that as cut off, since their worker is gone; how
        many. None is for all, also those that began by a clock that was ahead."""
        under_way = calls.c.outcome == CallOutcome.UNDER_WAY
        statement = update(calls).where(under_way).values(outcome=CallOutcome.CUT_OFF.value)
        if older_than_seconds is not None:
            before = now_micros() - int(older_than_seconds * 1_000_000)
            statement = statement.where(calls.c.started_at <= before)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)

    async def forget(self, *, older_than_days: int, limit: int) -> bool:
        """Drop up to `limit` ended calls of days that are further back; whether more are left. The
        sums of their days stay."""
        before = (now_micros() // DAY - older_than_days) * DAY
        statement = delete(calls).where(calls.c.id.in_(_OLD.limit(limit)))
        dropped = await self._database.write(
            lambda connection: connection.execute(statement, {"before": before}).rowcount
        )
        return dropped >= limit

    async def called_lately(self) -> bool:
        """Whether any process reserved a call in the last few seconds."""
        recent = select(calls.c.id).where(calls.c.started_at > now_micros() - _RECENT_MICROS)
        return await self._database.read(
            lambda connection: connection.execute(recent.limit(1)).first() is not None
        )


_OLD = (
    select(calls.c.id)
    .where(calls.c.started_at < bindparam("before"), calls.c.outcome != CallOutcome.UNDER_WAY)
    .order_by(calls.c.started_at)
)

_SUM = select(*(func.sum(daily_usage.c[name]) for name in Usage._fields))


def usage_today(connection: Connection) -> Usage:
    return _usage(_SUM.where(daily_usage.c.day == now_micros() // DAY), connection)


def usage_in_all(connection: Connection) -> Usage:
    return _usage(_SUM, connection)


def _usage(statement: Select[*tuple[Any, ...]], connection: Connection) -> Usage:
    return Usage(*(int(value or 0) for value in connection.execute(statement).one()))


_HELD = daily_usage.c.held_usd_ticks
_HOLD = (
    update(daily_usage)
    .where(daily_usage.c.day == bindparam("of_day"))
    .values(calls=daily_usage.c.calls + 1, held_usd_ticks=_HELD + bindparam("cost"))
    .returning(daily_usage.c.day)
)
_HOLD_ANYHOW = Prepared(_HOLD)
_HOLD_WITHIN = Prepared(
    _HOLD.where(daily_usage.c.cost_usd_ticks + _HELD + bindparam("cost") <= bindparam("budget"))
)
_BEGUN = (
    "request_id", "started_at", "conversations", "model_asked", "held_usd_ticks", "outcome"
)  # fmt: skip
_BEGIN = Prepared(
    insert(calls).values({name: bindparam(name) for name in _BEGUN}).returning(calls.c.id)
)


def _reserve(row: dict[str, Any], budget: int | None, connection: Connection) -> int | None:
    day = row["started_at"] // DAY
    values = {"of_day": day, "cost": row["held_usd_ticks"]}
    if not _hold(values, budget, connection):
        add_usage([DayUsage(day, Usage())], connection)  # the first of a day finds no row
        if not _hold(values, budget, connection):
            return None
    return int(_BEGIN.value(connection, row))


def _hold(values: dict[str, int], budget: int | None, connection: Connection) -> bool:
    if budget is None:
        return bool(_HOLD_ANYHOW.run(connection, values))
    return bool(_HOLD_WITHIN.run(connection, values | {"budget": budget}))


def settle_call(receipt: CallReceipt, connection: Connection) -> None:
    """Record what a call was and cost, once, in the caller's transaction; also of one that has been
    written off as cut off, since its worker was taken for dead."""
    add_usage(end_call(receipt, connection), connection)


_MINE = (calls.c.id == bindparam("receipt"), calls.c.ended_at.is_(None))
_OPEN = Prepared(select(calls.c.started_at, calls.c.held_usd_ticks).where(*_MINE).with_for_update())
_NEVER_SENT = Prepared(delete(calls).where(*_MINE))
_ENDED = (
    "ended_at", "outcome", "model_answered", "prompt_tokens", "cached_tokens", "completion_tokens",
    "cost_usd_ticks", "held_usd_ticks",
)  # fmt: skip
_END = Prepared(update(calls).where(*_MINE).values({name: bindparam(name) for name in _ENDED}))


def end_call(receipt: CallReceipt, connection: Connection) -> list[DayUsage]:
    """As `settle_call`, but for the sums of the days: `add_usage` is to be given what this gives.
    Nobody else waits for what is changed here."""
    call = receipt.call
    mine = {"receipt": receipt.id}
    reserved = _OPEN.run(connection, mine)
    if not reserved:
        return []  # settled by an earlier transaction whose commit was not confirmed
    ((started_at, held),) = reserved
    cost_is_unknown = call is not None and call.cost_usd_ticks is None
    still_held = held if cost_is_unknown else 0
    change: dict[str, int] = {"held_usd_ticks": still_held - held}
    if call is None:
        _NEVER_SENT.run(connection, mine)
        change["calls"] = -1
    else:
        figures = {
            "prompt_tokens": call.prompt_tokens,
            "cached_tokens": call.cached_tokens,
            "completion_tokens": call.completion_tokens,
            "cost_usd_ticks": call.cost_usd_ticks or 0,
        }
        ended = {
            "ended_at": now_micros(),
            "outcome": call.outcome.value,
            "model_answered": call.model,
            "held_usd_ticks": still_held,
        }
        _END.run(connection, mine | ended | figures)
        change |= figures
    return [DayUsage(started_at // DAY, Usage(**change))]


def completed_at(now: int, *, conversations: int, reused: int) -> DayUsage:
    """Of conversations that are completed at `now`."""
    return DayUsage(now // DAY, Usage(conversations=conversations, reused=reused))


def add_usage(changes: Iterable[DayUsage], connection: Connection) -> None:
    """Add to the rows of the days, and make those that are not there yet. Call it last: everybody
    meets in the day's row."""
    sums: dict[int, Usage] = {}
    for day, change in changes:
        sums[day] = Usage(*map(operator.add, sums.get(day, Usage()), change))
    _USAGE.insert(connection, [(day, *sums[day]) for day in sorted(sums)])


_USAGE = ManyRows(daily_usage, adding=True)
