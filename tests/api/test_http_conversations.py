"""Following conversations over HTTP, retrying and erasing them."""

import asyncio

import httpx
import pytest

from analysis.outcomes import Refused
from tests.conftest import StartApp
from tests.fakes.grok.replies import Reply
from tests.fakes.grok.server import FakeGrok
from tests.support.http_helpers import (
    CONVERSATIONS,
    NOTHING_DONE,
    STATS,
    ScriptedAnalyser,
    all_done,
    assert_error,
    completed,
    good,
    grok_settings,
    in_status,
    list_all,
    on_shared_loop,
    run_sql,
    service,
    show,
    submit,
    submit_batch,
)

# --- following one through its life ---------------------------------------------------------------


async def test_a_conversation_is_shown_in_each_state_of_its_life(start_app: StartApp) -> None:
    analyser = ScriptedAnalyser(answer=lambda _text: good(-0.65, ["delivery_problems"], 0.9))
    analyser.hold("mine")
    async with start_app(analyser=analyser) as running:
        client = running.client
        id_ = await submit(client, "mine", author="me")
        processing = await in_status(client, id_, "processing")
        analyser.let_go("mine")
        completed = await in_status(client, id_, "completed")

    assert set(processing) == set(completed)
    assert set(completed) == {
        *("conversation_id", "status", "lane", "text", "author", "timestamp", "created_at"),
        *("attempts", "last_error", "raw_data", "queue", "insight"),
    }
    assert (processing["attempts"], processing["queue"], processing["insight"]) == (1, None, None)
    assert (completed["attempts"], completed["queue"]) == (1, None)
    assert completed["insight"] == {
        "grok_analysis": {
            "sentiment_score": -0.65,
            "clusters": ["delivery_problems"],
            "confidence": 0.9,
            "reasoning": "It says so.",
        },
        "language": "und",
        "urgency": "none",
        "version": 1,
        "labelled": None,
        "handling": NOTHING_DONE,
    }


async def test_a_failed_conversation_says_why(start_app: StartApp) -> None:
    analyser = ScriptedAnalyser(answer=lambda _text: Refused("it may not be said"))
    async with start_app(analyser=analyser) as running:
        shown = await in_status(running.client, await submit(running.client), "failed")

    assert shown["last_error"] == "it may not be said"
    assert (shown["attempts"], shown["queue"], shown["insight"]) == (1, None, None)


