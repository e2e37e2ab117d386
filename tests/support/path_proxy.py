"""A reverse proxy that serves another server under a path, and takes that path away or not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.support.tcp import serving

PREFIX = "/insights"


class PathProxy:
    def __init__(self, port: int, upstream_port: int, *, strips: bool) -> None:
        self.address = f"http://127.0.0.1:{port}{PREFIX}"
        self.strays: list[str] = []  # what was asked for outside the path, and answered 404
        self._upstream_port = upstream_port
        self._strips = strips

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request for each connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, path, version = head.split("\r\n", 1)[0].split(" ")
            if not path.startswith(f"{PREFIX}/"):
                self.strays.append(path)
                writer.write(
                    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
            else:
                headers = [
                    line
                    for line in head.split("\r\n")[1:-2]
                    if not line.lower().startswith("connection:")
                ]
                handed_on = path.removeprefix(PREFIX) if self._strips else path
                lines = [f"{method} {handed_on} {version}", *headers]
                request = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")
                await self._pass_on(request, reader, writer)

    async def _pass_on(
        self, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        answer, question = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        question.write(request)
        asked = asyncio.create_task(_copy(reader, question))
        answered = asyncio.create_task(_copy(answer, writer))
        try:
            await asyncio.wait({asked, answered}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            answered.cancel()
            question.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def path_proxy(upstream_port: int, *, strips: bool = True) -> AsyncIterator[PathProxy]:
    proxy: PathProxy | None = None

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert proxy is not None
        await proxy.serve(reader, writer)

    async with serving(serve) as port:
        proxy = PathProxy(port, upstream_port, strips=strips)
        yield proxy
