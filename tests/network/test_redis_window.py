"""Limits that replicas share, on a real Redis."""

import asyncio
import hashlib
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from redis.asyncio import Redis

from backends.redis import RedisWindow, connect
from config import Settings
from main import create_app
from rate_limiter import SlidingWindow
from tests.support.servers import free_port, own_redis
from tests.support.service_process import until


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """Patient: on a busy machine an answer may take longer than the service waits for one."""
    redis = connect(redis_url, answer_seconds=20.0)
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
    window = RedisWindow(redis, name=uuid4().hex, calls=1, per=1.0, otherwise=None)
    assert await window.try_pass() == 0.0

    wait = await window.try_pass()
    await asyncio.sleep(wait)

    assert 0.0 < wait <= 1.0
    assert await window.try_pass() == 0.0


async def test_without_redis_everybody_passes_where_nothing_else_decides() -> None:
    redis = connect(f"redis://127.0.0.1:{free_port()}/0")
    window = RedisWindow(redis, name="x", calls=1, per=60.0, otherwise=None)

    assert [await window.try_pass() for _ in range(3)] == [0.0] * 3
    await redis.aclose()


async def test_without_redis_the_local_limit_still_holds() -> None:
    redis = connect(f"redis://127.0.0.1:{free_port()}/0")
    local = SlidingWindow(1, 1.0)
    window = RedisWindow(redis, name="x", calls=1, per=1.0, otherwise=local)

    left = await window.try_pass()
    assert left > 0.0  # others may have passed a moment ago, while Redis was there
    await asyncio.sleep(left + 0.01)
    assert await window.try_pass() == 0.0
    assert await window.try_pass() > 0.0
    await redis.aclose()


@pytest.mark.parametrize(("replicas", "calls", "per"), [(1, 10, 1.0), (3, 3, 1.0), (20, 1, 2.0)])
async def test_without_redis_each_replica_keeps_to_its_part(
    replicas: int, calls: int, per: float
) -> None:
    redis = connect(f"redis://127.0.0.1:{free_port()}/0")
    now = 100.0
    local = SlidingWindow(10, 1.0, clock=lambda: now)
    window = RedisWindow(
        redis,
        name="x",
        calls=10,
        per=1.0,
        otherwise=local,
        replicas=lambda: replicas,
        clock=lambda: now,
    )
    assert await window.try_pass() > 0.0  # others may have passed a moment ago
    assert not window.counts_all
    now = 100.0 + 10 * per
    passed = 0
    while not await window.try_pass():
        passed += 1
    assert passed == calls
    now += per - 0.01
    assert await window.try_pass() > 0.0
    now += 0.02
    assert await window.try_pass() == 0.0
    await redis.aclose()


async def test_without_redis_nobody_passes_until_it_is_known_how_many_replicas_there_are() -> None:
    redis = connect(f"redis://127.0.0.1:{free_port()}/0")
    now = 100.0
    there: int | None = None
    window = RedisWindow(
        redis,
        name="x",
        calls=10,
        per=1.0,
        otherwise=SlidingWindow(10, 1.0, clock=lambda: now),
        replicas=lambda: there,
        clock=lambda: now,
    )
    for _ in range(5):
        assert await window.try_pass() > 0.0
        now += 2.0
    there = 5
    assert [await window.try_pass() for _ in range(2)] == [0.0, 0.0]
    assert await window.try_pass() > 0.0
    await redis.aclose()


@pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server to start")
async def test_nobody_passes_twice_over_when_redis_comes_back() -> None:
    """Not even where another has yet to notice: up to 1.5 s later that one passes by itself."""
    port = free_port()
    redis = connect(f"redis://127.0.0.1:{port}/0", answer_seconds=20.0)
    now = 100.0
    local = SlidingWindow(1, 1.0, clock=lambda: now)
    window = RedisWindow(redis, name="x", calls=1, per=1.0, otherwise=local, clock=lambda: now)
    assert await window.try_pass() > 0
    now = 101.0
    assert await window.try_pass() == 0.0  # without Redis, which is asked again a second later

    with own_redis(port):
        await redis.set("insights:window:x:since", 0)  # it was there all along, out of reach
        now = 102.0
        assert await window.try_pass() == pytest.approx(2.5)
        assert not window.counts_all
        await redis.delete("insights:window:x")
        now = 104.4
        assert await window.try_pass() == pytest.approx(0.1)
        now = 104.6
        await asyncio.sleep(await window.try_pass())  # by the clock of Redis
        assert await window.try_pass() == 0.0
        assert window.counts_all
        await redis.aclose()


async def test_a_redis_that_was_emptied_lets_nobody_pass_until_all_it_forgot_is_over(
    redis: Redis,
) -> None:
    """Nor does a new one: others may pass by themselves, not having noticed that it is there."""
    name = uuid4().hex
    window = RedisWindow(redis, name=name, calls=2, per=0.1, otherwise=SlidingWindow(2, 0.1))
    await asyncio.sleep(await window.try_pass())
    assert [await window.try_pass(), await window.try_pass()] == [0.0, 0.0]

    await redis.delete(f"insights:window:{name}", f"insights:window:{name}:since")
    left = await window.try_pass()
    assert 1.5 < left <= 1.6
    await asyncio.sleep(left)
    assert await window.try_pass() == 0.0


async def test_asking_for_nothing_tells_whether_redis_is_there_and_counts_nobody(
    redis: Redis,
) -> None:
    now = 100.0
    window = RedisWindow(
        connect(f"redis://127.0.0.1:{free_port()}/0"),
        name="x",
        calls=1,
        per=1.0,
        otherwise=SlidingWindow(1, 1.0, clock=lambda: now),
        clock=lambda: now,
    )
    await window.try_pass(0)
    assert not window.counts_all
    now = 101.1
    for _ in range(3):
        await window.try_pass(0)
    assert await window.try_pass() == 0.0

    window = RedisWindow(redis, name=uuid4().hex, calls=1, per=60.0, otherwise=None)
    for _ in range(3):
        assert await window.try_pass(0) == 0.0
    assert await window.try_pass() == 0.0


async def test_a_limit_that_is_lowered_counts_those_that_passed_before(redis: Redis) -> None:
    window = RedisWindow(redis, name=uuid4().hex, calls=5, per=60.0, otherwise=None)
    assert [await window.try_pass() for _ in range(3)] == [0.0] * 3

    window.limit(3, 60.0)

    assert await window.try_pass() > 59.0


async def test_a_limit_that_is_raised_lets_so_many_more_pass(redis: Redis) -> None:
    window = RedisWindow(redis, name=uuid4().hex, calls=2, per=60.0, otherwise=None)
    await window.try_pass()
    await window.try_pass()

    window.limit(4, 60.0)

    assert [await window.try_pass() > 0 for _ in range(3)] == [False, False, True]


async def test_a_limit_may_change_its_period_too(redis: Redis) -> None:
    window = RedisWindow(redis, name=uuid4().hex, calls=1, per=60.0, otherwise=None)
    await window.try_pass()

    window.limit(1, 30.0)

    assert 29.0 < await window.try_pass() <= 30.0


async def test_one_that_was_told_to_be_full_trusts_redis_which_knows_better(redis: Redis) -> None:
    name = uuid4().hex
    await redis.set(f"insights:window:{name}:since", 0)
    window = RedisWindow(redis, name=name, calls=1, per=60.0, otherwise=SlidingWindow(1, 60.0))

    window.fill()

    assert await window.try_pass() == 0.0


async def test_without_redis_the_local_limit_is_changed_and_filled_along() -> None:
    redis = connect(f"redis://127.0.0.1:{free_port()}/0")
    local = SlidingWindow(1, 60.0)
    window = RedisWindow(redis, name="x", calls=1, per=60.0, otherwise=local)

    window.limit(3, 30.0)
    assert 29.0 < await window.try_pass() <= 30.0
    window.limit(4, 30.0)
    assert await window.try_pass() == 0.0
    window.fill()

    assert 29.0 < await window.try_pass() <= 30.0
    await redis.aclose()


