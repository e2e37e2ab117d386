"""What clients can make the process hold, and that it answers others meanwhile."""

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.service_process import ServiceProcess, until

pytestmark = pytest.mark.slow

TIMES = "start_time=0001-01-01&end_time=9999-12-31"
ROWS = 300
TEXT = "\x01" * 9990
"""60 kB of JSON."""

GROWTH_MIB = 90
"""What 40 clients that do not read may add, where each could ask for 18 MB."""


def memory_mib(service: ServiceProcess) -> float:
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{service.pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def _filled(service: ServiceProcess) -> None:
    for start in range(0, ROWS, 30):
        await service.post_batch([f"{start + number} {TEXT}" for number in range(30)])
    await until(
        lambda: service.count("status = 'completed'") == ROWS, within=60, what="all completed"
    )


async def _deaf(sockets: ExitStack, service: ServiceProcess, request: bytes, count: int) -> None:
    """Connections that send this and never read."""
    for _ in range(count):
        each = sockets.enter_context(socket.socket())
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        each.connect(("127.0.0.1", service.port))
        each.sendall(request)
        await asyncio.sleep(0.01)


async def test_answers_that_nobody_reads_leave_memory_flat(
    tmp_path: Path, sockets: ExitStack
) -> None:
    async with ServiceProcess(tmp_path) as service:
        await service.start()
        await _filled(service)
        requests = [
            f"GET /api/v1/stream HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {position}\r\n\r\n"
            for position in range(40)
        ]
        requests += [f"GET /api/v1/insights/export?{TIMES} HTTP/1.1\r\nHost: x\r\n\r\n"] * 40
        requests += [f"GET /api/v1/insights?{TIMES}&limit=1000 HTTP/1.1\r\nHost: x\r\n\r\n"] * 40
        before = memory_mib(service)
        for request in requests:
            await _deaf(sockets, service, request.encode(), 1)
        assert (await service.client.get("/health")).json() == {"status": "ok"}
        await asyncio.sleep(1)
        assert memory_mib(service) - before < GROWTH_MIB


async def test_bodies_that_do_not_end_leave_memory_bounded(
    tmp_path: Path, sockets: ExitStack
) -> None:
    size = 2_000_000
    head = (
        "POST /api/v1/conversations/batch HTTP/1.1\r\nHost: x\r\n"
        f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    )
    async with ServiceProcess(tmp_path) as service:
        await service.start()
        before = memory_mib(service)
        for _ in range(80):
            each = sockets.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            await asyncio.to_thread(each.sendall, head.encode() + b" " * (size - 1))
        await service.post("A body of somebody else.")
        assert memory_mib(service) - before < 100  # of 160
        await until(lambda: service.events("connection_guard"), within=30, what="it was logged")


async def test_raw_data_that_is_large_when_parsed_is_read_and_given_by_few_at_a_time(
    tmp_path: Path,
) -> None:
    values = [{"": "0123456789"}] * 99_000
    raw = json.dumps({"text": "x", "raw_data": {"": values}})
    async with ServiceProcess(tmp_path) as service:
        await service.start()
        before = memory_mib(service)
        post = {"url": "/api/v1/conversations", "headers": {"Content-Type": "application/json"}}
        answers = await asyncio.gather(
            *(service.client.post(content=raw, **post) for _ in range(8))  # type: ignore[arg-type]
        )
        assert {answer.status_code for answer in answers} == {202}
        ids = [answer.json()["conversation_id"] for answer in answers]
        found = await asyncio.gather(
            *(service.client.get(f"/api/v1/conversations/{id_}") for id_ in ids)
        )
        for answer in found:
            assert answer.json()["raw_data"][""] == values
        assert memory_mib(service) - before < 200  # one is 50, and all would be 400


async def test_connections_that_say_nothing_keep_nobody_out(
    tmp_path: Path, sockets: ExitStack
) -> None:
    async with ServiceProcess(tmp_path) as service:
        await service.start()
        for _ in range(550):
            sockets.enter_context(socket.create_connection(("127.0.0.1", service.port)))
        async with httpx.AsyncClient(base_url=service.client.base_url, timeout=30) as another:
            for _ in range(5):
                assert (await another.get("/health")).status_code == 200
                assert (await another.get("/ready")).status_code == 200


_HEAP_BYTES = 64 * 1024 * 1024
"""What glibc sets aside for a heap of threads, at a multiple of that."""


def heaps_of_threads(service: ServiceProcess) -> int:
    maps = Path(f"/proc/{service.pid}/maps").read_text()
    # What a heap does not use yet lies behind it; by chance others begin at such a place, too.
    heap = r"^(\w+)-(\w+) rw-p 00000000 00:00 0 *\n\2-\w+ ---p"
    spans = [start for start, _ in re.findall(heap, maps, re.MULTILINE)]
    return sum(int(start, 16) % _HEAP_BYTES == 0 for start in spans)


async def test_all_threads_share_a_heap_beside_the_first_ones(tmp_path: Path) -> None:
    async with ServiceProcess(tmp_path) as service:
        await service.start()
        for number in range(3):
            await service.post_batch([f"{number} {each} is late" for each in range(30)])
            urls = [f"/api/v1/insights?{TIMES}&q=late", f"/api/v1/insights?{TIMES}&limit=50"] * 4
            await asyncio.gather(*(service.client.get(url) for url in urls))
        assert heaps_of_threads(service) == 1
