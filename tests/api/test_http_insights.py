"""Asking for insights over HTTP: every parameter, its bounds, and paging."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio

from analysis.urgency import Urgency
from tests.support.http_helpers import (
    ALL_TIME,
    INSIGHTS,
    NOTHING_DONE,
    ScriptedAnalyser,
    all_done,
    assert_error,
    good,
    list_all,
    on_shared_loop,
    service,
    submit_batch,
)

START = datetime(2025, 1, 20, 10, tzinfo=UTC)
SCORES = (-1.0, -0.65, -0.1, 0.0, 0.1, 0.11, 1.0)
LANGUAGES = ("en", "fr", "und")
URGENCIES = (Urgency.NONE, Urgency.NONE, Urgency.NONE, Urgency.SOON, Urgency.NOW)
COUNT = 42


def _analysis_of(text: str) -> Any:
    number = int(text.split()[-1])
    clusters = [f"every_{divisor}" for divisor in (1, 2, 3) if number % divisor == 0]
    return replace(
        good(SCORES[number % 7], clusters, number % 11 / 10),
        language=LANGUAGES[number % 3],
        urgency=URGENCIES[number % 5],
    )


def _time(number: int) -> str:
    """Three conversations share each minute, so that there are ties."""
    return (START + timedelta(minutes=number // 3)).isoformat().replace("+00:00", "Z")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A service with 42 insights: number n has score SCORES[n % 7], confidence (n % 11) / 10,
    LANGUAGES[n % 3] and URGENCIES[n % 5]."""
    items = [
        {"text": f"tweet {number}", "timestamp": _time(number), "author": f"author {number % 4}"}
        for number in range(COUNT)
    ]
    folder = tmp_path_factory.mktemp("shared")
    async with service(folder, analyser=ScriptedAnalyser(answer=_analysis_of)) as client:
        await submit_batch(client, items)
        await all_done(client)
        yield client


def numbers(insights: list[dict[str, Any]]) -> list[int]:
    return sorted(int(insight["text"].split()[-1]) for insight in insights)


@on_shared_loop
async def test_an_insight_is_listed_with_all_that_the_contract_names(
    shared: httpx.AsyncClient,
) -> None:
    response = await shared.get(
        INSIGHTS, params={"start_time": _time(3), "end_time": _time(3), "author": "author 3"}
    )

    (insight,) = response.json()["insights"]
    id_ = insight.pop("conversation_id")
    assert id_.startswith("conv_")
    assert insight == {
        "timestamp": "2025-01-20T10:01:00Z",
        "text": "tweet 3",
        "author": "author 3",
        "grok_analysis": {
            "sentiment_score": 0.0,
            "clusters": ["every_1", "every_3"],
            "confidence": 0.3,
            "reasoning": "It says so.",
        },
        "language": "en",
        "urgency": "soon",
        "version": 1,
        "labelled": None,
        "handling": NOTHING_DONE,
    }
    assert response.json()["metadata"] == {
        "total_count": 1,
        "returned_count": 1,
        "corrected_count": 0,
        "start_time": "2025-01-20T10:01:00Z",
        "end_time": "2025-01-20T10:01:00Z",
        "next_cursor": None,
    }


