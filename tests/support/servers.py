"""The servers that tests need for real: the machine's own, or one started for the session."""

import asyncio
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest


def free_port() -> int:
    """Free, and outside the range that outgoing connections take theirs from: between two lives of
    a server nobody else gets it, and no client that knocks meanwhile can connect to itself."""
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@contextmanager
def postgres_server() -> Iterator[str]:
    """The address of a PostgreSQL where databases may be made: `TEST_POSTGRES_URL`, else the
    machine's own on its usual port, else one started here. Skips where none is to be had."""
    for address in (os.environ.get("TEST_POSTGRES_URL"), "postgresql://postgres@127.0.0.1:5432"):
        if address and asyncio.run(_answers(f"{address}/postgres")):
            yield address
            return
    if os.environ.get("TEST_POSTGRES_URL"):
        pytest.fail("TEST_POSTGRES_URL is set, but nothing answers there")
    bin_folder = postgres_programs()
    if bin_folder is None:
        pytest.skip("no PostgreSQL server answers, and the machine has no programs to start one")
    with _own_postgres(bin_folder) as address:
        yield address


async def _answers(dsn: str) -> bool:
    try:
        connection = await asyncpg.connect(dsn, timeout=3)
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return False
    await connection.close()
    return True


def postgres_programs() -> Path | None:
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return folders[-1].parent if folders else None


@contextmanager
def _own_postgres(programs: Path) -> Iterator[str]:
    # PostgreSQL will not run as root.
    user = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        if user:
            shutil.chown(folder, "nobody")
        data = f"{folder}/data"
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "cwd": "/"}
        subprocess.run(
            [*user, programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust"],
            check=True,
            **quiet,
        )
        server = subprocess.Popen(
            [*user, programs / "postgres", "-D", data, "-p", str(port), "-k", folder],
            stderr=subprocess.DEVNULL,
            **quiet,
        )
        try:
            address = f"postgresql://postgres@127.0.0.1:{port}"
            deadline = time.monotonic() + 30
            while not asyncio.run(_answers(f"{address}/postgres")):
                assert time.monotonic() < deadline, "PostgreSQL did not start in 30 s"
            yield address
        finally:
            server.terminate()
            server.wait(30)


@contextmanager
def postgres_database(address: str, *, durable: bool = False) -> Iterator[str]:
    """A new, empty database on that server; gives its address, and drops it in the end. Unless it
    is `durable` its commits do not wait for the disk, which only a crash of the server would tell.
    """
    name = f"insights_test_{os.getpid()}_{time.monotonic_ns()}"

    async def run(statement: str) -> None:
        connection = await asyncpg.connect(f"{address}/postgres")
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run(f"CREATE DATABASE {name}"))
    if not durable:
        asyncio.run(run(f"ALTER DATABASE {name} SET synchronous_commit = off"))
    try:
        yield f"{address}/{name}".replace("postgresql://", "postgresql+asyncpg://")
    finally:
        asyncio.run(run(f"DROP DATABASE {name} WITH (FORCE)"))


def server_of(url: str) -> str:
    """The address of the server on which a database is, as `postgres_database` wants it."""
    return url.replace("+asyncpg", "").rpartition("/")[0]


@contextmanager
def redis_server() -> Iterator[str]:
    """The address of a Redis: `TEST_REDIS_URL`, else one started here, else the machine's own."""
    if address := os.environ.get("TEST_REDIS_URL"):
        yield address
        return
    if shutil.which("redis-server"):
        with own_redis(port := free_port()):
            yield f"redis://127.0.0.1:{port}/0"
        return
    with suppress(OSError), socket.create_connection(("127.0.0.1", 6379), timeout=1):
        yield "redis://127.0.0.1:6379/15"
        return
    pytest.skip("no Redis answers, and the machine has no redis-server to start")


@contextmanager
def own_redis(port: int) -> Iterator[None]:
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
        cwd="/tmp",
    )
    try:
        _wait_for_port(port)
        yield
    finally:
        server.terminate()
        server.wait(10)


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert time.monotonic() < deadline, f"nothing listens on port {port} after 30 s"
        time.sleep(0.05)


@contextmanager
def postgres_pooler(url: str, mode: str, more: str = "") -> Iterator[str]:
    """The address of the same database through a PgBouncer in this `pool_mode`, with `more`
    settings. Skips where the machine has none."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("the machine has no pgbouncer to start")
    parts = urlsplit(url)
    port = free_port()
    user = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as folder:
        settings = Path(folder) / "pgbouncer.ini"
        target = f"host={parts.hostname} port={parts.port or 5432} user={parts.username}"
        settings.write_text(
            f"[databases]\n* = {target}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = any\npool_mode = {mode}\ndefault_pool_size = 15\n{more}"
        )
        if user:
            shutil.chown(folder, "nobody")
        server = subprocess.Popen(
            [*user, program, "-q", settings],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
        try:
            _wait_for_port(port)
            yield parts._replace(netloc=f"postgres@127.0.0.1:{port}").geturl()
        finally:
            server.terminate()
            server.wait(30)