async def test_with_neither_redis_nor_a_local_limit_nothing_can_be_changed_or_filled() -> None:
    redis = connect(f"redis://127.0.0.1:{free_port()}/0")
    window = RedisWindow(redis, name="x", calls=1, per=60.0, otherwise=None)

    window.limit(2, 60.0)
    window.fill()

    assert await window.try_pass() == 0.0
    await redis.aclose()


@pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server to start")
async def test_redis_is_asked_again_after_it_came_back() -> None:
    port = free_port()
    now = 100.0
    redis = connect(f"redis://127.0.0.1:{port}/0")
    window = RedisWindow(redis, name="x", calls=1, per=60.0, otherwise=None, clock=lambda: now)
    await window.try_pass()

    with own_redis(port):
        now = 102.0
        assert await window.try_pass() == 0.0
        assert await window.try_pass() > 59.0
        await redis.aclose()


async def test_some_that_come_together_pass_together_or_not_at_all(redis: Redis) -> None:
    window = RedisWindow(redis, name=uuid4().hex, calls=10, per=60.0, otherwise=None)

    waits = [await window.try_pass(count) for count in (7, 4, 3, 1)]

    assert [wait > 0 for wait in waits] == [False, True, False, True]


async def test_without_redis_the_local_limit_counts_as_many() -> None:
    redis = connect(f"redis://127.0.0.1:{free_port()}/0")
    window = RedisWindow(redis, name="x", calls=10, per=1.0, otherwise=SlidingWindow(10, 1.0))

    await asyncio.sleep(await window.try_pass(7))

    assert [await window.try_pass(count) > 0 for count in (7, 4)] == [False, True]
    await redis.aclose()


async def test_replicas_share_the_limits_of_each_key(
    redis_url: str, tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    """And what one replica gave to a key is not given again by another."""
    keys = [f"key-{uuid4().hex}" for _ in range(2)]
    digests = [hashlib.sha256(key.encode()).hexdigest() for key in keys]
    api_keys = ",".join(f"{digest[:4]}:write:{digest}" for digest in digests)
    passed: Counter[str] = Counter()
    async with AsyncExitStack() as stack:
        clients = []
        for number in range(2):
            url = f"sqlite+aiosqlite:///{tmp_path}/{number}.db"
            settings = make_settings(
                database_url=url, redis_url=redis_url, api_keys=api_keys, inbound_rate_limit=40
            )
            app = create_app(settings)
            await stack.enter_async_context(app.router.lifespan_context(app))
            transport = httpx.ASGITransport(app)
            client = httpx.AsyncClient(transport=transport, base_url="http://test")
            clients.append(await stack.enter_async_context(client))
        started = time.monotonic()
        for client in clients * 15:
            for key in keys:
                answer = await client.get("/api/v1/nothing", headers={"X-API-Key": key})
                passed[key] += answer.status_code == 404
        windows = 1 + int(time.monotonic() - started)

    assert min(passed.values()) >= 15
    assert max(passed.values()) <= 20 * windows


@pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server to start")
async def test_a_service_with_nothing_to_do_says_whether_redis_is_there(
    tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    port = free_port()
    settings = make_settings(
        database_url=f"sqlite+aiosqlite:///{tmp_path}/insights.db",
        redis_url=f"redis://127.0.0.1:{port}/0",
        inbound_rate_limit=0,
    )
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):

        async def says(state: str) -> bool:
            stats = await client.get("/api/v1/stats")
            return bool(stats.json()["replicas"]["redis"] == state)

        await until(partial(says, "away"), within=30, what="it says that there is no Redis")
        with own_redis(port):
            await until(partial(says, "fine"), within=30, what="it says that Redis is there")
        await until(partial(says, "away"), within=30, what="it says that Redis has gone")
