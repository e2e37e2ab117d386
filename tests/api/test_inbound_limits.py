"""How often one may ask: all together, each key and address, and rows."""

import hashlib
import random
from functools import partial

import pytest

from api.holding import MOST_HEALTH_SECONDS, MOST_SECONDS, HeldRequests
from api.inbound_limits import OPEN_REQUESTS_PER_SECOND, InboundLimits
from errors import RateLimited, Unavailable
from rate_limiter import SlidingWindow
from tests.conftest import StartApp
from tests.support.api_keys import API_KEYS, with_key
from tests.support.clock import Clock
from tests.support.http_helpers import (
    ALL_TIME,
    CONVERSATIONS,
    INSIGHTS,
    STATS,
    assert_error,
    submit_batch,
)

pytestmark = pytest.mark.usefixtures("holds")
UNKNOWN = f"{CONVERSATIONS}/conv_00000000"


def inbound_limits() -> InboundLimits:
    return InboundLimits(100, [], build=lambda _, count: SlidingWindow(count, 1.0))


# --- the inbound limit ----------------------------------------------------------------------------


async def test_never_more_than_a_hundred_pass_in_any_second() -> None:
    clock = Clock()
    window = SlidingWindow(100, 1.0, clock=clock)
    draw = random.Random(7)
    passed: list[float] = []
    for _ in range(5000):
        clock.now += draw.choice([0.0, 0.0, 0.0001, 0.004, 0.02, 0.3])
        if not await window.try_pass():
            passed.append(clock.now)

    assert len(passed) > 500
    assert all(later - earlier >= 1.0 for earlier, later in zip(passed, passed[100:], strict=False))


async def test_the_window_slides_and_does_not_start_anew() -> None:
    clock = Clock()
    window = SlidingWindow(100, 1.0, clock=clock)
    for _ in range(60):
        assert await window.try_pass() == 0.0
    clock.now += 0.9
    for _ in range(40):
        assert await window.try_pass() == 0.0

    assert await window.try_pass() == pytest.approx(0.1)
    clock.now += 0.1 + 1e-9  # the first sixty are a second old now, the forty are not
    assert sum([not await window.try_pass() for _ in range(100)]) == 60


async def test_being_refused_does_not_put_the_next_chance_off() -> None:
    clock = Clock()
    window = SlidingWindow(1, 1.0, clock=clock)
    await window.try_pass()
    for _ in range(99):
        clock.now += 0.01
        assert await window.try_pass() > 0
    clock.now += 0.0101

    assert await window.try_pass() == 0.0