@on_shared_loop
@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, range(COUNT)),
        ({"sentiment": "positive"}, [n for n in range(COUNT) if n % 7 in (5, 6)]),
        ({"sentiment": "negative"}, [n for n in range(COUNT) if n % 7 in (0, 1)]),
        ({"sentiment": "neutral"}, [n for n in range(COUNT) if n % 7 in (2, 3, 4)]),
        ({"min_confidence": 0}, range(COUNT)),
        ({"min_confidence": 0.5}, [n for n in range(COUNT) if n % 11 >= 5]),
        ({"min_confidence": 1}, [n for n in range(COUNT) if n % 11 == 10]),
        ({"cluster": "every_2"}, range(0, COUNT, 2)),
        ({"cluster": "every_3"}, range(0, COUNT, 3)),
        ({"cluster": "every"}, []),
        ({"cluster": ""}, []),
        ({"author": "author 1"}, range(1, COUNT, 4)),
        ({"author": "AUTHOR 1"}, []),
        ({"author": "author"}, []),
        ({"author": "%"}, []),
        ({"language": "fr"}, range(1, COUNT, 3)),
        ({"language": "und"}, range(2, COUNT, 3)),
        ({"language": "sv"}, []),
        ({"urgency": "now"}, range(4, COUNT, 5)),
        ({"urgency": "none"}, [n for n in range(COUNT) if n % 5 < 3]),
        ({"labelled": "model"}, range(COUNT)),
        ({"labelled": "person"}, []),
        ({"handling": "open"}, range(COUNT)),
        ({"handling": "answered"}, []),
        ({"language": "en", "urgency": "none"}, [n for n in range(0, COUNT, 3) if n % 5 < 3]),
        ({"cluster": "every_2", "urgency": "soon"}, [n for n in range(0, COUNT, 2) if n % 5 == 3]),
        ({"author": "author 1", "language": "en"}, range(9, COUNT, 12)),
        ({"q": "tweet", "labelled": "model", "urgency": "now"}, range(4, COUNT, 5)),
        ({"start_time": _time(30)}, range(30, COUNT)),
        ({"end_time": _time(8)}, range(9)),
        ({"start_time": _time(6), "end_time": _time(8)}, [6, 7, 8]),
        ({"start_time": "2025-01-20T10:02:00.000001Z", "end_time": _time(9)}, [9, 10, 11]),
        ({"start_time": _time(6), "end_time": "2025-01-20T10:02:59.999999Z"}, [6, 7, 8]),
        (
            {"sentiment": "negative", "cluster": "every_2", "min_confidence": 0.3},
            [n for n in range(0, COUNT, 2) if n % 7 < 2 and n % 11 >= 3],
        ),
    ],
)
async def test_a_filter_lists_and_counts_exactly_what_it_says(
    shared: httpx.AsyncClient, parameters: dict[str, Any], expected: Any
) -> None:
    response = await shared.get(INSIGHTS, params={**ALL_TIME, **parameters})

    body = response.json()
    assert numbers(body["insights"]) == list(expected)
    assert body["metadata"]["total_count"] == len(list(expected))
    assert body["metadata"]["returned_count"] == len(list(expected))


@on_shared_loop
async def test_the_newest_comes_first_and_ties_keep_their_order(shared: httpx.AsyncClient) -> None:
    listed = await list_all(shared)
    again = await list_all(shared)

    times = [insight["timestamp"] for insight in listed]
    assert times == sorted(times, reverse=True)
    assert listed == again


# --- bad values -----------------------------------------------------------------------------------


@on_shared_loop
@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        *(
            (name, value)
            for name in ("start_time", "end_time")
            for value in (
                "",
                "now",
                "1737367200",
                "2025-13-01",
                "2025-01-20T25:00",
                "0001-01-01T00:00:00+01:00",
                "9999-12-31T23:59:59-01:00",
                "2025-01-20T10:00:00 UTC",
            )
        ),
        *(("limit", value) for value in ("0", "-1", "1001", "abc", "", "1.5", "1e2", "1" * 5000)),
        *(
            ("min_confidence", value)
            for value in ("-0.1", "1.1", "abc", "", "nan", "inf", "-inf", "1,0", "1e999")
        ),
        *(("sentiment", value) for value in ("happy", "", "POSITIVE", "positive,negative", "1")),
        *(
            ("language", value)
            for value in ("", "e", "EN", "english", "en,fr", "e1", "en\n", "é\u0301")
        ),
        *(("urgency", value) for value in ("", "NOW", "later", "soon,now", "0")),
        *(("labelled", value) for value in ("", "nobody", "person,rule", "true")),
        *(("handling", value) for value in ("", "OPEN", "done", "open,claimed", "true")),
        *(
            ("cursor", value)
            for value in ("", "abc", "!", "é", "🚚", "A" * 23, "A" * 400, "null", "\x00")
        ),
        *(("q", value) for value in ("", "!", "a" * 1001, "a b " * 26, f'"{"a " * 11}"')),
    ],
)
async def test_a_bad_value_is_refused_by_the_name_of_its_parameter(
    shared: httpx.AsyncClient, parameter: str, value: str
) -> None:
    response = await shared.get(INSIGHTS, params={**ALL_TIME, parameter: value})

    assert_error(response, 400, "invalid_schema", parameter)


@on_shared_loop
@pytest.mark.parametrize("missing", ["start_time", "end_time"])
async def test_both_times_are_required(shared: httpx.AsyncClient, missing: str) -> None:
    parameters = {name: value for name, value in ALL_TIME.items() if name != missing}

    response = await shared.get(INSIGHTS, params=parameters)

    assert_error(response, 400, "invalid_schema", f"Missing required field: {missing}")


