"""/api/v1/plans: what is asked, what is answered, and that it is carried out."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from analysis.outcomes import Refused
from database import Database
from tests.conftest import RunningApp, StartApp
from tests.support.factories import NOON, insert_insights
from tests.support.http_helpers import (
    CONVERSATIONS,
    ScriptedAnalyser,
    assert_error,
    eventually,
    in_status,
    list_all,
    submit,
)

PATH = "/api/v1/plans"
NEGATIVE = {"sentiment": "negative"}
LABEL = {"kind": "label", "filter": NEGATIVE, "set": {"sentiment": "neutral"}, "by": "ana"}


@pytest.fixture
async def running(start_app: StartApp) -> AsyncIterator[RunningApp]:
    async with start_app() as running:
        database: Database = running.app.state.services.database
        await insert_insights(
            database,
            [
                {
                    "timestamp": NOON - timedelta(minutes=place),
                    "text": f"Order {place} is late",
                    "author": "ben",
                    "sentiment_score": score,
                }
                for place, score in enumerate([-0.8, 0.5, -0.3])
            ],
        )
        yield running


@pytest.fixture
def client(running: RunningApp) -> httpx.AsyncClient:
    return running.client


async def make(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await client.post(PATH, json={**LABEL, **fields})
    assert response.status_code == 201, response.text
    return dict(response.json())


async def carried_out(client: httpx.AsyncClient, plan_id: str, what: str) -> dict[str, Any]:
    """Asked for, and waited for; the plan then."""
    response = await client.post(f"{PATH}/{plan_id}/{what}")
    assert response.status_code == 202, response.text
    seen: dict[str, Any] = {}

    async def is_through() -> bool:
        seen.update((await client.get(f"{PATH}/{plan_id}")).json())
        return seen["state"] not in ("applying", "undoing")

    await eventually(is_through, within=30)
    return seen


async def test_a_plan_is_previewed_applied_and_undone(client: httpx.AsyncClient) -> None:
    before = await list_all(client)
    plan = await make(client)

    assert (plan["state"], plan["matched"], plan["done"], plan["total"]) == ("ready", 2, 0, 2)
    first = plan["sample"][0]
    assert (first["text"], first["author"]) == ("Order 0 is late", "ben")
    assert first["timestamp"] == "2025-01-20T12:00:00Z"
    assert first["before"] == {
        "sentiment_score": -0.8,
        "clusters": ["delivery_problems"],
        "confidence": 0.9,
        "labelled": "model",
    }
    assert first["after"]["sentiment_score"] == 0.0
    assert await list_all(client) == before

    plan = await carried_out(client, plan["plan_id"], "apply")
    assert (plan["state"], plan["done"], plan["changed"]) == ("applied", 2, 2)
    scores = [item["grok_analysis"]["sentiment_score"] for item in await list_all(client)]
    assert scores == [0.0, 0.5, 0.0]

    plan = await carried_out(client, plan["plan_id"], "undo")
    assert (plan["state"], plan["done"], plan["left_alone"]) == ("undone", 2, 0)
    assert await list_all(client) == before


async def test_a_sample_of_handling_shows_times_as_they_are_shown_elsewhere(
    client: httpx.AsyncClient,
) -> None:
    plan = await make(client, kind="handling", set={"state": "claimed", "minutes": 5})
    before, after = (plan["sample"][0][name] for name in ("before", "after"))
    assert (before["at"], before["until"]) == (None, None)
    at, until = (datetime.fromisoformat(after[name]) for name in ("at", "until"))
    assert until - at == timedelta(minutes=5)
    assert after["until"].endswith("Z")


async def test_plans_are_listed_the_newest_first(client: httpx.AsyncClient) -> None:
    made = [(await make(client))["plan_id"] for _ in range(3)]

    listed = (await client.get(PATH, params={"limit": 2})).json()["plans"]

    assert [plan["plan_id"] for plan in listed] == made[:0:-1]


async def test_a_sample_does_not_show_what_was_erased(client: httpx.AsyncClient) -> None:
    plan = await make(client)
    erased, kept = (item["conversation_id"] for item in plan["sample"])
    await client.delete(f"{CONVERSATIONS}/{erased}")

    shown = (await client.get(f"{PATH}/{plan['plan_id']}")).json()

    assert [item["conversation_id"] for item in shown["sample"]] == [kept]
    assert "Order 0" not in str(shown)


async def test_a_sample_shows_also_what_is_labelled_so_already(client: httpx.AsyncClient) -> None:
    for number, item in enumerate(await list_all(client)):
        label = {"sentiment": "neutral", "by": "ana", "reason": "as I see it" if number else None}
        path = f"{CONVERSATIONS}/{item['conversation_id']}/labels"
        assert (await client.put(path, json=label)).status_code == 200

    plan = await make(client, filter={"author": "ben"})

    assert (plan["matched"], len(plan["sample"]), plan["warnings"]) == (3, 3, [])
    assert (await carried_out(client, plan["plan_id"], "apply"))["changed"] == 3


async def test_claims_of_others_are_missing_from_a_sample_with_a_word(
    client: httpx.AsyncClient,
) -> None:
    claimed = (await list_all(client))[0]["conversation_id"]
    claim = {"state": "claimed", "by": "ben"}
    await client.post(f"{CONVERSATIONS}/{claimed}/handling", json=claim)

    plan = await make(client, kind="handling", set={"state": "claimed"})

    assert (plan["matched"], len(plan["sample"])) == (2, 1)
    assert plan["warnings"] == ["It would leave 1 alone, which somebody else has claimed."]
    assert (await carried_out(client, plan["plan_id"], "apply"))["changed"] == 1


async def test_a_topic_that_all_have_already_is_left_alone_with_a_word(
    client: httpx.AsyncClient,
) -> None:
    late = {"cluster": "delivery_problems"}
    rule = {"name": "late", "filter": late, "set": {"add_cluster": "delivery_problems"}}
    rule_id = (await client.post("/api/v1/rules", json=rule)).json()["rule_id"]
    plan = (await client.post(PATH, json={"kind": "rule", "rule_id": rule_id})).json()

    matched = plan["matched"]
    assert plan["sample"] == []
    assert plan["warnings"] == [
        f"Of the first {matched} it would leave {matched} alone, which are so already."
    ]


async def test_a_cluster_may_be_named_in_any_form(client: httpx.AsyncClient) -> None:
    plan = await make(client, filter={"cluster": "Delivery Problems"})

    assert (plan["matched"], plan["filter"]) == (3, {"cluster": "delivery_problems"})


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        ({"kind": "erase"}, "kind: "),
        ({"kind": None}, "kind: "),
        ({"filter": {}}, "filter: "),
        ({"filter": {"sentimnet": "negative"}}, "filter.sentimnet: "),
        ({"filter": {"sentiment": "bad"}}, "filter.sentiment: "),
        ({"filter": {"q": "--"}}, "filter.q: must hold a word"),
        ({"filter": {"min_confidence": 2}}, "filter.min_confidence: "),
        ({"filter": {"min_confidence": "0.5"}}, "filter.min_confidence: "),
        ({"filter": {"start_time": "2025-02-01", "end_time": "2025-01-01"}}, "start_time"),
        ({"filter": {"start_time": "yesterday"}}, "filter.start_time: "),
        ({"set": None}, "set: a plan of kind label needs it"),
        ({"set": {}}, "set.sentiment or clusters: at least one of them is needed"),
        ({"set": {"sentiment": "neutral", "sentiment_score": 0.1}}, "sentiment_score"),
        ({"set": {"sentiment_score": 7}}, "set.sentiment_score: "),
        ({"set": {"clusters": []}}, "set.clusters: "),
        ({"set": {"mood": "good"}}, "set.mood: is not known here"),
        ({"set": {"sentiment": "neutral", "add_cluster": "a"}}, "set.add_cluster: is not known"),
        ({"set": {"clusters": ["?"]}}, "set.clusters: '?' has no letters"),
        ({"kind": "handling", "set": {"state": "open", "by": "ben"}}, "set.by: is not known here"),
        ({"by": None}, "by: a plan of kind label needs it"),
        ({"by": ""}, "by: "),
        ({"rule_id": "rule_00000001"}, "rule_id: a plan of kind label has none"),
        ({"kind": "rule", "set": None}, "rule_id: a plan of kind rule needs it"),
        ({"kind": "unlabel"}, "set: a plan of kind unlabel has none"),
        ({"kind": "unlabel", "set": None, "filter": {}}, "filter: "),
        ({"kind": "handling", "set": {"state": "done"}}, "set.state: "),
        ({"kind": "handling", "set": {"state": "snoozed"}}, "set.until: a snooze needs"),
        ({"kind": "handling", "set": {"state": "claimed", "minutes": "5"}}, "set.minutes: "),
        ({"kind": "retry", "set": None}, "filter.sentiment: what failed has none"),
        ({"dry_run": True}, "dry_run: is not known here"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_its_field(
    client: httpx.AsyncClient, fields: dict[str, Any], details: str
) -> None:
    response = await client.post(PATH, json={**LABEL, **fields})

    assert_error(response, 400, "invalid_schema", details)
    assert (await client.get(PATH)).json() == {"plans": []}


async def test_what_cannot_be_carried_out_is_a_conflict(client: httpx.AsyncClient) -> None:
    plan_id = (await make(client))["plan_id"]

    assert_error(await client.post(f"{PATH}/{plan_id}/undo"), 409, "conflict", "ready")
    await carried_out(client, plan_id, "apply")
    assert_error(await client.post(f"{PATH}/{plan_id}/apply"), 409, "conflict", "applied")


@pytest.mark.parametrize("plan_id", ["plan_00000000", "plan_1", "PLAN_00000000", "conv_00000000"])
async def test_a_plan_that_is_not_there_is_not_found(
    client: httpx.AsyncClient, plan_id: str
) -> None:
    assert_error(await client.get(f"{PATH}/{plan_id}"), 404, "not_found", plan_id)
    for what in ("apply", "undo"):
        assert_error(await client.post(f"{PATH}/{plan_id}/{what}"), 404, "not_found", plan_id)


async def test_a_rule_that_is_not_there_is_not_found(client: httpx.AsyncClient) -> None:
    body = {"kind": "rule", "rule_id": "rule_00000000"}

    assert_error(await client.post(PATH, json=body), 404, "not_found", "rule_00000000")


async def test_what_failed_is_analysed_again_by_a_plan(start_app: StartApp) -> None:
    analyser = ScriptedAnalyser()
    analyser.script("Late again", Refused("no"))
    async with start_app(analyser=analyser, poll_interval=60) as running:
        client = running.client
        id_ = await submit(client, "Late again", author="ana")
        await in_status(client, id_, "failed")

        plan = await make(
            client,
            kind="retry",
            filter={"author": "ana", "end_time": "2912-11-28T21:50:20.3+02:34"},
            set=None,
            by=None,
        )
        assert plan["warnings"] == ["Each of them is analysed again, at the cost of a new one."]
        assert plan["sample"][0]["before"] == {"status": "failed", "last_error": "no"}
        await carried_out(client, plan["plan_id"], "apply")

        await in_status(client, id_, "completed")
