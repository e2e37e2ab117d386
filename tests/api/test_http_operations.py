"""What those who run the service ask it: what is it doing, and how to find its pages."""

import asyncio
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, cast

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from analysis.outcomes import Refused, Unusable
from tests.conftest import RunningApp, StartApp
from tests.fakes.grok.models import DEFAULT_MODEL
from tests.fakes.grok.replies import Reply
from tests.fakes.grok.server import FakeGrok
from tests.support.http_helpers import (
    STATS,
    ScriptedAnalyser,
    all_done,
    completed,
    eventually,
    grok_settings,
    list_all,
    run_sql,
    show,
    submit,
    submit_batch,
)
from tests.support.http_helpers import good as good_answer

pytestmark = pytest.mark.usefixtures("nothing_cached")


async def metrics(client: httpx.AsyncClient) -> dict[str, float]:
    """Every sample by its name and labels, such as `conversations{lane=live,status=pending}`."""
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    samples = {}
    for family in text_string_to_metric_families(response.text):
        assert family.documentation
        for sample in family.samples:
            labels = ",".join(f"{name}={sample.labels[name]}" for name in sorted(sample.labels))
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return samples


async def metrics_with(client: httpx.AsyncClient, **counts: float) -> dict[str, float]:
    """The samples, once each of these is as large: what is settled is counted after its commit."""
    return cast(
        "dict[str, float]",
        await eventually(lambda: _when_counted(client, counts), what=f"{counts} in the metrics"),
    )


async def _when_counted(
    client: httpx.AsyncClient, counts: Mapping[str, float]
) -> dict[str, float] | None:
    samples = await metrics(client)
    return samples if all(samples.get(name, 0) >= n for name, n in counts.items()) else None


# --- /stats ---------------------------------------------------------------------------------------


async def test_stats_of_a_new_service_are_zeros(client: httpx.AsyncClient) -> None:
    stats = (await client.get(STATS)).json()

    none = {"live": 0, "bulk": 0}
    assert stats["counts"] == {
        "pending": none,
        "processing": none,
        "completed": none,
        "failed": none,
    }
    assert stats["oldest_pending_seconds"] is None
    assert (stats["completed_last_minute"], stats["completed_last_hour"]) == (0, 0)
    assert (stats["calls_per_second"], stats["calls_under_way"]) == (0.0, 0)
    nothing = {"calls": 0, "tokens": 0, "cached_tokens": 0, "cost_usd": 0.0, "held_usd": 0.0}
    assert stats["spending"] == {"today": nothing, "total": nothing, "daily_budget_usd": None}
    assert stats["reuse"] == {"today_share": 0.0, "total_share": 0.0}
    assert stats["fallback"] == {"today": 0, "last_hour": 0, "notice": None}
    assert stats["breaker"] == {"state": "closed", "reason": None, "next_probe_seconds": None}
    assert (stats["bound_by"], stats["call_limit_per_second"]) == ("queue", None)


async def test_stats_say_that_the_offline_analyser_is_no_grok(client: httpx.AsyncClient) -> None:
    analyser = (await client.get(STATS)).json()["analyser"]

    assert analyser["name"] == "offline"
    assert "not Grok" in analyser["notice"]
    assert analyser["answering_model"] == analyser["model"]


async def test_stats_count_by_status_and_lane(start_app: StartApp) -> None:
    analyser = ScriptedAnalyser(concurrency=2)
    analyser.script("bad", Refused("no"))
    analyser.hold("slow")
    async with start_app(analyser=analyser) as running:
        client = running.client
        await submit_batch(client, ["good", "good", "bad"])
        await all_done(client)
        await submit_batch(client, ["slow", "slow"], lane="live")
        await eventually(lambda: analyser.under_way == 2)
        await submit_batch(client, ["later"] * 3)
        await submit(client, "later")

        stats = (await client.get(STATS)).json()

        analyser.let_go("slow")
    assert stats["counts"] == {
        "pending": {"live": 1, "bulk": 3},
        "processing": {"live": 2, "bulk": 0},
        "completed": {"live": 0, "bulk": 2},
        "failed": {"live": 0, "bulk": 1},
    }
    assert 0 <= stats["oldest_pending_seconds"] < 10
    assert stats["calls_under_way"] == 2