@pytest.fixture
def clock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Of all windows: what passes does not depend on how fast the machine is."""
    monkeypatch.setattr("rate_limiter.SlidingWindow.__init__.__kwdefaults__", {"clock": clock})
    return clock


async def test_the_hundred_and_first_request_of_a_second_is_told_to_wait(
    start_app: StartApp, clock: Clock
) -> None:
    async with start_app(inbound_rate_limit=100) as running:
        client = running.client
        statuses = [(await client.get(UNKNOWN)).status_code for _ in range(100)]
        refused = [await client.get(UNKNOWN) for _ in range(20)]
        clock.now += 0.999
        refused.append(await client.get(UNKNOWN))
        clock.now += 0.0011
        afterwards = [(await client.get(UNKNOWN)).status_code for _ in range(101)]

    assert statuses == [404] * 100
    for response in refused:
        assert_error(response, 429, "rate_limit_exceeded")
        assert response.json()["retry_after"] == 1
    assert afterwards == [404] * 100 + [429]


async def test_paths_outside_the_api_are_not_counted(start_app: StartApp, clock: Clock) -> None:
    async with start_app(inbound_rate_limit=1) as running:
        for path in ("/health", "/ready", "/metrics", "/docs", "/", "/apis/x"):
            assert 429 not in [(await running.client.get(path)).status_code for _ in range(3)]
        assert (await running.client.get(STATS)).status_code == 200
        assert (await running.client.get(STATS)).status_code == 429
        assert (await running.client.get("/health")).status_code == 200


async def test_the_setting_limits_all_of_the_api_together(
    start_app: StartApp, clock: Clock
) -> None:
    async with start_app(inbound_rate_limit=5) as running:
        client = running.client
        taken = [
            await client.get(STATS),
            await client.post(CONVERSATIONS, json={"text": "a"}),
            await client.get(INSIGHTS, params=ALL_TIME),
            await client.get(UNKNOWN),
            await client.post(CONVERSATIONS, json={}),
        ]
        refused = [
            await client.get(STATS),
            await client.post(CONVERSATIONS, json={"text": "a"}),
            await client.delete(UNKNOWN),
            await client.get("/api/v1/nothing"),
        ]
        outside = [
            await client.get(path)
            for path in ("/health", "/ready", "/metrics", "/docs")
            for _ in range(10)
        ]

    assert [answer.status_code for answer in taken] == [200, 202, 200, 404, 400]
    for answer in refused:
        assert_error(answer, 429, "rate_limit_exceeded")
    assert {answer.status_code for answer in outside} == {200}


async def test_a_batch_counts_as_one_request(start_app: StartApp, clock: Clock) -> None:
    async with start_app(inbound_rate_limit=3, worker_enabled=False) as running:
        for _ in range(3):
            await submit_batch(running.client, ["a"] * 10)
        response = await running.client.get(STATS)

    assert response.status_code == 429


async def test_the_default_limit_is_a_hundred_and_zero_is_off(
    start_app: StartApp, clock: Clock
) -> None:
    async with start_app(inbound_rate_limit=100) as running:
        statuses = [(await running.client.get(UNKNOWN)).status_code for _ in range(103)]
    async with start_app(inbound_rate_limit=0) as running:
        unlimited = [(await running.client.get(UNKNOWN)).status_code for _ in range(300)]

    assert statuses == [404] * 100 + [429] * 3
    assert unlimited == [404] * 300


# --- one key and another --------------------------------------------------------------------------


async def test_who_asks_too_much_waits_for_the_answer(
    start_app: StartApp, clock: Clock, holds: list[float]
) -> None:
    async with start_app(inbound_rate_limit=5, worker_enabled=False) as running:
        client = running.client
        first = [await client.get(UNKNOWN) for _ in range(8)]
        assert [answer.status_code for answer in first] == [404] * 5 + [429] * 3
        assert holds == [MOST_SECONDS] * 3

        for _ in range(OPEN_REQUESTS_PER_SECOND + 2):
            assert (await client.get("/health")).status_code == 200
        assert holds[3:] == [MOST_HEALTH_SECONDS] * 2
        await client.get("/ready")
        assert holds[5:] == [MOST_SECONDS]
        clock.now += 1.001
        await client.get("/ready")
        assert len(holds) == 3 + 2 + 1


async def test_a_body_that_is_refused_while_its_answer_is_put_off_has_that_answer(
    start_app: StartApp, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many bodies are open, and the service lets go of some: that is no bug of its own."""

    async def hold(*_: object) -> None:
        raise Unavailable("Too many bodies are under way.")

    monkeypatch.setattr(HeldRequests, "hold", hold)
    async with start_app(inbound_rate_limit=1, worker_enabled=False) as running:
        first, second = [await running.client.get(UNKNOWN) for _ in range(2)]
    assert first.status_code == 404
    assert_error(second, 503, "unavailable")


