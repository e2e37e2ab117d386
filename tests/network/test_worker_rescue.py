"""What a dead worker leaves to the next."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from analysis.outcomes import Reply as Analysed
from models import Lane
from tests.support.factories import claim_some
from tests.support.http_helpers import ScriptedAnalyser, captured_log, eventually
from tests.support.ledger_rows import reserve
from tests.support.worker_harness import FOR_EVER, WorkerHarness


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
    await reserve(harness.ledger, 0)
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
