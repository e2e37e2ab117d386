"""What is paid for, and what a person must mend: nothing is failed, and nothing paid twice."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.grok.process import RunningGrok, grok_process
from tests.fakes.grok.steering import GOOD_KEY
from tests.support.call_ledger import compare
from tests.support.service_process import ServiceProcess, grok_settings, look, steer, until

pytestmark = pytest.mark.slow

TICKS_PER_USD = 10**10


@pytest.fixture
def grok() -> Iterator[RunningGrok]:
    with grok_process("--latency", "0.05", "--limit-requests", "60000") as grok:
        yield grok


async def _stats(service: ServiceProcess) -> dict[str, Any]:
    response = await service.client.get("/api/v1/stats")
    assert response.status_code == 200, response.text
    return dict(response.json())


async def _calls_at_rest(grok: RunningGrok) -> int:
    """How many there have been, once a second has passed without another."""
    before = -1
    while (now := (await look(grok, "counters"))["calls"]) != before:
        before = now
        await asyncio.sleep(1.0)
    return before


async def _calls_that_the_budget_paid(service: ServiceProcess, grok: RunningGrok) -> int:
    """How many there have been, once it is spent: a call that cost less than was held for it may
    let another one through."""
    async with asyncio.timeout(60):
        while True:
            calls = await _calls_at_rest(grok)
            if (await _stats(service))["bound_by"] == "budget":
                return calls


async def _completed(service: ServiceProcess, conversations: int) -> None:
    await until(
        lambda: service.count("status = 'completed'") == conversations,
        within=30,
        what=f"{conversations} completed",
    )


async def test_a_wrong_key_stops_all_calls_and_fails_nothing(
    tmp_path: Path, grok: RunningGrok
) -> None:
    await steer(grok, "defaults", key="another")
    async with ServiceProcess(tmp_path, **grok_settings(grok)) as service:
        await service.start()
        await service.post_batch([f"number {number}" for number in range(30)])

        async def is_open() -> bool:
            return bool((await _stats(service))["breaker"]["state"] == "open")

        await until(is_open, within=30, what="the breaker open")
        calls = await _calls_at_rest(grok)
        stats = await _stats(service)
        ready = await service.client.get("/ready")
        assert "Incorrect API key" in stats["breaker"]["reason"]
        assert GOOD_KEY not in stats["breaker"]["reason"]
        assert 50 < stats["breaker"]["next_probe_seconds"] <= 60
        assert stats["bound_by"] == "breaker"
        assert ready.status_code == 503
        assert "Incorrect API key" in ready.json()["checks"]["analyser"]
        assert calls <= 10, "more than were on their way at the first refusal"
        assert service.count("status = 'pending' AND attempts = 0") == 30

        await steer(grok, "defaults", key=GOOD_KEY)
        await service.kill()
        await service.start()
        await _completed(service, 30)
        assert (await service.client.get("/ready")).status_code == 200
        assert (await _stats(service))["breaker"]["state"] == "closed"


@pytest.mark.slow(longest=True)
async def test_the_budget_is_never_exceeded_also_over_kills(
    tmp_path: Path, grok: RunningGrok
) -> None:
    await steer(grok, "defaults", latency=0.3, bill_abandoned=True)
    budget = 0.04
    settings = grok_settings(grok, grok_daily_budget_usd=budget, grok_rate_limit=100)
    async with ServiceProcess(tmp_path, **settings) as service:
        await service.start()
        # More than the budget pays for, however few calls the kill cuts off.
        await service.post_batch([f"number {number} is late" for number in range(800)])

        async def under_way() -> bool:
            return bool((await look(grok, "counters"))["in_flight"] > 0)

        # What is in flight at a kill is billed, and nobody is told.
        await until(under_way, within=30, what="calls in flight")
        await service.kill()
        await service.start()

        calls = await _calls_that_the_budget_paid(service, grok)
        stats, counters = await _stats(service), await look(grok, "counters")
        print(
            f"\nbudget {budget} USD: {counters['billed_ticks'] / TICKS_PER_USD:.4f} billed in"
            f" {counters['calls']} calls, {counters['abandoned']} of them cut off"
        )
        assert counters["abandoned"] > 0
        assert counters["billed_ticks"] <= budget * TICKS_PER_USD
        ((known, held),) = service.query("SELECT cost_usd_ticks, held_usd_ticks FROM daily_usage")
        assert 0.8 < (known + held) / (budget * TICKS_PER_USD) <= 1
        assert stats["spending"]["daily_budget_usd"] == budget
        assert service.count("status = 'failed' OR attempts > 1 AND deaths = 0") == 0
        assert service.count("status = 'pending'") > 0
        ready = await service.client.get("/ready")
        assert ready.status_code == 200, "a used-up budget is no fault"

        # It is remembered, too: at most what was left of it is spent, on calls of a text each.
        await service.kill()
        await service.start()
        await service.post("one more, and it is late as well, " * 10)
        assert await _calls_that_the_budget_paid(service, grok) < 1.5 * calls
        assert (await look(grok, "counters"))["billed_ticks"] <= budget * TICKS_PER_USD
        ((known, held),) = service.query("SELECT cost_usd_ticks, held_usd_ticks FROM daily_usage")
        assert known + held <= budget * TICKS_PER_USD
        await service.kill()
        ledger = compare(service.query, await look(grok, "bill"))
        assert ledger.faults == []


SAME = [
    "@acme my café order is late, see https://a.example/1",
    "@other my cafe\u0301  order is late,\nsee https://b.example/2?x=3 ",
    "  @third_one my café order is late, see www.c.example",
]
OTHERS = [
    "@acme my café order is Late, see https://a.example/1",
    "@acme my café order is late!, see https://a.example/1",
]


@pytest.mark.parametrize("window", [3600, 0])
async def test_equal_texts_are_asked_once_within_the_window(
    tmp_path: Path, grok: RunningGrok, window: int
) -> None:
    async with ServiceProcess(tmp_path, **grok_settings(grok, reuse_window=window)) as service:
        await service.start()
        first = await service.post(SAME[0])
        await _completed(service, 1)
        again = [await service.post(text) for text in SAME]
        await service.post_batch(OTHERS)
        await _completed(service, 1 + len(again) + len(OTHERS))
        calls = (await look(grok, "counters"))["calls"]
        stats = await _stats(service)
        assert calls == 1 + len(OTHERS) + (0 if window else len(again))

        insights = {
            id_: (await service.client.get(f"/api/v1/conversations/{id_}")).json()["insight"]
            for id_ in [first, *again]
        }
        judged = {
            (each["grok_analysis"]["sentiment_score"], *each["grok_analysis"]["clusters"])
            for each in insights.values()
        }
        assert len(judged) == 1
        costs = service.query(
            "SELECT conversation_id, cost_usd_ticks FROM insights WHERE cost_usd_ticks = 0"
        )
        assert {id_ for id_, _ in costs} == (set(again) if window else set())
        share = len(again) / (1 + len(again) + len(OTHERS)) if window else 0.0
        assert stats["reuse"]["today_share"] == pytest.approx(share, abs=0.001)
        listed = await service.client.get(
            "/api/v1/insights",
            params={"start_time": "2020-01-01T00:00:00Z", "end_time": "2100-01-01T00:00:00Z"},
        )
        assert listed.json()["metadata"]["total_count"] == 1 + len(again) + len(OTHERS)
        await service.kill()
        assert compare(service.query, await look(grok, "bill")).faults == []
