"""GET /api/v1/authors."""

import httpx
import pytest

from tests.support.http_helpers import all_done, submit_batch

PATH = "/api/v1/authors"


async def test_authors_are_listed_with_their_counts(client: httpx.AsyncClient) -> None:
    moment = "2025-01-20T10:00:00Z"
    items = [
        {"text": text, "author": "JigsawLounge", "timestamp": moment}
        for text in ("My parcel is late, terrible", "Thanks, that was great")
    ]
    await submit_batch(client, [*items, {"text": "Hello", "author": "someone"}, "Nobody's"])
    await all_done(client)
    answer = (await client.get(PATH, params={"prefix": "@jig"})).json()
    assert answer == {
        "authors": [{"author": "JigsawLounge", "count": 2, "negative": 1, "last": moment}]
    }
    assert len((await client.get(PATH)).json()["authors"]) == 2


@pytest.mark.parametrize(
    "query",
    [
        {"prefix": ""},
        {"prefix": "a" * 101},
        {"limit": "0"},
        {"limit": "101"},
        {"start_time": "yesterday"},
        {"start_time": "2025-01-02", "end_time": "2025-01-01"},
    ],
)
async def test_what_makes_no_sense_is_refused(
    client: httpx.AsyncClient, query: dict[str, str]
) -> None:
    response = await client.get(PATH, params=query)
    assert response.status_code == 400
    assert response.json()["error"] == "invalid_schema"
