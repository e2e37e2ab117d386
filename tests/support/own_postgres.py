"""A PostgreSQL of a test's own, which it may stop and start."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import free_port, postgres_programs


class OwnPostgres:
    """One server in a folder. PostgreSQL will not run as root."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.port = free_port()
        self.data = folder / "data"
        self._folder = folder
        self.programs = programs

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/postgres"

    def run(self, program: str, *arguments: object) -> None:
        user = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []
        command: Sequence[Any] = [*user, self.programs / program, *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", timeout=60)

    def control(self, *arguments: object) -> None:
        self.run("pg_ctl", "-D", self.data, "-w", "-s", *arguments)

    def start(self) -> None:
        options = f"-p {self.port} -k {self._folder}"
        self.control("-l", self._folder / "log", "-o", options, "start")


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """Skips where the machine has no programs to start one."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("the machine has no programs to start a PostgreSQL")
    with _folder() as folder:
        server = OwnPostgres(folder, programs)
        server.run("initdb", "-D", server.data, "-U", "postgres", "-A", "trust")
        with _started(server):
            yield server


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
        yield Path(folder)


@contextmanager
def _started(server: OwnPostgres) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        if (server.data / "postmaster.pid").exists():
            server.control("-m", "immediate", "stop")
