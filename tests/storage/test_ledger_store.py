"""The money, on both databases: reserved before a call leaves, settled with what came of it."""

import asyncio
import random
from functools import partial
from typing import Any

from sqlalchemy import Connection, func, select, update

from analysis.micros import DAY
from analysis.outcomes import Call, CallOutcome, Complete, Retry
from database import Database
from models import calls, now_micros
from store.ledger import CallReceipt, Ledger, PlannedCall, Usage, add_usage, completed_at
from store.queue import WorkQueue
from tests.support.factories import accept, analysis, claim_all, claim_one, run_sql, scalar
from tests.support.ledger_rows import (
    ANSWERED,
    reserve,
    row_of,
    rows,
    settle,
    today,
    total,
)

# --- a call's life --------------------------------------------------------------------------------


async def test_an_empty_ledger_has_spent_nothing(database: Database, ledger: Ledger) -> None:
    assert await today(database) == await total(database) == Usage()
    assert not await ledger.called_lately()


async def test_a_reserved_call_holds_what_it_may_cost(database: Database, ledger: Ledger) -> None:
    before = now_micros()
    (_, reserved, _) = await ledger.reserve(PlannedCall("request-7", "m" * 200, 3, 100))

    assert reserved is not None
    row = await row_of(database, reserved)
    assert (row.request_id, row.model_asked, row.conversations) == ("request-7", "m" * 100, 3)
    assert (row.outcome, row.held_usd_ticks, row.cost_usd_ticks) == ("under_way", 100, 0)
    assert before <= row.started_at <= now_micros()
    assert (row.ended_at, row.model_answered) == (None, None)
    assert await today(database) == Usage(calls=1, held_usd_ticks=100)


async def test_a_settled_call_costs_what_it_cost_and_holds_nothing(
    database: Database, ledger: Ledger
) -> None:
    reserved = await reserve(ledger)

    await settle(database, reserved, ANSWERED)

    row = await row_of(database, reserved)
    assert (row.outcome, row.model_answered) == ("answered", "grok-4.3")
    assert (row.prompt_tokens, row.cached_tokens, row.completion_tokens) == (700, 64, 90)
    assert (row.cost_usd_ticks, row.held_usd_ticks) == (40, 0)
    assert row.started_at <= row.ended_at <= now_micros()
    assert await today(database) == Usage(
        calls=1, prompt_tokens=700, cached_tokens=64, completion_tokens=90, cost_usd_ticks=40
    )


async def test_a_call_that_was_never_sent_leaves_no_trace(
    database: Database, ledger: Ledger
) -> None:
    reserved = await reserve(ledger)

    await settle(database, reserved, None)

    assert await rows(database) == []
    assert await total(database) == Usage()


async def test_a_call_keeps_its_hold_only_where_nobody_knows_what_it_cost(
    database: Database, ledger: Ledger
) -> None:
    held = 0
    for call, kept in (
        (Call(CallOutcome.RATE_LIMITED), 0),
        (Call(CallOutcome.BLOCKED, cost_usd_ticks=0), 0),
        (ANSWERED, 0),
        (Call(CallOutcome.TIMEOUT, cost_usd_ticks=None), 100),
        (Call(CallOutcome.REFUSED, cost_usd_ticks=None), 100),
    ):
        reserved = await reserve(ledger)

        await settle(database, reserved, call)

        held += kept
        row = await row_of(database, reserved)
        assert (row.outcome, row.held_usd_ticks) == (call.outcome, kept)
        assert (await today(database)).held_usd_ticks == held
    assert (await today(database)).cost_usd_ticks == 40


async def test_a_call_is_counted_once_however_often_it_is_settled(
    database: Database, ledger: Ledger
) -> None:
    reserved = await reserve(ledger)
    await settle(database, reserved, ANSWERED)
    once = await total(database)

    for again in (ANSWERED, Call(CallOutcome.TIMEOUT, cost_usd_ticks=None), None):
        await settle(database, reserved, again)

        assert await total(database) == once
        assert (await row_of(database, reserved)).outcome == "answered"


async def test_a_call_that_nobody_reserved_changes_nothing(
    database: Database, ledger: Ledger
) -> None:
    await settle(database, 12_345, ANSWERED)
    assert await rows(database) == []
    assert await total(database) == Usage()


async def test_a_call_settled_by_many_at_once_is_counted_once(
    database: Database, replicas: list[Database], ledger: Ledger
) -> None:
    reserved = await reserve(ledger)
    await asyncio.gather(*(settle(one, reserved, ANSWERED) for one in replicas for _ in range(4)))
    assert (await total(database)).cost_usd_ticks == 40
    assert (await total(database)).calls == 1


# --- orphans --------------------------------------------------------------------------------------


async def test_calls_that_nobody_will_settle_are_cut_off_and_keep_their_hold(
    database: Database, ledger: Ledger
) -> None:
    orphan, settled = await reserve(ledger, 70), await reserve(ledger, 100)
    await settle(database, settled, ANSWERED)

    assert await ledger.close_orphans() == 1
    assert await ledger.close_orphans() == 0

    assert (await row_of(database, orphan)).outcome == "cut_off"
    assert (await row_of(database, settled)).outcome == "answered"
    found = await today(database)
    assert (found.calls, found.held_usd_ticks, found.cost_usd_ticks) == (2, 70, 40)


async def test_a_call_younger_than_that_is_no_orphan(database: Database, ledger: Ledger) -> None:
    old, young = await reserve(ledger), await reserve(ledger)
    minute_ago = now_micros() - 60_000_000
    await run_sql(database, update(calls).where(calls.c.id == old).values(started_at=minute_ago))

    assert await ledger.close_orphans(older_than_seconds=30) == 1

    assert (await row_of(database, old)).outcome == "cut_off"
    assert (await row_of(database, young)).outcome == "under_way"


