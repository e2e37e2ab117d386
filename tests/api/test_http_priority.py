"""Insights in the order of priority over HTTP: what is listed, with which terms, what is not."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import httpx
import pytest
import pytest_asyncio

from analysis.outcomes import Analysis
from analysis.urgency import Urgency
from tests.conftest import StartApp
from tests.support.http_helpers import (
    ALL_TIME,
    CONVERSATIONS,
    INSIGHTS,
    ScriptedAnalyser,
    all_done,
    assert_error,
    eventually,
    on_shared_loop,
    service,
    submit_batch,
)

COUNT = 60
NOW = datetime.now(UTC).replace(microsecond=0)


def judged(text: str) -> Analysis:
    """By the number in the text: more and more unhappy, every fourth in a hurry."""
    number = int(text.split()[-1])
    urgency = Urgency.NOW if number % 4 == 0 else Urgency.NONE
    topics = ("even",) if number % 2 == 0 else ("odd",)
    return Analysis(1 - number % 30 / 15, topics, 0.8, "It says so.", urgency=urgency)


def age_of(number: int) -> timedelta:
    """Some wait for minutes, and the last ten for longer than anybody looks back."""
    return timedelta(minutes=7 * number) if number < 50 else timedelta(hours=48, minutes=number)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """Sixty conversations of five authors; numbers 3 and 4 are answered, 5 is claimed, 6 snoozed,
    and 7 was snoozed until a moment ago."""
    analyser = ScriptedAnalyser(answer=judged)
    async with service(tmp_path_factory.mktemp("shared"), analyser=analyser) as client:
        ids = await submit_batch(
            client,
            [
                {
                    "text": f"parcel {number}",
                    "author": f"author {number % 5}",
                    "timestamp": (NOW - age_of(number)).isoformat(),
                    "raw_data": {"followers": 10**number if number < 8 else 0},
                }
                for number in range(COUNT)
            ],
        )
        await all_done(client)
        soon = datetime.now(UTC) + timedelta(milliseconds=500)
        for number, body in (
            (3, {"state": "answered"}),
            (4, {"state": "ignored"}),
            (5, {"state": "claimed"}),
            (6, {"state": "snoozed", "minutes": 60}),
            (7, {"state": "snoozed", "until": soon.isoformat()}),
        ):
            path = f"{CONVERSATIONS}/{ids[number]}/handling"
            answer = await client.post(path, json={"by": "ana", **body})
            assert answer.status_code == 200, answer.text
        await eventually(lambda: datetime.now(UTC) > soon)
        yield client


def expected(numbers: range = range(50)) -> list[int]:
    return [number for number in numbers if number not in (3, 4, 5, 6)]


async def page(client: httpx.AsyncClient, **parameters: Any) -> dict[str, Any]:
    response = await client.get(INSIGHTS, params={"order": "priority", **parameters})
    assert response.status_code == 200, response.text
    return dict(response.json())


def numbers(found: dict[str, Any]) -> list[int]:
    return [int(insight["text"].split()[-1]) for insight in found["insights"]]


@on_shared_loop
async def test_what_is_open_of_the_last_hours_is_listed_and_what_is_older_counted(
    shared: httpx.AsyncClient,
) -> None:
    found = await page(shared)

    assert sorted(numbers(found)) == expected()
    assert found["metadata"]["total_count"] == len(expected())
    assert found["metadata"]["missed"] == 10
    start, end = (found["metadata"][f"{which}_time"] for which in ("start", "end"))
    assert datetime.fromisoformat(end) - datetime.fromisoformat(start) == timedelta(hours=48)


@on_shared_loop
async def test_terms_add_up_to_points_and_points_go_down(shared: httpx.AsyncClient) -> None:
    found = (await page(shared))["insights"]

    points = [insight["priority"]["points"] for insight in found]
    assert points == sorted(points, reverse=True)
    assert len(set(points)) > 40
    for insight in found:
        terms = {term["name"]: term for term in insight["priority"]["terms"]}
        added = sum(Decimal(str(term["points"])) for term in terms.values())
        assert added == Decimal(str(insight["priority"]["points"]))
        said = insight["grok_analysis"]
        unhappy = max(0.0, -said["sentiment_score"]) * said["confidence"]
        assert terms["negative"]["value"] == pytest.approx(unhappy, abs=1e-6)
        assert terms["urgency"]["points"] == (25 if insight["urgency"] == "now" else 0)
        waited = datetime.now(UTC) - datetime.fromisoformat(insight["timestamp"])
        assert terms["hours"]["points"] == pytest.approx(waited / timedelta(hours=1), abs=0.1)
        assert insight["handling"]["state"] == "open"
    assert {term["value"] for term in found[0]["priority"]["terms"] if term["name"] == "repeat"}
    reach = {
        number: insight["priority"]["terms"][3]["value"]
        for number, insight in zip(numbers({"insights": found}), found, strict=True)
    }
    assert (reach[0], reach[7], reach[20]) == (0.050172, 1.0, 0.0)


@on_shared_loop
@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        ({"cluster": "even"}, expected(range(0, 50, 2))),
        ({"author": "author 1"}, expected(range(1, 50, 5))),
        ({"urgency": "now"}, expected(range(0, 50, 4))),
        ({"sentiment": "negative"}, [n for n in expected() if n % 30 > 16]),
        ({"min_confidence": 0.9}, []),
        ({"q": "parcel"}, expected()),
        ({"q": "parcel", "cluster": "odd"}, expected(range(1, 50, 2))),
        ({"handling": "open", "urgency": "now", "cluster": "even"}, expected(range(0, 50, 4))),
        ({"start_time": (NOW - timedelta(minutes=71)).isoformat()}, expected(range(11))),
        (ALL_TIME, expected(range(COUNT))),
    ],
)
async def test_the_filters_are_those_of_the_list(
    shared: httpx.AsyncClient, parameters: dict[str, Any], wanted: list[int]
) -> None:
    found = await page(shared, **parameters)
    plain = {**ALL_TIME, "handling": "open", **parameters}
    listed = (await shared.get(INSIGHTS, params=plain)).json()["metadata"]["total_count"]

    assert sorted(numbers(found)) == sorted(wanted)
    assert found["metadata"]["total_count"] == len(wanted)
    if "start_time" not in parameters:  # what is older is told
        assert found["metadata"]["total_count"] + found["metadata"]["missed"] == listed


@on_shared_loop
@pytest.mark.parametrize("more", [{}, {"q": "parcel"}, {"cluster": "odd"}])
async def test_pages_follow_each_other(shared: httpx.AsyncClient, more: dict[str, str]) -> None:
    whole = numbers(await page(shared, **more))
    listed: list[int] = []
    cursor: dict[str, str] = {}
    while cursor is not None:
        found = await page(shared, limit=7, **more, **cursor)
        listed += numbers(found)
        next_ = found["metadata"]["next_cursor"]
        if next_ is None:
            break
        cursor = {"cursor": next_}

    assert listed == whole


@on_shared_loop
async def test_a_mistake_is_told(shared: httpx.AsyncClient) -> None:
    newest = (await shared.get(INSIGHTS, params={**ALL_TIME, "limit": 1})).json()
    for parameters, told in (
        ({"order": "oldest"}, "order: "),
        ({"order": "priority", "handling": "answered"}, "handling: "),
        ({"order": "newest", "end_time": "2025-01-01"}, "Missing required field: start_time"),
        ({"start_time": "2025-01-01"}, "Missing required field: end_time"),
        (
            {"order": "priority", "cursor": newest["metadata"]["next_cursor"]},
            "cursor: not a next_cursor",
        ),
        (
            {"order": "priority", "start_time": "2999-01-01"},
            "start_time must not be after end_time",
        ),
    ):
        response = await shared.get(INSIGHTS, params=parameters)
        assert_error(response, 400, "invalid_schema", told)


async def test_other_weights_are_taken_up_after_the_next_start(start_app: StartApp) -> None:
    texts = [f"parcel {number}" for number in (29, 0, 22)]  # the worst, the glad one in a hurry
    for weights, order in (
        ({}, [29, 0, 22]),
        ({"negative": 1, "urgency": 100}, [0, 29, 22]),
    ):
        settings = {"priority": json.dumps(weights), "analyser": ScriptedAnalyser(answer=judged)}
        async with start_app(**settings) as running:
            if not weights:
                await submit_batch(running.client, texts)
                await all_done(running.client)

            await eventually(partial(_lists, running.client, order), within=30)


async def _lists(client: httpx.AsyncClient, order: list[int]) -> bool:
    return numbers(await page(client)) == order


@on_shared_loop
async def test_words_that_too_many_match_are_told(
    shared: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.priority.MOST_SORTED", 10)

    response = await shared.get(INSIGHTS, params={"order": "priority", "q": "parcel"})

    assert_error(response, 400, "invalid_schema", "q: 46 conversations match, and at most 10")
