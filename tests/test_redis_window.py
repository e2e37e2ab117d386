"""Limits that replicas share, on a real Redis."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from rate_limiter import SlidingWindow
from redis_window import RedisWindow, connect
from tests.servers import free_port, own_redis


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    redis = connect(redis_url)
    yield redis
    await redis.aclose()


async def test_two_replicas_share_one_window(redis: Redis) -> None:
    name = uuid4().hex
    first, second = (
        RedisWindow(redis, name=name, calls=10, per=60.0, otherwise=None) for _ in range(2)
    )

    waits = [await window.try_pass() for _ in range(10) for window in (first, second)]

    assert waits[:10] == [0.0] * 10
    assert all(59.0 < wait <= 60.0 for wait in waits[10:])


async def test_a_burst_of_callers_passes_no_more_than_the_limit(redis: Redis) -> None:
    window = RedisWindow(redis, name=uuid4().hex, calls=7, per=60.0, otherwise=None)

    waits = await asyncio.gather(*(window.try_pass() for _ in range(50)))

    assert waits.count(0.0) == 7


async def test_the_window_slides_on_by_itself(redis: Redis) -> None:
    window = RedisWindow(redis, name=uuid4().hex, calls=1, per=0.05, otherwise=None)
    assert await window.try_pass() == 0.0

    wait = await window.try_pass()
    await asyncio.sleep(wait)

    assert 0.0 < wait <= 0.05
    assert await window.try_pass() == 0.0


async def test_without_redis_everybody_passes_where_nothing_else_decides() -> None:
    redis = connect(f"redis://127.0.0.1:{free_port()}/0")
    window = RedisWindow(redis, name="x", calls=1, per=60.0, otherwise=None)

    assert [await window.try_pass() for _ in range(3)] == [0.0] * 3
    await redis.aclose()


async def test_without_redis_the_local_limit_still_holds() -> None:
    redis = connect(f"redis://127.0.0.1:{free_port()}/0")
    local = SlidingWindow(1, 60.0)
    window = RedisWindow(redis, name="x", calls=1, per=60.0, otherwise=local)

    assert await window.try_pass() == 0.0
    assert await window.try_pass() > 59.0
    await redis.aclose()


@pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server to start")
async def test_redis_is_asked_again_after_it_came_back() -> None:
    port = free_port()
    moments = iter([100.0, 100.0, 102.0, 102.0])
    redis = connect(f"redis://127.0.0.1:{port}/0")
    window = RedisWindow(
        redis, name="x", calls=1, per=60.0, otherwise=None, clock=lambda: next(moments)
    )
    await window.try_pass()

    with own_redis(port):
        assert await window.try_pass() == 0.0
        assert await window.try_pass() > 59.0
        await redis.aclose()
