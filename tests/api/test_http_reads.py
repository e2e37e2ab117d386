"""Searching, summaries, trends and exports as clients ask for them."""

import csv
import io
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from database import Database
from tests.conftest import RunningApp, StartApp
from tests.support.factories import NOON, insert_insights
from tests.support.http_helpers import ALL_TIME, all_done, assert_error

CONVERSATIONS = "/api/v1/conversations"
INSIGHTS = "/api/v1/insights"
SUMMARY = f"{INSIGHTS}/summary"
EXPORT = f"{INSIGHTS}/export"
TRENDS = "/api/v1/trends"
HOURS = {"start_time": "2025-01-20T11:30:00Z", "end_time": "2025-01-20T13:00:00Z"}


@pytest.fixture
async def running(start_app: StartApp) -> AsyncIterator[RunningApp]:
    async with start_app(worker_enabled=False) as running:
        yield running


@pytest.fixture
async def client(running: RunningApp) -> httpx.AsyncClient:
    return running.client


async def insert(running: RunningApp, *rows: dict[str, Any]) -> list[str]:
    database: Database = running.app.state.services.database
    return await insert_insights(database, rows)


async def get(client: httpx.AsyncClient, path: str, **parameters: Any) -> Any:
    response = await client.get(path, params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


# --- q --------------------------------------------------------------------------------------------


async def test_q_finds_texts_and_counts_them(
    running: RunningApp, client: httpx.AsyncClient
) -> None:
    first, _ = await insert(running, {"text": "Parcel not arrived"}, {"text": "Arrived, not bad"})
    found = await get(client, INSIGHTS, **ALL_TIME, q='"NOT arrived"')
    assert [each["conversation_id"] for each in found["insights"]] == [first]
    assert found["metadata"]["total_count"] == 1
    assert (await get(client, INSIGHTS, **ALL_TIME, q="arrived not"))["metadata"][
        "total_count"
    ] == 2


@pytest.mark.parametrize("q", ["", " ", '"', "***", "🙂"])
@pytest.mark.parametrize("path", [INSIGHTS, EXPORT])
async def test_a_search_for_no_word_is_told(client: httpx.AsyncClient, path: str, q: str) -> None:
    response = await client.get(path, params={**ALL_TIME, "q": q})
    assert_error(response, 400, "invalid_schema", "q: must hold a word")


async def test_a_search_that_is_too_long_is_told(client: httpx.AsyncClient) -> None:
    response = await client.get(INSIGHTS, params={**ALL_TIME, "q": "x" * 1001})
    assert_error(response, 400, "invalid_schema", "q: must be at most 1000 characters")


# --- summary --------------------------------------------------------------------------------------


async def test_a_summary_has_the_shape_of_the_contract(
    running: RunningApp, client: httpx.AsyncClient
) -> None:
    await insert(
        running,
        {"sentiment_score": -0.5, "confidence": 0.5, "clusters": ["late", "price"]},
        {"sentiment_score": 0.5, "confidence": 1.0, "clusters": ["late"]},
        {"timestamp": NOON + timedelta(hours=3)},
    )
    summary = await get(client, SUMMARY, **HOURS, interval="hour")
    assert summary == {
        "series": [
            {
                "bucket": f"2025-01-20T{hour}:00:00Z",
                "positive": int(hour == 12),
                "neutral": 0,
                "negative": int(hour == 12),
                "average_sentiment": 0.0 if hour == 12 else None,
            }
            for hour in (11, 12, 13)
        ],
        "clusters": [
            {
                "cluster": "late",
                "count": 2,
                "positive": 1,
                "neutral": 0,
                "negative": 1,
                "average_sentiment": 0.0,
            },
            {
                "cluster": "price",
                "count": 1,
                "positive": 0,
                "neutral": 0,
                "negative": 1,
                "average_sentiment": -0.5,
            },
        ],
        "totals": {
            "count": 2,
            "positive": 1,
            "neutral": 0,
            "negative": 1,
            "average_sentiment": 0.0,
            "average_confidence": 0.75,
        },
        "corrected_count": 0,
        "handling": {
            **dict.fromkeys(("claimed", "answered", "snoozed", "ignored"), 0),
            "open": 2,
            "oldest_open": "2025-01-20T12:00:00Z",
            "answered_in_goal": None,
            "median_answer_seconds": None,
        },
    }


@pytest.mark.parametrize(
    ("interval", "span", "buckets"),
    [
        ("minute", timedelta(minutes=1999, seconds=59), 2000),
        ("hour", timedelta(hours=1999, minutes=59), 2000),
        ("day", timedelta(days=1999, hours=11), 2000),
        (None, timedelta(hours=2), 3),
    ],
)
async def test_up_to_2000_buckets_are_answered(
    client: httpx.AsyncClient, interval: str | None, span: timedelta, buckets: int
) -> None:
    asked = {"interval": interval} if interval else {}
    times = {"start_time": NOON.isoformat(), "end_time": (NOON + span).isoformat()}
    assert len((await get(client, SUMMARY, **times, **asked))["series"]) == buckets
    if interval:
        times["end_time"] = (NOON + span * 1.001).isoformat()
        response = await client.get(SUMMARY, params={**times, **asked})
        assert_error(response, 400, "invalid_schema", "interval: 200")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"interval": "week"}, "interval"),
        ({"start_time": "tomorrow"}, "start_time"),
        ({"start_time": "2025-01-21T00:00:00Z"}, "start_time"),
        ({"min_confidence": 1.01}, "min_confidence"),
        ({"sentiment": "sad"}, "sentiment"),
        ({"urgency": "yesterday"}, "urgency"),
        ({"labelled": "nobody"}, "labelled"),
        ({"language": "EN"}, "language: must be an ISO 639-1 code"),
        ({"language": "eng"}, "language: must be an ISO 639-1 code"),
        ({"language": "qq"}, "language: must be an ISO 639-1 code"),
        ({"end_time": None}, "Missing required field: end_time"),
        ({"q": "refund"}, "q: a summary is of all texts"),
    ],
)
async def test_what_is_wrong_with_a_summary_is_told(
    client: httpx.AsyncClient, changed: dict[str, Any], field: str
) -> None:
    asked = {name: value for name, value in {**HOURS, **changed}.items() if value is not None}
    assert_error(await client.get(SUMMARY, params=asked), 400, "invalid_schema", field)


