"""Backups of PostgreSQL: dumped beside a writer, verified, restored in one transaction."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from database import Database
from store import backups, derived
from store.backups import postgres
from store.backups.manifest import BackupFailed
from tests.support.factories import insert_insights, is_known_to_the_planner, scalar
from tests.support.servers import postgres_database, postgres_server

if shutil.which("pg_dump") is None:
    pytest.skip("the machine has no pg_dump", allow_module_level=True)


@pytest.fixture
def url() -> Iterator[str]:
    with postgres_server() as server, postgres_database(server) as address:
        yield address


async def _add(url: str, count: int) -> None:
    async with Database(url) as database:
        await derived.ensure(database)
        await insert_insights(
            database, [{"text": f"parcel {number} is late"} for number in range(count)]
        )


async def _insights(url: str) -> int:
    database = Database(url)
    try:
        return int(await scalar(database, text("SELECT count(*) FROM insights")))
    finally:
        await database.close()


async def test_a_dump_is_verified_and_restored_and_the_old_state_is_kept(
    url: str, tmp_path: Path
) -> None:
    dump = tmp_path / "insights.dump"
    await _add(url, 20)
    database = Database(url)
    made = await backups.back_up(database, dump)
    await database.close()
    assert (made.counts.conversations, made.counts.insights) == (20, 20)
    assert backups.verify(dump) == made
    await _add(url, 5)
    restored = await backups.restore(dump, database)
    assert restored.before is not None
    assert (restored.before.insights, restored.after.insights) == (25, 20)
    assert restored.kept is not None
    assert postgres.verify(restored.kept).counts.insights == 25
    assert await _insights(url) == 20
    assert await is_known_to_the_planner(url)
    await _add(url, 1)  # numbers go on where they were
    assert await _insights(url) == 21


async def test_a_dump_with_a_flipped_byte_is_refused_and_nothing_changes(
    url: str, tmp_path: Path
) -> None:
    dump = tmp_path / "insights.dump"
    await _add(url, 3)
    database = Database(url)
    await backups.back_up(database, dump)
    content = bytearray(dump.read_bytes())
    content[len(content) // 2] ^= 1
    dump.write_bytes(content)
    with pytest.raises(BackupFailed, match="SHA-256"):
        await backups.restore(dump, database)
    await database.close()
    assert await _insights(url) == 3


async def test_a_database_that_others_are_connected_to_is_not_replaced(
    url: str, tmp_path: Path
) -> None:
    dump = tmp_path / "insights.dump"
    await _add(url, 1)
    async with Database(url):
        database = Database(url)
        await backups.back_up(database, dump)
        with pytest.raises(BackupFailed, match="stop the service first"):
            await backups.restore(dump, database)
    await database.close()


async def test_without_its_programs_the_answer_says_what_to_run(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    database = Database(url)
    with pytest.raises(BackupFailed, match="pg_dump is not installed here"):
        await backups.back_up(database, tmp_path / "insights.dump")
    await database.close()
    assert list(os.scandir(tmp_path)) == []
