"""The service under attack: a real process with the image's own command, under a memory limit."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from bench.servers import wait_for_health
from config import Settings
from tests.support.paths import ROOT
from tests.support.processes import family
from tests.support.servers import free_port

MIB = 2**20
LIMIT_BYTES = 1024 * MIB
CGROUPS = Path("/sys/fs/cgroup")

FAIR, ATTACKER, READER = "fair-key", "attacker-key", "reader-key"
"""API keys, where keys are set: of the client whose figures count, and of two that attack."""
_SCOPES = {FAIR: "admin", ATTACKER: "write", READER: "read"}
KEYS = ",".join(
    f"{key.partition('-')[0]}:{scope}:{sha256(key.encode()).hexdigest()}"
    for key, scope in _SCOPES.items()
)


@dataclass(frozen=True)
class Target:
    """What an attacker knows, and the process to look at. It can be sent to another process."""

    port: int
    pid: int
    project: Path
    log: Path
    limit: str
    """How memory is limited, in words."""
    keys: bool

    def key(self, name: str) -> str | None:
        return name if self.keys else None

    @property
    def alive(self) -> bool:
        """Whether the process is there, and no zombie."""
        try:
            return _status(self.pid, "State").split()[0] not in "ZX"
        except OSError:
            return False

    @property
    def memory_mib(self) -> float:
        """Held now, with its children's; 0 where there is no process."""
        return _memory_mib(self.pid, "VmRSS")

    @property
    def peak_mib(self) -> float:
        """The most it ever held, with its children's; 0 where there is no process."""
        return _memory_mib(self.pid, "VmHWM")


def _memory_mib(pid: int, field: str) -> float:
    kilobytes = 0
    for each in family(pid):
        with suppress(OSError):
            kilobytes += int(_status(each, field).split()[0])
    return kilobytes / 1024


def _status(pid: int, field: str) -> str:
    found = re.search(rf"^{field}:\s+(.*)$", Path(f"/proc/{pid}/status").read_text(), re.M)
    return found[1] if found else "0"  # a zombie has no memory


def image_command(project: Path) -> list[str]:
    """The command of the image, from its Dockerfile."""
    found = re.search(r"^CMD (\[.*\])$", (project / "Dockerfile").read_text(), re.M)
    assert found, "the Dockerfile has no CMD"
    return list(json.loads(found[1]))


@contextmanager
def running(
    folder: Path, *, project: Path = ROOT, keys: bool, **settings: object
) -> Iterator[Target]:
    """The code in `project`, started as the image starts it, with a database in `folder`."""
    port, log = free_port(), folder / "service.log"
    program, *arguments = image_command(project)
    command = [sys.executable, "-m", program, *arguments, "--app-dir", str(project)]
    command += ["--host", "127.0.0.1", "--port", str(port)]  # the last ones count
    named: dict[str, object] = {
        "database_url": f"sqlite+aiosqlite:///{folder}/insights.db",
        "log_format": "json",
        "offline_model": "small",  # the large one takes some 140 MB of its own
        **({"api_keys": KEYS} if keys else {}),
        **settings,
    }
    environment = {k: v for k, v in os.environ.items() if k.lower() not in Settings.model_fields}
    environment |= {name.upper(): str(value) for name, value in named.items()}
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=folder,  # where no .env is
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    with memory_limit(process.pid) as limit:
        try:
            wait_for_health(process, port, log)
            yield Target(port, process.pid, project, log, limit, keys)
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """At once: it has nothing to save, and attackers may have left it much to wait for."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def memory_limit(pid: int) -> Iterator[str]:
    """1 GB for this process, by a control group where one can be made; gives what limits it."""
    group = _new_group(pid)
    if group is None:
        # Of addresses, not of memory: Python and its libraries take 400 MB of those at rest.
        most = LIMIT_BYTES + 400 * MIB
        resource.prlimit(pid, resource.RLIMIT_AS, (most, most))
        yield "RLIMIT_AS of 1.4 GB, since no control group can be made here"
        return
    try:
        yield f"a control group of 1 GB in {group.parent}"
    finally:
        deadline = time.monotonic() + 5
        while group.exists() and time.monotonic() < deadline:
            with suppress(OSError):  # until the kernel has let go of the process that ended
                group.rmdir()
            time.sleep(0.05)


def _new_group(pid: int) -> Path | None:
    """With the process in it; None where none can be made."""
    for parent, file in (
        (CGROUPS, "memory.max"),
        (CGROUPS / "memory", "memory.limit_in_bytes"),  # version 1
    ):
        group = parent / f"insights-attack-{pid}"
        try:
            group.mkdir()
            for name, value in ((file, LIMIT_BYTES), ("cgroup.procs", pid)):
                with (group / name).open("r+") as control:  # never makes a file where none is
                    control.write(str(value))
        except OSError:
            with suppress(OSError):
                group.rmdir()
        else:
            return group
    return None
