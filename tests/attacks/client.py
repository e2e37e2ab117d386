"""What attackers and fair clients do: raw connections, plain requests, counting what is open."""

import contextlib
import http.client
import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

CONVERSATIONS = "/api/v1/conversations"
BATCH = f"{CONVERSATIONS}/batch"
INSIGHTS = "/api/v1/insights"
ALL_TIME = {"start_time": "0001-01-01", "end_time": "9999-12-31"}


@dataclass(frozen=True)
class Check:
    """One thing that an attacker saw for itself."""

    what: str
    seen: str
    ok: bool


def path_of(path: str, **query: object) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def head(method: str, path: str, *fields: str, key: str | None = None, ended: bool = True) -> bytes:
    """A request's head as bytes; without its end where it is to stay open."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *fields]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    return ("\r\n".join(lines) + ("\r\n\r\n" if ended else "")).encode()


def connect(port: int, *, receive_bytes: int | None = None) -> socket.socket:
    """A connection; a small `receive_bytes` makes the other side wait as soon as nobody reads."""
    connection = socket.socket()
    if receive_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(5)
    connection.connect(("127.0.0.1", port))
    return connection


class Client:
    """One connection that is kept, and made anew where it was closed."""

    def __init__(self, port: int, key: str | None = None, *, timeout: float = 30.0) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_exc: object) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON (or bytes); 0 where no answer came."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        try:
            self._connection.request(method, path, data, self._headers)
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return 0, type(error).__name__
        if (answer.getheader("Content-Type") or "").startswith("application/json"):
            return answer.status, json.loads(content)
        return answer.status, content

    def post(self, text: str, **fields: object) -> str:
        """Hand in one conversation, as soon as the limit lets it; its id."""
        deadline = time.monotonic() + 10
        while True:
            status, answer = self.ask("POST", CONVERSATIONS, {"text": text, **fields})
            if status == 202:
                return str(answer["conversation_id"])
            if time.monotonic() > deadline:
                raise RuntimeError(f"a post was not taken: {status} {answer}")
            time.sleep(0.1)

    def show(self, id_: str) -> dict[str, Any]:
        status, answer = self.ask("GET", f"{CONVERSATIONS}/{id_}")
        return answer if status == 200 else {"status": str(status)}

    def completed(self, id_: str, *, within: float) -> dict[str, Any]:
        """What it is once it is analysed, or after so many seconds."""
        deadline = time.monotonic() + within
        while (shown := self.show(id_))["status"] not in ("completed", "failed"):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        return shown


def fill(port: int, key: str | None, texts: Sequence[str], *, at_once: int, **more: Any) -> int:
    """Hand texts in as batches; how many were taken."""
    taken = 0
    with Client(port, key) as client:
        for start in range(0, len(texts), at_once):
            part = [{"text": text} for text in texts[start : start + at_once]]
            body = {"conversations": part, **more}
            deadline = time.monotonic() + 6
            while (status := client.ask("POST", BATCH, body)[0]) in (429, 503):
                if time.monotonic() > deadline:
                    break
                time.sleep(0.3)
            taken += len(part) if status == 202 else 0
    return taken


def wait_for_analysis(port: int, key: str | None, *, within: float = 30.0) -> None:
    """Wait until nothing is pending, or for so long."""
    deadline = time.monotonic() + within
    with Client(port, key) as client:
        while time.monotonic() < deadline:
            status, stats = client.ask("GET", "/api/v1/stats")
            if status == 200 and not any(stats["counts"]["pending"].values()):
                return
            time.sleep(0.3)


def still_open(connections: Sequence[socket.socket]) -> int:
    """On how many the other side has neither hung up nor sent anything that ends them."""
    count = 0
    for connection in connections:
        connection.setblocking(False)
        try:
            while data := connection.recv(65_536):
                del data
        except BlockingIOError:
            count += 1
        except OSError:
            pass
    return count


def closed_within(connections: Sequence[socket.socket], seconds: float, *, but: int = 0) -> Check:
    """Wait until all are closed by the other side, or for so long."""
    started = time.monotonic()
    while (left := still_open(connections)) > but and time.monotonic() < started + seconds:
        time.sleep(0.25)
    took = time.monotonic() - started
    seen = f"{left} of {len(connections)} open" if left > but else f"after {took:.0f} s"
    return Check(f"closed in {seconds:.0f} s", seen, left <= but)


@contextlib.contextmanager
def held(connections: list[socket.socket]) -> Iterator[list[socket.socket]]:
    """Closes in the end all that were put into the list."""
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


def flood(
    seconds: float, threads: int, ask: Callable[[Client], int], *, port: int, key: str | None
) -> Counter[int]:
    """Call `ask` again and again from each thread; how often each status came."""
    stop = time.monotonic() + seconds

    def one(_number: int) -> Counter[int]:
        statuses: Counter[int] = Counter()
        with Client(port, key) as client:
            while time.monotonic() < stop:
                statuses[ask(client)] += 1
        return statuses

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(one, range(threads)), Counter())
