"""As the server sees it: never a call too many in any second, over restarts too, and few wasted."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

import httpx
import pytest

from tests.fakes.grok.process import RunningGrok, grok_process
from tests.support.delays import delays_seen
from tests.support.service_process import ServiceProcess, grok_settings, look, steer, until

pytestmark = pytest.mark.slow

LIMIT = 10
BACKLOGS = (30, 300)
"""Of single conversations and of packs."""
BUSY_SECONDS = 0.01
"""A calm machine is late by less."""


@asynccontextmanager
async def _service(
    folder: Path, *grok_options: str, name: str = "service", **settings: Any
) -> AsyncIterator[tuple[ServiceProcess, RunningGrok]]:
    """One that has been started, with a fake Grok of its own."""
    with grok_process(*grok_options) as grok:
        folder = folder / name
        folder.mkdir()
        async with ServiceProcess(folder, **grok_settings(grok, **settings)) as service:
            await service.start()
            yield service, grok


async def _complete(service: ServiceProcess, conversations: int, *, within: float) -> None:
    await until(
        lambda: service.count("status = 'completed'") >= conversations,
        within=within,
        what=f"{conversations} completed",
    )


def _texts(count: int) -> list[str]:
    return [f"number {number} is late" for number in range(count)]


async def _calls(grok: RunningGrok, at_least: int) -> bool:
    return bool((await look(grok, "counters"))["calls"] >= at_least)


async def _judge(grok: RunningGrok) -> None:
    """Nothing was refused, and no window of one second, wherever it begins, holds a call too
    many."""
    counters = await look(grok, "counters")
    ordered = sorted(await look(grok, "arrivals"))
    spans = [later - first for first, later in zip(ordered, ordered[LIMIT:], strict=False)]
    assert min(spans) >= 1.0
    assert counters["rate_limited"] == 0


async def _on_a_machine_that_keeps_time(
    folder: Path, run: Callable[[Path], Awaitable[None]]
) -> None:
    """What fails while the machine lets this process wait is tried again, at most four times: a
    busy machine holds calls up for longer than the limiter's margin, wherever they stand."""
    for attempt in range(5):
        tried = folder / f"attempt-{attempt}"
        tried.mkdir()
        async with delays_seen() as delays:
            try:
                await run(tried)
            except AssertionError:
                if attempt == 4 or delays.worst < BUSY_SECONDS:
                    raise
                print(f"\ntried once more: the machine was {delays.worst:.3f} s late")
            else:
                return


async def _outages(grok: RunningGrok) -> Any:
    """Those that are over."""
    try:
        return await look(grok, "outages")
    except httpx.TransportError:
        return []


@pytest.mark.parametrize("jitter", ["0", "0.02"])
async def test_a_strict_server_has_nothing_to_refuse_and_its_first_second_is_used(
    tmp_path: Path, jitter: str
) -> None:
    async def run(folder: Path) -> None:
        options = ("--strict-rate", str(LIMIT), "--latency", "0.1", "--jitter", jitter)
        async with AsyncExitStack() as stack:
            runs = [
                await stack.enter_async_context(
                    _service(folder, *options, name=f"packs-of-{size}", grok_pack_size=size)
                )
                for size in (1, 10)
            ]
            for (service, _), conversations in zip(runs, BACKLOGS, strict=True):
                await service.post_batch(_texts(conversations))
            for (service, grok), conversations in zip(runs, BACKLOGS, strict=True):
                await _complete(service, conversations, within=30)
                await _judge(grok)
                arrivals = await look(grok, "arrivals")
                in_first_second = sum(arrival < min(arrivals) + 1.0 for arrival in arrivals)
                assert in_first_second >= LIMIT - 1
                # And nine tenths of what is allowed over all; `bench calls` has the exact share.
                assert max(arrivals) - min(arrivals) <= (len(arrivals) - 1) / LIMIT / 0.9
                # Towards the end of a backlog there are calls enough for smaller packs.
                assert len(arrivals) <= 45

    await _on_a_machine_that_keeps_time(tmp_path, run)


