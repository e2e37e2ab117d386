"""A backlog and a strict fake Grok: what the benchmarks of the calls have in common."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

from bench import samples
from bench.client import Connection, build_request
from bench.posts import PATH
from bench.report import Report
from bench.servers import Server, Servers
from rate_limiter import JITTER_MARGIN_SECONDS
from tests.fakes.grok.process import RunningGrok, grok_process
from tests.fakes.grok.steering import GOOD_KEY

LIMIT = 10
"""Calls in any second: the service's default, and what the fake refuses to go beyond."""
_BATCH = 1000


@dataclass(frozen=True)
class Latency:
    name: str
    options: tuple[str, ...]


CONSTANT = Latency("0.6 s", ("--latency", "0.6"))
LOG_NORMAL = Latency("3 s log-normal", ("--latency", "3", "--latency-sigma", "0.5"))


@contextmanager
def strict_grok(latency: Latency, *, jitter: float = 0.0) -> Iterator[RunningGrok]:
    """`jitter` in seconds: what the way to it may take."""
    with grok_process(
        *latency.options, "--strict-rate", str(LIMIT), "--jitter", str(jitter)
    ) as grok:
        yield grok


@contextmanager
def service_with(
    servers: Servers, name: str, grok: RunningGrok, **settings: object
) -> Iterator[Server]:
    settings |= {"grok_key": GOOD_KEY, "grok_base_url": grok.base_url, "inbound_rate_limit": 0}
    with servers.service(name, database=None, **settings) as service:
        yield service


def control(grok: RunningGrok, name: str) -> Any:
    with urlopen(f"{grok.control_url}/{name}") as response:
        return json.load(response)


def steer(grok: RunningGrok, verb: str, **body: object) -> None:
    request = Request(f"{grok.control_url}/{verb}", json.dumps(body).encode())
    with urlopen(request) as response:
        assert response.status == 200


def hand_in(service: Server, count: int, *, seed: int = 1) -> None:
    """So many made-up conversations in the bulk lane."""
    conversations = samples.conversations(count, seed=seed)
    with Connection(service.port) as connection:
        for start in range(0, count, _BATCH):
            body = json.dumps({"conversations": conversations[start : start + _BATCH]}).encode()
            answer = connection.ask(build_request("POST", "/api/v1/conversations/batch", body))
            assert answer.status == 202, answer


def post_evenly(service: Server, rate: float, seconds: float, *, seed: int) -> int:
    """Live conversations, each when it is due, for so long; how many."""
    bodies = samples.bodies(round(rate * seconds), seed=seed)
    started = time.monotonic()
    with Connection(service.port) as connection:
        for number, body in enumerate(bodies):
            time.sleep(max(0.0, started + number / rate - time.monotonic()))
            answer = connection.ask(build_request("POST", PATH, body))
            assert answer.status == 202, answer
    time.sleep(max(0.0, started + seconds - time.monotonic()))
    return len(bodies)


def follow(service: Server, count: int) -> list[tuple[float, int]]:
    """Look on until so many are completed or failed: moments, and how many were by then."""
    progress = [(time.monotonic(), 0)]
    while progress[-1][1] < count:
        time.sleep(0.25)
        counts = service.get("/api/v1/stats")["counts"]
        done = sum(counts["completed"].values()) + sum(counts["failed"].values())
        progress.append((time.monotonic(), done))
    return progress


def check(
    report: Report,
    subject: str,
    name: str,
    service: Server,
    grok: RunningGrok,
    *,
    jitter: float = 0.0,
) -> None:
    """What has to hold in every run, once all is done; that nothing is refused for the rate, where
    the ways differ by no more than the service allows for."""
    counts = service.get("/api/v1/stats")["counts"]
    refused = control(grok, "counters")["rate_limited"]
    failed = sum(counts["failed"].values())
    stuck = sum(counts["pending"].values()) + sum(counts["processing"].values())
    if refused or failed or stuck:
        report.say(
            f"  WRONG, {name}: {refused} refused for the rate, {failed} failed, {stuck} stuck"
        )
    report.check(
        subject,
        f"429s of our own making, failed, stuck, {name}",
        f"{refused}, {failed}, {stuck}",
        failed == stuck == 0 and (refused == 0 or jitter > JITTER_MARGIN_SECONDS),
    )


def steady_rate(progress: Sequence[tuple[float, int]]) -> float:
    """Conversations a second between a tenth and nine tenths of the way: without the first calls,
    which no limit holds back, and without waiting for the last."""
    count = progress[-1][1]
    middle = [each for each in progress if count * 0.1 <= each[1] <= count * 0.9]
    (start, before), (end, after) = middle[0], middle[-1]
    return (after - before) / (end - start)


def call_rate(arrivals: Sequence[float]) -> float:
    """Calls a second between a tenth and nine tenths of them; in whole windows, so that calls in
    bursts count as those that come evenly."""
    ordered = sorted(arrivals)
    windows = len(ordered) // LIMIT
    first, last = -(-windows // 10) * LIMIT, (len(ordered) - 1) * 9 // 10 // LIMIT * LIMIT
    return (last - first) / (ordered[last] - ordered[first])
