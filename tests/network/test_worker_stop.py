"""Stopping the worker, and a database that is in trouble."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from analysis.outcomes import Analysis
from analysis.outcomes import Reply as Analysed
from analysis.topics import Topics
from errors import NotFound
from grok_client import GrokClient
from tests.fakes.grok.calls import MakeClient
from tests.fakes.grok.replies import Reply
from tests.fakes.grok.server import FakeGrok
from tests.support.factories import claim_some
from tests.support.http_helpers import (
    PATIENCE,
    ScriptedAnalyser,
    captured_log,
    eventually,
    good,
    locked_by_another,
)
from tests.support.worker_harness import FOR_EVER, WorkerHarness

BLAME = "My parcel is late and broken"


@pytest.fixture
def client(make_client: MakeClient) -> GrokClient:
    return make_client(timeout=PATIENCE, topics=Topics(("praise",), closed=False))


@pytest.fixture
def _brisk(monkeypatch: pytest.MonkeyPatch, harness: WorkerHarness) -> None:
    """Trouble is waited out in hundredths of seconds."""
    monkeypatch.setattr("backends.sqlite.BUSY_TIMEOUT_SECONDS", 0.02)
    harness.timings = replace(harness.timings, trouble=0.02)


# --- stopping -------------------------------------------------------------------------------------


async def test_stopping_lets_calls_in_flight_finish_and_claims_no_more(
    harness: WorkerHarness,
) -> None:
    analyser = ScriptedAnalyser(concurrency=2)
    analyser.hold("slow")
    ids = await harness.add("slow 1", "slow 2", "not begun")
    async with harness.working(analyser) as worker:
        await eventually(lambda: analyser.under_way == 2)
        stopping = asyncio.create_task(worker.stop(grace=5))
        worker.wake()
        analyser.let_go("slow")
        await asyncio.wait_for(stopping, 3)
        found = [await harness.find(id_) for id_ in ids]

    assert [(one.status, one.attempts) for one in found] == [
        ("completed", 1),
        ("completed", 1),
        ("pending", 0),
    ]
    assert analyser.texts == ["slow 1", "slow 2"]


async def test_stopping_puts_back_what_does_not_finish_in_time_at_no_charge(
    harness: WorkerHarness, grok: FakeGrok, client: GrokClient
) -> None:
    grok.script(Reply.server_error())
    (id_,) = await harness.add(BLAME)
    async with harness.working(client) as worker:
        await grok.saw(1)
        await harness.until(id_, "pending")
        grok.default = Reply.hang()
        await harness.make_due()
        worker.wake()
        await grok.saw(2)
        before = await harness.find(id_)
        started = time.monotonic()
        await worker.stop(grace=0.2)
        seconds = time.monotonic() - started
        after = await harness.find(id_)

    assert (before.status, before.attempts) == ("processing", 2)
    assert (after.status, after.attempts) == ("pending", 1)
    assert seconds > 0.15
    assert await harness.run("SELECT lease_token, deaths FROM conversations") == [(None, 0)]


async def test_stopping_an_idle_worker_takes_no_time(harness: WorkerHarness) -> None:
    async with harness.working(ScriptedAnalyser()) as worker:
        (id_,) = await harness.add("text")
        worker.wake()
        await harness.until(id_, "completed")
        async with asyncio.timeout(PATIENCE):
            await worker.stop(grace=FOR_EVER)

        assert not worker.alive


async def test_stopping_while_waiting_for_a_rate_limit_takes_no_time(
    harness: WorkerHarness, grok: FakeGrok, client: GrokClient
) -> None:
    grok.script(Reply.rate_per_second(retry_after=60))
    (id_,) = await harness.add(BLAME)
    async with harness.working(client) as worker:
        await eventually(lambda: client.throttle.pause_left() > 0)
        await harness.until(id_, "pending")
        async with asyncio.timeout(PATIENCE):
            await worker.stop(grace=FOR_EVER)

    assert (await harness.find(id_)).attempts == 0


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89])
async def test_stopping_without_any_grace_leaves_nothing_in_processing(
    harness: WorkerHarness, steps: int
) -> None:
    analyser = ScriptedAnalyser(concurrency=5)
    analyser.hold("text")
    await harness.add(*["text"] * 12)
    async with harness.working(analyser, batch_size=5) as worker:
        for _ in range(steps):
            await asyncio.sleep(0.0002 * (steps % 4))
        await worker.stop(grace=0)
        await harness.queue.drained()

        assert await harness.count("pending") == 12
        charged = await harness.run("SELECT DISTINCT attempts, deaths FROM conversations")
        assert charged == [(0, 0)]


async def test_a_worker_that_was_never_started_can_be_stopped(harness: WorkerHarness) -> None:
    worker = harness.worker(ScriptedAnalyser())

    await asyncio.wait_for(worker.stop(grace=FOR_EVER), PATIENCE)

    assert not worker.alive


# --- a database in trouble ------------------------------------------------------------------------


@pytest.mark.usefixtures("_brisk")
async def test_a_result_outlasts_a_spell_without_a_database(
    harness: WorkerHarness, sqlite_url: str
) -> None:
    analyser = ScriptedAnalyser()
    analyser.hold("text")
    (id_,) = await harness.add("text")
    with captured_log() as log:
        async with harness.working(analyser):
            await eventually(lambda: analyser.under_way)
            await harness.until(id_, "processing")
            async with locked_by_another(sqlite_url):
                analyser.let_go("text")
                await eventually(lambda: len(log.named("database_unavailable")) >= 3)
            found = await harness.until(id_, "completed")

    assert found.attempts == 1
    assert analyser.texts == ["text"]
    assert not [event for event in log.events if event["level"] == "error"]


@pytest.mark.usefixtures("_brisk")
async def test_claiming_goes_on_after_a_spell_without_a_database(
    harness: WorkerHarness, sqlite_url: str
) -> None:
    (id_,) = await harness.add("text")
    with captured_log() as log:
        async with locked_by_another(sqlite_url), harness.working(ScriptedAnalyser()):
            await eventually(lambda: len(log.named("database_unavailable")) >= 2)
            assert (await harness.find(id_)).status == "pending"
        async with harness.working(ScriptedAnalyser()) as worker:
            await harness.until(id_, "completed")
            (second,) = await harness.add("second")
            already = len(log.named("database_unavailable"))
            async with locked_by_another(sqlite_url):
                worker.wake()
                await eventually(lambda: len(log.named("database_unavailable")) > already)
                assert (await harness.find(second)).status == "pending"
            await harness.until(second, "completed")

    assert not [event for event in log.events if event["level"] == "error"]


@pytest.mark.usefixtures("_brisk")
async def test_a_lock_at_the_end_holds_up_the_stop_for_two_seconds_at_most(
    harness: WorkerHarness, sqlite_url: str
) -> None:
    analyser = ScriptedAnalyser(concurrency=10)
    analyser.hold("text")
    await harness.add(*["text"] * 10)
    async with harness.working(analyser) as worker:
        await eventually(lambda: analyser.under_way == 10)
        async with locked_by_another(sqlite_url):
            started = time.monotonic()
            await worker.stop(grace=0.1)
            seconds = time.monotonic() - started

    assert seconds < 10.0  # one after the other they would take twenty


@pytest.mark.parametrize("delay", [0, 0.0001, 0.0003, 0.0005, 0.001, 0.002])
async def test_a_write_that_is_called_off_leaves_the_database_usable(
    harness: WorkerHarness, delay: float
) -> None:
    await harness.add(*["text"] * 20)
    for _ in range(10):
        claim = asyncio.create_task(claim_some(harness.database, limit=1, lease=timedelta(hours=1)))
        await asyncio.sleep(delay)
        claim.cancel()
        await asyncio.gather(claim, return_exceptions=True)

        await harness.add("another")

    assert await harness.count("pending") + await harness.count("processing") == 30


async def test_a_late_result_of_an_erased_conversation_is_dropped(harness: WorkerHarness) -> None:
    analyser = ScriptedAnalyser()
    analyser.hold("text")
    (id_,) = await harness.add("text")
    with captured_log() as log:
        async with harness.working(analyser):
            await eventually(lambda: analyser.under_way)
            await harness.conversations.erase(id_)
            analyser.let_go("text")
            await eventually(lambda: log.named("result_dropped"))
            with pytest.raises(NotFound):
                await harness.find(id_)

    assert harness.settled == []
    assert await harness.run("SELECT count(*) FROM insights") == [(0,)]


async def test_a_late_result_of_a_claim_that_ran_out_is_dropped(harness: WorkerHarness) -> None:
    analyser = ScriptedAnalyser(answer=lambda _text: good(0.1))
    analyser.hold("text")
    (id_,) = await harness.add("text")
    with captured_log() as log:
        async with harness.working(analyser):
            await eventually(lambda: analyser.under_way)
            await harness.run("UPDATE conversations SET lease_token = 'another worker'")
            analyser.let_go("text")
            await eventually(lambda: log.named("result_dropped"))
            found = await harness.find(id_)

    assert (found.status, found.insight) == ("processing", None)
    assert harness.settled == []


# --- the whole, under load ------------------------------------------------------------------------


async def test_a_result_that_cannot_be_stored_fails_its_own_conversation_alone(
    harness: WorkerHarness,
) -> None:
    class TooDear(ScriptedAnalyser):
        async def analyse(self, texts: Sequence[str], **options: Any) -> Analysed:
            reply = await super().analyse(texts, **options)
            return reply._replace(
                answers=[
                    replace(answer, cost_usd_ticks=2**80)
                    if text == "dear" and isinstance(answer, Analysis)
                    else answer
                    for text, answer in zip(texts, reply.answers, strict=True)
                ]
            )

    analyser = TooDear(pack_size=3)
    good, dear, last = await harness.add("good", "dear", "last")
    async with harness.working(analyser):
        await harness.until(dear, "failed")
        await harness.until(good, "completed")
        await harness.until(last, "completed")

    assert (await harness.find(dear)).last_error == "the result could not be stored"


@pytest.mark.usefixtures("_brisk")
async def test_what_is_never_stored_is_given_up_in_the_end(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease runs out then, and it is asked about again."""
    asked = []

    async def failing(*arguments: Any) -> Any:
        asked.append(arguments)
        raise ValueError("nobody foresaw this")

    monkeypatch.setattr(harness.queue, "settle", failing)
    await harness.add("text")
    with captured_log() as log:
        async with harness.working(ScriptedAnalyser()):
            await eventually(lambda: log.named("worker_task_failed"))
    assert len(asked) == 20
    assert len(log.named("results_not_stored")) == 19


@pytest.mark.usefixtures("_brisk")
async def test_a_result_outlasts_what_nobody_foresaw(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle, tries = harness.queue.settle, iter(range(3))

    async def failing(*arguments: Any) -> Any:
        if next(tries, None) is not None:
            raise ValueError("nobody foresaw this")
        return await settle(*arguments)

    monkeypatch.setattr(harness.queue, "settle", failing)
    analyser = ScriptedAnalyser()
    (id_,) = await harness.add("text")
    with captured_log() as log:
        async with harness.working(analyser):
            found = await harness.until(id_, "completed")

    assert (found.attempts, analyser.texts) == (1, ["text"])
    assert len(log.named("results_not_stored")) == 3