@pytest.mark.parametrize(("order", "status"), [("newest", 200), ("priority", 400), ("banana", 400)])
async def test_an_export_is_newest_first_and_says_so(
    client: httpx.AsyncClient, order: str, status: int
) -> None:
    response = await client.get(f"{INSIGHTS}/export", params={**HOURS, "order": order})
    assert response.status_code == status
    if status == 400:
        assert_error(response, 400, "invalid_schema", "order: Input should be 'newest'")


async def test_a_summary_over_all_time_by_day_is_too_much_but_no_bug(
    client: httpx.AsyncClient,
) -> None:
    response = await client.get(SUMMARY, params={**ALL_TIME, "interval": "day"})
    assert_error(response, 400, "invalid_schema", "interval")


# --- trends ---------------------------------------------------------------------------------------


async def test_trends_have_the_shape_of_the_contract(
    running: RunningApp, client: httpx.AsyncClient
) -> None:
    ids = await insert(
        running,
        *({"timestamp": NOON - timedelta(minutes=minute)} for minute in range(10)),
    )
    found = await get(client, TRENDS, as_of="2025-01-20T12:00:00Z")
    assert found == {
        "as_of": "2025-01-20T12:00:00Z",
        "window": "1h",
        "trends": [
            {
                "cluster": "delivery_problems",
                "count": 10,
                "expected": 0.0,
                "score": found["trends"][0]["score"],
                "direction": "new",
                "average_sentiment": -0.65,
                "examples": ids[:3],
            }
        ],
    }
    assert found["trends"][0]["score"] > 3
    for window in ("15m", "6h", "24h"):
        assert (await get(client, TRENDS, as_of="2025-01-20T12:00:00Z", window=window))["trends"]


async def test_trends_are_as_of_now_where_no_moment_is_given(
    running: RunningApp, client: httpx.AsyncClient
) -> None:
    await insert(running, *[{"timestamp": datetime.now(UTC) - timedelta(minutes=1)}] * 6)
    found = await get(client, TRENDS)
    assert [trend["count"] for trend in found["trends"]] == [6]
    moment = datetime.fromisoformat(found["as_of"])
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=1)


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
@pytest.mark.parametrize("window", ["15m", "24h"])
async def test_trends_at_the_ends_of_time_are_none(
    client: httpx.AsyncClient, moment: str, window: str
) -> None:
    assert (await get(client, TRENDS, as_of=moment, window=window))["trends"] == []