async def test_stats_tell_recent_completions_from_older_ones(
    start_app: StartApp, sqlite_url: str
) -> None:
    async with start_app() as running:
        ids = await submit_batch(running.client, ["now", "half an hour ago", "yesterday"])
        await all_done(running.client)
        for id_, minutes in zip(ids[1:], (30, 1440), strict=True):
            statement = "UPDATE insights SET created_at = created_at - ? WHERE conversation_id = ?"
            await run_sql(sqlite_url, statement, minutes * 60_000_000, id_)

        stats = (await running.client.get(STATS)).json()

    assert (stats["completed_last_minute"], stats["completed_last_hour"]) == (1, 2)


async def test_stats_and_metrics_show_what_grok_billed(start_app: StartApp) -> None:
    async with FakeGrok() as grok, start_app(**grok_settings(grok)) as running:
        await submit_batch(running.client, ["one", "two", "three"])
        stats = await all_done(running.client)
        samples = await metrics(running.client)
        counters = grok.counters

    assert counters.billed_ticks > 0
    dollars = counters.billed_ticks / 1e10
    assert stats["analyser"]["name"] == "grok"
    assert stats["analyser"]["model"] == DEFAULT_MODEL
    assert stats["analyser"]["notice"] is None
    tokens = counters.prompt_tokens + counters.completion_tokens
    spent = {
        "calls": counters.calls,
        "tokens": tokens,
        "cached_tokens": counters.cached_tokens,
        "cost_usd": pytest.approx(dollars),
        "held_usd": 0.0,
    }
    assert stats["spending"] == {"today": spent, "total": spent, "daily_budget_usd": None}
    assert stats["calls_per_second"] == pytest.approx(counters.calls / 10)
    assert samples["grok_cost_usd_total"] == pytest.approx(dollars)
    assert samples["grok_tokens_total{kind=prompt}"] == counters.prompt_tokens
    assert samples["grok_tokens_total{kind=completion}"] == counters.completion_tokens
    assert samples["grok_spent_today_usd"] == pytest.approx(dollars)
    assert samples["grok_calls_total{outcome=answered}"] == counters.calls
    assert samples["grok_call_seconds_count"] == counters.calls


@pytest.mark.parametrize(
    ("good", "bad", "told"), [(0, 1, False), (18, 2, False), (17, 2, True), (0, 3, True)]
)
async def test_fallbacks_are_counted_and_told_where_more_than_one_in_ten_are(
    start_app: StartApp, good: int, bad: int, told: bool
) -> None:
    analyser = ScriptedAnalyser(
        answer=lambda text: Unusable("it rhymes") if "bad" in text else good_answer()
    )
    async with start_app(analyser=analyser) as running:
        texts = [f"good {number}" for number in range(good)]
        await submit_batch(running.client, [*texts, *(f"bad {number}" for number in range(bad))])
        await all_done(running.client)
        samples = await metrics_with(running.client, conversations_fallback_total=bad)
    async with start_app(analyser=analyser) as running:  # and after a restart
        stats = (await running.client.get(STATS)).json()

    assert (stats["fallback"]["today"], stats["fallback"]["last_hour"]) == (bad, bad)
    assert (stats["fallback"]["notice"] is not None) == told
    if told:
        assert f"{bad} of {good + bad} conversations" in stats["fallback"]["notice"]
    assert samples["conversations_fallback_total"] == bad


