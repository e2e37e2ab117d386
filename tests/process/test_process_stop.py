"""SIGTERM and SIGINT: it ends in time, quietly, and gives back what it could not finish."""

import asyncio
import signal
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM

import pytest

from tests.fakes.grok.process import RunningGrok
from tests.support.processes import is_judge, judges_of
from tests.support.service_process import ServiceProcess, grok_settings, look, steer, until

pytestmark = pytest.mark.slow

GRACE = 2.0
AFTER_GRACE = 4.0
"""The service promises two seconds on top of the grace; two more are for a machine that is busy
with other tests. What must not hold up the end takes longer than all of it."""


async def _stop(service: ServiceProcess, *signals: signal.Signals, within: float) -> float:
    """Send the signals; the seconds until it has ended, which must be well and quiet."""
    started = time.monotonic()
    for number in signals:
        service.send(number)
    status = await service.ended(within=within)
    took = time.monotonic() - started
    # The server may end by itself, or let the signal end it, or say so as a shell does.
    assert status in (0, -signals[0], 128 + signals[0]), service.log
    assert "Traceback" not in service.log
    loud = [event for event in service.events() if event["level"] in ("error", "critical")]
    assert loud == []
    return took


async def _in_flight(grok: RunningGrok, calls: int) -> None:
    async def reached() -> bool:
        return bool((await look(grok, "counters"))["in_flight"] == calls)

    await until(reached, within=30, what=f"{calls} calls in flight")


async def _dribble(service: ServiceProcess) -> bytes:
    """Send a body one byte at a time, without end; what came back until the connection closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    answer = asyncio.create_task(reader.read())
    try:
        writer.write(
            b"POST /api/v1/conversations HTTP/1.1\r\nHost: test\r\n"
            b'Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n{"text": "'
        )
        while not answer.done():
            writer.write(b"x")
            await asyncio.sleep(0.02)
        return await answer
    except ConnectionError:
        return b""
    finally:
        answer.cancel()
        writer.close()


async def _stream(service: ServiceProcess, begun: asyncio.Event) -> bytes:
    """Listen for new insights; what came, after a first sign of life, until it was closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        writer.write(b"GET /api/v1/stream HTTP/1.1\r\nHost: test\r\n\r\n")
        await reader.readuntil(b": welcome\n\n")
        begun.set()
        return await reader.read()
    finally:
        writer.close()


