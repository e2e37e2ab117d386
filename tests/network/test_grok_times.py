"""How long a call of the Grok client may take, how many may be under way, and answers that cannot
be taken in, over a real socket."""

import asyncio
import gzip
import time
import tracemalloc
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from analysis.outcomes import Analysis, CallOutcome, TransientFailure, Unusable
from grok_client import GrokClient
from tests.fakes.grok.calls import BLAME, Clock, MakeClient, answering, ask, called, completion
from tests.fakes.grok.replies import Reply
from tests.fakes.grok.server import FakeGrok
from tests.support.tcp import serving

# --- time and place -------------------------------------------------------------------------------


async def test_a_call_ends_when_its_time_is_up(grok: FakeGrok, make_client: MakeClient) -> None:
    grok.default = Reply.hang()
    started = time.monotonic()

    answer = await ask(make_client(timeout=0.3))

    assert isinstance(answer, TransientFailure)
    assert "0.3 s" in answer.reason
    assert time.monotonic() - started > 0.25
    await grok.idle()
    assert grok.counters.abandoned == 1


async def test_a_packed_call_may_take_twice_as_long(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    grok.latency = 1.2
    client = make_client(timeout=1.0)

    alone, together = await asyncio.gather(client.analyse([BLAME]), client.analyse([BLAME] * 2))

    assert [type(answer) for answer in alone.answers] == [TransientFailure]
    assert [type(answer) for answer in together.answers] == [Analysis, Analysis]


async def test_waiting_for_a_place_is_not_part_of_a_calls_time(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    grok.latency = 0.5
    client = make_client(timeout=1.3, concurrency=1)

    answers = await asyncio.gather(*(ask(client) for _ in range(3)))

    assert [type(answer) for answer in answers] == [Analysis] * 3


async def test_waiting_for_a_turn_is_not_part_of_a_calls_time(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    clock = Clock()

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(1.2)
        clock.now += seconds

    client = make_client(limiter=clock.limiter(1, sleep=sleep), timeout=1.0)

    first, second = await asyncio.gather(called(client), called(client))

    assert (first.outcome, second.outcome) == ("answered", "answered")
    assert max(first.seconds, second.seconds) < 1.0


async def test_the_moment_at_which_a_call_leaves_is_told_once(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    left: list[int] = []
    client = make_client()
    for reply in (Reply.ok(), Reply.server_error(), Reply.drop()):
        grok.script(reply)
        await client.analyse([BLAME], on_sent=lambda: left.append(grok.counters.calls))
    assert left == [0, 1, 2]


async def test_a_grok_that_nobody_answers_for_is_passing_trouble_and_costs_nothing(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    client = make_client()
    await grok.down("refuse")

    (refused,), call = await client.analyse([BLAME])

    await grok.up()
    assert isinstance(refused, TransientFailure)
    assert "could not be reached" in refused.reason
    assert call is None, "nothing was sent"
    assert isinstance(await ask(client), Analysis)


async def test_a_connection_that_grok_gave_up_meanwhile_is_passing_trouble(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    client = make_client()
    await ask(client)
    await grok.down("refuse")

    broken = await ask(client)

    await grok.up()
    assert isinstance(broken, TransientFailure)
    assert isinstance(await ask(client), Analysis)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"choices":[]}',
        b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"choices":[null]}',
        b'HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n{"choices":[{"message":"x"}]}'[:-1],
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + b"[" * 20_000,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        b"nonsense\r\n\r\n",
    ],
    ids=range(11),
)
async def test_an_answer_that_is_no_completion_is_an_answer_and_no_crash(
    make_client: MakeClient, answer: bytes
) -> None:
    async with answering(answer) as base_url:
        (got,), call = await make_client(base_url=base_url, timeout=2.0).analyse([BLAME])

    assert isinstance(got, Unusable | TransientFailure)
    assert call is not None


async def test_at_most_so_many_calls_are_under_way_at_once(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    grok.latency = 0.3
    client = make_client(concurrency=10)

    await asyncio.gather(*(ask(client) for _ in range(28)))

    assert grok.counters.max_in_flight == 10
    assert grok.counters.by_status[200] == 28


async def leave(client: GrokClient, moments: list[float]) -> Any:
    """Ask, and note the moment at which the call leaves."""
    reply = await client.analyse([BLAME], on_sent=lambda: moments.append(time.monotonic()))
    return reply.answers[0]


def crowding(moments: list[float], calls: int) -> float:
    """The shortest time in which one more than so many left."""
    return min(b - a for a, b in zip(moments, moments[calls:], strict=False))


# That the ways differ is the limiter's to allow for, and test_rate_limiter's: here a busy machine
# would hold up the fake.
async def test_no_more_than_ten_calls_leave_in_any_second(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    left: list[float] = []
    client = make_client(rate=10, concurrency=40)

    answers = await asyncio.gather(*(leave(client, left) for _ in range(21)))

    assert [type(answer) for answer in answers] == [Analysis] * 21
    assert crowding(left, 10) > 1.0
    assert left[-1] - left[0] < 4.0, "the rate that is allowed is used"


async def test_slow_calls_do_not_slow_the_rate(grok: FakeGrok, make_client: MakeClient) -> None:
    grok.latency = 2.0
    left: list[float] = []
    client = make_client(rate=10, concurrency=40)

    await asyncio.gather(*(leave(client, left) for _ in range(20)))

    assert crowding(left, 10) > 1.0
    assert left[-1] - left[0] < 3.0, "the second ten waited for an answer"


async def test_a_connection_that_takes_long_does_not_take_its_call_out_of_the_window(
    grok: FakeGrok, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn taken before the connection stands would be used too late, beside the next ones."""
    loop = asyncio.get_running_loop()
    connect, connections = loop.create_connection, 0

    async def connect_slowly(*args: Any, **kwargs: Any) -> Any:
        nonlocal connections
        connections += 1
        await asyncio.sleep(0.6 if connections <= 5 else 0.0)
        return await connect(*args, **kwargs)

    monkeypatch.setattr(loop, "create_connection", connect_slowly)
    left: list[float] = []
    client = make_client(rate=5, concurrency=15)

    answers = await asyncio.gather(*(leave(client, left) for _ in range(10)))

    assert connections == 10
    assert crowding(left, 5) > 1.0
    assert [type(answer) for answer in answers] == [Analysis] * 10


async def test_calls_that_are_called_off_under_way_give_their_places_back(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    grok.script(Reply.hang(), Reply.hang())
    client = make_client(concurrency=2)
    calls = [asyncio.create_task(ask(client)) for _ in range(2)]
    await grok.saw(2)

    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)

    answers = await asyncio.gather(*(ask(client) for _ in range(4)))
    assert [type(answer) for answer in answers] == [Analysis] * 4
    ids = [request.headers["x-grok-conv-id"] for request in grok.requests]
    assert len(set(ids)) == 2


async def test_calls_that_are_called_off_while_they_wait_give_their_places_back(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    asleep = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    clock = Clock()
    client = make_client(limiter=clock.limiter(1, sleep=sleep), concurrency=2)
    await ask(client)
    calls = [asyncio.create_task(ask(client)) for _ in range(4)]
    await asleep.wait()

    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)

    assert grok.counters.calls == 1
    answers = []
    for _ in range(3):
        clock.now += 2.0
        answers.append(await ask(client))
    assert [type(answer) for answer in answers] == [Analysis] * 3
    ids = [request.headers["x-grok-conv-id"] for request in grok.requests]
    assert len(set(ids)) == 1


# --- an answer that cannot be taken in ------------------------------------------------------------

MEGABYTE = 1024 * 1024
LONG = b" " * (5 * MEGABYTE)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def packed(body: bytes, encoding: str = "gzip") -> bytes:
    head = b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (encoding.encode(), len(body))
    return OK + head + body


async def test_an_answer_is_asked_for_as_it_is(grok: FakeGrok, make_client: MakeClient) -> None:
    await ask(make_client())
    assert grok.last_request.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)],
)
async def test_an_answer_that_is_compressed_all_the_same_is_read(
    make_client: MakeClient, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    body = completion({}).partition(b"\r\n\r\n")[2]
    async with answering(packed(compress(body), encoding)) as base_url:
        assert isinstance(await ask(make_client(base_url=base_url)), Analysis)


@cache
def bomb() -> bytes:
    return gzip.compress(b" " * (200 * MEGABYTE), 1)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda: packed(bomb()), "Grok's answer is larger than 4 MB"),
        (lambda: packed(bomb()[:100_000]), "Grok's answer is larger than 4 MB"),
        (lambda: packed(b"no gzip"), "Grok's answer cannot be decompressed"),
        (lambda: packed(b"x", "br"), "Grok's answer is encoded as br, which was not asked for"),
        (lambda: OK + b"\r\n" + LONG, "Grok's answer is larger than 4 MB"),
        (lambda: OK.replace(b"200", b"503") + b"\r\n" + LONG, "Grok's answer is larger"),
    ],
)
async def test_an_answer_without_measure_is_cut_off_and_a_failure_that_may_have_cost(
    make_client: MakeClient, answer: Callable[[], bytes], reason: str
) -> None:
    async with answering(answer()) as base_url:
        client = make_client(base_url=base_url)
        tracemalloc.start()
        (failure,), call = await client.analyse([BLAME])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert isinstance(failure, TransientFailure)
    assert failure.reason.startswith(reason)
    assert call is not None
    assert (call.outcome, call.cost_usd_ticks) == (CallOutcome.FAILED, None)
    assert peak < 40 * MEGABYTE


async def test_an_answer_that_comes_in_drops_is_bounded_by_the_time_for_all_of_it(
    make_client: MakeClient,
) -> None:
    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with serving(drip) as port:
        client = make_client(base_url=f"http://127.0.0.1:{port}/v1", timeout=0.3)
        (failure,), call = await client.analyse([BLAME])

    assert failure == TransientFailure("Grok did not answer within 0.3 s")
    assert call is not None
    assert call.outcome is CallOutcome.TIMEOUT
