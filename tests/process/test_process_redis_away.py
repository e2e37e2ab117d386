"""Three replicas hold to one limit of calls, whatever becomes of the Redis that they share."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.fakes.grok.process import RunningGrok, grok_process
from tests.support.delays import delays_seen
from tests.support.fleet import Fleet, fleet
from tests.support.servers import free_port, own_redis
from tests.support.service_process import look, until

pytestmark = pytest.mark.slow

LIMIT = 10
SECOND = 0.9
"""One of two calls may be a tenth of a second longer on its way than the other."""


@pytest.fixture
def grok() -> Iterator[RunningGrok]:
    with grok_process("--latency", "0.05") as grok:
        yield grok


def _most_in(seconds: float, arrivals: Sequence[float]) -> int:
    return max(sum(first <= at < first + seconds for at in arrivals) for first in arrivals)


async def _expect_redis(replicas: Fleet, state: str) -> None:
    async def says() -> bool:
        stats = [(await each.client.get("/api/v1/stats")).json() for each in replicas.replicas]
        return all(each["replicas"] == {"analysing": 3, "redis": state} for each in stats)

    await until(says, within=30, what=f"three replicas analyse, and each says: {state}")


async def _calls_more(grok: RunningGrok, count: int) -> None:
    """Wait until so many more have arrived."""
    before = len(await look(grok, "arrivals"))

    async def arrived() -> bool:
        return len(await look(grok, "arrivals")) >= before + count

    await until(arrived, within=60, what=f"{count} more calls")


async def _hand_in(replicas: Fleet, count: int) -> None:
    """In one batch, so that all have enough to do."""
    texts = [f"The parcel {len(replicas.accepted) + number} is late" for number in range(count)]
    ids = await replicas.replicas[0].post_batch(texts)
    replicas.accepted.update(zip(ids, texts, strict=True))


async def test_the_limit_holds_while_redis_forgets_goes_is_away_and_comes_back(
    tmp_path: Path, grok: RunningGrok, fresh_postgres_url: str
) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    settings: dict[str, Any] = {"redis_url": url, "grok_rate_limit": LIMIT}
    async with (
        delays_seen() as delays,
        fleet(tmp_path, grok, fresh_postgres_url, **settings) as replicas,
    ):
        with own_redis(port):
            await _expect_redis(replicas, "fine")
            await _hand_in(replicas, 80)
            await _calls_more(grok, 12)
            async with Redis.from_url(url) as redis:
                await redis.flushall()
            await _calls_more(grok, 12)
        await _calls_more(grok, 18)
        await _expect_redis(replicas, "away")
        with own_redis(port):
            await _calls_more(grok, 18)
            await _expect_redis(replicas, "fine")
            await replicas.settle()
        arrivals = await look(grok, "arrivals")
        second = max(SECOND - 2 * delays.worst, 0)
        print(
            f"\nat most {_most_in(1, arrivals)} calls a second, {delays.worst:.3f} s late at worst"
        )
        assert _most_in(second, arrivals) <= LIMIT
        await replicas.expect_nothing_lost_or_paid_twice()