@pytest.mark.parametrize("asked", [{"window": "2h"}, {"window": ""}, {"as_of": "noon"}])
async def test_what_is_wrong_with_trends_is_told(
    client: httpx.AsyncClient, asked: dict[str, str]
) -> None:
    response = await client.get(TRENDS, params=asked)
    assert_error(response, 400, "invalid_schema", next(iter(asked)))


# --- export ---------------------------------------------------------------------------------------


async def test_ndjson_has_the_items_of_the_list(
    running: RunningApp, client: httpx.AsyncClient
) -> None:
    await insert(running, {"text": 'Zeile 1\n"2" 🙂', "author": "ann"}, {}, {"text": "x"})
    response = await client.get(EXPORT, params={**ALL_TIME, "format": "ndjson"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-ndjson"
    name = "insights-00010101T000000Z-99991231T235959Z"
    assert response.headers["content-disposition"] == f'attachment; filename="{name}.ndjson"'
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert lines == (await get(client, INSIGHTS, **ALL_TIME))["insights"]


async def test_csv_can_be_read_back(running: RunningApp, client: httpx.AsyncClient) -> None:
    texts = [
        "plain",
        'a "quote", a comma',
        "two\nlines",
        "two\r\nlines",
        "a lone \r",
        "é 🙂",
        " x ",
    ]
    ids = await insert(
        running,
        *(
            {"text": text, "timestamp": NOON - timedelta(seconds=second), "clusters": ["a", "b"]}
            for second, text in enumerate(texts)
        ),
    )
    response = await client.get(EXPORT, params=ALL_TIME)
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.content.startswith(b"conversation_id,timestamp,author,text,")
    rows = list(csv.DictReader(io.StringIO(response.content.decode(), newline="")))
    assert [row["text"] for row in rows] == texts
    assert [row["conversation_id"] for row in rows] == ids
    assert rows[0] == {
        "conversation_id": ids[0],
        "timestamp": "2025-01-20T12:00:00Z",
        "author": "",
        "text": "plain",
        "sentiment_score": "-0.65",
        "clusters": "a;b",
        "confidence": "0.9",
        "reasoning": "It is late.",
        "language": "und",
        "urgency": "none",
        "version": "1",
        "labelled": "",
        "labelled_by": "",
        "handling": "open",
        "handling_by": "",
        "link": "",
    }


async def test_csv_says_where_a_post_was_written(start_app: StartApp) -> None:
    posts: list[tuple[dict[str, Any], str]] = [
        ({"url": "https://example.com/post/1", "id_str": "123456"}, "https://example.com/post/1"),
        ({"url": "javascript:alert(1)", "id_str": "123456"}, "https://x.com/ann/status/123456"),
        ({"id": 1234567, "public_metrics": {}}, "https://x.com/ann/status/1234567"),
        ({"id": 1234567}, ""),
        ({"url": ["https://example.com/"]}, ""),
        ({"url": "https://example.com/", "long": "x" * 10_000}, ""),
    ]
    async with start_app() as running:
        for number, (raw_data, _) in enumerate(posts):
            body = {"text": f"post {number}", "author": "ann", "raw_data": raw_data}
            assert (await running.client.post(CONVERSATIONS, json=body)).status_code == 202
        await all_done(running.client)
        response = await running.client.get(EXPORT, params=ALL_TIME)
    rows = csv.DictReader(io.StringIO(response.content.decode(), newline=""))
    found = {row["text"]: row["link"] for row in rows}
    assert found == {f"post {number}": link for number, (_, link) in enumerate(posts)}


@pytest.mark.parametrize("start", list("=+-@\t\r\n＝＋－＠"))
async def test_a_cell_that_a_spreadsheet_would_run_is_text(
    running: RunningApp, client: httpx.AsyncClient, start: str
) -> None:
    evil = f"{start}cmd|' /C calc'!A0"
    await insert(running, {"text": evil, "author": evil, "reasoning": evil})
    response = await client.get(EXPORT, params=ALL_TIME)
    (row,) = csv.DictReader(io.StringIO(response.content.decode(), newline=""))
    assert {row["text"], row["author"], row["reasoning"]} == {f"'{evil}"}
    assert row["sentiment_score"] == "-0.65"  # a number stays one


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
async def test_no_cell_begins_as_a_formula_whatever_splits_the_file(
    running: RunningApp, client: httpx.AsyncClient, delimiter: str
) -> None:
    inner = [
        f"so{sign}=1+1" for sign in (";", "\t", "\n", "\r", "\r\n", ';"', ";'\"", '","', '\n"')
    ]
    texts = [*inner, "=1", '"=1"', "'=1", ";+1", "a;;-1", "\t@x", ";＝1"]
    await insert(running, *({"text": text, "author": text, "reasoning": text} for text in texts))
    content = (await client.get(EXPORT, params=ALL_TIME)).text
    # As a spreadsheet that takes our quotes for signs, and as one that knows them.
    rows = [line.split(delimiter) for line in content.splitlines()] if delimiter != "," else []
    rows += list(csv.reader(io.StringIO(content, newline=""), delimiter=delimiter))
    for cell in (cell for row in rows for cell in row):
        assert not re.match(r"[=+\-@＝＋－＠]", cell.lstrip('"')) or cell == "-0.65"


async def test_excel_is_told_the_encoding_where_it_is_wished(
    running: RunningApp, client: httpx.AsyncClient
) -> None:
    await insert(running, {"text": "é 🙂"})
    plain = await client.get(EXPORT, params=ALL_TIME)
    marked = await client.get(EXPORT, params={**ALL_TIME, "bom": "true"})
    assert marked.content == b"\xef\xbb\xbf" + plain.content
    lines = await client.get(EXPORT, params={**ALL_TIME, "format": "ndjson"})
    assert (
        await client.get(EXPORT, params={**ALL_TIME, "format": "ndjson", "bom": "true"})
    ).content == lines.content
    assert_error(
        await client.get(EXPORT, params={**ALL_TIME, "bom": "x"}), 400, "invalid_schema", "bom"
    )


async def test_excel_has_a_semicolon_between_cells_where_numbers_have_a_comma(
    running: RunningApp, client: httpx.AsyncClient
) -> None:
    await insert(running, {"text": 'one; two, "three"', "author": "=a;@b"})
    plain = await client.get(EXPORT, params=ALL_TIME)
    answer = await client.get(EXPORT, params={**ALL_TIME, "delimiter": "semicolon"})
    assert answer.text.startswith("conversation_id;timestamp;")
    rows, same = (
        list(csv.reader(io.StringIO(each.text, newline=""), delimiter=delimiter))
        for each, delimiter in ((answer, ";"), (plain, ","))
    )
    assert rows == same
    lines = await client.get(EXPORT, params={**ALL_TIME, "format": "ndjson"})
    wished = {**ALL_TIME, "format": "ndjson", "delimiter": "semicolon"}
    assert (await client.get(EXPORT, params=wished)).content == lines.content
    odd = await client.get(EXPORT, params={**ALL_TIME, "delimiter": ";"})
    assert_error(odd, 400, "invalid_schema", "delimiter")


async def test_more_than_are_read_at_a_time_are_all_exported_in_order(
    running: RunningApp, client: httpx.AsyncClient
) -> None:
    rows = [{"timestamp": NOON + timedelta(seconds=number % 40)} for number in range(1234)]
    await insert(running, *rows)
    response = await client.get(EXPORT, params={**ALL_TIME, "format": "ndjson"})
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert len({line["conversation_id"] for line in lines}) == 1234
    times = [line["timestamp"] for line in lines]
    assert times == sorted(times, reverse=True)


async def test_an_export_of_nothing_is_a_head_or_empty(client: httpx.AsyncClient) -> None:
    as_csv = await client.get(EXPORT, params=ALL_TIME)
    assert len(as_csv.text.splitlines()) == 1
    as_ndjson = await client.get(EXPORT, params={**ALL_TIME, "format": "ndjson"})
    assert (as_ndjson.status_code, as_ndjson.content) == (200, b"")


@pytest.mark.parametrize("changed", [{"format": "xlsx"}, {"start_time": "x"}])
async def test_what_is_wrong_with_an_export_is_told(
    client: httpx.AsyncClient, changed: dict[str, str]
) -> None:
    response = await client.get(EXPORT, params={**ALL_TIME, **changed})
    assert_error(response, 400, "invalid_schema", next(iter(changed)))


# --- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [SUMMARY, EXPORT, TRENDS, "/api/v1/stream"])
async def test_without_a_key_nothing_is_read(start_app: StartApp, path: str) -> None:
    async with start_app(api_keys=f"shop:read:{'0' * 64}") as running:
        assert_error(await running.client.get(path, params=ALL_TIME), 401, "unauthorized")
