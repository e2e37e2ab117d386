"""What the worker makes of the budget: what is held, spent, and left for another day."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from analysis.outcomes import NotNow, Requeue
from analysis.topics import Topics
from store.ledger import Ledger, PlannedCall, Reservation
from tests.support.factories import claim_one
from tests.support.http_helpers import (
    ScriptedAnalyser,
    ScriptedThrottle,
    captured_log,
    eventually,
    paid,
)
from tests.support.ledger_rows import reserve
from tests.support.worker_harness import WorkerHarness
from worker.calls import CallRunner
from worker.prepared import Pack, prepare

# --- money ----------------------------------------------------------------------------------------


async def test_a_call_is_entered_with_its_results(harness: WorkerHarness) -> None:
    analyser = ScriptedAnalyser(concurrency=1, pack_size=10)
    analyser.throttle.cost, analyser.call = 100, paid(42)
    await harness.add("text 1", "text 2")
    async with harness.working(analyser):
        assert harness.call_runner.answering_model is None
        await harness.all_completed(2)

    assert harness.call_runner.answering_model == "m"
    columns = "conversations, outcome, cost_usd_ticks, held_usd_ticks, model_answered"
    assert await harness.run(f"SELECT {columns} FROM calls") == [(2, "answered", 42, 0, "m")]
    sums = "calls, conversations, reused, cost_usd_ticks, held_usd_ticks"
    assert await harness.run(f"SELECT {sums} FROM daily_usage") == [(1, 2, 0, 42, 0)]


async def test_a_paid_call_is_entered_though_its_result_is_dropped(harness: WorkerHarness) -> None:
    analyser = ScriptedAnalyser()
    analyser.throttle.cost, analyser.call = 100, paid(42)
    analyser.hold("text")
    (id_,) = await harness.add("text")
    async with harness.working(analyser):
        await eventually(lambda: analyser.under_way)
        await harness.conversations.erase(id_)
        analyser.let_go("text")

        async def is_entered() -> bool:
            return await harness.run("SELECT outcome, cost_usd_ticks FROM calls") == [
                ("answered", 42)
            ]

        await eventually(is_entered)


async def test_a_call_that_was_never_sent_leaves_no_trace_in_the_ledger(
    harness: WorkerHarness,
) -> None:
    class Held(ScriptedAnalyser):
        async def analyse(self, texts: Any, **_options: Any) -> Any:
            return await super().analyse(texts)  # tells nobody that it leaves

    analyser = Held()
    analyser.throttle.cost = 100
    analyser.script("text", NotNow("wait"))
    await harness.add("text")
    async with harness.working(analyser):
        await harness.all_completed(1)

    assert await harness.run("SELECT count(*) FROM calls") == [(0,)]
    assert await harness.run("SELECT calls, held_usd_ticks FROM daily_usage") == [(0, 0)]


async def test_a_breaker_that_opens_while_a_call_is_reserved_holds_the_call_back(
    harness: WorkerHarness,
) -> None:
    class Meanwhile(Ledger):
        async def reserve(self, call: PlannedCall) -> Reservation:
            reserved = await super().reserve(call)
            call_runner.breaker.blocked(other, "HTTP 400: Incorrect API key")
            return reserved

    analyser = ScriptedAnalyser()
    analyser.throttle.cost = 100
    call_runner = CallRunner(analyser, Topics(()), Meanwhile(harness.database), max_attempts=3)
    await harness.add("text")
    claimed = await claim_one(harness.database)
    prepared = prepare(claimed, reuse_key=analyser.reuse_key)
    other, begun = call_runner.begin(), call_runner.begin()
    results, receipt, _ = await call_runner.call(begun, Pack([prepared]), on_sent=lambda: None)

    assert results == [(claimed, Requeue())]
    assert analyser.calls == []
    assert (await harness.queue.settle(results, receipt)).done == {claimed}
    found = await harness.find(claimed.id)
    assert (found.status, found.attempts, found.last_error) == ("pending", 0, None)
    assert await harness.run("SELECT count(*) FROM calls") == [(0,)]
    assert await harness.run("SELECT calls, held_usd_ticks FROM daily_usage") == [(0, 0)]


async def test_a_call_that_cannot_be_reserved_is_not_made_and_tried_again(
    harness: WorkerHarness,
) -> None:
    """Also where that is a bug and not a spell without a database."""
    harness.timings = replace(harness.timings, trouble=0.02)
    refuse = "BEFORE INSERT ON calls BEGIN SELECT RAISE(ABORT, 'a bug'); END"
    await harness.run(f"CREATE TRIGGER refuse {refuse}")
    analyser = ScriptedAnalyser()
    analyser.throttle.cost, analyser.call = 100, paid(42)
    (id_,) = await harness.add("text")
    with captured_log() as log:
        async with harness.working(analyser):
            await eventually(lambda: len(log.named("call_cannot_be_reserved")) >= 2)
            assert analyser.calls == []
            await harness.run("DROP TRIGGER refuse")
            found = await harness.until(id_, "completed")

    assert (found.attempts, found.last_error) == (1, None)
    assert await harness.run("SELECT calls, cost_usd_ticks, held_usd_ticks FROM daily_usage") == [
        (1, 42, 0)
    ]


async def test_what_does_not_fit_into_the_budget_is_not_asked_and_does_not_fail(
    harness: WorkerHarness,
) -> None:
    analyser = ScriptedAnalyser(concurrency=3)
    analyser.throttle.cost, analyser.call = 100, paid(70)
    await harness.add(*[f"text {number}" for number in range(20)])
    with captured_log() as log:
        async with harness.working(analyser, daily_budget_ticks=500) as worker:

            async def is_spent() -> bool:
                return worker.bound_by == "budget" and await harness.count("pending") == 14

            await eventually(is_spent)
            await asyncio.sleep(0.3)
            worker.wake()
            await asyncio.sleep(0.1)

    # Six at 70 make 420: a seventh may cost 100 and does not fit, and nothing is held any more.
    assert len(analyser.calls) == 6
    assert await harness.count("completed") == 6
    charged = await harness.run(
        "SELECT DISTINCT attempts, last_error FROM conversations WHERE status = 'pending'"
    )
    assert charged == [(0, None)]
    assert await harness.run("SELECT cost_usd_ticks, held_usd_ticks FROM daily_usage") == [(420, 0)]
    assert len(log.named("budget_spent")) == 1


async def test_what_a_budget_has_no_room_for_in_packs_it_may_have_room_for_one_by_one(
    harness: WorkerHarness,
) -> None:
    class ByTheText(ScriptedThrottle):
        def highest_cost(self, texts: Any) -> int:
            return 100 * len(texts)

    analyser = ScriptedAnalyser()
    analyser.throttle = ByTheText(concurrency=1, pack_size=10)
    analyser.call = paid(100)
    await harness.add(*[f"text {number}" for number in range(10)])
    async with harness.working(analyser, daily_budget_ticks=350) as worker:

        async def is_spent() -> bool:
            return worker.bound_by == "budget" and await harness.count("completed") == 3

        await eventually(is_spent)

    assert [len(call) for call in analyser.calls] == [1, 1, 1]


async def test_what_did_not_fit_when_it_was_claimed_fits_as_soon_as_there_is_money_again(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pack may have waited through a pause since then."""

    class FirstIsDear(ScriptedThrottle):
        def highest_cost(self, texts: Any) -> int:
            return 100 if "first" in texts else 30

    seen: list[CallRunner] = []
    run_out_of_money = CallRunner._run_out_of_money

    def note(call_runner: CallRunner) -> None:
        seen.append(call_runner)
        run_out_of_money(call_runner)

    monkeypatch.setattr(CallRunner, "_run_out_of_money", note)
    analyser = ScriptedAnalyser()
    analyser.throttle = FirstIsDear(concurrency=4, pack_size=1)
    analyser.call = paid(10)
    analyser.hold("first")
    await harness.add("first")
    async with harness.working(analyser, daily_budget_ticks=120) as worker:
        await eventually(lambda: analyser.under_way)
        await harness.add("second", "third", "fourth")
        worker.wake()
        await eventually(lambda: seen)

        async def waits_for_the_pause() -> bool:
            return await harness.count("processing") == 2

        await eventually(waits_for_the_pause)
        analyser.let_go("first")
        await harness.all_completed(1)
        refused = len(seen)
        await eventually(lambda: len(analyser.calls) > 1)

    assert len(seen) == refused


