"""The fake Grok as a process of its own, which prints one JSON line with its `base_url`:
`python -m tests.fakes.grok.process --port 0 --latency 0.6 --strict-rate 10`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from uvicorn import Config

from tests.fakes.grok.obedience import WAYS
from tests.fakes.grok.server import FakeGrok
from tests.fakes.grok.steering import OPTIONS
from tests.support.forks import fork
from tests.support.paths import ROOT


@dataclass(frozen=True, slots=True)
class RunningGrok:
    """Where a fake in another process listens. This is also its line of JSON on stdout."""

    base_url: str
    control_url: str
    pid: int


@contextmanager
def grok_process(*options: str) -> Iterator[RunningGrok]:
    """Ready when the block begins, with the options of `main`.

    It is killed at the end of the block, and with the process that started it.
    """
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder, "said")
        process = fork(__name__, options, folder=ROOT, environment=os.environ, log=said)
        try:
            while not (line := said.read_text() if said.exists() else "").endswith("\n"):
                assert process.poll() is None, line
                time.sleep(0.005)
            yield RunningGrok(**json.loads(line))
        finally:
            process.kill()
            process.wait()


async def _serve(options: argparse.Namespace) -> None:
    grok = FakeGrok(host=options.host, port=options.port)
    given = {name: value for name, value in vars(options).items() if value is not None}
    grok.configure({name: value for name, value in given.items() if name in OPTIONS})
    # Held up by a busy machine, it would see requests arrive later than they did, and refuse some
    # that kept to its rate. Only root may do this.
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    async with grok:
        running = RunningGrok(grok.base_url, grok.control_url, os.getpid())
        print(json.dumps(asdict(running)), flush=True)
        await asyncio.Event().wait()


def main(argv: list[str] | None = None) -> None:
    """Serve until killed. Options are those of `FakeGrok`; times in seconds."""
    parser = argparse.ArgumentParser(description="A fake Grok on a local port.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, help="seconds, or the median of them")
    parser.add_argument("--latency-sigma", type=float, help="above 0: log-normal latency")
    parser.add_argument(
        "--jitter", type=float, help="seconds that the way delays a request at most"
    )
    parser.add_argument("--strict-rate", type=int, help="requests in any trailing second")
    parser.add_argument("--limit-requests", type=int, help="a minute's limit in the headers")
    parser.add_argument("--fault-rate", type=float, help="share of faults, 0 to 1")
    parser.add_argument(
        "--faults", type=lambda names: names.split(","), help="names of replies or groups"
    )
    parser.add_argument("--obey", choices=[*sorted(WAYS), "any"], help="do what texts order")
    parser.add_argument("--bill-abandoned", action="store_true", default=None)
    parser.add_argument("--default", help="name of the usual reply")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--codes", choices=["slug", "sentence"])
    parser.add_argument("--unknown-model-status", type=int, choices=[400, 404])
    parser.add_argument("--key")
    options = parser.parse_args(argv)
    with asyncio.Runner(loop_factory=Config("").get_loop_factory()) as runner:
        runner.run(_serve(options))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