async def test_a_fallback_of_yesterday_is_told_no_more(
    start_app: StartApp, sqlite_url: str
) -> None:
    analyser = ScriptedAnalyser(answer=lambda _text: Unusable("it rhymes"))
    async with start_app(analyser=analyser) as running:
        await submit_batch(running.client, ["one", "two"])
        await all_done(running.client)
        await run_sql(sqlite_url, "UPDATE insights SET created_at = created_at - 90000000000")
        stats = (await running.client.get(STATS)).json()
    assert (stats["fallback"]["today"], stats["fallback"]["last_hour"]) == (0, 0)


async def test_what_the_offline_analyser_cannot_read_is_no_fallback(
    client: httpx.AsyncClient,
) -> None:
    await submit(client, "Qwxzk vrtplm zzgrth bnmkp wqqx")
    await all_done(client)
    (insight,) = await list_all(client)
    assert insight["grok_analysis"]["clusters"] == ["unknown"]
    assert (await client.get(STATS)).json()["fallback"] == {
        "today": 0, "last_hour": 0, "notice": None,
    }  # fmt: skip
    assert (await metrics(client))["conversations_fallback_total"] == 0


# --- /metrics -------------------------------------------------------------------------------------


async def test_metrics_count_requests_by_route_and_never_by_id(client: httpx.AsyncClient) -> None:
    id_ = await submit(client)
    await client.get(f"/api/v1/conversations/{id_}")
    await client.get("/api/v1/conversations/conv_00000000")
    await client.get("/nothing/here")
    await client.get("/nothing/there")

    samples = await metrics(client)

    one = "/api/v1/conversations/{conversation_id}"
    assert samples[f"http_requests_total{{method=GET,route={one},status=200}}"] == 1
    assert samples[f"http_requests_total{{method=GET,route={one},status=404}}"] == 1
    assert samples["http_requests_total{method=GET,route=other,status=404}"] == 2
    posted = "http_requests_total{method=POST,route=/api/v1/conversations,status=202}"
    assert samples[posted] == 1
    assert samples[f"http_request_seconds_count{{route={one}}}"] == 2
    assert samples[f"http_request_seconds_sum{{route={one}}}"] > 0
    assert samples[f"http_request_seconds_bucket{{le=+Inf,route={one}}}"] == 2
    assert not any(id_ in name or "nothing" in name for name in samples)


async def test_metrics_show_the_queue_by_status_and_lane(
    start_app: StartApp, sqlite_url: str
) -> None:
    async with start_app(worker_enabled=False) as running:
        await submit_batch(running.client, ["a", "b", "c"])
        await submit(running.client)
        await run_sql(sqlite_url, "UPDATE conversations SET created_at = created_at - 60000000")

        samples = await metrics(running.client)

    queue: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for name, value in samples.items():
        if found := re.fullmatch(r"conversations\{lane=(\w+),status=(\w+)\}", name):
            queue[found[2]][found[1]] = value
    assert dict(queue) == {
        "pending": {"live": 1, "bulk": 3},
        "processing": {"live": 0, "bulk": 0},
        "completed": {"live": 0, "bulk": 0},
        "failed": {"live": 0, "bulk": 0},
    }
    assert 60 <= samples["oldest_pending_seconds"] < 70


async def test_the_age_of_the_oldest_pending_is_zero_again_when_none_waits(
    start_app: StartApp, sqlite_url: str
) -> None:
    async with start_app(worker_enabled=False) as running:
        id_ = await submit(running.client)
        await run_sql(sqlite_url, "UPDATE conversations SET created_at = created_at - 60000000")
        before = await metrics(running.client)
        await running.client.delete(f"/api/v1/conversations/{id_}")

        after = await metrics(running.client)

    assert before["oldest_pending_seconds"] >= 60
    assert after["oldest_pending_seconds"] == 0
    assert after["conversations{lane=live,status=pending}"] == 0


