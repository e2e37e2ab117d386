"""What the Grok client keeps to, over a real socket: pauses after a 429, and the limit on calls."""

import asyncio

import pytest

from analysis.outcomes import Analysis, NotNow
from rate_limiter import JITTER_MARGIN_SECONDS
from tests.fakes.grok.calls import BLAME, PRAISE, Clock, MakeClient, answering, ask, completion
from tests.fakes.grok.replies import Reply
from tests.fakes.grok.server import FakeGrok

# --- 429: everybody waits -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "low", "high"),
    [
        (Reply.rate_per_second(retry_after=7), 6.5, 7.0),
        (Reply.rate_per_second(retry_after=0), 0.0, 0.0),
        (Reply.rate_per_second(retry_after=30, as_date=True), 28.5, 31.0),
        (Reply.rate_per_second(retry_after=120), 119.5, 120.0),
        (Reply.rate_per_second(retry_after=121), 119.5, 120.0),
        (Reply.rate_per_second(retry_after=86_400), 119.5, 120.0),
        (Reply.rate_per_second(retry_after=86_400, as_date=True), 119.5, 120.0),
        (Reply.rate_per_second(retry_after=-3600, as_date=True), 0.0, 0.0),
        (Reply.rate_per_second(), 0.5, 1.0),
        (Reply.rate_per_second(retry_after=-5), 0.5, 1.0),
        (Reply.tokens_per_minute(), 0.5, 1.0),
        (Reply.rate_per_minute(resets_in=None), 0.5, 1.0),
        (Reply.rate_per_minute(resets_in="soon"), 0.5, 1.0),
        (Reply.rate_per_minute(resets_in="59s"), 58.5, 59.0),
        (Reply.rate_per_minute(resets_in="1m 4s"), 63.5, 64.0),
        (Reply.rate_per_minute(resets_in="1m"), 59.5, 60.0),
        (Reply.rate_per_minute(resets_in="3m 4s"), 119.5, 120.0),
        (Reply.rate_per_minute(resets_in="2h 1m 1s"), 119.5, 120.0),
    ],
)
async def test_a_429_holds_all_calls_back_for_as_long_as_it_says(
    grok: FakeGrok, make_client: MakeClient, reply: Reply, low: float, high: float
) -> None:
    client = make_client()
    grok.script(reply)

    await ask(client)

    assert low <= client.throttle.pause_left() <= high