async def test_a_call_that_is_cut_off_at_the_stop_keeps_its_hold_on_the_budget(
    harness: WorkerHarness,
) -> None:
    analyser = ScriptedAnalyser()
    analyser.throttle.cost = 100
    analyser.hold("text")
    await harness.add("text")
    async with harness.working(analyser) as worker:
        await eventually(lambda: analyser.under_way)
        await worker.stop(grace=0)
        await harness.queue.drained()

    assert await harness.run("SELECT outcome, held_usd_ticks FROM calls") == [("cut_off", 100)]
    assert await harness.run("SELECT held_usd_ticks FROM daily_usage") == [(100,)]
    assert await harness.count("pending") == 1


async def test_what_a_dead_worker_had_under_way_is_listed_as_cut_off(
    harness: WorkerHarness,
) -> None:
    id_ = await reserve(harness.ledger, 100)
    analyser = ScriptedAnalyser()
    await harness.add("text")
    with captured_log() as log:
        async with harness.working(analyser):
            await harness.all_completed(1)

    found = await harness.run("SELECT id, outcome, held_usd_ticks FROM calls")
    assert found == [(id_, "cut_off", 100)]
    assert log.named("calls_cut_off")[0]["calls"] == 1
    assert analyser.throttle.others_called  # a moment ago: the limit on calls has to know
