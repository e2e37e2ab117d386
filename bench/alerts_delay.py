"""How soon after the commit of an insight a message about it is at the receiver's socket."""

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.client import Connection, build_request
from bench.posts import PATH
from bench.report import Report, Samples, quantile
from bench.servers import Server, Servers
from tests.fakes.receiver.server import receiver_process

_TEXT = "I am locked out and was charged twice, this is horrible, I need help right now!"
_AUTHORS, _POSTS = 20, 100
"""A rule tells ten posts a minute one by one, so that there is one for each author."""
_WINDOWS = 10
_WINDOW_SECONDS = 65.0


def run(report: Report, servers: Servers) -> None:
    log = servers.folder / "received.log"
    log.touch()
    with (
        receiver_process(log) as port,
        servers.service(
            "alerts", inbound_rate_limit=0, webhook_private_hosts="127.0.0.1"
        ) as service,
    ):
        url = f"http://127.0.0.1:{port}/"
        _post(service.port, "/api/v1/endpoints", name="here", kind="standard", url=url)
        for number in range(_AUTHORS):
            author = f"single {number}"
            _post(
                service.port,
                "/api/v1/alert-rules",
                name=author,
                kind="single",
                above=0.5,
                filter={"author": author},
            )
        direct = sorted(_direct(port) for _ in range(_POSTS))
        for number in range(_POSTS):
            _post(
                service.port, PATH, text=f"{number}: {_TEXT}", author=f"single {number % _AUTHORS}"
            )
            time.sleep(0.2)
        _wait(lambda: len(_arrivals(log)) >= _POSTS, 30.0)
        singles = _delays(service, log, "single")
        for number in range(_WINDOWS):
            author = f"window {number}"
            _post(
                service.port,
                "/api/v1/alert-rules",
                name=author,
                kind="count",
                above=1,
                window="15m",
                filter={"author": author},
            )
            _post(service.port, PATH, text=f"{number}: {_TEXT}", author=author)
            time.sleep(60 / _WINDOWS)
        _wait(lambda: len(_arrivals(log)) >= _POSTS + _WINDOWS, 2 * _WINDOW_SECONDS)
        windows = _delays(service, log, "count")
    told = len(singles) + len(windows)
    report.check("alerts", "messages that arrived", str(told), told == _POSTS + _WINDOWS)
    p99 = Samples([1000 * quantile(singles, 0.99)])
    report.add("alerts", "commit to socket, `single`, median", _in_ms(singles, 0.5), "ms")
    report.add("alerts", "commit to socket, `single`, p99", p99, "ms", below=2000)
    report.add("alerts", "one POST to the receiver, p99", _in_ms(direct, 0.99), "ms")
    report.add("alerts", "`single`, of one POST", p99.over(_in_ms(direct, 0.99)))
    worst = Samples([windows[-1]])
    report.add("alerts", "commit to socket, window, worst", worst, "s", below=_WINDOW_SECONDS)


def _post(port: int, path: str, **body: Any) -> None:
    with Connection(port) as client:
        answer = client.ask(build_request("POST", path, json.dumps(body).encode()))
    assert answer.status in (201, 202), answer


def _direct(port: int) -> float:
    """Seconds; like the courier, with a connection of its own."""
    started = time.perf_counter()
    with Connection(port) as receiver:
        receiver.ask(build_request("POST", "/direct", b'{"type": "direct"}'))
    return time.perf_counter() - started


def _arrivals(log: Path) -> dict[str, tuple[str, float]]:
    """The kind of its rule and the time, by the one conversation that a message is about."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return {
        line["body"]["data"]["evidence"]["conversations"][0]: (
            line["body"]["data"]["kind"],
            line["at"],
        )
        for line in lines
        if line["body"]["type"] == "alert.opened"
    }


def _delays(service: Server, log: Path, kind: str) -> list[float]:
    """In seconds, sorted."""
    assert service.database
    with closing(sqlite3.connect(f"file:{service.database}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT conversation_id, created_at FROM insights").fetchall()
    written = {id_: micros / 1e6 for id_, micros in rows}
    return sorted(
        at - written[id_] for id_, (of_kind, at) in _arrivals(log).items() if of_kind == kind
    )


def _in_ms(ordered: list[float], part: float) -> Samples:
    return Samples([1000 * quantile(ordered, part)])


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    """What has not arrived by then is counted by the caller."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