async def test_metrics_count_commits_and_the_rows_in_each(start_app: StartApp) -> None:
    async with start_app(worker_enabled=False) as running:
        await submit_batch(running.client, ["a"] * 30)
        await submit(running.client)
        alone = await metrics(running.client)
        await asyncio.gather(*(submit(running.client) for _ in range(50)))
        together = await metrics(running.client)

    assert (alone["commits_total"], alone["commit_rows_count"]) == (2, 2)
    assert alone["commit_rows_sum"] == 31
    assert alone["commit_rows_bucket{le=20.0}"] == 1
    assert alone["commit_rows_bucket{le=50.0}"] == 2
    assert together["commit_rows_sum"] == 81
    assert together["commits_total"] - alone["commits_total"] < 25


async def test_metrics_count_outcomes(start_app: StartApp) -> None:
    analyser = ScriptedAnalyser()
    analyser.script("bad", Refused("no"))
    async with start_app(analyser=analyser) as running:
        await submit_batch(running.client, ["good", "good", "bad"])
        await all_done(running.client)

        samples = await metrics_with(
            running.client,
            **{
                "conversations_settled_total{outcome=completed}": 2,
                "conversations_settled_total{outcome=failed}": 1,
            },
        )

    assert samples["conversations_settled_total{outcome=completed}"] == 2
    assert samples["conversations_settled_total{outcome=failed}"] == 1


async def test_two_services_in_one_process_count_apart(start_app: StartApp, tmp_path: Any) -> None:
    other = f"sqlite+aiosqlite:///{tmp_path}/other.db"
    async with (
        start_app(worker_enabled=False) as first,
        start_app(worker_enabled=False, database_url=other) as second,
    ):
        await submit(first.client)

        assert (await metrics(first.client))["commits_total"] == 1
        assert (await metrics(second.client))["commits_total"] == 0


# --- pages ----------------------------------------------------------------------------------------


async def test_the_docs_load_without_any_other_host(client: httpx.AsyncClient) -> None:
    response = await client.get("/docs")

    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert not re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", response.text, re.IGNORECASE)
    links = re.findall(r'(?:src|href)="([^"]+)"', response.text)
    assert len(links) >= 2
    for link in links:
        assert (await client.get(link)).status_code == 200, link
    assert "/openapi.json" in response.text


async def test_the_root_leads_to_a_page(client: httpx.AsyncClient) -> None:
    response = await client.get("/")

    assert response.status_code in (302, 303, 307, 308)
    assert response.headers["location"] in ("/docs", "dashboard")
    assert (await client.get("/", follow_redirects=True)).status_code == 200


# --- the service as a whole -----------------------------------------------------------------------


async def test_the_offline_analyser_is_used_without_a_key(client: httpx.AsyncClient) -> None:
    await completed(client, "I love this, thank you so much, great support!")

    (insight,) = await list_all(client)

    assert insight["grok_analysis"]["sentiment_score"] > 0.1
    assert "Offline analyser" in insight["grok_analysis"]["reasoning"]


async def test_what_was_pending_when_the_service_ended_is_analysed_by_the_next(
    start_app: StartApp,
) -> None:
    async with start_app(worker_enabled=False) as running:
        ids = await submit_batch(running.client, ["one", "two", "three"])
    async with start_app() as running:
        await all_done(running.client)
        listed = await list_all(running.client)

    assert {insight["conversation_id"] for insight in listed} == set(ids)


async def test_ending_the_service_puts_back_what_is_still_being_analysed(
    start_app: StartApp,
) -> None:
    async with FakeGrok() as grok:
        grok.default = Reply.hang()

        async def in_flight(running: RunningApp) -> list[str]:
            ids = await submit_batch(running.client, ["one", "two"])
            await grok.saw(2)
            return ids

        async with start_app(**grok_settings(grok), shutdown_grace=0) as running:
            ids = await in_flight(running)
    async with start_app(worker_enabled=False) as running:
        shown = [await show(running.client, id_) for id_ in ids]

    assert [(one["status"], one["attempts"]) for one in shown] == [("pending", 0)] * 2
