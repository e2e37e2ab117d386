"""The fake Grok as a process of its own, which prints one JSON line with its `base_url`:
`python -m tests.fakes.grok.process --port 0 --latency 0.6 --strict-rate 10`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

from uvicorn import Config

from tests.fakes.grok.obedience import WAYS
from tests.fakes.grok.server import FakeGrok
from tests.fakes.grok.steering import OPTIONS
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

    It is killed at the end of the block, and ends by itself if the process that started it dies.
    """
    command = [sys.executable, "-m", "tests.fakes.grok.process", "--until-stdin-closes", *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            yield RunningGrok(**json.loads(process.stdout.readline()))
        finally:
            process.kill()


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
        if options.until_stdin_closes:
            await asyncio.to_thread(sys.stdin.read)
        else:
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
    parser.add_argument("--until-stdin-closes", action="store_true")
    options = parser.parse_args(argv)
    with asyncio.Runner(loop_factory=Config("").get_loop_factory()) as runner:
        runner.run(_serve(options))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
