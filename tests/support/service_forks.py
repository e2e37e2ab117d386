"""Services as forks of one process that has imported all of it: each is spared a second of imports.

What `uvicorn main:app` does once it has imported the app is done by each fork anew, in a session,
folder and environment of its own. Nothing of the service runs before: its modules do no I/O.

The process reads requests from its standard input and answers on its standard output, each a line
of JSON. It ends with its input, and the forks with it.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT


class ServiceFork:
    """One life of a service: as much of `subprocess.Popen` as tests need."""

    def __init__(self, process: subprocess.Popen[bytes], pid: int) -> None:
        self.pid = pid
        self._process = process
        self._status: int | None = None

    def poll(self) -> int | None:
        """None while it runs, else its exit status, negative for a signal."""
        if self._status is None:
            self._status = _ask(self._process, {"poll": self.pid})
        return self._status

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def fork_service(
    arguments: list[str], *, folder: Path, environment: Mapping[str, str], log: Path
) -> ServiceFork:
    """Begin `uvicorn` with these arguments in this folder; what it says is added to `log`."""
    process = _parent()
    request = {
        "arguments": arguments,
        "folder": str(folder),
        "environment": dict(environment),
        "log": str(log),
    }
    return ServiceFork(process, _ask(process, request))


@cache
def _parent() -> subprocess.Popen[bytes]:
    """One in each test process; it ends with that."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    atexit.register(process.communicate)
    return process


def _ask(process: subprocess.Popen[bytes], request: dict[str, Any]) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


# --- in the process that forks --------------------------------------------------------------------


def _serve() -> list[str] | None:
    """Until the input ends; in a fork, the arguments that it was begun with."""
    living: set[int] = set()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            living.discard(pid)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if not answer:
                _move(request["folder"], request["environment"], request["log"])
                return list(request["arguments"])
            os.setpgid(answer, answer)  # here too: it may be killed at once
            living.add(answer)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in living:
        os.killpg(pid, signal.SIGKILL)
    return None


def _move(folder: str, environment: dict[str, str], log: str) -> None:
    """To a group, an input and outputs, a folder and an environment of its own."""
    os.setpgid(0, 0)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for mine, standard in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(mine, standard)
    os.close(nothing)
    os.close(output)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)


if __name__ == "__main__":
    import uvicorn.lifespan.on
    import uvicorn.loops.auto
    import uvicorn.main

    import api.connection_guard  # noqa: F401
    import main  # noqa: F401

    if (begun_with := _serve()) is not None:
        sys.argv[0] = "uvicorn"
        uvicorn.main.main(begun_with)
