"""memory: the most that a process ever holds.

One process goes through single posts, batches and reads while its worker analyses. Beside it, a
plain FastAPI app under the same single posts, and the service's processes of all benchmarks that
ran before this one.
"""

import json
import time

from bench import batches, load, posts, samples
from bench.client import Connection, build_request
from bench.report import Report, Samples
from bench.servers import Server, Servers

GOAL_MB = 150
_READ = "/api/v1/insights?start_time=2020-01-01T00:00:00Z&end_time=2100-01-01T00:00:00Z&limit=1000"


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    load.require_wrk()
    single = load.write_bodies(servers.folder / "memory.bodies", samples.bodies(500))
    batch = load.write_bodies(
        servers.folder / "memory-batches.bodies",
        [
            json.dumps({"conversations": samples.conversations(batches.ROWS, seed=seed)}).encode()
            for seed in range(batches.BODIES)
        ],
    )
    with servers.service("memory", inbound_rate_limit=0) as service, servers.plain() as plain:
        peaks = [f"idle {service.peak_memory_mb():.0f}"]
        load.post(service.url + posts.PATH, single, connections=64, seconds=seconds)
        peaks.append(f"posts {service.peak_memory_mb():.0f}")
        load.post(service.url + batches.PATH, batch, connections=4, seconds=seconds)
        peaks.append(f"batches {service.peak_memory_mb():.0f}")
        _read(service, seconds)
        peaks.append(f"reads {service.peak_memory_mb():.0f}")
        load.post(plain.url + posts.PATH, single, connections=64, seconds=seconds)
        peak, plain_peak = service.peak_memory_mb(), plain.peak_memory_mb()
    report.say(f"  MB after each step: {', '.join(peaks)}")
    report.add("memory", "posts, batches, reads in a row", Samples([peak]), "MB", below=GOAL_MB)
    report.add("memory", "plain app", Samples([plain_peak]), "MB")
    report.add("memory", "of a plain app's", Samples([peak / plain_peak]))
    each = ", ".join(f"{name} {value:.0f}" for name, value in servers.peaks_mb.items())
    report.say(f"  MB of each process: {each}")
    most = Samples([max(servers.peaks_mb.values())])
    report.add("memory", "the most of all benchmarks here", most, "MB", below=GOAL_MB)


def _read(service: Server, seconds: float) -> None:
    """The largest pages, one after the other, and single conversations."""
    deadline = time.monotonic() + seconds
    with Connection(service.port) as connection:
        cursor = ""
        while time.monotonic() < deadline:
            page = connection.ask(build_request("GET", _READ + cursor)).json()
            for each in page["insights"][:20]:
                connection.ask(build_request("GET", f"{posts.PATH}/{each['conversation_id']}"))
            next_cursor = page["metadata"]["next_cursor"]
            cursor = f"&cursor={next_cursor}" if next_cursor else ""
