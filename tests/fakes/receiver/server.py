"""A fake receiver of webhooks: a real HTTP server that answers as it is told to, and remembers what
it was sent, byte for byte.

    async with FakeReceiver() as receiver:
        receiver.script("/hook", Reply(500), HANG, Reply(200))
        ...                                     # post to receiver.url("/hook")
        assert len(receiver.received) == 3

As its own process (`receiver_process`) it appends each request as a JSON line to a file, before it
answers:

    python tests/fakes/receiver/server.py --log FILE [--port 0] [--latency 0.01]

and prints its port. `at` in a line is when the request had arrived, in seconds since 1970.
"""

import argparse
import asyncio
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)


HANG = "hang"
"""Takes the request and never answers."""
RESET = "reset"
"""Takes the request and resets the connection."""
DRIP = "drip"
"""Answers with a head that never ends, a line every 10 ms."""
FLOOD = "flood"
"""Answers 200 with a body that never ends."""


@dataclass(frozen=True)
class Received:
    """`headers` are in lower case; `at` is the address of this host that was connected to; `reply`
    is what was to be answered."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: str
    reply: Reply | str = Reply()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class FakeReceiver:
    def __init__(
        self,
        *,
        certificate: tuple[str, str] | None = None,
        latency: float = 0.0,
        log: Path | None = None,
        port: int = 0,
    ) -> None:
        """With a `certificate` and its key, both in PEM, it speaks TLS alone."""
        self.received: list[Received] = []
        self.news = asyncio.Event()
        """Set at each request."""
        self.flooded = 0
        """Bytes that were taken of a flood, some of them by the kernel."""
        self.under_way = 0
        self.most_under_way = 0
        self._certificate = certificate
        self._latency = latency
        self._log = log
        self._port = port
        self._scripts: dict[str, deque[Reply | str]] = defaultdict(deque)
        self._tasks: set[asyncio.Task[Any]] = set()

    def script(self, path: str, *replies: Reply | str) -> None:
        """What requests to `path` are answered, in turn; after the last one 200."""
        self._scripts[path].extend(replies)

    def forget_scripts(self) -> None:
        """Answer 200 to all that comes from now on."""
        self._scripts.clear()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        scheme = "http" if self._certificate is None else "https"
        return f"{scheme}://{host}:{self.port}{path}"

    async def __aenter__(self) -> "FakeReceiver":
        context = None
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
                file.write("".join(self._certificate))
                file.flush()
                context.load_cert_chain(file.name)
        self._server = await asyncio.start_server(
            self._serve, "0.0.0.0", self._port, ssl=context, backlog=1000
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            # Cancelled at the end alone, of which streams would complain.
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._answer(reader, writer)
        finally:
            self.under_way -= 1
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        arrived, path = time.time(), first.split(" ")[1]
        at = writer.get_extra_info("sockname")[0]
        script = self._scripts[path]
        reply = script.popleft() if script else Reply()
        self.received.append(Received(path, headers, body, at, reply))
        self.news.set()
        if self._log is not None:
            with self._log.open("a") as file:
                line = {
                    "id": headers.get("webhook-id"),
                    "at": arrived,
                    "body": json.loads(body),
                }
                file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
        await asyncio.sleep(self._latency)
        if isinstance(reply, Reply):
            extra = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
            status = (
                f"HTTP/1.1 {reply.status} X\r\nContent-Length: {len(reply.body)}\r\n{extra}\r\n"
            )
            writer.write(status.encode() + reply.body)
            await writer.drain()
        elif reply is HANG:
            await asyncio.sleep(3600)
        elif reply is RESET:
            # Linger for no time: the kernel sends a reset.
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif reply is DRIP:
            writer.write(b"HTTP/1.1 200 OK\r\n")
            while True:
                writer.write(b"X-More: yes\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)
        elif reply is FLOOD:
            own = writer.get_extra_info("socket")
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                writer.write(b"x" * 10_000)
                await writer.drain()
                self.flooded += 10_000


@contextmanager
def receiver_process(log: Path) -> Iterator[int]:
    """Run this file as a process, which is killed at the end of the block; its port."""
    command = [sys.executable, __file__, "--log", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


async def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0)
    options = parser.parse_args()
    async with FakeReceiver(
        log=options.log, port=options.port, latency=options.latency
    ) as receiver:
        print(receiver.port, flush=True)
        await asyncio.sleep(86_400)


if __name__ == "__main__":
    asyncio.run(_main())
