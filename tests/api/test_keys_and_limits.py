"""Who may ask, and how often."""

import hashlib
import random
from functools import partial
from typing import Any

import httpx
import pytest

from api.holding import MOST_HEALTH_SECONDS, MOST_SECONDS, HeldRequests
from api.inbound_limits import OPEN_REQUESTS_PER_SECOND, InboundLimits
from errors import RateLimited
from rate_limiter import SlidingWindow
from tests.conftest import StartApp
from tests.support.http_helpers import (
    ALL_TIME,
    CONVERSATIONS,
    INSIGHTS,
    STATS,
    assert_error,
    captured_log,
    submit_batch,
)

KEYS = {scope: f"key-of-{scope}-{'x' * 20}" for scope in ("read", "write", "admin")}
API_KEYS = ",".join(
    f"team {scope}:{scope}:{hashlib.sha256(key.encode()).hexdigest()}"
    for scope, key in KEYS.items()
)
UNKNOWN = f"{CONVERSATIONS}/conv_00000000"
OPERATIONS: list[tuple[str, str, str, Any]] = [
    ("read", "GET", STATS, None),
    ("read", "GET", f"{INSIGHTS}?start_time=2025-01-01&end_time=2025-01-02", None),
    ("read", "GET", UNKNOWN, None),
    ("read", "HEAD", STATS, None),
    ("write", "POST", CONVERSATIONS, {"text": "a"}),
    ("write", "POST", f"{CONVERSATIONS}/batch", {"conversations": [{"text": "a"}]}),
    ("write", "POST", f"{CONVERSATIONS}/retry", None),
    ("write", "POST", f"{UNKNOWN}/retry", None),
    ("admin", "DELETE", UNKNOWN, None),
]
RANK = ["read", "write", "admin"]


def inbound_limits() -> InboundLimits:
    return InboundLimits(100, [], build=lambda _, count: SlidingWindow(count, 1.0))


