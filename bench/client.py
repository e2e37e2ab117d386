"""The least of an HTTP client: one kept-alive connection, so that little of what it measures is it.

Answers must have a Content-Length, as all of those that are measured here do.
"""

import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def build_request(
    method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    given = {"Host": "127.0.0.1", **(headers or {})}
    if body:
        given |= {"Content-Length": str(len(body))}
        given.setdefault("Content-Type", "application/json")
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Connection:
    """Either `ask`, or `send` and then `receive_some` whenever the socket can be read."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def __enter__(self) -> "Connection":
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, request: bytes) -> None:
        self._socket.sendall(request)

    def receive_some(self) -> Answer | None:
        """Read once. The answer if it is complete now."""
        data = self._socket.recv(262_144)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return None
        head = self._received[:head_end]
        length = _LENGTH.search(head)
        assert length, head
        body = self._received[head_end + 4 :]
        if len(body) < int(length[1]):
            return None
        self._received = b""
        return Answer(int(head[9:12]), body)

    def ask(self, request: bytes) -> Answer:
        self.send(request)
        while (answer := self.receive_some()) is None:
            pass
        return answer
