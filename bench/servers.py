"""Real server processes: started with settings of their own, watched, stopped."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api import cached_value
from config import Settings
from tests.support.processes import family

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120.0
STOP_SECONDS = 20.0
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A server process that has answered `/health`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    database: Path | None
    start_seconds: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """Used since its start by it and its children, in their own code and in the kernel."""
        ticks = 0
        for pid in family(self.process.pid):
            stat = Path(f"/proc/{pid}/stat").read_text()
            ticks += sum(map(int, stat.rpartition(")")[2].split()[11:13]))
        return ticks / _TICKS_PER_SECOND

    def peak_memory_mb(self) -> float:
        """The most memory that it and its children ever held, in MB (of a million bytes)."""
        kilobytes = 0
        for pid in family(self.process.pid):
            status = Path(f"/proc/{pid}/status").read_text()
            found = re.search(r"VmHWM:\s+(\d+) kB", status)
            assert found, "a process that has ended has no memory to measure"
            kilobytes += int(found[1])
        return kilobytes * 1024 / 1e6

    def get(self, path: str) -> Any:
        """The JSON, or the text, that a GET answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            assert response.status == 200, f"{path}: {response.status} {body!r}"
            kind = response.getheader("content-type", "")
            return json.loads(body) if kind.startswith("application/json") else body.decode()
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """One sample of `/metrics`, by its whole name with labels, as it is now."""
        time.sleep(1.1 * cached_value.SECONDS)
        for line in self.get("/metrics").splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def settled_metric(self, name: str) -> float:
        """The same, once it has stopped rising: clients that left had requests under way."""
        before = -1.0
        while (now := self.metric(name)) != before:
            before = now
        return now


class Servers:
    """Starts servers in `folder`, each with files of its own, and keeps their peak memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sizes: Sequence[int] = ()
        self.postgres: str | None = None
        self.offline_model = "small"
        self.peaks_mb: dict[str, float] = {}
        self._count = 0

    def new_database(self, name: str) -> Path:
        self._count += 1
        return self.folder / f"{self._count:02d}-{name}.db"

    @contextmanager
    def service(
        self, name: str, *, database: Path | None = None, **settings: object
    ) -> Iterator[Server]:
        """The service itself. Settings that are not named have their defaults."""
        environment = {key.upper(): str(value) for key, value in settings.items()}
        database = database or self.new_database(name)
        environment.setdefault("OFFLINE_MODEL", self.offline_model)
        environment.setdefault("DATABASE_URL", f"sqlite+aiosqlite:///{database}")
        guard = ["--http", "api.connection_guard:GuardedProtocol"]
        with self._running("main:app", name, environment, database, guard) as server:
            try:
                yield server
            finally:
                if server.process.poll() is None:
                    peak = server.peak_memory_mb()
                    self.peaks_mb[name] = max(peak, self.peaks_mb.get(name, 0.0))

    @contextmanager
    def plain(self) -> Iterator[Server]:
        """The plain FastAPI app, under uvicorn as it comes."""
        with self._running("bench.plain_app:app", "plain", {}, None, []) as server:
            yield server

    @contextmanager
    def other(
        self, app: str, name: str, environment: dict[str, str], python: Path
    ) -> Iterator[Server]:
        """An app of this folder in another Python's environment, under uvicorn as it comes."""
        found = {"PYTHONPATH": str(ROOT), **environment}
        with self._running(app, name, found, None, [], python=python) as server:
            yield server

    @contextmanager
    def _running(
        self,
        app: str,
        name: str,
        environment: dict[str, str],
        database: Path | None,
        flags: Sequence[str],
        *,
        python: Path = Path(sys.executable),
    ) -> Iterator[Server]:
        self._count += 1
        log = self.folder / f"{self._count:02d}-{name}.log"
        port = _free_port()
        command = [str(python), "-m", "uvicorn", app, "--app-dir", str(ROOT)]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        command += ["--no-access-log", "--log-level", "warning", "--ws", "none", *flags]
        started = time.perf_counter()
        with log.open("wb") as log_file:
            process = subprocess.Popen(
                command,
                cwd=self.folder,  # where no .env is
                env=inherited() | environment,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_for_health(process, port, log)
            yield Server(process, port, log, database, time.perf_counter() - started)
        finally:
            _stop(process)


def inherited() -> dict[str, str]:
    """This process's environment without what would be a setting of the service."""
    ours = {field.upper() for field in Settings.model_fields}
    return {key: value for key, value in compiled_once().items() if key.upper() not in ours}


def compiled_once() -> dict[str, str]:
    """The environment in which Python keeps what it has compiled, as the image and an installed
    package have it. Where it may not, most of a start is the compiler's."""
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(ROOT / ".venv" / "pycache")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def wait_for_health(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return at the first 200 of `/health`, looked for every millisecond."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"The server ended with status {process.returncode}:\n{_tail(log)}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.001)
        finally:
            connection.close()
    raise RuntimeError(f"The server did not answer in {START_SECONDS:g} s:\n{_tail(log)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
