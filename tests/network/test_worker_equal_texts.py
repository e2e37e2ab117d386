"""Equal texts are analysed once: what the worker takes from an earlier analysis, and what not."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from analysis.outcomes import Reply, Unusable
from tests.support.http_helpers import ScriptedAnalyser, good, paid
from tests.support.worker_harness import WorkerHarness

WEEK = timedelta(days=7)


async def test_an_equal_text_is_answered_from_the_earlier_analysis(harness: WorkerHarness) -> None:
    analyser = ScriptedAnalyser(answer=lambda text: good(0.25 if "first" in text else 0.75))
    analyser.throttle.cost, analyser.call = 100, paid(42)
    (first,) = await harness.add("@united first   bag lost https://t.co/abc")
    async with harness.working(analyser, reuse_window=WEEK) as worker:
        await harness.until(first, "completed")
        same, other = await harness.add(
            "@delta first bag lost http://x.example/y", "second bag lost"
        )
        worker.wake()
        await harness.until(same, "completed")
        await harness.until(other, "completed")
        found = await harness.find(same)

    assert analyser.texts == ["@user first bag lost URL", "second bag lost"]
    assert found.insight is not None
    assert found.insight.sentiment_score == 0.25
    assert found.insight.notes == {"reused_from": first}
    assert found.attempts == 1
    costs = await harness.run("SELECT conversation_id, cost_usd_ticks FROM insights")
    assert dict(costs)[same] == 0
    assert await harness.run("SELECT calls, conversations, reused FROM daily_usage") == [(2, 3, 1)]


async def test_a_reused_analysis_is_not_reused_for_longer_than_it_lasts_itself(
    harness: WorkerHarness,
) -> None:
    analyser = ScriptedAnalyser()
    async with harness.working(analyser, reuse_window=timedelta(hours=1)) as worker:
        for _ in range(3):
            (id_,) = await harness.add("same")
            worker.wake()
            await harness.until(id_, "completed")
            await harness.run("UPDATE insights SET created_at = created_at - 2000000000")

    # Asked, answered from that after 33 minutes, and asked again after 67.
    assert len(analyser.calls) == 2


@pytest.mark.parametrize("key", ["another model", "another prompt"])
async def test_what_another_model_or_prompt_said_is_not_reused(
    harness: WorkerHarness, key: str
) -> None:
    analyser = ScriptedAnalyser()
    async with harness.working(analyser, reuse_window=WEEK) as worker:
        (first,) = await harness.add("same")
        worker.wake()
        await harness.until(first, "completed")
        analyser.reuse_key = key
        (second,) = await harness.add("same")
        worker.wake()
        await harness.until(second, "completed")

    assert analyser.texts == ["same", "same"]


async def test_an_analysis_is_reused_under_the_model_that_made_it(harness: WorkerHarness) -> None:
    """Not under the one that had answered before, when the text was claimed."""

    class Renamed(ScriptedAnalyser):
        async def analyse(self, texts: Sequence[str], **options: Any) -> Reply:
            self.reuse_key = "another model"
            return await super().analyse(texts, **options)

    analyser = Renamed()
    async with harness.working(analyser, reuse_window=WEEK) as worker:
        (first,) = await harness.add("same")
        worker.wake()
        await harness.until(first, "completed")
        (second,) = await harness.add("same")
        worker.wake()
        found = await harness.until(second, "completed")

    assert analyser.texts == ["same"]
    assert found.insight is not None
    assert found.insight.notes == {"reused_from": first}


async def test_nothing_is_reused_of_a_fallback_nor_of_what_was_erased(
    harness: WorkerHarness,
) -> None:
    analyser = ScriptedAnalyser()
    analyser.script("same", *[Unusable("what?")] * 3)
    async with harness.working(analyser, reuse_window=WEEK) as worker:
        for calls in (3, 4, 5):
            (id_,) = await harness.add("same")
            worker.wake()
            await harness.until(id_, "completed")
            assert len(analyser.calls) == calls
            if calls == 4:
                await harness.conversations.erase(id_)
