"""The process in which the offline analyser works: started, killed and ended for real."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGSTOP, SIGTERM
from typing import Any

import pytest

from analysis.offline.analyser import OfflineAnalyser
from analysis.offline.judge import Judge
from analysis.outcomes import Analysis, Reply, TransientFailure
from analysis.urgency import Urgency
from assembly import build_analyser
from config import Settings
from models import Lane
from tests.support.http_helpers import eventually
from tests.support.paths import ROOT
from tests.support.processes import judges_of
from tests.support.worker_harness import WorkerHarness


@pytest.fixture
async def analyser() -> AsyncIterator[OfflineAnalyser]:
    analyser = OfflineAnalyser()
    yield analyser
    await analyser.aclose()
    assert judges_of(os.getpid()) == []


def the_judge() -> int:
    (pid,) = judges_of(os.getpid())
    return pid


async def stopped(analyser: OfflineAnalyser) -> int:
    """Its process, which answers nothing from now on."""
    await analyser.analyse(["The first one starts it."])
    os.kill(pid := the_judge(), SIGSTOP)
    return pid


async def test_answers_pass_unchanged_between_the_processes(analyser: OfflineAnalyser) -> None:
    texts = [
        "Thanks for nothing",
        "",
        "two\nlines\u2028three",
        "lone \udc80 and \x00",
        "é" * 70_000,
    ]
    answers = (await analyser.analyse(texts)).answers
    assert answers == Judge().judge(texts)
    assert {type(answer.urgency) for answer in answers if isinstance(answer, Analysis)} == {Urgency}
    assert (await analyser.analyse([])).answers == []


async def test_where_the_list_of_topics_is_closed_it_names_no_others(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings(clusters="praise,parcels", clusters_mode="closed")
    closed = build_analyser(settings)
    assert isinstance(closed, OfflineAnalyser)
    texts = ["My order never arrived", "Thanks, I love this great service"]
    try:
        answers = (await closed.analyse(texts)).answers
    finally:
        await closed.aclose()
    named = [answer.clusters for answer in answers if isinstance(answer, Analysis)]
    assert named == [("unknown",), ("praise",)]
    keys = {each.reuse_key for each in (closed, OfflineAnalyser(), OfflineAnalyser(large=True))}
    assert len(keys) == 3, "what was said with other topics is not said again"


async def test_its_process_starts_with_the_first_call_and_stays_for_the_next(
    analyser: OfflineAnalyser,
) -> None:
    assert judges_of(os.getpid()) == []
    await asyncio.gather(*(analyser.analyse([text]) for text in "abc"))
    first = the_judge()
    await analyser.analyse(["It is late."])
    assert the_judge() == first
    assert os.getpriority(os.PRIO_PROCESS, first) > os.getpriority(os.PRIO_PROCESS, 0)


def test_its_process_lets_others_go_first_after_each_text() -> None:
    counting = """
import os, sys
let_go = []
os.sched_yield = lambda: let_go.append(1)
from analysis.offline import child
child.main()
print(len(let_go), file=sys.stderr)
"""
    ended = subprocess.run(
        [sys.executable, "-c", counting, "small"],
        input=b'["It is late.", "Thanks!", "Why?"]\n[]\n',
        capture_output=True,
        check=True,
        cwd=ROOT,
    )
    assert [len(json.loads(line)) for line in ended.stdout.splitlines()] == [3, 0]
    assert int(ended.stderr) == 3


async def test_a_process_that_dies_at_work_is_a_passing_failure_and_the_next_call_has_a_new_one(
    analyser: OfflineAnalyser,
) -> None:
    pid = await stopped(analyser)
    call = asyncio.create_task(analyser.analyse(["one", "two"]))
    await asyncio.sleep(0)  # it is on its way
    os.kill(pid, SIGKILL)
    answers = (await call).answers
    assert [type(answer) for answer in answers] == [TransientFailure] * 2
    assert (await analyser.analyse(["It is late."])).answers == Judge().judge(["It is late."])
    assert the_judge() != pid


async def test_a_process_that_hangs_is_a_passing_failure_too_and_is_ended() -> None:
    analyser = OfflineAnalyser(timeout=3)
    await stopped(analyser)
    (answer,) = (await analyser.analyse(["one"])).answers
    assert isinstance(answer, TransientFailure)
    assert judges_of(os.getpid()) == []


async def test_a_process_that_dies_at_rest_costs_no_text_a_failure(
    analyser: OfflineAnalyser,
) -> None:
    await analyser.analyse(["one"])
    os.kill(pid := the_judge(), SIGKILL)
    await eventually(lambda: not Path(f"/proc/{pid}").exists())  # the loop has asked for its status
    await asyncio.sleep(0.05)  # and has been told
    assert (await analyser.analyse(["It is late."])).answers == Judge().judge(["It is late."])


async def test_the_answer_to_a_call_that_was_called_off_is_not_taken_for_the_next_ones(
    analyser: OfflineAnalyser,
) -> None:
    await stopped(analyser)
    call = asyncio.create_task(analyser.analyse(["I love it"]))
    await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await analyser.analyse(["I hate it"])).answers == Judge().judge(["I hate it"])


async def test_signals_to_the_whole_group_leave_it_to_the_service_to_end_it(
    analyser: OfflineAnalyser,
) -> None:
    await analyser.analyse(["one"])
    pid = the_judge()
    for number in (SIGINT, SIGTERM):
        os.kill(pid, number)
    await analyser.analyse(["two"])
    assert the_judge() == pid


async def test_closing_ends_it_even_where_it_hangs(analyser: OfflineAnalyser) -> None:
    await stopped(analyser)
    await analyser.aclose()
    assert judges_of(os.getpid()) == []


async def test_beside_live_posts_packs_leave_the_writer_time(harness: WorkerHarness) -> None:
    begun: list[float] = []

    class Timed(OfflineAnalyser):
        async def analyse(self, texts: Sequence[str], **options: Any) -> Reply:
            begun.append(time.monotonic())
            return await super().analyse(texts, **options)

    analyser = Timed()
    await harness.add("live")
    await harness.add(*[f"The parcel {number} is late" for number in range(100)], lane=Lane.BULK)
    async with harness.working(analyser):
        await harness.all_completed(101)
    await analyser.aclose()
    assert len(begun) == 21
    # They may come a tenth faster, and of one interval the worker may catch up.
    assert begun[-1] - begun[1] > 0.8 * 18 * analyser.throttle.call_interval > 0


async def test_the_worker_loses_nothing_when_it_is_killed_again_and_again(
    harness: WorkerHarness, analyser: OfflineAnalyser
) -> None:
    await harness.add(*[f"The parcel {number} is late" for number in range(60)], lane=Lane.BULK)
    killed: set[int] = set()

    def another() -> int | None:
        return next((pid for pid in judges_of(os.getpid()) if pid not in killed), None)

    async with harness.working(analyser):
        while len(killed) < 3:
            pid = await eventually(another)
            os.kill(pid, SIGKILL)
            killed.add(pid)
        await harness.all_completed(60, within=30)
