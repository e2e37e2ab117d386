"""What an answer of Grok leads to, and an analyser that has bugs; the whole under load.

What Grok does comes over a real socket from a fake; where the moment matters, from an analyser that
answers when the test says so."""

import time
from collections.abc import Sequence
from typing import Any

import pytest

from analysis.outcomes import NotNow, TransientFailure, Unusable
from analysis.outcomes import Reply as Analysed
from analysis.topics import Topics
from grok_client import GrokClient
from models import Lane
from tests.fakes.grok.calls import MakeClient
from tests.fakes.grok.judgement import judge
from tests.fakes.grok.models import DEFAULT_MODEL
from tests.fakes.grok.replies import Reply
from tests.fakes.grok.server import FakeGrok
from tests.support.http_helpers import ScriptedAnalyser, eventually
from tests.support.worker_harness import WorkerHarness

BLAME = "My parcel is late and broken"
PRAISE = "Thanks, I love it"


@pytest.fixture
def client(make_client: MakeClient) -> GrokClient:
    return make_client(timeout=1.5, topics=Topics(("praise",), closed=False))


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

    assert time.monotonic() - started < 3.0  # after other failures it waits a second, then two
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
        (Reply.hang(), "Grok did not answer within 1.5 s"),
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
        found = await harness.until(id_, "completed")

    assert found.attempts == 2


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

        await eventually(nothing_left, within=30)

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
