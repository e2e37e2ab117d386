"""GET /api/v1/authors."""

import httpx
import pytest

from tests.conftest import StartApp
from tests.support.http_helpers import all_done, eventually, list_all, submit_batch

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
    (found,) = answer["authors"]
    assert found == {
        "author": "JigsawLounge",
        "count": 2,
        "negative": 1,
        "last": moment,
        "own": False,
    }
    assert len((await client.get(PATH)).json()["authors"]) == 2


async def test_own_accounts_count_nowhere_and_a_change_of_them_is_taken_up(
    start_app: StartApp,
) -> None:
    posts = [
        {"text": "We are sorry for the late parcel", "author": "@Shop"},
        {"text": "Please write to us", "author": "agent7", "raw_data": {"inbound": False}},
        {"text": "My parcel is late", "author": "ana"},
    ]

    async def listed(client: httpx.AsyncClient, **filters: str) -> list[str]:
        return sorted(each["author"] for each in await list_all(client, **filters))

    async with start_app(own_authors="shop") as running:
        await submit_batch(running.client, posts)
        await all_done(running.client)
        assert await listed(running.client) == ["ana"]
        assert await listed(running.client, author="@Shop") == ["@Shop"]
        assert await listed(running.client, author="agent7") == ["agent7"]
        found = (await running.client.get(PATH)).json()["authors"]
        assert [each["author"] for each in found] == ["ana"]
        (shop,) = (await running.client.get(PATH, params={"prefix": "sho"})).json()["authors"]
        assert (shop["author"], shop["own"]) == ("@Shop", True)
    async with start_app(own_authors="Ana") as running:

        async def are_taken_up() -> bool:
            return await listed(running.client) == ["@Shop"]

        await eventually(are_taken_up)


@pytest.mark.parametrize(
    ("query", "details"),
    [
        ({"prefix": ""}, "prefix: must not be empty"),
        ({"prefix": "a" * 101}, "prefix: must be at most 100 characters"),
        ({"prefix": "a\0"}, "prefix: must not contain the NUL character"),
        ({"limit": "0"}, "limit: "),
        ({"limit": "101"}, "limit: "),
        ({"start_time": "yesterday"}, "start_time: "),
        ({"start_time": "2025-01-02", "end_time": "2025-01-01"}, "start_time "),
    ],
)
async def test_what_makes_no_sense_is_refused(
    client: httpx.AsyncClient, query: dict[str, str], details: str
) -> None:
    response = await client.get(PATH, params=query)
    assert response.status_code == 400
    assert response.json()["error"] == "invalid_schema"
    assert response.json()["details"].startswith(details)
