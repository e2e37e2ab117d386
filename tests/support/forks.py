"""Programs as forks of one process that has imported what they are made of: each is spared the
imports, which are a second for the service and half of one for a tool.

What `python -m <module>` does once it has imported all that it needs is done by each fork anew, in
a process group, folder and environment of its own. Nothing of the product runs before: its modules
do no I/O.

The process reads requests from its standard input and answers on its standard output, each a line
of JSON. It ends with its input, and the forks with it.
"""

import atexit
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

_ASKING = threading.Lock()


class Fork:
    """One life of a program: as much of `subprocess.Popen` as tests need."""

    def __init__(self, process: subprocess.Popen[bytes], pid: int) -> None:
        self.pid = pid
        self._process = process
        self._status: int | None = None

    def poll(self) -> int | None:
        """None while it runs, else its exit status, negative for a signal."""
        if self._status is None:
            self._status = _ask(self._process, {"poll": self.pid})
        return self._status

    def wait(self, seconds: float | None = None) -> int:
        """For its end; raises subprocess.TimeoutExpired."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), seconds or 0)
            time.sleep(0.005)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def fork(
    module: str,
    arguments: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    imports: Sequence[str] = (),
) -> Fork:
    """Begin `python -m module` with these arguments in this folder; what it says is added to `log`.
    `imports` are those that it does not do at its top."""
    process = _parent()
    request = {
        "module": module,
        "imports": list(imports),
        "arguments": list(arguments),
        "folder": str(folder),
        "environment": dict(environment),
        "log": str(log),
    }
    return Fork(process, _ask(process, request))


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
    with _ASKING:
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())


# --- in the process that forks --------------------------------------------------------------------


def _serve() -> str | None:
    """Until the input ends; in a fork, the module that it is to run."""
    living: set[int] = set()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            living.discard(pid)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            module = str(request["module"])
            for name in (module, *request["imports"]):
                import_module(name)
            answer = os.fork()
            if not answer:
                _move(request["folder"], request["environment"], request["log"])
                sys.argv = [module, *request["arguments"]]
                return module
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
    if (module := _serve()) is not None:
        if not hasattr(sys.modules[module], "__path__"):
            del sys.modules[module]  # runpy warns of what is there already
        runpy.run_module(module, run_name="__main__", alter_sys=True)
