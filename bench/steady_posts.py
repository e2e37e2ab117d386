"""Posts that come evenly while something else is at work, and how long each answer took."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import load, samples
from bench.posts import PATH
from bench.report import Report, quantile
from bench.servers import ROOT, Server, Servers


def write_bodies(servers: Servers) -> Path:
    return load.write_bodies(servers.folder / "steady.bodies", samples.bodies(5000))


class SteadyPosts:
    """`rate` a second, from a process of their own."""

    def __init__(self, service: Server, bodies: Path, rate: int) -> None:
        self._service = service
        self._bodies = bodies
        self._rate = rate
        self._sent = 0

    def start(self, seconds: float) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "bench.paced_client", str(self._service.port), PATH]
        command += [str(self._rate), str(seconds), str(self._bodies), str(self._sent)]
        self._sent += round(self._rate * (seconds + 1))
        return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)

    def taken(self, posts: "subprocess.Popen[bytes]") -> list[float]:
        """How long each answer took, in seconds; waits for the end."""
        output, _ = posts.communicate()
        assert posts.returncode == 0
        found: list[float] = json.loads(output)["taken"]
        return found


def say_taken(report: Report, taken: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Of each situation, from seconds: the p99 in milliseconds."""
    slowest = {}
    for name, some in taken.items():
        middle, slow = (1000 * quantile(sorted(some), part) for part in (0.5, 0.99))
        report.say(f"  {name:8} p50 {middle:6.2f}  p99 {slow:6.2f} ms of {len(some)}")
        slowest[name] = slow
    return slowest
