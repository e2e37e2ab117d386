"""Whose turn it is, how many calls there are at once, and when the worker looks for work."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from analysis.outcomes import NotNow, Refused, Unusable
from models import Lane
from store.conversations import ConversationStore, NewConversation
from store.queue import Settled
from tests.conftest import StartApp
from tests.support.http_helpers import (
    ScriptedAnalyser,
    completed,
    eventually,
    good,
    in_status,
    submit,
)
from tests.support.worker_harness import FOR_EVER, WorkerHarness


@pytest.fixture
def _brisk(monkeypatch: pytest.MonkeyPatch, harness: WorkerHarness) -> None:
    """Trouble is waited out in hundredths of seconds."""
    monkeypatch.setattr("backends.sqlite.BUSY_TIMEOUT_SECONDS", 0.02)
    harness.timings = replace(harness.timings, trouble=0.02)


# --- whose turn it is -----------------------------------------------------------------------------


async def test_live_comes_before_bulk_and_old_before_new(harness: WorkerHarness) -> None:
    analyser = ScriptedAnalyser(concurrency=1)
    await harness.add("bulk 1", "bulk 2", lane=Lane.BULK)
    await harness.add("live 1", "live 2")
    await harness.add("bulk 3", lane=Lane.BULK)
    await harness.add("live 3")
    async with harness.working(analyser):
        await harness.all_completed(6)

    assert analyser.texts == ["live 1", "live 2", "live 3", "bulk 1", "bulk 2", "bulk 3"]


async def test_the_next_call_begins_while_the_results_of_the_last_are_being_stored(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = asyncio.Event()
    settle = harness.queue.settle

    async def settle_slowly(*settlement: Any) -> Settled:
        await disk.wait()
        return await settle(*settlement)

    monkeypatch.setattr(harness.queue, "settle", settle_slowly)
    analyser = ScriptedAnalyser(concurrency=1)
    analyser.hold("first")
    await harness.add("first", "second")
    async with harness.working(analyser, poll_interval=FOR_EVER):
        await eventually(lambda: analyser.under_way == 1)
        await asyncio.sleep(0.05)  # the worker is at rest
        analyser.let_go("first")
        await eventually(lambda: analyser.texts == ["first", "second"])
        assert await harness.count("completed") == 0
        disk.set()
        await harness.all_completed(2)


@pytest.mark.parametrize("concurrency", [1, 3, 10])
async def test_bulk_gets_a_fifth_of_the_calls_while_live_floods(
    harness: WorkerHarness, concurrency: int
) -> None:
    analyser = ScriptedAnalyser(concurrency=concurrency)
    await harness.add(*["bulk"] * 30, lane=Lane.BULK)
    await harness.add(*["live"] * 60)
    async with harness.working(analyser):
        await harness.all_completed(90)

    for calls in range(10, 71, 10):
        bulk = analyser.texts[:calls].count("bulk")
        assert abs(bulk - calls / 5) <= 2, (calls, bulk)


async def test_an_idle_bulk_lane_saves_nothing_up(harness: WorkerHarness) -> None:
    analyser = ScriptedAnalyser(concurrency=1)
    await harness.add(*["live"] * 30)
    async with harness.working(analyser) as worker:
        await harness.all_completed(30)
        analyser.calls.clear()
        analyser.hold("first")
        await harness.add("first")
        worker.wake()
        await eventually(lambda: analyser.under_way)
        await harness.add(*["bulk"] * 20, lane=Lane.BULK)
        await harness.add(*["live"] * 20)
        worker.wake()
        analyser.let_go("first")
        await harness.all_completed(71)

    assert analyser.texts[1:11].count("bulk") <= 3


async def test_one_slow_answer_keeps_one_place_and_no_other(harness: WorkerHarness) -> None:
    analyser = ScriptedAnalyser(concurrency=3)
    analyser.hold("slow")
    analyser.hold("fast")
    (slow,) = await harness.add("slow")
    await harness.add(*["fast"] * 40)
    async with harness.working(analyser):
        await eventually(lambda: analyser.under_way == 3)
        analyser.let_go("fast")
        await harness.all_completed(40)
        assert (await harness.find(slow)).status == "processing"
        assert analyser.max_under_way == 3
        analyser.let_go("slow")
        await harness.until(slow, "completed")


async def test_there_are_never_more_calls_than_places(harness: WorkerHarness) -> None:
    analyser = ScriptedAnalyser(concurrency=4)
    analyser.hold("text")
    await harness.add(*["text"] * 30)
    async with harness.working(analyser, batch_size=100):
        await eventually(lambda: analyser.under_way == 4)
        assert harness.call_runner.under_way == 4
        assert await harness.count("processing") == 4
        analyser.let_go("text")
        await harness.all_completed(30)

    assert analyser.max_under_way == 4


async def test_a_pack_is_answered_in_its_order(harness: WorkerHarness) -> None:
    scores = {f"text {number}": number / 100 for number in range(23)}
    analyser = ScriptedAnalyser(concurrency=2, pack_size=5, answer=lambda text: good(scores[text]))
    ids = await harness.add(*scores)
    async with harness.working(analyser, batch_size=100):
        await harness.all_completed(23)
        found = [await harness.find(id_) for id_ in ids]

    assert max(len(call) for call in analyser.calls) == 5
    assert [one.insight.sentiment_score for one in found if one.insight] == list(scores.values())


async def test_in_a_pack_each_gets_its_own_outcome(harness: WorkerHarness) -> None:
    analyser = ScriptedAnalyser(concurrency=1, pack_size=5)
    analyser.script("refused", Refused("no"), Refused("no"))
    analyser.script("unusable", *[Unusable("what?")] * 3)
    analyser.script("later", NotNow("wait"))
    ids = await harness.add("good", "refused", "unusable", "later")
    async with harness.working(analyser):
        await harness.all_completed(3)
        found = [await harness.find(id_) for id_ in ids]

    assert [(one.status, one.attempts) for one in found] == [
        ("completed", 1),
        ("failed", 2),  # once more alone, since another of the pack might have been meant
        ("completed", 3),
        ("completed", 1),
    ]
    assert [call for call in analyser.calls if len(call) > 1] == [analyser.calls[0]]


# --- when it looks --------------------------------------------------------------------------------


async def test_an_arrival_is_worked_on_at_once(harness: WorkerHarness) -> None:
    async with harness.working(ScriptedAnalyser()) as worker:
        (first,) = await harness.add("first")
        worker.wake()
        await harness.until(first, "completed")
        (second,) = await harness.add("second")
        worker.wake()
        await harness.until(second, "completed")


async def test_an_arrival_over_http_is_worked_on_at_once(start_app: StartApp) -> None:
    async with start_app(analyser=ScriptedAnalyser(), poll_interval=FOR_EVER) as running:
        for number in range(3):
            await completed(running.client, f"text {number}")


async def test_a_retried_conversation_is_worked_on_at_once(start_app: StartApp) -> None:
    analyser = ScriptedAnalyser()
    analyser.script("bad", Refused("no"), Refused("no"))
    async with start_app(analyser=analyser, poll_interval=FOR_EVER) as running:
        id_ = await submit(running.client, "bad")
        await in_status(running.client, id_, "failed")
        await running.client.post(f"/api/v1/conversations/{id_}/retry")
        await eventually(lambda: analyser.texts == ["bad"] * 2)
        await in_status(running.client, id_, "failed")
        await running.client.post("/api/v1/conversations/retry")
        await in_status(running.client, id_, "completed")


async def test_what_nobody_tells_of_is_found_at_the_next_look(harness: WorkerHarness) -> None:
    async with harness.working(ScriptedAnalyser(), poll_interval=0.05):
        (id_,) = await harness.add("from another process")
        await harness.until(id_, "completed")


async def test_a_long_queue_is_worked_through_without_waiting_between_batches(
    harness: WorkerHarness,
) -> None:
    analyser = ScriptedAnalyser(concurrency=4)
    await harness.add(*["text"] * 53)
    async with harness.working(analyser, batch_size=3):
        await harness.all_completed(53)

    assert len(analyser.calls) == 53


async def test_an_arrival_while_the_worker_looks_is_not_slept_through(
    harness: WorkerHarness,
) -> None:
    async with harness.working(ScriptedAnalyser()) as worker:
        for number in range(20):
            (id_,) = await harness.add(f"text {number}")
            worker.wake()
            await harness.until(id_, "completed")


# --- the whole, under load ------------------------------------------------------------------------


@pytest.mark.usefixtures("_brisk")
async def test_calls_that_end_do_not_put_the_poll_off(harness: WorkerHarness) -> None:
    """What another process hands in is found by the poll, also while this one is busy."""
    analyser = ScriptedAnalyser(concurrency=2)
    analyser.hold("slow")
    await harness.add("slow")
    async with harness.working(analyser, poll_interval=0.3):
        await eventually(lambda: analyser.under_way == 1)
        ids: list[str] = []
        for number in range(10):
            ids += await ConversationStore(harness.database).accept(
                [NewConversation(f"text {number}")], lane=Lane.LIVE
            )
            await asyncio.sleep(0.1)
        assert await harness.count("completed") >= 3
        analyser.let_go("slow")
        await harness.all_completed(11)


async def test_a_backlog_behind_full_slots_is_waited_for_without_asking_again_and_again(
    harness: WorkerHarness,
) -> None:
    analyser = ScriptedAnalyser(concurrency=1)
    analyser.hold("first")
    await harness.add("first", "second")
    async with harness.working(analyser, batch_size=1):
        await eventually(lambda: analyser.under_way == 1)

        async def asks_hardly_any_more() -> bool:
            before = analyser.throttle.asked
            await asyncio.sleep(0.1)
            return analyser.throttle.asked - before <= 2

        # What was claimed just as the slot filled goes back first, and that wakes it once more.
        await eventually(asks_hardly_any_more)
        analyser.let_go("first")
        await harness.all_completed(2)