@on_shared_loop
async def test_a_start_after_the_end_is_refused_and_at_the_end_is_not(
    shared: httpx.AsyncClient,
) -> None:
    after = await shared.get(INSIGHTS, params={"start_time": _time(6), "end_time": _time(5)})
    same = await shared.get(INSIGHTS, params={"start_time": _time(6), "end_time": _time(6)})

    assert_error(after, 400, "invalid_schema", "start_time must not be after end_time")
    assert numbers(same.json()["insights"]) == [6, 7, 8]


@on_shared_loop
@pytest.mark.parametrize("unknown", ["q_", "Limit", "offset", "page"])
async def test_unknown_parameters_are_ignored(shared: httpx.AsyncClient, unknown: str) -> None:
    response = await shared.get(INSIGHTS, params={**ALL_TIME, unknown: "1"})

    assert response.json()["metadata"]["total_count"] == COUNT


# --- times ----------------------------------------------------------------------------------------


@on_shared_loop
@pytest.mark.parametrize(
    "start",
    [
        "2025-01-20T10:02:00Z",
        "2025-01-20T10:02:00",
        "2025-01-20T10:02",
        "2025-01-20T12:02:00%2B02:00",
        "2025-01-20T12:02:00+02:00",
        "2025-01-20T12:02:00+0200",
        "2025-01-20T12:02:00.000+02:00",
        "2025-01-20T12:02+02:00",
        "2025-01-20T08:02:00-02:00",
        "2025-01-20t12:02:00+02:00",
        "2025-01-20T12:02:00+02",
        "2025-01-20%2012:02:00%2B02:00",
    ],
)
async def test_an_offset_is_understood_also_with_its_plus_unescaped(
    shared: httpx.AsyncClient, start: str
) -> None:
    response = await shared.get(f"{INSIGHTS}?start_time={start}&end_time=2025-01-20T10:02:00Z")

    assert response.status_code == 200, response.text
    assert response.json()["metadata"]["start_time"] == "2025-01-20T10:02:00Z"
    assert numbers(response.json()["insights"]) == [6, 7, 8]


# --- limit and cursor -----------------------------------------------------------------------------


@on_shared_loop
@pytest.mark.parametrize(
    ("limit", "returned"), [(1, 1), (41, 41), (42, 42), (43, 42), (1000, 42), (None, 42)]
)
async def test_a_page_holds_at_most_the_limit_and_tells_of_a_next_one(
    shared: httpx.AsyncClient, limit: int | None, returned: int
) -> None:
    parameters = ALL_TIME if limit is None else {**ALL_TIME, "limit": str(limit)}

    metadata = (await shared.get(INSIGHTS, params=parameters)).json()["metadata"]

    assert metadata["returned_count"] == returned
    assert metadata["total_count"] == COUNT
    assert (metadata["next_cursor"] is None) == (returned == COUNT)


async def _page_through(
    client: httpx.AsyncClient, limit: int, **parameters: Any
) -> list[list[dict[str, Any]]]:
    pages = []
    cursor: dict[str, str] = {}
    while True:
        response = await client.get(
            INSIGHTS, params={**ALL_TIME, "limit": limit, **parameters, **cursor}
        )
        assert response.status_code == 200, response.text
        pages.append(response.json()["insights"])
        following = response.json()["metadata"]["next_cursor"]
        if following is None:
            return pages
        assert quote(following, safe="") == following, "a cursor needs no escaping"
        cursor = {"cursor": following}


@on_shared_loop
@pytest.mark.parametrize("limit", [1, 2, 5, 7, 41, 42])
@pytest.mark.parametrize("parameters", [{}, {"sentiment": "negative"}, {"cluster": "every_2"}])
async def test_paging_gives_the_same_as_one_large_page(
    shared: httpx.AsyncClient, limit: int, parameters: dict[str, Any]
) -> None:
    whole = await list_all(shared, **parameters)

    pages = await _page_through(shared, limit, **parameters)

    assert [insight for page in pages for insight in page] == whole
    assert all(len(page) == limit for page in pages[:-1])
    assert pages[-1]


@on_shared_loop
async def test_the_total_is_for_the_whole_filter_on_every_page(shared: httpx.AsyncClient) -> None:
    first = (await shared.get(INSIGHTS, params={**ALL_TIME, "limit": 10})).json()["metadata"]
    second = (
        await shared.get(INSIGHTS, params={**ALL_TIME, "limit": 10, "cursor": first["next_cursor"]})
    ).json()["metadata"]

    assert first["total_count"] == second["total_count"] == COUNT
