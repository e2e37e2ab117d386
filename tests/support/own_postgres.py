"""A PostgreSQL of a test's own, which it may stop and start, and a standby in its stead."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support.servers import free_port, postgres_programs
from tests.support.service_process import until


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
        # Its processes die here, the machine does not: so nothing has to wait for the disk.
        options = f"-p {self.port} -k {self._folder} -F -c wal_retrieve_retry_interval=100ms"
        self.control("-l", self._folder / "log", "-o", options, "start")


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """Skips where the machine has no programs to start one."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("the machine has no programs to start a PostgreSQL")
    with _folder() as folder:
        server = OwnPostgres(folder, programs)
        server.run("initdb", "-D", server.data, "-U", "postgres", "-A", "trust", "--no-sync")
        with _started(server):
            yield server


@contextmanager
def standby_of(primary: OwnPostgres) -> Iterator[OwnPostgres]:
    """A server that holds what the primary holds: see `commit_on_both`. `control("promote")` makes
    it a primary itself."""
    with _folder() as folder:
        standby = OwnPostgres(folder, primary.programs)
        address = ["-d", primary.url.replace("+asyncpg", "")]
        copy = ["-D", standby.data, "-R", "-X", "stream", "-c", "fast", "--no-sync"]
        standby.run("pg_basebackup", *address, *copy)
        with _started(standby):
            yield standby


async def commit_on_both(primary: OwnPostgres) -> None:
    """From now on a commit of the primary returns once its standby has it, too.

    The standby is a copy from before: had it this setting, it would wait for one of its own once it
    is promoted, and answer no commit.
    """
    connection = await asyncpg.connect(primary.url.replace("+asyncpg", ""))
    try:
        await connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        await connection.execute("SELECT pg_reload_conf()")
        state = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"

        async def in_step() -> bool:
            return bool(await connection.fetchval(state))

        await until(in_step, within=30, what="the standby is in step")
    finally:
        await connection.close()


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
