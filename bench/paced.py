"""paced: how long a client waits at 100 posts a second while the worker analyses.

First in turn against the service with the offline analyser and against a plain FastAPI app, whose
time is the floor on this machine; then against the service with a Grok that takes 0.6 s. Times
count from when a request was due. Percentiles are over all rounds, with those of the rounds.
"""

import json
import subprocess
import sys
import time
from collections import defaultdict
from itertools import chain
from pathlib import Path

from bench import load, samples
from bench.paced_client import WARM_UP_SECONDS
from bench.posts import PATH
from bench.report import Report, Samples, quantile
from bench.servers import ROOT, Server, Servers
from tests.fakes.grok.process import grok_process
from tests.fakes.grok.steering import GOOD_KEY

RATE = 100
GROK_SECONDS = 0.6


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    count = round(RATE * (seconds + 1) * rounds)
    bodies = load.write_bodies(servers.folder / "paced.bodies", samples.bodies(count))
    taken: dict[str, list[list[float]]] = defaultdict(list)
    cpu: dict[str, list[float]] = defaultdict(list)
    late: list[float] = []

    def measure(name: str, server: Server, number: int) -> None:
        first = round(RATE * (seconds + 1)) * number
        cpu_before = server.cpu_seconds()
        seen = post_paced(server, bodies, seconds, first)
        cpu[name].append(
            1000 * (server.cpu_seconds() - cpu_before) / (RATE * (seconds + WARM_UP_SECONDS))
        )
        taken[name].append(sorted(1000 * each for each in seen["taken"]))
        late.extend(seen["late"])
        shown = "  ".join(
            f"p{100 * part:g} {quantile(taken[name][-1], part):5.2f}" for part in (0.5, 0.99, 0.999)
        )
        report.say(
            f"  {name:8} {shown}  worst {taken[name][-1][-1]:5.2f} ms,"
            f" CPU {cpu[name][-1]:4.2f} ms each"
        )

    with (
        servers.service("paced", inbound_rate_limit=0) as service,
        servers.plain() as plain,
    ):
        for number in range(rounds):
            measure("offline", service, number)
            measure("plain", plain, number)
        _expect_work_done(service)
    with (
        grok_process("--latency", str(GROK_SECONDS), "--strict-rate", "10") as grok,
        servers.service(
            "paced-grok", inbound_rate_limit=0, grok_key=GOOD_KEY, grok_base_url=grok.base_url
        ) as service,
    ):
        for number in range(rounds):
            measure("grok", service, number)

    late.sort()
    report.say(
        f"  the client itself sent late by p50 {1000 * quantile(late, 0.5):.2f},"
        f" p99 {1000 * quantile(late, 0.99):.2f}, p99.9 {1000 * quantile(late, 0.999):.2f} ms"
    )
    of = {
        (name, part): Samples(
            [quantile(each, part) for each in results],
            overall=quantile(sorted(chain.from_iterable(results)), part),
        )
        for name, results in taken.items()
        for part in (0.5, 0.99, 0.999)
    }
    for name, analyser in (("offline", "offline analyser"), ("grok", f"Grok at {GROK_SECONDS} s")):
        report.add("paced", f"p50, {analyser}", of[name, 0.5], "ms")
        report.add("paced", f"p99, {analyser}", of[name, 0.99], "ms", below=4)
        report.add("paced", f"p99.9, {analyser}", of[name, 0.999], "ms", below=8)
        report.add("paced", f"CPU per conversation, {analyser}", Samples(cpu[name]), "ms")
    for part in (0.5, 0.99, 0.999):
        report.add("paced", f"p{100 * part:g}, plain app", of["plain", part], "ms")
    report.add("paced", "CPU per request, plain app", Samples(cpu["plain"]), "ms")
    for part in (0.5, 0.99):
        ratio = of["offline", part].over(of["plain", part])
        report.add("paced", f"p{100 * part:g}, of a plain app's", ratio)


def post_paced(server: Server, bodies: Path, seconds: float, first: int) -> dict[str, list[float]]:
    command = [sys.executable, "-m", "bench.paced_client", str(server.port), PATH, str(RATE)]
    command += [str(seconds), str(bodies), str(first)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout
    seen: dict[str, list[float]] = json.loads(output)
    return seen


def _expect_work_done(service: Server) -> None:
    """The queue is empty soon: the worker has kept pace all the while."""
    deadline = time.monotonic() + 5
    while (counts := service.get("/api/v1/stats")["counts"])["pending"]["live"]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the worker has not kept pace: {counts}")
        time.sleep(0.2)
