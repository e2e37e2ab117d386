"""The worker on a real database: claim, analyse, settle, whatever the other side answers.

What Grok does comes over a real socket from a fake; where the moment matters, from an analyser that
answers when the test says so.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from analysis.outcomes import (
    Analysis,
    NotNow,
    Refused,
    TransientFailure,
    Unusable,
)
from analysis.outcomes import Reply as Analysed
from analysis.topics import Topics
from errors import NotFound
from grok_client import GrokClient
from models import Lane
from rate_limiter import CallLimiter, LearnedRate, SlidingWindow
from store.conversations import ConversationStore, NewConversation
from tests.conftest import StartApp
from tests.fakes.grok.replies import DEFAULT_MODEL, Reply, judge
from tests.fakes.grok.server import GOOD_KEY, FakeGrok
from tests.support.factories import claim_some
from tests.support.http_helpers import (
    ScriptedAnalyser,
    captured_log,
    eventually,
    good,
    in_status,
    locked_by_another,
    submit,
)
from tests.support.worker_harness import FOR_EVER, WorkerHarness

BLAME = "My parcel is late and broken"
PRAISE = "Thanks, I love it"


@pytest.fixture
async def client(grok: FakeGrok) -> AsyncIterator[GrokClient]:
    client = GrokClient(
        key=GOOD_KEY,
        base_url=grok.base_url,
        model=DEFAULT_MODEL,
        limiter=CallLimiter(SlidingWindow(1000, 1.0), LearnedRate(1000)),
        concurrency=10,
        timeout=0.3,
        temperature=0.3,
        topics=Topics(("praise",), closed=False),
        jitter=lambda: 0.0,
    )
    yield client
    await client.aclose()


@pytest.fixture
def _brisk(monkeypatch: pytest.MonkeyPatch, harness: WorkerHarness) -> None:
    """Trouble is waited out in hundredths of seconds."""
    monkeypatch.setattr("backends.sqlite.BUSY_TIMEOUT_SECONDS", 0.02)
    harness.timings = replace(harness.timings, trouble=0.02)


# --- what an answer of Grok leads to --------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        (Reply.ok(), -0.8),
        (Reply.fenced(), -0.8),
        (Reply.two_documents(), -0.8),
        (Reply.bare_object(), -0.8),
        (Reply.missing_id(), -0.8),
        (Reply.out_of_range(1.1, -0.1), 1.0),
    ],
)
async def test_a_usable_answer_completes_the_conversation(
    harness: WorkerHarness, grok: FakeGrok, client: GrokClient, reply: Reply, score: float
) -> None:
    grok.script(reply)
    (id_,) = await harness.add(BLAME)
    async with harness.working(client):
        found = await harness.until(id_, "completed")

    assert (found.attempts, found.last_error) == (1, None)
    assert found.insight is not None
    assert found.insight.sentiment_score == score
    assert grok.counters.calls == 1
    details = await harness.details(id_)
    assert details["model"] == DEFAULT_MODEL
    assert details["finish_reason"] == "stop"
    assert details["content"]
    costs = await harness.run("SELECT cost_usd_ticks FROM insights")
    assert costs == [(grok.counters.billed_ticks,)]


@pytest.mark.parametrize(
    "reply",
    [
        Reply.garbage(),
        Reply.truncated(),
        Reply.empty_content(),
        Reply.null_content(),
        Reply.odd_types(),
        Reply.out_of_range(),
        Reply.unfinished("length"),
    ],
)
async def test_three_unusable_answers_end_in_the_fallback_insight(
    harness: WorkerHarness, grok: FakeGrok, client: GrokClient, reply: Reply
) -> None:
    grok.default = reply
    (id_,) = await harness.add(BLAME)
    async with harness.working(client):
        found = await harness.until(id_, "completed")

    assert grok.counters.calls == 3
    assert (found.attempts, found.last_error) == (3, None)
    assert found.insight is not None
    assert (found.insight.sentiment_score, found.insight.confidence) == (0.0, 0.0)
    assert list(found.insight.clusters) == ["unknown"]
    assert found.insight.reasoning
    assert (await harness.details(id_))["fallback"] is True


async def test_an_unusable_answer_is_asked_again_at_once(
    harness: WorkerHarness, grok: FakeGrok, client: GrokClient
) -> None:
    grok.script(Reply.garbage(), Reply.truncated(), Reply.ok())
    (id_,) = await harness.add(BLAME)
    started = time.monotonic()
    async with harness.working(client):
        found = await harness.until(id_, "completed")

    assert time.monotonic() - started < 2.0
    assert (found.attempts, grok.counters.calls) == (3, 3)
    assert found.insight is not None
    assert found.insight.sentiment_score == judge(BLAME, "1")["sentiment_score"]
    assert "fallback" not in await harness.details(id_)
    assert await harness.run("SELECT count(*) FROM insights") == [(1,)]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply.server_error(), "HTTP 500: Internal error while processing the request."),
        (Reply.at_capacity(), "HTTP 503: Service temporarily unavailable."),
        (Reply.cloudflare(), "HTTP 520: an HTML page"),
        (Reply.drop(), "Grok could not be reached"),
        (Reply.drop(halfway=True), "Grok could not be reached"),
        (Reply.hang(), "Grok did not answer within 0.3 s"),
    ],
)
async def test_passing_trouble_is_retried_after_one_two_and_four_seconds_then_fails(
    harness: WorkerHarness, grok: FakeGrok, client: GrokClient, reply: Reply, error: str
) -> None:
    grok.default = reply
    (id_,) = await harness.add(BLAME)
    delays = []
    async with harness.working(client) as worker:
        for attempt in (1, 2, 3):
            await harness.until_attempted(id_, attempt)
            found = await harness.find(id_)
            assert found.insight is None
            assert found.last_error is not None
            assert found.last_error.startswith(error)
            delays.append(await harness.due_in(id_))
            await harness.make_due()
            worker.wake()
        found = await harness.until(id_, "failed")

    assert delays == [pytest.approx(delay, abs=0.5) for delay in (1, 2, 4)]
    assert (found.attempts, grok.counters.calls) == (4, 4)
    assert found.last_error is not None
    assert found.last_error.startswith(error)


async def test_a_delay_is_stretched_by_up_to_a_half(
    harness: WorkerHarness, grok: FakeGrok, client: GrokClient
) -> None:
    grok.default = Reply.server_error()
    (id_,) = await harness.add(BLAME)
    async with harness.working(client, jitter=lambda: 1.0):
        await grok.saw(1)
        await harness.until(id_, "pending")
        assert await harness.due_in(id_) == pytest.approx(1.5, abs=0.3)


async def test_a_retry_comes_by_itself_when_it_is_due(
    harness: WorkerHarness, grok: FakeGrok, client: GrokClient
) -> None:
    grok.script(Reply.server_error())
    (id_,) = await harness.add(BLAME)
    async with harness.working(client):
        found = await harness.until(id_, "completed")

    assert grok.arrivals[1] - grok.arrivals[0] >= 1.0
    assert (found.attempts, found.last_error) == (2, None)


async def test_a_429_costs_no_attempt_and_shows_nowhere_as_failure(
    harness: WorkerHarness, grok: FakeGrok, client: GrokClient
) -> None:
    grok.script(Reply.rate_per_second(retry_after=1))
    (id_,) = await harness.add(BLAME)
    async with harness.working(client):
        await eventually(lambda: client.throttle.pause_left() > 0)
        waiting = await harness.until(id_, "pending")
        found = await harness.until(id_, "completed")

    assert (waiting.attempts, waiting.last_error) == (0, None)
    assert (found.attempts, found.last_error) == (1, None)
    assert grok.arrivals[1] - grok.arrivals[0] >= 1.0


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply.content_violation(), "HTTP 403: Content violates usage guidelines."),
        (Reply.content_violation(tail=True), "HTTP 403: Content violates usage guidelines."),
        (Reply.refusal("No, thank you."), "Grok refused: No, thank you."),
        (Reply.refusal("No\ud800 \x00way."), "Grok refused: No"),
        (Reply.context_overflow(), "HTTP 400: This model's maximum prompt length"),
        (Reply.wrong_type(), "HTTP 422: Failed to deserialize"),
    ],
)
async def test_a_text_that_is_refused_fails_alone_and_is_not_asked_again(
    harness: WorkerHarness, grok: FakeGrok, client: GrokClient, reply: Reply, error: str
) -> None:
    grok.when_text("bad", reply)
    bad, *others = await harness.add("bad", BLAME, PRAISE)
    async with harness.working(client):
        found = await harness.until(bad, "failed")
        for id_ in others:
            await harness.until(id_, "completed")
        assert harness.call_runner.breaker.reason is None

    assert (found.attempts, found.insight) == (1, None)
    assert found.last_error is not None
    assert found.last_error.startswith(error)
    assert grok.counters.texts_sent["bad"] == 1


@pytest.mark.parametrize("reply", [Reply.wrong_key(), Reply.credits_gone(), Reply.unknown_model()])
async def test_what_only_a_person_can_mend_keeps_every_conversation_pending(
    harness: WorkerHarness, grok: FakeGrok, client: GrokClient, reply: Reply
) -> None:
    grok.default = reply
    ids = await harness.add(*["text"] * 25)
    async with harness.working(client) as worker:
        await eventually(lambda: harness.call_runner.breaker.reason)

        async def all_pending() -> bool:
            return await harness.count("pending") == 25

        await eventually(all_pending)
        worker.wake()
        later = await harness.add("later")
        worker.wake()
        found = [await harness.find(id_) for id_ in [*ids, *later]]
        assert worker.bound_by == "breaker"
        assert harness.call_runner.breaker.wait_left() > 55

    assert {(one.status, one.attempts, one.last_error) for one in found} == {("pending", 0, None)}
    assert grok.counters.calls <= 10


async def test_an_analysis_under_way_shows_as_processing(
    harness: WorkerHarness, grok: FakeGrok, client: GrokClient
) -> None:
    grok.script(Reply.ok().after(0.2))
    (id_,) = await harness.add(BLAME)
    async with harness.working(client):
        await grok.saw(1)
        found = await harness.find(id_)
        under_way = harness.call_runner.under_way
        await harness.until(id_, "completed")

    assert (found.status, found.attempts) == ("processing", 1)
    assert under_way == 1


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
        await harness.until(first, "completed", within=2)
        (second,) = await harness.add("second")
        worker.wake()
        await harness.until(second, "completed", within=2)


async def test_an_arrival_over_http_is_worked_on_at_once(start_app: StartApp) -> None:
    async with start_app(analyser=ScriptedAnalyser(), poll_interval=FOR_EVER) as running:
        for number in range(3):
            id_ = await submit(running.client, f"text {number}")
            await in_status(running.client, id_, "completed", within=2)


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
        await in_status(running.client, id_, "completed", within=2)


async def test_what_nobody_tells_of_is_found_at_the_next_look(harness: WorkerHarness) -> None:
    async with harness.working(ScriptedAnalyser(), poll_interval=0.05):
        (id_,) = await harness.add("from another process")
        await harness.until(id_, "completed", within=2)


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
            await harness.until(id_, "completed", within=2)


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
    assert 0.15 < seconds < 0.2 + 1.0
    assert await harness.run("SELECT lease_token, deaths FROM conversations") == [(None, 0)]


async def test_stopping_an_idle_worker_takes_no_time(harness: WorkerHarness) -> None:
    async with harness.working(ScriptedAnalyser()) as worker:
        (id_,) = await harness.add("text")
        worker.wake()
        await harness.until(id_, "completed")
        started = time.monotonic()
        await worker.stop(grace=10)

        assert time.monotonic() - started < 1.0
        assert not worker.alive


async def test_stopping_while_waiting_for_a_rate_limit_takes_no_time(
    harness: WorkerHarness, grok: FakeGrok, client: GrokClient
) -> None:
    grok.script(Reply.rate_per_second(retry_after=60))
    (id_,) = await harness.add(BLAME)
    async with harness.working(client) as worker:
        await eventually(lambda: client.throttle.pause_left() > 0)
        await harness.until(id_, "pending")
        started = time.monotonic()
        await worker.stop(grace=10)

    assert time.monotonic() - started < 1.0
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

    await asyncio.wait_for(worker.stop(grace=5), 1)

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

    assert seconds < 0.1 + 2.0


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


# --- bugs in the analyser -------------------------------------------------------------------------


async def test_an_analyser_that_raises_is_asked_again_and_then_believed(
    harness: WorkerHarness,
) -> None:
    analyser = ScriptedAnalyser()
    analyser.script("text", *[RuntimeError("a bug")] * 4)
    (id_,) = await harness.add("text")
    async with harness.working(analyser) as worker:
        for attempt in (1, 2, 3):
            await harness.until_attempted(id_, attempt)
            await harness.make_due()
            worker.wake()
        found = await harness.until(id_, "failed")
        alive = worker.alive

    assert alive
    assert found.last_error == "internal error in the analyser"
    assert "a bug" not in str(found)


async def test_an_analyser_that_raises_spoils_no_other_call(harness: WorkerHarness) -> None:
    analyser = ScriptedAnalyser()
    analyser.script("bad", RuntimeError("a bug"))
    bad, *others = await harness.add("bad", *["good"] * 20)
    async with harness.working(analyser):
        await harness.all_completed(20)
        assert (await harness.find(bad)).status == "pending"
        await harness.until(bad, "completed")

    assert len(others) == 20


class _ShortAnalyser(ScriptedAnalyser):
    """Answers one text too few, the first time."""

    async def analyse(self, texts: Sequence[str], **options: Any) -> Analysed:
        reply = await super().analyse(texts, **options)
        return reply._replace(answers=reply.answers[1:]) if len(self.calls) == 1 else reply


async def test_an_analyser_that_leaves_one_out_is_treated_as_one_that_raises(
    harness: WorkerHarness,
) -> None:
    (id_,) = await harness.add("text")
    async with harness.working(_ShortAnalyser()):
        found = await harness.until(id_, "completed", within=4)

    assert found.attempts == 2


# --- what a dead worker leaves --------------------------------------------------------------------


async def test_at_start_the_only_worker_takes_up_what_the_previous_one_left(
    harness: WorkerHarness,
) -> None:
    ids = await harness.add("text 1", "text 2")
    await claim_some(harness.database, limit=2, lease=timedelta(hours=1))
    with captured_log() as log:
        async with harness.working(ScriptedAnalyser()):
            for id_ in ids:
                await harness.until(id_, "completed")

    (line,) = log.named("orphans_rescued")
    assert (line["back_to_pending"], line["failed"]) == (2, 0)
    assert await harness.run("SELECT DISTINCT deaths FROM conversations") == [(1,)]


async def test_what_was_in_flight_at_three_deaths_fails(harness: WorkerHarness) -> None:
    harness.timings = replace(harness.timings, trial_rest=0.0)
    deadly, innocent = await harness.add("deadly", "innocent")
    await harness.run("UPDATE conversations SET deaths = 2 WHERE text = 'deadly'")
    await claim_some(harness.database, limit=1, lease=timedelta(hours=1))
    await harness.queue.claim_suspect(lease=timedelta(hours=1))
    analyser = ScriptedAnalyser()
    async with harness.working(analyser):
        found = await harness.until(deadly, "failed")
        await harness.until(innocent, "completed")

    assert found.last_error == "the worker died while analysing this"
    assert analyser.texts == ["innocent"]


class _WatchfulAnalyser(ScriptedAnalyser):
    """Sees which texts are under way beside those that it watches."""

    def __init__(self, watched: Sequence[str]) -> None:
        super().__init__(concurrency=4, pack_size=2)
        self.beside: dict[str, set[str]] = {text: set() for text in watched}
        self._under_way: set[str] = set()

    async def analyse(self, texts: Sequence[str], **options: Any) -> Analysed:
        self._under_way |= set(texts)
        for text in self._under_way & self.beside.keys():
            self.beside[text] |= self._under_way - {text}
        await asyncio.sleep(0.01)
        try:
            return await super().analyse(texts, **options)
        finally:
            self._under_way -= set(texts)


async def test_suspects_are_tried_one_by_one_with_nothing_else_in_flight(
    harness: WorkerHarness,
) -> None:
    """Though there is other work all the time."""
    harness.timings = replace(harness.timings, trial_rest=0.0, trial_patience=0.05)
    suspects = [f"suspect {number}" for number in range(3)]
    ids = await harness.add(*suspects)
    await harness.run("UPDATE conversations SET deaths = 2")
    others = [f"other {number}" for number in range(40)]
    ids += await harness.add(*others, lane=Lane.BULK)
    analyser = _WatchfulAnalyser(suspects)
    async with harness.working(analyser, batch_size=2):
        await harness.all_completed(len(ids))

    assert sorted(analyser.texts) == sorted([*suspects, *others])
    assert analyser.beside == {suspect: set() for suspect in suspects}
    assert analyser.texts[-3:] != suspects  # they did not wait for the end


async def test_suspects_wait_for_other_work_and_for_the_worker_to_have_lived(
    harness: WorkerHarness,
) -> None:
    harness.timings = replace(harness.timings, trial_rest=0.3)
    await harness.add("suspect")
    await harness.run("UPDATE conversations SET deaths = 2")
    others = [f"other {number}" for number in range(20)]
    await harness.add(*others, lane=Lane.BULK)
    analyser = ScriptedAnalyser()
    async with harness.working(analyser):
        await harness.all_completed(21)

    assert analyser.texts[-1] == "suspect"


async def test_where_the_window_is_used_up_nothing_is_claimed_that_would_only_wait(
    harness: WorkerHarness,
) -> None:
    """A death then is no death of theirs."""
    (id_,) = await harness.add("text")
    await harness.ledger.reserve("before", model="any", conversations=1, highest_cost=0)
    analyser = ScriptedAnalyser()
    analyser.throttle.call_interval = FOR_EVER
    async with harness.working(analyser) as worker:
        await eventually(lambda: worker.bound_by == "rate")
        worker.wake()
        await asyncio.sleep(0.05)
        found = await harness.find(id_)

    assert (found.status, found.attempts, analyser.texts) == ("pending", 0, [])


async def test_one_of_several_workers_leaves_the_others_claims_alone(
    harness: WorkerHarness,
) -> None:
    harness.timings = replace(harness.timings, renew=0.02)
    (theirs,) = await harness.add("theirs")
    await claim_some(harness.database, limit=1, lease=timedelta(hours=1))
    (left,) = await harness.add("left")
    await claim_some(harness.database, limit=1, lease=timedelta(seconds=0.2))
    async with harness.working(ScriptedAnalyser(), alone=False):
        await harness.until(left, "completed")

        assert (await harness.find(theirs)).status == "processing"


async def test_a_lease_is_kept_for_as_long_as_the_call_takes(harness: WorkerHarness) -> None:
    harness.timings = replace(harness.timings, renew=0.02, lease=1.0)
    analyser = ScriptedAnalyser()
    analyser.hold("slow")
    (id_,) = await harness.add("slow")
    async with harness.working(analyser, alone=False):
        await eventually(lambda: analyser.under_way)
        claimed_until = (await harness.run("SELECT leased_until FROM conversations"))[0][0]

        async def well_past_the_first_lease() -> bool:
            return time.time() * 1e6 > claimed_until + 200_000

        await eventually(well_past_the_first_lease)
        assert (await harness.find(id_)).status == "processing"
        analyser.let_go("slow")
        found = await harness.until(id_, "completed")

    assert found.attempts == 1
    assert analyser.texts == ["slow"]
    assert await harness.run("SELECT deaths FROM conversations") == [(0,)]


# --- the whole, under load ------------------------------------------------------------------------


async def test_under_random_faults_every_conversation_ends_with_one_insight_or_a_reason(
    harness: WorkerHarness, grok: FakeGrok, client: GrokClient
) -> None:
    grok.faults = (
        Reply.garbage(),
        Reply.truncated(),
        Reply.content_violation(),
        Reply.refusal(),
        Reply.fenced(),
        Reply.rate_per_second(limit=1000, retry_after=0),
    )
    grok.fault_rate = 0.4
    await harness.add(*[f"text {number}" for number in range(60)])
    await harness.add(*[f"text {number}" for number in range(60, 120)], lane=Lane.BULK)
    async with harness.working(client):

        async def nothing_left() -> bool:
            return await harness.count("completed") + await harness.count("failed") == 120

        await eventually(nothing_left, within=20)

    completed, failed = await harness.count("completed"), await harness.count("failed")
    assert completed > 60
    assert failed > 5
    assert await harness.run("SELECT count(*) FROM insights") == [(completed,)]
    reasons = await harness.run(
        "SELECT count(last_error) FROM conversations WHERE status = 'failed'"
    )
    assert reasons == [(failed,)]
    assert await harness.run("SELECT max(attempts) FROM conversations") == [(3,)]
    assert grok.counters.max_in_flight <= 10
    assert len(harness.settled) >= 120


async def test_trouble_that_passes_costs_a_conversation_nothing_in_the_end(
    harness: WorkerHarness,
) -> None:
    analyser = ScriptedAnalyser()
    analyser.script(
        "text", NotNow("wait"), NotNow("wait"), Unusable("what?"), TransientFailure("x")
    )
    (id_,) = await harness.add("text")
    async with harness.working(analyser) as worker:
        await eventually(lambda: len(analyser.calls) == 4)
        await harness.until(id_, "pending")
        await harness.make_due()
        worker.wake()
        found = await harness.until(id_, "completed")

    assert (found.attempts, found.last_error) == (3, None)


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
async def test_calls_that_end_do_not_put_the_poll_off(harness: WorkerHarness) -> None:
    """What another process hands in is found by the poll, also while this one is busy."""
    analyser = ScriptedAnalyser(concurrency=2)
    analyser.hold("slow")
    await harness.add("slow")
    async with harness.working(analyser, poll_interval=0.3):
        await eventually(lambda: analyser.under_way == 1)
        ids = []
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
        before = analyser.throttle.asked
        await asyncio.sleep(0.1)
        assert analyser.throttle.asked - before <= 2
        analyser.let_go("first")
        await harness.all_completed(2)