async def _idle(service: ServiceProcess) -> bytes:
    """Ask once, and keep the connection; what came after the first answer until it closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
    try:
        await reader.readuntil(b'{"status":"ok"}')
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    "signals", [(SIGTERM,), (SIGINT,), (SIGTERM, SIGTERM)], ids=["term", "int", "term_twice"]
)
async def test_what_outlasts_the_grace_is_given_back_uncharged(
    tmp_path: Path, grok: RunningGrok, signals: tuple[signal.Signals, ...]
) -> None:
    await steer(grok, "defaults", latency=30)
    settings = grok_settings(grok, shutdown_grace=GRACE, grok_concurrency=10, grok_rate_limit=100)
    async with ServiceProcess(tmp_path, **settings) as service:
        await service.start()
        dribbling = asyncio.create_task(_dribble(service))
        idling = asyncio.create_task(_idle(service))
        await service.post_batch([f"slow {number}" for number in range(15)])
        await _in_flight(grok, 10)

        took = await _stop(service, *signals, within=GRACE + AFTER_GRACE + 5)

        answer = await asyncio.wait_for(dribbling, 20)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 503 "), answer
        assert await asyncio.wait_for(idling, 20) == b""
        assert GRACE - 0.1 <= took <= GRACE + AFTER_GRACE
        assert (await look(grok, "counters"))["calls"] == 10, "it claimed while stopping"
        given_back = "status = 'pending' AND attempts = 0 AND deaths = 0 AND lease_token IS NULL"
        assert service.count(given_back) == 15
        assert service.count() == 15, "half a body was stored"

        await steer(grok, "defaults", latency=0)
        await service.start()
        await until(
            lambda: service.count("status = 'completed' AND attempts = 1 AND deaths = 0") == 15,
            within=30,
            what="all completed by the next process at their first attempt",
        )
        assert service.events("orphans_rescued") == []


async def test_a_second_sigint_ends_it_at_once_and_loses_nothing(
    tmp_path: Path, grok: RunningGrok
) -> None:
    await steer(grok, "defaults", latency=30)
    async with ServiceProcess(tmp_path, **grok_settings(grok, shutdown_grace=30)) as service:
        await service.start()
        dribbling = asyncio.create_task(_dribble(service))
        await service.post_batch([f"slow {number}" for number in range(10)])
        await _in_flight(grok, 10)
        service.send(SIGINT)
        await until(
            lambda: "service_stopping" in service.log, within=20, what="the first one was heard"
        )
        service.send(SIGINT)
        await service.ended(within=20)
        await asyncio.wait_for(dribbling, 20)

        await steer(grok, "defaults", latency=0)
        await service.start()
        await until(
            lambda: service.count("status = 'completed'") == 10, within=30, what="all completed"
        )


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
async def test_what_is_answered_within_the_grace_is_completed(
    tmp_path: Path, grok: RunningGrok, number: signal.Signals
) -> None:
    await steer(grok, "defaults", latency=1)
    settings = grok_settings(grok, shutdown_grace=30, grok_concurrency=10, grok_rate_limit=100)
    async with ServiceProcess(tmp_path, **settings) as service:
        await service.start()
        await service.post_batch([f"quick {number}" for number in range(15)])
        await _in_flight(grok, 10)
        assert service.count("status = 'completed'") == 0

        took = await _stop(service, number, within=40)

        assert took < AFTER_GRACE, "it waited although nothing was left to wait for"
        assert service.count("status = 'completed' AND attempts = 1") == 10
        assert service.query("SELECT count(*) FROM insights") == [(10,)]
        assert service.count("status = 'pending' AND attempts = 0") == 5
        assert (await look(grok, "counters"))["by_status"] == {"200": 10}


async def test_an_idle_service_ends_at_once(tmp_path: Path) -> None:
    async with ServiceProcess(tmp_path, shutdown_grace=30) as service:
        await service.start()
        assert await _stop(service, SIGTERM, within=40) < AFTER_GRACE


async def test_sigterm_while_starting_ends_it_quietly(tmp_path: Path) -> None:
    async with ServiceProcess(tmp_path, from_nothing=True) as service:
        started = time.monotonic()
        await service.start()
        start_seconds = time.monotonic() - started
        await service.post("from the first life")
        await service.kill()
        # As if it had died before it looked.
        with closing(sqlite3.connect(service.database_file)) as database, database:
            database.execute("DELETE FROM insights")
            database.execute("UPDATE conversations SET status = 'pending', lease_token = NULL")
        for part in (0.2, 0.5, 0.7, 0.8, 0.9):
            service.launch()
            await asyncio.sleep(start_seconds * part)
            await _stop(service, SIGTERM, within=start_seconds + 20)
            assert service.count("status = 'processing'") == 0
        # The moment that a clock would hardly meet: told to stop while it opens the database.
        service.launch()
        await until(
            lambda: "Waiting for application startup" in service.log, within=30, what="starting"
        )
        await _stop(service, SIGTERM, within=20)
        await service.start()
        await until(lambda: service.count("status = 'completed'"), within=30, what="completed")


async def test_a_locked_database_does_not_hold_up_the_end(
    tmp_path: Path, grok: RunningGrok
) -> None:
    await steer(grok, "defaults", latency=30)
    settings = grok_settings(grok, shutdown_grace=1, grok_concurrency=10, grok_rate_limit=100)
    async with ServiceProcess(tmp_path, **settings) as service:
        await service.start()
        await service.post_batch([f"slow {number}" for number in range(10)])
        await _in_flight(grok, 10)
        with closing(sqlite3.connect(service.database_file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            took = await _stop(service, SIGTERM, within=40)
        assert took <= 1 + AFTER_GRACE

        await steer(grok, "defaults", latency=0)
        await service.start()
        await until(
            lambda: service.count("status = 'completed'") == 10, within=30, what="all completed"
        )


async def test_a_client_that_does_not_read_its_answer_does_not_hold_up_the_end(
    tmp_path: Path,
) -> None:
    async with ServiceProcess(tmp_path, shutdown_grace=1) as service:
        await service.start()
        await service.post_batch(["long " * 1800 for _ in range(200)])
        await until(
            lambda: service.count("status = 'completed'") == 200, within=20, what="all completed"
        )
        with socket.create_connection(("127.0.0.1", service.port)) as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.sendall(
                b"GET /api/v1/insights?start_time=2000-01-01&end_time=2100-01-01&limit=1000"
                b" HTTP/1.1\r\nHost: x\r\n\r\n"
            )
            deaf.recv(1)
            started = time.monotonic()
            service.send(SIGTERM)
            await service.ended(within=20)
            assert time.monotonic() - started < 1 + AFTER_GRACE


async def test_open_streams_end_at_once(tmp_path: Path, grok: RunningGrok) -> None:
    async with ServiceProcess(tmp_path, shutdown_grace=30, **grok_settings(grok)) as service:
        await service.start()
        begun = [asyncio.Event() for _ in range(20)]
        listening = [asyncio.create_task(_stream(service, each)) for each in begun]
        async with asyncio.timeout(20):
            await asyncio.gather(*(each.wait() for each in begun))
        assert await _stop(service, SIGTERM, within=40) < AFTER_GRACE
        for rest in await asyncio.gather(*listening):
            assert rest.endswith(b"0\r\n\r\n")  # as an answer ends that is whole


async def _analysing(service: ServiceProcess) -> int:
    """Have the offline analyser work off a backlog; its process."""
    await service.start()
    await service.post_batch([f"The parcel {number} is late" for number in range(300)])
    (judge,) = await until(lambda: judges_of(service.pid), within=30, what="a process that judges")
    await until(
        lambda: service.count("status = 'completed'") > 50, within=30, what="a backlog half done"
    )
    return int(judge)


async def test_the_offline_analysers_process_ends_with_the_service(tmp_path: Path) -> None:
    async with ServiceProcess(tmp_path, shutdown_grace=30) as service:
        judge = await _analysing(service)
        assert await _stop(service, SIGTERM, within=40) < AFTER_GRACE
        assert not is_judge(judge)
        assert service.events("offline_analyser_ended") == []
        assert service.count("status = 'processing' OR attempts > 1") == 0


async def test_no_process_of_the_offline_analyser_outlives_a_service_that_was_killed(
    tmp_path: Path,
) -> None:
    async with ServiceProcess(tmp_path) as service:
        judge = await _analysing(service)
        service.send(SIGKILL)  # to the service alone
        await service.ended(within=20)
        await until(lambda: not is_judge(judge), within=30, what="the end of the other process")
        await service.start()
        await until(
            lambda: service.count("status = 'completed'") == 300, within=20, what="all completed"
        )
        assert "Traceback" not in service.log