async def test_whoever_waits_for_answers_gets_none_at_once(
    start_app: StartApp, holds: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start_app(inbound_rate_limit=5, worker_enabled=False) as running:
        await running.client.get("/health")
        assert not holds
        monkeypatch.setattr(HeldRequests, "waits", lambda *_: True)
        await running.client.get("/health")
        assert holds == [MOST_HEALTH_SECONDS]


async def test_without_a_valid_key_ten_pass_of_an_address_and_take_nothing_from_others(
    start_app: StartApp, clock: Clock
) -> None:
    async with start_app(inbound_rate_limit=20, api_keys=API_KEYS) as running:
        client = running.client
        wrong = {"X-API-Key": "wrong"}
        strangers = [await client.get(UNKNOWN, headers=wrong) for _ in range(300)]
        metrics = await client.get("/metrics")
        fair = [await client.get(UNKNOWN, headers=with_key("read")) for _ in range(10)]
        clock.now += 1.001
        later = await client.get(UNKNOWN)

    assert [answer.status_code for answer in strangers] == [401] * 10 + [429] * 290
    assert_error(strangers[-1], 429, "rate_limit_exceeded")
    assert metrics.status_code == 429
    assert {answer.status_code for answer in fair} == {404}
    assert later.status_code == 401


async def test_of_several_keys_none_gets_more_than_half(start_app: StartApp, clock: Clock) -> None:
    async with start_app(inbound_rate_limit=9, api_keys=API_KEYS) as running:
        client = running.client
        greedy = [await client.get(UNKNOWN, headers=with_key("read")) for _ in range(30)]
        fair = [await client.get(UNKNOWN, headers=with_key("write")) for _ in range(5)]
        last = [await client.get(UNKNOWN, headers=with_key("admin")) for _ in range(2)]

    assert [answer.status_code for answer in greedy] == [404] * 4 + [429] * 26
    assert [answer.status_code for answer in fair] == [404] * 4 + [429]
    assert [answer.status_code for answer in last] == [404, 429]  # nine in all


@pytest.mark.parametrize("scopes", ["read", "read admin"])
async def test_a_single_key_gets_all_of_it_also_where_it_is_listed_twice(
    start_app: StartApp, clock: Clock, scopes: str
) -> None:
    digest = hashlib.sha256(b"alone").hexdigest()
    keys = ",".join(f"{scope}er:{scope}:{digest}" for scope in scopes.split())
    async with start_app(inbound_rate_limit=6, api_keys=keys) as running:
        answers = [
            await running.client.get(UNKNOWN, headers={"X-API-Key": "alone"}) for _ in range(8)
        ]

    assert [answer.status_code for answer in answers] == [404] * 6 + [429] * 2


async def test_a_key_without_the_scope_counts_as_its_holder(
    start_app: StartApp, clock: Clock
) -> None:
    async with start_app(inbound_rate_limit=8, api_keys=API_KEYS) as running:
        client = running.client
        answers = [await client.delete(UNKNOWN, headers=with_key("read")) for _ in range(6)]

    assert [answer.status_code for answer in answers] == [403] * 4 + [429] * 2


@pytest.mark.parametrize(
    ("address", "neighbour", "stranger"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"),
        ("::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.2"),
        ("", "", "unix"),
        ("x" * 64 + "1", "x" * 64 + "2", "y"),
    ],
)
async def test_strangers_are_told_apart_by_what_they_cannot_vary_at_will(
    clock: Clock, address: str, neighbour: str, stranger: str
) -> None:
    limits = inbound_limits()
    for _ in range(10):
        await limits.stranger(address)

    with pytest.raises(RateLimited):
        await limits.stranger(neighbour)
    await limits.stranger(stranger)


async def test_the_address_that_was_longest_silent_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_once = partial(SlidingWindow, clock=lambda: 0.0)
    monkeypatch.setattr("api.inbound_limits.SlidingWindow", at_once)
    monkeypatch.setattr("api.inbound_limits._MOST_STRANGERS", 2)
    limits = inbound_limits()
    for address in ["used up"] + 10 * ["silent"] + 9 * ["used up"] + ["new"]:
        await limits.stranger(address)
    with pytest.raises(RateLimited):
        await limits.stranger("used up")
    await limits.stranger("silent")


async def test_no_more_than_some_addresses_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.inbound_limits._MOST_STRANGERS", 100)
    limits = inbound_limits()
    for number in range(1000):
        await limits.stranger(f"10.0.{number // 250}.{number % 250}")

    assert len(limits._strangers) == 100


# --- rows -----------------------------------------------------------------------------------------


async def test_batches_count_by_rows_too_each_key_for_itself(
    start_app: StartApp, clock: Clock
) -> None:
    batch = {"conversations": [{"text": "a"}] * 1000}
    async with start_app(
        inbound_rate_limit=100, api_keys=API_KEYS, worker_enabled=False
    ) as running:
        client = running.client
        url = f"{CONVERSATIONS}/batch"
        taken = [await client.post(url, json=batch, headers=with_key("write")) for _ in range(10)]
        refused = await client.post(
            url, json={"conversations": [{"text": "a"}]}, headers=with_key("write")
        )
        another = await client.post(url, json=batch, headers=with_key("admin"))
        single = await client.post(CONVERSATIONS, json={"text": "a"}, headers=with_key("write"))
        clock.now += 1.001
        later = await client.post(url, json=batch, headers=with_key("write"))
        stats = (await client.get(STATS, headers=with_key("read"))).json()

    assert {answer.status_code for answer in taken} == {202}
    assert_error(refused, 429, "rate_limit_exceeded", "rows")
    assert [another.status_code, single.status_code, later.status_code] == [202] * 3
    assert stats["counts"]["pending"] == {"live": 1, "bulk": 12_000}


async def test_the_open_api_takes_so_many_rows_in_all(start_app: StartApp, clock: Clock) -> None:
    batch = {"conversations": [{"text": "a"}] * 1000}
    async with start_app(inbound_rate_limit=100, worker_enabled=False) as running:
        answers = [
            (await running.client.post(f"{CONVERSATIONS}/batch", json=batch)).status_code
            for _ in range(11)
        ]

    assert answers == [202] * 10 + [429]


async def test_the_live_lane_takes_ten_in_a_batch(start_app: StartApp) -> None:
    async with start_app(worker_enabled=False) as running:
        await submit_batch(running.client, ["a"] * 10, lane="live")
        response = await running.client.post(
            f"{CONVERSATIONS}/batch", json={"conversations": [{"text": "a"}] * 11, "lane": "live"}
        )
        stats = (await running.client.get(STATS)).json()

    assert_error(response, 400, "invalid_schema", "conversations: ")
    assert stats["counts"]["pending"] == {"live": 10, "bulk": 0}
