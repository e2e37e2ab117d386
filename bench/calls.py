"""calls: how much of Grok's rate limit a backlog makes use of, one conversation a call.

A Grok that refuses the eleventh call in any one second, at the two latencies and with a way to it
that jitters. Beside it the naive way, ten at once and then five seconds of sleep, at a Grok of its
own. A wider window would stand more jitter and use less of the limit; both are shown.
"""

import asyncio
import threading

import httpx

from bench import samples
from bench.grok import (
    CONSTANT,
    LIMIT,
    LOG_NORMAL,
    Latency,
    call_rate,
    check,
    control,
    follow,
    hand_in,
    service_with,
    strict_grok,
)
from bench.report import Report, Samples
from bench.servers import Servers
from rate_limiter import JITTER_MARGIN_SECONDS
from tests.fakes.grok.process import RunningGrok
from tests.fakes.grok.steering import GOOD_KEY

# Latency, GROK_CONCURRENCY that is high enough for it, jitter in seconds.
CASES = [(CONSTANT, 20, 0.0), (LOG_NORMAL, 60, 0.0), (CONSTANT, 20, 0.02), (CONSTANT, 20, 0.05)]
NAIVE_BATCH = 10
NAIVE_SLEEP_SECONDS = 5.0


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    share = {}
    with strict_grok(CONSTANT) as naive_grok:
        naive_calls = NAIVE_BATCH * max(3, round(seconds * len(CASES) / NAIVE_SLEEP_SECONDS / 2))
        naive = threading.Thread(target=lambda: asyncio.run(_call_naively(naive_grok, naive_calls)))
        naive.start()
        for latency, concurrency, jitter in CASES:
            name = f"{latency.name}, jitter {1000 * jitter:g} ms"
            share[name] = _measure(report, servers, name, latency, concurrency, jitter, seconds)
        naive.join()
        naive_share = call_rate(control(naive_grok, "arrivals")) / LIMIT
    report.add("calls", "of the limit, the naive way, 0.6 s", Samples([naive_share]))
    first = next(iter(share.values()))
    report.add("calls", "of the naive way's rate, 0.6 s", Samples([first / naive_share]))


def _measure(
    report: Report,
    servers: Servers,
    name: str,
    latency: Latency,
    concurrency: int,
    jitter: float,
    seconds: float,
) -> float:
    backlog = round(LIMIT * seconds)
    with (
        strict_grok(latency, jitter=jitter) as grok,
        service_with(
            servers, "calls", grok, grok_pack_size=1, grok_concurrency=concurrency
        ) as service,
    ):
        cpu = service.cpu_seconds()
        hand_in(service, backlog)
        follow(service, backlog)
        cpu = service.cpu_seconds() - cpu
        counters, arrivals = control(grok, "counters"), control(grok, "arrivals")
        check(report, "calls", name, service, grok, jitter=jitter)
    share = call_rate(arrivals) / LIMIT
    ordered = sorted(arrivals)
    shortest = min(b - a for a, b in zip(ordered, ordered[LIMIT:], strict=False))
    report.say(
        f"  {name}: {counters['calls']} calls, at most {counters['max_in_flight']} at once,"
        f" {LIMIT + 1} never within {shortest:.3f} s, CPU {1000 * cpu / backlog:.2f} ms each"
    )
    # A way that differs by more than is allowed for is refused once or twice, a second each time.
    goal = 0.975 if jitter <= JITTER_MARGIN_SECONDS else 0.85
    report.add("calls", f"of the limit, {name}", Samples([share]), at_least=goal)
    return share


async def _call_naively(grok: RunningGrok, calls: int) -> None:
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

        texts = [each["text"] for each in samples.conversations(calls)]
        for start in range(0, calls, NAIVE_BATCH):
            await asyncio.gather(*map(call, texts[start : start + NAIVE_BATCH]))
            await asyncio.sleep(NAIVE_SLEEP_SECONDS)