async def test_without_a_word_the_pauses_double_up_to_thirty_seconds_and_start_anew(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    clock = Clock()
    client = make_client(limiter=clock.limiter())

    async def pause_after(reply: Reply) -> float:
        clock.now += client.throttle.pause_left()
        grok.script(reply)
        await ask(client)
        return client.throttle.pause_left()

    pauses = [await pause_after(Reply.rate_per_second()) for _ in range(7)]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert await pause_after(Reply.ok()) == 0.0
    assert await pause_after(Reply.rate_per_second()) == pytest.approx(1.0)


@pytest.mark.parametrize(("jitter", "pause"), [(0.0, 1.0), (1.0, 1.25)])
async def test_pauses_are_stretched_by_chance(
    grok: FakeGrok, make_client: MakeClient, jitter: float, pause: float
) -> None:
    client = make_client(jitter=lambda: jitter)
    grok.script(Reply.rate_per_second())

    await ask(client)

    assert client.throttle.pause_left() == pytest.approx(pause, abs=0.2)


async def test_a_burst_that_is_refused_together_counts_as_one_refusal(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    client = make_client()
    grok.script(*[Reply.rate_per_second().after(0.1)] * 10)

    answers = await asyncio.gather(*(ask(client) for _ in range(10)))

    assert [type(answer) for answer in answers] == [NotNow] * 10
    assert client.throttle.pause_left() <= 2.0


async def test_during_a_pause_no_call_is_made(grok: FakeGrok, make_client: MakeClient) -> None:
    clock = Clock()
    client = make_client(limiter=clock.limiter())
    grok.script(Reply.rate_per_second(retry_after=5))
    await ask(client)

    answers, call = await client.analyse([BLAME, PRAISE])

    assert [type(answer) for answer in answers] == [NotNow, NotNow]
    assert call is None
    assert grok.counters.calls == 1
    clock.now += 5.0
    assert isinstance(await ask(client), Analysis)


async def test_a_pause_that_begins_while_a_call_waits_for_its_turn_keeps_it_from_leaving(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    clock = Clock()
    left: list[float] = []

    async def sleep(seconds: float) -> None:
        limiter.pause(60.0)
        await clock.sleep(seconds)

    limiter = clock.limiter(1, sleep=sleep)
    client = make_client(limiter=limiter)
    await client.analyse([BLAME], on_sent=lambda: left.append(clock.now))

    answers, call = await client.analyse([BLAME], on_sent=lambda: left.append(clock.now))

    assert [type(answer) for answer in answers] == [NotNow]
    assert call is None
    assert grok.counters.calls == len(left) == 1


async def test_those_that_wait_when_a_429_comes_do_not_leave(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    async def sleep(_seconds: float) -> None:
        await asyncio.sleep(0.001)  # and the clock stands still

    client = make_client(limiter=Clock().limiter(5, sleep=sleep), concurrency=20)
    grok.script(*[Reply.rate_per_second(retry_after=60)] * 5)

    answers = await asyncio.gather(*(ask(client) for _ in range(20)))

    assert [type(answer) for answer in answers] == [NotNow] * 20
    assert grok.counters.calls == 5


# --- the limit that is kept to --------------------------------------------------------------------


async def test_the_limit_that_a_good_answer_names_is_kept_to(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    clock = Clock()
    client = make_client(limiter=clock.limiter(100), concurrency=50)
    assert (client.throttle.call_limit_per_second, client.throttle.calls_at_once) == (100.0, 50)

    await ask(client)  # 1,800 requests a minute

    assert (client.throttle.call_limit_per_second, client.throttle.calls_at_once) == (30.0, 30)
    assert client.throttle.call_interval == pytest.approx((1 + JITTER_MARGIN_SECONDS) / 30)


async def test_a_limit_above_what_was_asked_for_raises_nothing(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    client = make_client(rate=10, concurrency=5)
    await ask(client)
    assert (client.throttle.call_limit_per_second, client.throttle.calls_at_once) == (10.0, 5)


async def test_a_limit_that_is_no_number_is_none(make_client: MakeClient) -> None:
    odd = ("", "0", "-1", "many", "1e3", "1" * 30, "60.5", " ")
    answers = [completion({}, headers=f"x-ratelimit-limit-requests: {told}\r\n") for told in odd]
    async with answering(*answers) as base_url:
        client = make_client(base_url=base_url, rate=10)
        for told in odd:
            assert isinstance(await ask(client), Analysis)
            assert client.throttle.call_limit_per_second == 10.0, told


@pytest.mark.parametrize(
    ("reply", "kept"),
    [
        (Reply.rate_per_second(limit=2), 2.0),
        (Reply.rate_per_second(limit=2, retry_after=3), 2.0),
        (Reply.rate_per_minute(limit=60), 1.0),
        (Reply.rate_per_minute(limit=90, resets_in=None), 1.5),
        (Reply.rate_per_second(limit=37), 10.0),
        (Reply.rate_per_second(limit=0), 10.0),
        (Reply.tokens_per_minute(), 10.0),
        (Reply.status(429, "", "empty"), 10.0),
        (Reply.credits_gone(429), 10.0),
    ],
)
async def test_the_limit_that_a_429_names_is_kept_to(
    grok: FakeGrok, make_client: MakeClient, reply: Reply, kept: float
) -> None:
    client = make_client(rate=10)
    grok.script(reply)

    await ask(client)

    assert client.throttle.call_limit_per_second == kept


async def test_calls_go_on_below_the_limit_that_was_named(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    clock = Clock()
    left: list[float] = []
    client = make_client(limiter=clock.limiter(10))
    grok.script(Reply.rate_per_second(limit=2, retry_after=1))
    await ask(client)
    clock.now += 1.0

    for _ in range(6):
        await client.analyse([BLAME], on_sent=lambda: left.append(clock.now))

    assert all(after - before > 1.0 for before, after in zip(left, left[2:], strict=False))


async def test_a_call_counts_from_when_it_has_left(grok: FakeGrok, make_client: MakeClient) -> None:
    clock = Clock()
    client = make_client(limiter=clock.limiter(1))
    left: list[float] = []

    def stall() -> None:
        left.append(clock.now)
        clock.now += 0.5

    for _ in range(2):
        await client.analyse([BLAME], on_sent=stall)

    assert left[1] - left[0] == pytest.approx(0.5 + 1 + JITTER_MARGIN_SECONDS)


async def test_calls_of_a_process_before_this_one_count(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    clock = Clock()
    started = clock.now
    client = make_client(limiter=clock.limiter(10))
    client.throttle.assume_window_used()
    left: list[float] = []

    await client.analyse([BLAME], on_sent=lambda: left.append(clock.now))

    assert left == [pytest.approx(started + 1 + JITTER_MARGIN_SECONDS)]
