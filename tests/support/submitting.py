"""Requests that hand conversations in, as tests send them."""

from typing import Any

import httpx

from tests.support.http_helpers import CONVERSATIONS, STATS

JSON = {"Content-Type": "application/json"}
WIDE = 200
"""Characters of the longest text that the services of these tests take."""


async def post_raw(client: httpx.AsyncClient, body: str, path: str = CONVERSATIONS) -> Any:
    return await client.post(path, content=body.encode(), headers=JSON)


def nested(levels: int) -> Any:
    """Objects and lists in turn, so many of them one in another."""
    value: Any = "deep"
    for level in range(levels, 0, -1):
        value = {"in": value} if level % 2 else [value]
    return value


async def post_with_key(client: httpx.AsyncClient, key: str | bytes, **body: Any) -> Any:
    value = key if isinstance(key, bytes) else key.encode()
    return await client.post(
        CONVERSATIONS, json={"text": "a", **body}, headers=[(b"Idempotency-Key", value)]
    )


async def pending(client: httpx.AsyncClient) -> int:
    return sum((await client.get(STATS)).json()["counts"]["pending"].values())
