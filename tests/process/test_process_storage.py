"""A disk that is full, locked or read-only: nothing acknowledged is lost, nothing else is stored,
and the service goes on by itself when the disk does."""

import asyncio
import os
import resource
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.grok.process import RunningGrok
from tests.support.service_process import ServiceProcess, grok_settings, look, steer, until

pytestmark = pytest.mark.slow

EVER = {"start_time": "2000-01-01T00:00:00Z", "end_time": "2100-01-01T00:00:00Z"}
LONGEST_ANSWER_SECONDS = 10.0
"""What a client may have to wait for a 503: several writes in turn each wait for the lock."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes, as a folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk cannot be mounted here: that takes root and the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _remount(folder: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True)


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            return


def _assert_unavailable(response: httpx.Response) -> None:
    assert response.status_code == 503, response.text
    body = response.json()
    assert body.keys() == {"error", "details", "retry_after"}
    assert body["error"] == "unavailable"
    assert isinstance(body["details"], str)
    assert type(body["retry_after"]) is int
    assert body["retry_after"] >= 1
    assert response.headers["Retry-After"] == str(body["retry_after"])
    assert "X-Request-ID" in response.headers


async def _assert_refuses_writes_and_answers_reads(
    service: ServiceProcess, known_id: str, tag: str
) -> None:
    """Every kind of write is a 503, every kind of read a 200, and /ready says what is wrong."""
    started = time.monotonic()
    item = {"text": f"{tag} refused"}
    post, client = service.client.post, service.client
    for response in await asyncio.gather(
        *(post("/api/v1/conversations", json={"text": f"{tag} refused {n}"}) for n in range(5)),
        post("/api/v1/conversations", json=item, headers={"Idempotency-Key": f"{tag} key"}),
        post("/api/v1/conversations/batch", json={"conversations": [item] * 3}),
        client.delete(f"/api/v1/conversations/{known_id}"),
    ):
        _assert_unavailable(response)
    took = time.monotonic() - started
    print(f"\n{tag}: the 503s took up to {took:.1f} s")
    assert took < LONGEST_ANSWER_SECONDS
    reads: dict[str, dict[str, Any]] = {
        f"/api/v1/conversations/{known_id}": {},
        "/api/v1/insights": EVER,
        "/api/v1/stats": {},
        "/metrics": {},
        "/health": {},
    }
    for path, parameters in reads.items():
        response = await client.get(path, params=parameters)
        assert response.status_code == 200, f"{path}: {response.text}"
    ready = await client.get("/ready")
    assert ready.status_code == 503, ready.text
    assert ready.json()["checks"]["database"] != "ok"
    assert not [event for event in service.events("request") if event["status"] == 500]


async def _assert_goes_on(service: ServiceProcess, acknowledged: set[str], tag: str) -> None:
    """By itself: writes are taken, and all that ever was acknowledged is analysed."""

    async def accepted() -> str | None:
        response = await service.client.post(
            "/api/v1/conversations",
            json={"text": f"{tag} refused"},
            headers={"Idempotency-Key": f"{tag} key"},
        )
        return response.json()["conversation_id"] if response.status_code == 202 else None

    acknowledged.add(await until(accepted, within=30, what="writes are taken again"))

    async def ready() -> bool:
        return (await service.client.get("/ready")).status_code == 200

    await until(ready, within=30, what="/ready is 200 again")
    await until(
        lambda: service.count("status = 'completed'") == len(acknowledged),
        within=30,
        what="all that was acknowledged is completed",
    )
    stored = service.query("SELECT id, attempts FROM conversations")
    assert {id_ for id_, _ in stored} == acknowledged, "lost, or stored although refused"
    assert {attempts for _, attempts in stored} == {1}, "waiting for the disk cost an attempt"
    assert service.query("SELECT count(*) FROM insights") == [(len(acknowledged),)]
    assert service.query("PRAGMA integrity_check") == [("ok",)]


async def _with_work_in_hand(
    service: ServiceProcess, grok: RunningGrok, tag: str, trouble: AbstractContextManager[object]
) -> None:
    """Begin `trouble` while answers are on their way and rows wait, look around, end it."""
    # Each first opening of a read connection writes a little; the readers are there before.
    await asyncio.gather(*(service.client.get("/api/v1/stats") for _ in range(8)))
    await steer(grok, "defaults", latency=1.5)
    ids = await service.post_batch([f"{tag} before {number}" for number in range(15)])

    async def calls_in_flight(calls: int) -> bool:
        return bool((await look(grok, "counters"))["in_flight"] == calls)

    await until(lambda: calls_in_flight(10), within=30, what="ten calls in flight")
    with trouble:
        await until(lambda: calls_in_flight(0), within=30, what="the answers are here")
        await _assert_refuses_writes_and_answers_reads(service, ids[0], tag)
        assert service.count("status = 'completed'") == 0
    await steer(grok, "defaults", latency=0)
    await _assert_goes_on(service, set(ids), tag)
    sent = (await look(grok, "texts"))["sent"]
    assert set(sent.values()) == {1}, "an answer in hand was thrown away and paid for again"


async def test_a_full_disk_refuses_writes_until_there_is_room(
    tmp_path: Path, small_disk: Path, grok: RunningGrok
) -> None:
    @contextmanager
    def full() -> Iterator[None]:
        _fill(small_disk / "ballast")
        yield
        (small_disk / "ballast").unlink()

    async with ServiceProcess(
        tmp_path, database_file=small_disk / "insights.db", **grok_settings(grok)
    ) as service:
        await service.start()
        await _with_work_in_hand(service, grok, "full", full())


async def test_a_kill_on_a_full_disk_loses_nothing(tmp_path: Path, small_disk: Path) -> None:
    async with ServiceProcess(
        tmp_path, database_file=small_disk / "insights.db", worker_enabled=False
    ) as service:
        await service.start()
        acknowledged = set(await service.post_batch([f"before {number}" for number in range(50)]))
        _fill(small_disk / "ballast")
        refused = 0
        for number in range(20):
            response = await service.client.post(
                "/api/v1/conversations", json={"text": f"on a full disk {number}"}
            )
            if response.status_code == 202:  # a checkpoint made a little room
                acknowledged.add(response.json()["conversation_id"])
            else:
                _assert_unavailable(response)
                refused += 1
        assert refused > 0
        await service.kill()
        (small_disk / "ballast").unlink()
        await service.start(worker_enabled=True)
        await until(
            lambda: service.count("status = 'completed'") == len(acknowledged),
            within=30,
            what="all completed",
        )
        assert {id_ for (id_,) in service.query("SELECT id FROM conversations")} == acknowledged


async def test_a_database_locked_by_another_process_refuses_writes_until_it_is_free(
    tmp_path: Path, grok: RunningGrok
) -> None:
    @contextmanager
    def locked() -> Iterator[None]:
        with closing(sqlite3.connect(service.database_file, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield
            other.execute("ROLLBACK")

    async with ServiceProcess(tmp_path, **grok_settings(grok)) as service:
        await service.start()
        await _with_work_in_hand(service, grok, "locked", locked())


@contextmanager
def _immutable_files(service: ServiceProcess) -> Iterator[None]:
    """Every write to the database and its log fails, although they are open for writing.

    The third file, -shm, is memory shared between connections rather than something written: a disk
    that refuses even that ends the process with SIGBUS, and SQLite has no remedy.
    """
    files = [str(service.database_file), f"{service.database_file}-wal"]
    program = shutil.which("chattr")
    if program is None or subprocess.run([program, "+i", *files], capture_output=True).returncode:
        pytest.skip("files cannot be made immutable here: that takes root, chattr and ext4 or xfs")
    try:
        yield
    finally:
        subprocess.run([program, "-i", *files], check=True)


@contextmanager
def _no_growing_files(service: ServiceProcess) -> Iterator[None]:
    """Every write past the first kilobyte of a file fails, the log's too."""
    if not hasattr(resource, "prlimit"):
        pytest.skip("another process's limits cannot be set here: that takes Linux")
    before = resource.prlimit(service.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        yield
    finally:
        resource.prlimit(service.pid, resource.RLIMIT_FSIZE, before)


@pytest.fixture
def folder_on_disk() -> Iterator[Path]:
    """Files of other tests may be in memory, where an immutable one is still written by those that
    have it open."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.mark.parametrize("trouble", [_immutable_files, _no_growing_files])
async def test_a_disk_that_turns_read_only_refuses_writes_until_it_is_mended(
    folder_on_disk: Path,
    grok: RunningGrok,
    trouble: Callable[[ServiceProcess], AbstractContextManager[None]],
) -> None:
    async with ServiceProcess(folder_on_disk, **grok_settings(grok)) as service:
        await service.start()
        await _with_work_in_hand(service, grok, "read-only", trouble(service))


# --- starts that are refused ----------------------------------------------------------------------


async def _refused_start(service: ServiceProcess) -> str:
    """Launch, and expect the end; the one critical line's reason."""
    service.launch()
    assert await service.ended(within=30) not in (0, -9, -15)
    assert "Traceback" not in service.log
    (line,) = service.events("start_refused")
    assert line["level"] == "critical"
    return str(line["reason"])


async def test_it_does_not_start_on_a_missing_folder(tmp_path: Path) -> None:
    async with ServiceProcess(tmp_path, database_file=tmp_path / "missing" / "x.db") as service:
        reason = await _refused_start(service)
    assert "DATABASE_URL" in reason
    assert "missing/x.db" in reason
    assert "cannot be opened" in reason or "unable to open" in reason
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("place", ["a_file", "a_file/backups", "/proc/backups"])
async def test_it_does_not_start_where_no_backup_can_be_made(tmp_path: Path, place: str) -> None:
    (tmp_path / "a_file").touch()
    async with ServiceProcess(tmp_path, backup_dir=tmp_path / place) as service:
        reason = await _refused_start(service)
    assert reason.startswith(f"BACKUP_DIR: no backup can be made in {tmp_path / place}: ")


@pytest.mark.parametrize("existing", [False, True], ids=["empty_folder", "existing_database"])
async def test_it_does_not_start_on_a_read_only_disk(
    tmp_path: Path, small_disk: Path, existing: bool
) -> None:
    async with ServiceProcess(tmp_path, database_file=small_disk / "insights.db") as service:
        if existing:
            await service.start()
            await service.post("before")
            await service.kill()
        _remount(small_disk, "ro")
        reason = await _refused_start(service)
        assert "DATABASE_URL" in reason
        assert "read-only" in reason or "open" in reason, reason
        _remount(small_disk, "rw")
        await service.start()
        assert service.count() == existing


def _rows(database: sqlite3.Connection) -> list[Any]:
    tables = ("alembic_version", "conversations", "insights", "insight_clusters")
    return [database.execute(f"SELECT * FROM {table}").fetchall() for table in tables]


async def test_it_does_not_start_on_a_newer_database_and_leaves_it_as_it_is(
    tmp_path: Path,
) -> None:
    async with ServiceProcess(tmp_path) as service:
        await service.start()
        await service.post("from an older version")
        await service.kill()
        with closing(sqlite3.connect(service.database_file)) as database, database:
            database.execute("UPDATE alembic_version SET version_num = '9999'")
        before = service.database_file.read_bytes()
        with closing(sqlite3.connect(service.database_file)) as database:
            rows_before = _rows(database)

        reason = await _refused_start(service)

        assert "9999" in reason
        assert service.database_file.read_bytes() == before
        with closing(sqlite3.connect(service.database_file)) as database:
            assert _rows(database) == rows_before


@pytest.mark.parametrize(
    ("name", "value"), [("grok_rate_limit", "abc"), ("database_url", "mysql://root:pass9x@host/db")]
)
async def test_a_bad_setting_stops_the_start_with_one_line_that_names_it(
    tmp_path: Path, name: str, value: str
) -> None:
    bad: dict[str, Any] = {name: value}
    async with ServiceProcess(tmp_path, **bad) as service:
        service.launch()
        assert await service.ended(within=30) > 0
        (line,) = service.log.splitlines()
    assert name.upper() in line
    assert "pass9x" not in line
