"""Labels and rules over HTTP: what is asked for, what is answered, and what every figure says."""

import csv
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.conftest import StartApp
from tests.support.http_helpers import (
    ALL_TIME,
    CONVERSATIONS,
    INSIGHTS,
    ScriptedAnalyser,
    assert_error,
    completed,
    good,
    on_shared_loop,
    service,
    submit,
)

RULES = "/api/v1/rules"


def angry() -> ScriptedAnalyser:
    return ScriptedAnalyser(answer=lambda _text: good(-0.65, ["delivery_problems"]))


MODEL = {"sentiment_score": -0.65, "clusters": ["delivery_problems"], "confidence": 0.9}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A service that analyses."""
    async with service(tmp_path_factory.mktemp("shared"), analyser=angry()) as client:
        yield client


async def insight(client: httpx.AsyncClient, id_: str) -> dict[str, Any]:
    found = (await client.get(f"{CONVERSATIONS}/{id_}")).json()["insight"]
    return dict(found)


async def label(client: httpx.AsyncClient, id_: str, by: str = "ana", **said: Any) -> Any:
    return await client.put(f"{CONVERSATIONS}/{id_}/labels", json={"by": by, **said})


def values(item: dict[str, Any]) -> dict[str, Any]:
    return {name: item["grok_analysis"][name] for name in MODEL}


@on_shared_loop
async def test_a_label_is_answered_with_the_item_as_it_is_now(shared: httpx.AsyncClient) -> None:
    id_ = await completed(shared, text="War Zone is out", author="kim")

    answer = await label(shared, id_, sentiment="neutral", reason="a game")

    assert answer.status_code == 200, answer.text
    item = answer.json()
    assert values(item) == {**MODEL, "sentiment_score": 0.0, "confidence": 1.0}
    labelled = item["labelled"]
    assert labelled.pop("at").endswith("Z")
    assert labelled == {"by": "person", "name": "ana", "reason": "a game", "was": MODEL}
    listed = (await shared.get(INSIGHTS, params={**ALL_TIME, "author": "kim"})).json()
    again = (await label(shared, id_, sentiment="neutral", reason="a game")).json()
    assert listed["insights"] == [again]
    assert (listed["metadata"]["total_count"], listed["metadata"]["corrected_count"]) == (1, 1)


@on_shared_loop
async def test_all_figures_follow_with_the_answer(shared: httpx.AsyncClient) -> None:
    id_ = await completed(shared, text="late", author="figures")

    await label(shared, id_, sentiment="positive", clusters=["Nice Things"])

    asked = {**ALL_TIME, "author": "figures"}
    for wanted, count in (({"sentiment": "negative"}, 0), ({"cluster": "nice_things"}, 1)):
        page = (await shared.get(INSIGHTS, params={**asked, **wanted})).json()
        assert page["metadata"]["total_count"] == len(page["insights"]) == count
    now = datetime.now(UTC)
    range_ = {"start_time": str(now - timedelta(days=1)), "end_time": str(now + timedelta(days=1))}
    summary = (await shared.get(f"{INSIGHTS}/summary", params={**asked, **range_})).json()
    assert (summary["totals"]["positive"], summary["corrected_count"]) == (1, 1)
    export = await shared.get(f"{INSIGHTS}/export", params={**asked, "format": "csv"})
    head, row = export.text.splitlines()
    cells = dict(zip(head.split(","), next(csv.reader([row])), strict=True))
    assert (cells["sentiment_score"], cells["clusters"]) == ("0.6", "nice_things")
    assert (cells["labelled"], cells["labelled_by"]) == ("person", "ana")


@on_shared_loop
async def test_taking_a_label_back_gives_the_model_the_last_word(shared: httpx.AsyncClient) -> None:
    id_ = await completed(shared)
    before = await insight(shared, id_)
    await label(shared, id_, clusters=["praise"])

    for _ in range(2):  # there is nothing to take back the second time
        gone = await shared.delete(f"{CONVERSATIONS}/{id_}/labels", params={"by": "ben"})
        assert gone.status_code == 204

    assert await insight(shared, id_) == before
    record = (await shared.get(f"{CONVERSATIONS}/{id_}/labels")).json()
    assert record["effective"] == record["model"] == MODEL
    labelled = {**MODEL, "clusters": ["praise"], "confidence": 1.0}
    assert [(each["by"], each["before"], each["after"]) for each in record["log"]] == [
        ("ana", MODEL, labelled),
        ("ben", labelled, MODEL),
    ]


@on_shared_loop
async def test_what_a_person_said_is_told_apart_from_what_is_served(
    shared: httpx.AsyncClient,
) -> None:
    """Also where a person agrees with the model."""
    id_ = await completed(shared)

    async def person() -> Any:
        return (await shared.get(f"{CONVERSATIONS}/{id_}/labels")).json()["person"]

    assert await person() is None
    await label(shared, id_, clusters=MODEL["clusters"], reason="it is")
    said = await person()
    assert said.pop("at").endswith("Z")
    assert said == {
        "sentiment_score": None,
        "clusters": MODEL["clusters"],
        "by": "ana",
        "reason": "it is",
    }


@on_shared_loop
async def test_what_a_person_does_not_name_is_left_to_the_model(shared: httpx.AsyncClient) -> None:
    id_ = await completed(shared)
    await label(shared, id_, sentiment_score=0.25, clusters=["praise"])
    item = (await label(shared, id_, sentiment="negative")).json()
    assert values(item) == {**MODEL, "sentiment_score": -0.6, "confidence": 1.0}


@on_shared_loop
async def test_topics_are_named_as_those_of_the_model(shared: httpx.AsyncClient) -> None:
    id_ = await completed(shared)
    item = (await label(shared, id_, clusters=["billing", "Late Night", "late-night"])).json()
    assert item["grok_analysis"]["clusters"] == ["billing_problems", "late_night"]


@on_shared_loop
@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({"by": "ana"}, "at least one"),
        ({"sentiment": "neutral"}, "Missing required field: by"),
        ({"by": " ", "sentiment": "neutral"}, "by: must be 1 to 100 printable"),
        ({"by": "a\nb", "sentiment": "neutral"}, "by: must be 1 to 100 printable"),
        ({"by": "ana", "sentiment": "angry"}, "sentiment: "),
        ({"by": "ana", "sentiment": "neutral", "sentiment_score": 0}, "sentiment_score"),
        ({"by": "ana", "sentiment_score": -1.5}, "sentiment_score: "),
        ({"by": "ana", "clusters": []}, "clusters: must be 1 to 5 names"),
        ({"by": "ana", "clusters": list("abcdef")}, "clusters: must be 1 to 5 names"),
        ({"by": "ana", "clusters": ["!?"]}, "has no letters"),
        ({"by": "ana", "clusters": ["a\0"]}, "NUL"),
        ({"by": "ana", "sentiment": "neutral", "reason": "x" * 1001}, "at most 1000"),
        ({"by": "ana", "sentiment_score": True}, "sentiment_score: "),
        ({"by": "ana", "sentiment_score": "0.5"}, "sentiment_score: "),
    ],
)
async def test_a_label_that_makes_no_sense_is_told_why(
    shared: httpx.AsyncClient, body: dict[str, Any], details: str
) -> None:
    answer = await shared.put(f"{CONVERSATIONS}/conv_00000000/labels", json=body)
    assert_error(answer, 400, "invalid_schema", details)


@on_shared_loop
async def test_only_what_is_completed_has_labels(shared: httpx.AsyncClient) -> None:
    assert_error(await label(shared, "conv_00000000", sentiment="neutral"), 404, "not_found")
    for method in ("GET", "DELETE"):
        answer = await shared.request(method, f"{CONVERSATIONS}/conv_00000000/labels")
        assert_error(answer, 404, "not_found")


async def test_what_is_not_completed_is_a_conflict(start_app: StartApp) -> None:
    async with start_app(worker_enabled=False) as running:
        id_ = await submit(running.client)
        refused = await label(running.client, id_, sentiment="neutral")
        assert_error(refused, 409, "conflict", "this one is pending")
        for method in ("GET", "DELETE"):
            answer = await running.client.request(method, f"{CONVERSATIONS}/{id_}/labels")
            assert_error(answer, 409, "conflict")


async def test_a_closed_list_takes_no_other_topic(start_app: StartApp) -> None:
    settings = {"clusters": "pricing,praise", "clusters_mode": "closed"}
    async with start_app(analyser=angry(), **settings) as running:
        id_ = await completed(running.client)
        refused = await label(running.client, id_, clusters=["games"])
        assert_error(refused, 400, "invalid_schema", "closed list")
        assert (await label(running.client, id_, clusters=["Pricing"])).status_code == 200
        rule = {"name": "x", "filter": {"q": "x"}, "set": {"add_cluster": "games"}}
        answer = await running.client.post(RULES, json=rule)
        assert_error(answer, 400, "invalid_schema", "set.add_cluster")


async def test_a_reader_may_not_label_nor_make_rules(start_app: StartApp) -> None:
    digest = hashlib.sha256(b"secret").hexdigest()
    async with start_app(api_keys=f"eve:read:{digest}") as running:
        headers = {"Authorization": "Bearer secret"}
        for method, path in (
            ("PUT", f"{CONVERSATIONS}/conv_00000000/labels"),
            ("DELETE", f"{CONVERSATIONS}/conv_00000000/labels"),
            ("POST", RULES),
            ("PATCH", f"{RULES}/rule_00000000"),
            ("DELETE", f"{RULES}/rule_00000000"),
        ):
            answer = await running.client.request(method, path, headers=headers, json={})
            assert_error(answer, 403, "forbidden")


# --- rules ----------------------------------------------------------------------------------------


async def make_rule(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    rule = {
        "name": "War Zone",
        "filter": {"q": '"war zone"'},
        "set": {"sentiment": "neutral"},
        **fields,
    }
    answer = await client.post(RULES, json=rule)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def test_a_rule_labels_what_comes_after_it(start_app: StartApp) -> None:
    async with start_app(analyser=angry()) as running:
        client = running.client
        early = await completed(client, text="War Zone crashed")
        rule = await make_rule(client)
        game = await completed(client, text="new WAR-ZONE map")
        other = await completed(client, text="a zone of war")

        item = await insight(client, game)
        assert values(item) == {**MODEL, "sentiment_score": 0.0}
        assert {**item["labelled"], "at": ""} == {
            "by": "rule",
            "name": "War Zone",
            "at": "",
            "reason": None,
            "was": MODEL,
        }
        for untouched in (early, other):
            assert (await insight(client, untouched))["labelled"] is None
        assert (await client.get(f"{RULES}/{rule['rule_id']}")).json()["labelled"] == 1

        person = (await label(client, game, sentiment="positive")).json()
        assert person["labelled"]["by"] == "person"
        await client.delete(f"{CONVERSATIONS}/{game}/labels")
        assert (await insight(client, game))["labelled"]["by"] == "rule"


async def test_the_newest_rule_wins_for_mood_and_topics_each(start_app: StartApp) -> None:
    async with start_app(analyser=angry()) as running:
        both = {"sentiment": "positive", "add_cluster": "games"}
        await make_rule(running.client, name="old", set=both)
        await make_rule(running.client, name="new", set={"sentiment": "neutral"})
        disabled = await make_rule(running.client, name="off", enabled=False)
        id_ = await completed(running.client, text="war zone")
        item = await insight(running.client, id_)
        assert item["grok_analysis"]["sentiment_score"] == 0.0
        assert item["grok_analysis"]["clusters"] == ["delivery_problems", "games"]
        assert item["labelled"]["name"] == "new"
        listed = (await running.client.get(RULES)).json()["rules"]
        assert [rule["name"] for rule in listed] == ["off", "new", "old"]
        assert [rule["labelled"] for rule in listed] == [0, 1, 1]
        assert not disabled["enabled"]


async def test_a_rule_is_changed_and_deleted(start_app: StartApp) -> None:
    async with start_app(analyser=angry()) as running:
        client = running.client
        rule = await make_rule(client)
        path = f"{RULES}/{rule['rule_id']}"
        replaced = {"replace_cluster": ["delivery", "games"]}
        changed = await client.patch(path, json={"name": "Games", "set": replaced})
        assert changed.json() == {
            **rule,
            "name": "Games",
            "set": {"replace_cluster": ["delivery_problems", "games"]},
        }
        for name in ("name", "filter", "set", "enabled"):
            refused = await client.patch(path, json={name: None})
            assert_error(refused, 400, "invalid_schema", f"{name}: must not be null")
        id_ = await completed(client, text="war zone")
        assert (await insight(client, id_))["grok_analysis"]["clusters"] == ["games"]

        deleted = await client.delete(path)

        rule_id = rule["rule_id"]
        assert deleted.json() == {
            "rule_id": rule_id,
            "labelled": 1,
            "take_back": {"kind": "unlabel", "rule_id": rule_id},
        }
        assert (await insight(client, id_))["labelled"]["name"] == "Games"  # stays until taken back
        later = await completed(client, text="war zone again")
        assert (await insight(client, later))["labelled"] is None
        for method in ("GET", "PATCH", "DELETE"):
            assert_error(await client.request(method, path, json={}), 404, "not_found")


@on_shared_loop
@pytest.mark.parametrize(
    ("fields", "details"),
    [
        ({"filter": {}}, "filter: must not be empty"),
        ({"filter": {"author": "a" * 501}}, "filter.author: must be at most 500 characters"),
        ({"filter": {"cluster": "!" * 501}}, "filter.cluster: must be at most 500 characters"),
        ({"filter": {"q": "?!"}}, "filter.q: must hold a word"),
        ({"filter": {"words": "x"}}, "filter.words: "),
        ({"filter": {"sentiment": "angry"}}, "filter.sentiment: "),
        ({"filter": {"min_confidence": 2}}, "filter.min_confidence: "),
        ({"filter": {"min_confidence": "0.5"}}, "filter.min_confidence: "),
        ({"filter": {"language": "English"}}, "filter.language: "),
        ({"set": {}}, "set: must not be empty"),
        ({"set": {"sentiment_score": 0.3}}, "set.sentiment_score: "),
        ({"set": {"replace_cluster": ["a"]}}, "set.replace_cluster"),
        ({"set": {"replace_cluster": ["a", "b", "c"]}}, "set.replace_cluster: must hold at most 2"),
        ({"set": {"add_cluster": "?"}}, "has no letters"),
        ({"set": {"add_cluster": "War Zone", "remove_cluster": "war-zone"}}, "topic 'war_zone'"),
        ({"set": {"replace_cluster": ["a", "A"]}}, "set.replace_cluster: both are the topic 'a'"),
        ({"set": {"replace_cluster": ["a", "b"], "add_cluster": "a"}}, "topic 'a'"),
        ({"set": {"replace_cluster": ["a", "b"], "remove_cluster": "a"}}, "topic 'a'"),
        ({"set": {"replace_cluster": ["a", "b"], "remove_cluster": "b"}}, "topic 'b'"),
        ({"name": ""}, "name: must be 1 to 100 printable"),
    ],
)
async def test_a_rule_that_makes_no_sense_is_told_why(
    shared: httpx.AsyncClient, fields: dict[str, Any], details: str
) -> None:
    rule = {"name": "x", "filter": {"q": "x"}, "set": {"sentiment": "neutral"}, **fields}
    assert_error(await shared.post(RULES, json=rule), 400, "invalid_schema", details)


async def test_there_are_at_most_two_hundred_rules(start_app: StartApp) -> None:
    async with start_app(worker_enabled=False, inbound_rate_limit=0) as running:
        made = [await make_rule(running.client, name=f"rule {number}") for number in range(200)]
        rule = {"name": "x", "filter": {"q": "x"}, "set": {"sentiment": "neutral"}}
        refused = await running.client.post(RULES, json=rule)
        assert_error(refused, 400, "invalid_schema", "200 rules")
        await running.client.delete(f"{RULES}/{made[7]['rule_id']}")
        assert (await running.client.post(RULES, json=rule)).status_code == 201
