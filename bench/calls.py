"""calls: how much of Grok's rate limit a backlog makes use of, and whether it is ever exceeded.

300 conversations, one per call, against a Grok that takes 0.6 s and refuses the eleventh call in
any one second. At the same time the naive way, ten at once and then five seconds of sleep, against
a Grok of its own. Rates are those after the first ten calls, which no limit holds back.
"""

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from typing import Any
from urllib.request import urlopen

import httpx

from bench import samples
from bench.client import Connection, build_request
from bench.report import Report, Samples
from bench.servers import Server, Servers
from tests.fake_grok import GOOD_KEY, RunningGrok, grok_process

BACKLOG = 300
NAIVE_BACKLOG = 60
NAIVE_BATCH = 10
NAIVE_SLEEP_SECONDS = 5.0
OPTIONS = ("--latency", "0.6", "--strict-rate", "10")


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    with (
        grok_process(*OPTIONS) as grok,
        grok_process(*OPTIONS) as naive_grok,
        servers.service(
            "calls", grok_key=GOOD_KEY, grok_base_url=grok.base_url, grok_pack_size=1
        ) as service,
    ):
        naive = threading.Thread(target=lambda: asyncio.run(_call_naively(naive_grok)))
        naive.start()
        cpu = service.cpu_seconds()
        taken = _analyse_backlog(service)
        cpu = service.cpu_seconds() - cpu
        naive.join()
        counters, naive_counters = _control(grok, "counters"), _control(naive_grok, "counters")
        rate, naive_rate = (_rate(_control(each, "arrivals")) for each in (grok, naive_grok))
    report.say(
        f"  {counters['calls']} calls in {taken:.1f} s, at most {counters['max_in_flight']} at"
        f" once; naive: {naive_counters['calls']} calls"
    )
    report.add("calls", "calls a second", Samples([rate]), "/s", at_least=9)
    report.add("calls", "calls a second, the naive way", Samples([naive_rate]), "/s")
    report.add("calls", "calls a second, of the naive way's", Samples([rate / naive_rate]))
    report.add("calls", "CPU per call", Samples([1000 * cpu / counters["calls"]]), "ms")
    refused = counters["rate_limited"]
    report.check("calls", "429s of our own making", str(refused), refused == 0)


def _analyse_backlog(service: Server) -> float:
    """Hand the backlog in and wait until all of it is done; the seconds that took."""
    body = json.dumps({"conversations": samples.conversations(BACKLOG)}).encode()
    started = time.perf_counter()
    with Connection(service.port) as connection:
        answer = connection.ask(build_request("POST", "/api/v1/conversations/batch", body))
        assert answer.status == 202, answer
    while service.get("/api/v1/stats")["counts"]["completed"]["bulk"] < BACKLOG:
        time.sleep(0.2)
    return time.perf_counter() - started


def _rate(arrivals: Sequence[float]) -> float:
    """Calls a second after the first ten."""
    return (len(arrivals) - 10) / (max(arrivals) - min(arrivals))


def _control(grok: RunningGrok, name: str) -> Any:
    with urlopen(f"{grok.control_url}/{name}") as response:
        return json.load(response)


async def _call_naively(grok: RunningGrok) -> None:
    async with httpx.AsyncClient(
        base_url=grok.base_url + "/", headers={"Authorization": f"Bearer {GOOD_KEY}"}, timeout=30
    ) as client:

        async def call(text: str) -> None:
            messages = [
                {"role": "system", "content": "Analyse this message. Answer in JSON."},
                {"role": "user", "content": text},
            ]
            body = {"model": "grok-4.20-0309-non-reasoning", "messages": messages}
            response = await client.post("chat/completions", json=body)
            response.raise_for_status()

        texts = [each["text"] for each in samples.conversations(NAIVE_BACKLOG)]
        for start in range(0, NAIVE_BACKLOG, NAIVE_BATCH):
            await asyncio.gather(*map(call, texts[start : start + NAIVE_BATCH]))
            await asyncio.sleep(NAIVE_SLEEP_SECONDS)