@pytest.fixture(autouse=True)
def holds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that each of the answers might have to wait that had to, which none does here."""
    held: list[float] = []

    async def hold(_: object, address: str, receive: object, most: float = MOST_SECONDS) -> None:
        held.append(most)

    monkeypatch.setattr(HeldRequests, "hold", hold)
    return held


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_an_idempotency_key_belongs_to_the_api_key_that_sent_it(start_app: StartApp) -> None:
    async with start_app(api_keys=API_KEYS, worker_enabled=False) as running:

        async def post(scope: str, text: str) -> httpx.Response:
            headers = {"Authorization": f"Bearer {KEYS[scope]}", "Idempotency-Key": "order-7"}
            return await running.client.post(CONVERSATIONS, json={"text": text}, headers=headers)

        async def post_batch(scope: str, text: str) -> httpx.Response:
            return await running.client.post(
                f"{CONVERSATIONS}/batch",
                json={"conversations": [{"text": text, "idempotency_key": "order-7"}]},
                headers={"X-API-Key": KEYS[scope]},
            )

        mine, theirs = await post("write", "where is it"), await post("admin", "all is well")
        assert (mine.status_code, theirs.status_code) == (202, 202)
        mine_id, their_id = (answer.json()["conversation_id"] for answer in (mine, theirs))
        assert mine_id != their_id
        assert (await post("write", "where is it")).json()["conversation_id"] == mine_id
        for scope, text, id_ in (
            ("write", "where is it", mine_id),
            ("admin", "all is well", their_id),
        ):
            answer = await post_batch(scope, text)
            assert answer.json()["conversation_ids"] == [id_]
        assert_error(await post("write", "all is well"), 409, "conflict", "another text")
        place = "conversations[0].idempotency_key: "
        for scope, text in (("write", "all is well"), ("admin", "where is it")):
            assert_error(await post_batch(scope, text), 409, "conflict", place)


# --- API keys -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("needed", "method", "path", "body"), OPERATIONS)
async def test_an_operation_takes_the_keys_of_its_scope_and_above(
    start_app: StartApp, needed: str, method: str, path: str, body: Any
) -> None:
    async with start_app(api_keys=API_KEYS, worker_enabled=False) as running:
        answers = {
            scope: await running.client.request(
                method, path, json=body, headers={"Authorization": f"Bearer {key}"}
            )
            for scope, key in KEYS.items()
        }

    for scope, answer in answers.items():
        if RANK.index(scope) < RANK.index(needed):
            assert_error(answer, 403, "forbidden", needed)
        else:
            assert answer.status_code in (200, 202, 404, 405), answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": KEYS["admin"]},
        {"Authorization": f"Basic {KEYS['admin']}"},
        {"Authorization": f"Bearer {KEYS['admin']}x"},
        {"Authorization": f"Bearer {KEYS['admin'].upper()}"},
        {"Authorization": f"Bearer {hashlib.sha256(KEYS['admin'].encode()).hexdigest()}"},
        {"X-API-Key": ""},
        {"X-API-Key": "wrong"},
        {"X-API-Key": f"Bearer {KEYS['admin']}"},
        {"Cookie": f"X-API-Key={KEYS['admin']}"},
        {"Authorization": b"Bearer \xff\xfe"},
    ],
)
async def test_without_a_valid_key_nothing_of_the_api_answers(
    start_app: StartApp, headers: dict[str, Any]
) -> None:
    async with start_app(api_keys=API_KEYS, worker_enabled=False) as running:
        for _, method, path, body in OPERATIONS:
            if method == "HEAD":
                continue
            response = await running.client.request(method, path, json=body, headers=headers)

            assert_error(response, 401, "unauthorized")
            assert response.headers["www-authenticate"] == "Bearer"
            assert KEYS["admin"] not in response.text
        assert_error(
            await running.client.get("/api/v1/nothing", headers=headers), 401, "unauthorized"
        )


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEYS['read']}"},
        {"Authorization": f"bearer {KEYS['read']}"},
        {"Authorization": f"BEARER   {KEYS['read']} "},
        {"X-API-Key": KEYS["read"]},
        {"x-api-key": KEYS["read"], "Authorization": "Basic abc"},
    ],
)
async def test_a_key_may_come_in_either_header(
    start_app: StartApp, headers: dict[str, str]
) -> None:
    async with start_app(api_keys=API_KEYS) as running:
        response = await running.client.get(STATS, headers=headers)

    assert response.status_code == 200


async def test_a_refused_request_stores_nothing(start_app: StartApp) -> None:
    async with start_app(api_keys=API_KEYS, worker_enabled=False) as running:
        await running.client.post(CONVERSATIONS, json={"text": "a"})
        await running.client.post(
            CONVERSATIONS, json={"text": "a"}, headers={"X-API-Key": KEYS["read"]}
        )
        stats = await running.client.get(STATS, headers={"X-API-Key": KEYS["read"]})

    assert stats.json()["counts"]["pending"] == {"live": 0, "bulk": 0}


@pytest.mark.parametrize("path", ["/health", "/ready", "/docs", "/openapi.json", "/", "/dashboard"])
async def test_what_is_outside_the_api_needs_no_key(start_app: StartApp, path: str) -> None:
    async with start_app(api_keys=API_KEYS) as running:
        response = await running.client.get(path)

    assert response.status_code in (200, 307)


async def test_one_key_may_be_listed_with_two_scopes(start_app: StartApp) -> None:
    digest = hashlib.sha256(b"shared").hexdigest()
    async with start_app(api_keys=f"a:read:{digest},b:admin:{digest}") as running:
        response = await running.client.delete(UNKNOWN, headers={"X-API-Key": "shared"})

    assert_error(response, 404, "not_found")


async def test_an_open_service_says_so_in_the_log_and_a_closed_one_does_not(
    start_app: StartApp,
) -> None:
    with captured_log() as log:
        async with start_app() as running:
            assert (await running.client.get(STATS)).status_code == 200
    with captured_log() as closed_log:
        async with start_app(api_keys=API_KEYS):
            pass

    (line,) = log.named("api_is_open")
    assert line["level"] == "warning"
    assert "API_KEYS" in line["reason"]
    assert closed_log.named("api_is_open") == []


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
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Of all windows: what passes does not depend on how fast the machine is."""
    clock = Clock()
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


def with_key(scope: str) -> dict[str, str]:
    return {"X-API-Key": KEYS[scope]}


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