async def test_a_restart_opens_no_second_window_over_the_first(tmp_path: Path) -> None:
    async def run(folder: Path) -> None:
        options = ("--strict-rate", str(LIMIT), "--latency", "0.3")
        async with _service(folder, *options) as (service, grok):
            await service.post_batch(_texts(40))
            for burst, signal in enumerate((SIGTERM, SIGKILL), start=1):
                await until(partial(_calls, grok, 10 * burst), within=30, what="a burst of calls")
                service.send(signal)
                await service.ended(within=30)
                await service.start()
            await _complete(service, 40, within=30)
            await _judge(grok)

    await _on_a_machine_that_keeps_time(tmp_path, run)


@pytest.mark.parametrize("named", ["in the refusal", "in the headers"])
async def test_a_lower_ceiling_is_learned_from_what_grok_says(tmp_path: Path, named: str) -> None:
    options = ["--strict-rate", "4", "--latency", "0.05"]
    if named == "in the headers":
        options += ["--limit-requests", "240"]  # a minute

    async def run(folder: Path) -> None:
        async with _service(folder, *options, grok_rate_limit=LIMIT) as (service, grok):
            await service.post_batch(_texts(28))
            await _complete(service, 14, within=30)
            first_half = await look(grok, "counters")
            await _complete(service, 28, within=30)
            counters, arrivals = await look(grok, "counters"), await look(grok, "arrivals")
            # What was on its way before the first answer could be read.
            assert first_half["rate_limited"] <= LIMIT
            assert counters["rate_limited"] == first_half["rate_limited"]
            assert service.count("attempts > 1") == 0, "a refusal for the rate spent an attempt"
            last = sorted(arrivals)[-13:]
            assert (len(last) - 1) / (last[-1] - last[0]) >= 3.5, "far below the ceiling"

    await _on_a_machine_that_keeps_time(tmp_path, run)


async def test_live_conversations_do_not_wait_for_a_backlog(tmp_path: Path) -> None:
    async def run(folder: Path) -> None:
        settings: dict[str, Any] = {"grok_pack_size": 10, "grok_concurrency": 10}
        async with _service(
            folder, "--strict-rate", str(LIMIT), "--latency", "0.3", **settings
        ) as (
            service,
            grok,
        ):
            await service.post_batch(_texts(900))
            live = []
            for number in range(15):
                live.append(await service.post(f"live {number}"))
                await asyncio.sleep(0.2)
            names = ",".join(f"'{id_}'" for id_ in live)
            await until(
                lambda: service.count(f"status = 'completed' AND id IN ({names})") == len(live),
                within=30,
                what="the live ones completed",
            )
            assert service.count("lane = 'bulk' AND status IN ('pending', 'processing')") > 300
            assert service.count("lane = 'bulk' AND status = 'completed'") > 50
            waits = service.query(
                "SELECT insights.created_at - conversations.created_at FROM conversations"
                " JOIN insights ON conversation_id = conversations.id WHERE lane = 'live'"
            )
            print(f"\nlive, seconds: {sorted(round(wait / 1e6, 2) for (wait,) in waits)}")
            assert (await look(grok, "counters"))["rate_limited"] == 0

    await _on_a_machine_that_keeps_time(tmp_path, run)


async def test_a_short_outage_costs_nothing_and_full_speed_is_back_in_five_seconds(
    tmp_path: Path,
) -> None:
    down_seconds = 5.0
    async with _service(tmp_path, "--strict-rate", str(LIMIT), "--latency", "0.2") as (
        service,
        grok,
    ):
        await service.post_batch(_texts(60))
        await until(partial(_calls, grok, 10), within=30, what="a burst of calls")
        await steer(grok, "down", mode="refuse", seconds=down_seconds)
        posted = 0
        states: set[str] = set()
        while posted < down_seconds * 4:
            await service.post(f"during the outage {posted} it is late")
            posted += 1
            stats = (await service.client.get("/api/v1/stats")).json()
            states.add(stats["breaker"]["state"])
            await asyncio.sleep(0.2)
        assert "open" in states

        ((_, back),) = await until(partial(_outages, grok), within=30, what="Grok back")
        await asyncio.sleep(back + 6.2 - time.monotonic())
        arrivals = [moment for moment in await look(grok, "arrivals") if moment >= back]
        fullest = max(
            sum(start <= moment < start + 1.0 for moment in arrivals)
            for start in arrivals
            if start <= back + 5.0
        )
        assert fullest >= 0.8 * LIMIT, [round(moment - back, 1) for moment in arrivals]
        await _complete(service, 60 + posted, within=40)
        assert service.count("status = 'failed'") == 0