@on_shared_loop
async def test_the_place_in_the_queue_counts_live_before_bulk_and_old_before_new(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("queue")
    async with service(folder, worker_enabled=False) as client:
        bulk = await submit_batch(client, ["b1", "b2"])
        live = [await submit(client, "l1"), await submit(client, "l2")]

        queues = [(await show(client, id_))["queue"] for id_ in [*live, *bulk]]

    assert [queue["position"] for queue in queues] == [1, 2, 3, 4]


# --- what failed ----------------------------------------------------------------------------------


async def test_failed_conversations_are_listed_with_their_errors(start_app: StartApp) -> None:
    analyser = ScriptedAnalyser()
    for text in ("bad 0", "bad 1"):
        analyser.script(text, Refused("against the rules"))
    async with start_app(analyser=analyser) as running:
        client = running.client
        ids = await submit_batch(client, ["bad 0", "good", "bad 1"])
        await all_done(client)
        shown = await show(client, ids[2])
        first = (await client.get(f"{CONVERSATIONS}/failed?limit=1")).json()
        cursor = first["metadata"]["next_cursor"]
        second = (await client.get(f"{CONVERSATIONS}/failed?limit=1&cursor={cursor}")).json()

    assert first["conversations"] == [
        {name: value for name, value in shown.items() if name not in ("queue", "insight")}
    ]
    assert first["conversations"][0]["last_error"] == "against the rules"
    assert first["metadata"] == {"total_count": 2, "returned_count": 1, "next_cursor": cursor}
    assert [found["conversation_id"] for found in second["conversations"]] == [ids[0]]
    assert second["metadata"] == {"total_count": 2, "returned_count": 1, "next_cursor": None}


@pytest.mark.parametrize(
    ("query", "field"), [("limit=0", "limit"), ("limit=1001", "limit"), ("cursor=x", "cursor")]
)
async def test_a_bad_query_for_failed_conversations_is_refused(
    client: httpx.AsyncClient, query: str, field: str
) -> None:
    assert_error(await client.get(f"{CONVERSATIONS}/failed?{query}"), 400, "invalid_schema", field)


# --- retrying -------------------------------------------------------------------------------------


async def test_a_failed_conversation_can_be_retried(start_app: StartApp) -> None:
    analyser = ScriptedAnalyser()
    analyser.script("mine", Refused("not now"))
    async with start_app(analyser=analyser) as running:
        client = running.client
        id_ = await submit(client, "mine")
        await in_status(client, id_, "failed")

        response = await client.post(f"{CONVERSATIONS}/{id_}/retry")
        completed = await in_status(client, id_, "completed")

    assert response.status_code == 202
    assert response.json()["status"] == "accepted"
    assert response.json()["conversation_id"] == id_
    assert (completed["attempts"], completed["last_error"]) == (1, None)


async def test_a_retried_conversation_is_as_new(start_app: StartApp, sqlite_url: str) -> None:
    async with start_app(worker_enabled=False) as running:
        client = running.client
        id_ = await submit(client)
        await run_sql(
            sqlite_url,
            "UPDATE conversations SET status = 'failed', attempts = 4, last_error = 'x'",
        )

        await client.post(f"{CONVERSATIONS}/{id_}/retry")
        shown = await show(client, id_)

    assert (shown["status"], shown["attempts"], shown["last_error"]) == ("pending", 0, None)
    assert shown["queue"]["position"] == 1


@pytest.mark.parametrize("status", ["pending", "processing", "completed"])
async def test_only_a_failed_conversation_can_be_retried(
    start_app: StartApp, sqlite_url: str, status: str
) -> None:
    async with start_app(worker_enabled=False) as running:
        id_ = await submit(running.client)
        await run_sql(sqlite_url, "UPDATE conversations SET status = ?, attempts = 2", status)

        response = await running.client.post(f"{CONVERSATIONS}/{id_}/retry")
        shown = await show(running.client, id_)

    assert_error(response, 409, "conflict", status)
    assert (shown["status"], shown["attempts"]) == (status, 2)


async def test_all_failed_conversations_can_be_retried_at_once(start_app: StartApp) -> None:
    analyser = ScriptedAnalyser()
    failing = [f"bad {number}" for number in range(3)]
    for text in failing:
        analyser.script(text, Refused("no"))
    async with start_app(analyser=analyser) as running:
        client = running.client
        await submit_batch(client, [*failing, "good"])
        stats = await all_done(client)
        assert stats["counts"]["failed"]["bulk"] == 3

        first = await client.post(f"{CONVERSATIONS}/retry")
        stats = await all_done(client)
        second = await client.post(f"{CONVERSATIONS}/retry")

    assert (first.status_code, first.json()) == (202, {"status": "accepted", "retried": 3})
    assert (second.status_code, second.json()) == (202, {"status": "accepted", "retried": 0})
    assert stats["counts"]["completed"]["bulk"] == 4
    assert analyser.texts.count("good") == 1


# --- erasing --------------------------------------------------------------------------------------


async def gone(client: httpx.AsyncClient, id_: str) -> None:
    """It is nowhere: not by its id, not in the list, not in a count."""
    assert_error(await client.get(f"{CONVERSATIONS}/{id_}"), 404, "not_found", id_)
    assert_error(await client.delete(f"{CONVERSATIONS}/{id_}"), 404, "not_found", id_)
    assert await list_all(client) == []
    stats = (await client.get(STATS)).json()
    assert all(not count for lanes in stats["counts"].values() for count in lanes.values())
    assert (stats["completed_last_minute"], stats["completed_last_hour"]) == (0, 0)
    assert stats["oldest_pending_seconds"] is None


async def test_a_completed_conversation_is_erased_with_its_insight(
    start_app: StartApp, sqlite_url: str
) -> None:
    async with start_app() as running:
        client = running.client
        id_ = await completed(client, "Thanks, great service!")

        response = await client.delete(f"{CONVERSATIONS}/{id_}")

        assert (response.status_code, response.content) == (204, b"")
        await gone(client, id_)
    assert await run_sql(sqlite_url, "SELECT * FROM insight_clusters") == []


async def test_a_pending_and_a_failed_conversation_are_erased(start_app: StartApp) -> None:
    analyser = ScriptedAnalyser(answer=lambda _text: Refused("no"))
    async with start_app(analyser=analyser) as running:
        id_ = await submit(running.client)
        await in_status(running.client, id_, "failed")
        assert (await running.client.delete(f"{CONVERSATIONS}/{id_}")).status_code == 204
        await gone(running.client, id_)
    async with start_app(worker_enabled=False) as running:
        id_ = await submit(running.client)
        assert (await running.client.delete(f"{CONVERSATIONS}/{id_}")).status_code == 204
        await gone(running.client, id_)


async def test_one_that_is_being_analysed_is_gone_and_its_late_result_is_dropped(
    start_app: StartApp, sqlite_url: str
) -> None:
    async with FakeGrok() as grok:
        grok.script(Reply.ok().after(0.3))
        async with start_app(**grok_settings(grok)) as running:
            client = running.client
            id_ = await submit(client)
            await grok.saw(1)

            response = await client.delete(f"{CONVERSATIONS}/{id_}")

            assert response.status_code == 204
            await gone(client, id_)
            await grok.idle()
            # The worker is done with the erased one once it is done with the next.
            await in_status(client, next_one := await submit(client, "next"), "completed")
            await client.delete(f"{CONVERSATIONS}/{next_one}")
            await gone(client, id_)
    assert grok.counters.by_status[200] == 2
    assert await run_sql(sqlite_url, "SELECT count(*) FROM insights") == [(0,)]


async def test_a_hanging_analysis_does_not_keep_its_conversation(start_app: StartApp) -> None:
    async with FakeGrok() as grok:
        grok.script(Reply.hang())
        async with start_app(**grok_settings(grok), shutdown_grace=0) as running:
            id_ = await submit(running.client)
            await grok.saw(1)

            assert (await running.client.delete(f"{CONVERSATIONS}/{id_}")).status_code == 204
            await gone(running.client, id_)


async def test_erasing_one_leaves_the_others(start_app: StartApp) -> None:
    async with start_app() as running:
        first, second = await submit_batch(running.client, ["one", "two"])
        await all_done(running.client)

        await running.client.delete(f"{CONVERSATIONS}/{first}")

        (left,) = await list_all(running.client)
    assert left["conversation_id"] == second


async def test_conversations_sent_side_by_side_are_all_analysed(start_app: StartApp) -> None:
    async with start_app() as running:
        ids = await asyncio.gather(*(submit(running.client, f"text {n}") for n in range(100)))
        await all_done(running.client)

        listed = await list_all(running.client)
    assert len(set(ids)) == 100
    assert sorted(insight["conversation_id"] for insight in listed) == sorted(ids)