async def test_where_nobody_else_can_exist_a_call_of_a_clock_that_was_ahead_is_an_orphan_too(
    database: Database, ledger: Ledger
) -> None:
    orphan = await reserve(ledger)
    in_an_hour = now_micros() + 3_600_000_000
    await run_sql(database, update(calls).where(calls.c.id == orphan).values(started_at=in_an_hour))

    assert await ledger.close_orphans(older_than_seconds=0) == 0
    assert await ledger.close_orphans() == 1


async def test_the_late_result_of_an_orphan_still_counts_once(
    database: Database, ledger: Ledger
) -> None:
    sent, never_sent = await reserve(ledger), await reserve(ledger)
    await ledger.close_orphans()

    for _ in range(2):
        await settle(database, sent, ANSWERED)
        await settle(database, never_sent, None)

    assert (await row_of(database, sent)).outcome == "answered"
    found = await today(database)
    assert (found.calls, found.held_usd_ticks, found.cost_usd_ticks) == (1, 0, 40)


async def test_whether_anybody_called_lately_is_known(database: Database, ledger: Ledger) -> None:
    reserved = await reserve(ledger)
    assert await ledger.called_lately()

    before = now_micros() - 6_000_000
    await run_sql(database, update(calls).where(calls.c.id == reserved).values(started_at=before))
    assert not await ledger.called_lately()


# --- sums -----------------------------------------------------------------------------------------


async def test_the_days_agree_with_adding_up_the_calls(database: Database, ledger: Ledger) -> None:
    chance = random.Random(3)
    ends = [
        None,
        ANSWERED,
        Call(CallOutcome.FAILED),
        Call(CallOutcome.REFUSED, cost_usd_ticks=None),
    ]
    for number in range(40):
        reserved = await reserve(ledger, chance.randint(1, 500))
        if number % 8:
            await settle(database, reserved, chance.choice(ends))

    names = ("prompt_tokens", "cached_tokens", "completion_tokens", "cost_usd_ticks")
    sums = (await total(database))._asdict()
    for name in (*names, "held_usd_ticks"):
        assert sums[name] == int(await scalar(database, select(func.sum(calls.c[name]))) or 0)
    assert sums["calls"] == len(await rows(database))


async def test_usage_is_summed_over_all_days_and_todays_stands_apart(
    database: Database, ledger: Ledger
) -> None:
    def complete(connection: Any) -> None:
        for days_ago in (400, 1, 1, 0):
            done = completed_at(now_micros() - days_ago * DAY, conversations=10, reused=4)
            add_usage([done, done], connection)

    await database.write(complete)

    assert await today(database) == Usage(conversations=20, reused=8)
    assert await total(database) == Usage(conversations=80, reused=32)
    assert (await total(database)).reused_share == 0.4


def test_of_nothing_no_part_was_reused() -> None:
    assert Usage().reused_share == 0.0


# --- with its results -----------------------------------------------------------------------------


async def test_results_and_their_call_are_written_together(
    database: Database, ledger: Ledger
) -> None:
    for text in ("one", "two"):
        await accept(database, text)
    first, second = await claim_all(database)
    reserved = await reserve(ledger, conversations=2)

    await WorkQueue(database).settle(
        [(first, Complete(analysis())), (second, Retry("odd", 0.0))],
        CallReceipt(reserved, ANSWERED),
    )

    found = await today(database)
    assert (found.calls, found.conversations, found.reused) == (1, 1, 0)
    assert (found.cost_usd_ticks, found.held_usd_ticks) == (40, 0)


async def test_what_was_answered_from_an_earlier_analysis_is_counted_as_such(
    database: Database, ledger: Ledger
) -> None:
    await accept(database)
    claimed = await claim_one(database)

    reused = Complete(analysis(), notes={"reused_from": "conv_1"})
    await WorkQueue(database).settle([(claimed, reused)])

    assert await today(database) == Usage(conversations=1, reused=1)


async def test_a_call_is_paid_for_although_its_rows_are_no_longer_ours(
    database: Database, ledger: Ledger
) -> None:
    await accept(database)
    late = await claim_one(database)
    queue = WorkQueue(database)
    await queue.rescue(all_orphaned=True)
    reserved = await reserve(ledger)

    settled = await queue.settle([(late, Complete(analysis()))], CallReceipt(reserved, ANSWERED))
    assert settled == (set(), {}, None)

    found = await today(database)
    assert (found.cost_usd_ticks, found.held_usd_ticks, found.conversations) == (40, 0, 0)


# --- years later ----------------------------------------------------------------------------------


async def test_old_calls_go_in_small_steps_and_the_sums_stay(
    database: Database, ledger: Ledger
) -> None:
    """By whole days, and never one whose end is not known."""
    ids = [await reserve(ledger) for _ in range(7)]
    for id_ in ids[:6]:
        await settle(database, id_, ANSWERED)
    midnight = now_micros() // DAY * DAY
    moments = [midnight - 30 * DAY - 1] * 5 + [midnight - 30 * DAY, 0]
    for id_, moment in zip(ids, moments, strict=True):
        await database.write(partial(_move, id_, moment))
    before = await total(database)

    more = [await ledger.forget(older_than_days=30, limit=3) for _ in range(2)]

    assert more == [True, False]
    kept = await database.read(lambda connection: connection.scalars(select(calls.c.id)).all())
    assert set(kept) == set(ids[5:])
    assert await total(database) == before
    assert (await today(database)).cost_usd_ticks == 6 * 40


def _move(id_: int, started_at: int, connection: Connection) -> None:
    connection.execute(update(calls).where(calls.c.id == id_).values(started_at=started_at))
