"""Backups of PostgreSQL: dumped beside a writer, verified, restored in one transaction."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, make_url, text

from database import Database
from migrations import upgrade
from models import SCHEMA_REVISION
from store import backups, derived
from store.backups import folder, manifest, postgres
from store.backups.manifest import BackupFailed, manifest_path
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


async def _run(url: str, statement: str) -> None:
    database = Database(url)
    await database.rework(lambda connection: connection.execute(text(statement)))
    await database.close()


async def _dump(url: str, path: Path) -> Path:
    database = Database(url)
    try:
        await backups.back_up(database, path)
    finally:
        await database.close()
    return path


async def test_another_restore_keeps_what_the_first_one_kept(url: str, tmp_path: Path) -> None:
    await _add(url, 2)
    dump = await _dump(url, tmp_path / "insights.dump")
    await _add(url, 3)
    first = await backups.restore(dump, Database(url))
    second = await backups.restore(dump, Database(url))
    assert first.kept is not None
    assert second.kept is not None
    assert postgres.verify(first.kept).counts.insights == 5
    assert postgres.verify(second.kept).counts.insights == 2
    await backups.restore(first.kept, Database(url))
    assert await _insights(url) == 5


async def test_a_dump_of_an_earlier_version_is_upgraded(url: str, tmp_path: Path) -> None:
    def make_old(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(upgrade.__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        connection.execute(
            text(
                "INSERT INTO conversations (id, text, timestamp, status, created_at, lane)"
                " VALUES ('conv_ffffffff', 'late', 5, 'pending', 1, 'live')"
            )
        )

    database = Database(url)
    await database.rework(make_old)
    await database.close()
    dump = await _dump(url, tmp_path / "old.dump")
    async with Database(url):  # which upgrades it
        pass
    await _add(url, 3)
    restored = await backups.restore(dump, Database(url))
    assert restored.after.conversations == 1
    assert await _insights(url) == 0
    await _add(url, 1)
    assert await _insights(url) == 1


async def test_a_dump_of_a_newer_version_is_refused_and_nothing_changes(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _add(url, 3)
    dump = await _dump(url, tmp_path / "insights.dump")
    stored = json.loads(manifest_path(dump).read_text())
    manifest_path(dump).write_text(json.dumps(stored | {"schema_revision": "9999"}))
    await _add(url, 1)
    with pytest.raises(BackupFailed, match="other counts"):
        await backups.restore(dump, Database(url))
    await _run(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(BackupFailed, match="newer version: schema 9999"):
        await _dump(url, tmp_path / "newer.dump")
    assert not (tmp_path / "newer.dump").exists()
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "SCHEMA_REVISION", "9999")
        await _dump(url, tmp_path / "newer.dump")
    await _run(url, f"UPDATE alembic_version SET version_num = '{SCHEMA_REVISION}'")
    with pytest.raises(BackupFailed, match="newer version: schema 9999"):
        await backups.restore(tmp_path / "newer.dump", Database(url))
    assert await _insights(url) == 4


async def test_a_version_goes_back_by_its_own_dump(url: str, tmp_path: Path) -> None:
    """Also from a schema that this version does not know."""
    await _add(url, 2)
    dump = await _dump(url, tmp_path / "insights.dump")
    await _run(url, "CREATE TABLE of_a_newer_version (id integer PRIMARY KEY)")
    await _run(url, "UPDATE alembic_version SET version_num = '9999'")
    await backups.restore(dump, Database(url))
    assert await _insights(url) == 2
    await _run(url, "CREATE TABLE of_a_newer_version (id integer PRIMARY KEY)")


async def test_an_empty_database_takes_a_dump(url: str, tmp_path: Path) -> None:
    await _add(url, 2)
    dump = await _dump(url, tmp_path / "insights.dump")
    await _run(url, "DROP SCHEMA public CASCADE")
    await _run(url, "CREATE SCHEMA public")
    restored = await backups.restore(dump, Database(url))
    assert (restored.before, restored.kept) == (None, None)
    assert await _insights(url) == 2


async def test_a_restore_that_is_cut_off_changes_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _add(url, 30)
    dump = await _dump(url, tmp_path / "insights.dump")
    await _add(url, 1)
    more_than_a_pipe = "echo 'NONSENSE;'; head -c 1000000 /dev/zero"
    for how, reason in (("exit 1", "pg_restore: it is enough"), (more_than_a_pipe, "syntax error")):
        program = tmp_path / "programs" / "pg_restore"
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            f"""#!/bin/sh
case "$*" in *--clean*) ;; *) exec {shutil.which("pg_restore")} "$@" ;; esac
{shutil.which("pg_restore")} "$@" | head -n 400
echo it is enough >&2
{how}
"""
        )
        program.chmod(0o755)
        with monkeypatch.context() as patch:
            patch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
            with pytest.raises(BackupFailed, match=reason):
                await backups.restore(dump, Database(url))
        assert await _insights(url) == 31


async def test_a_drill_counts_what_a_dump_would_restore(url: str, tmp_path: Path) -> None:
    await _add(url, 3)
    dump = await _dump(url, tmp_path / "insights-20260101T000000Z.dump")
    assert (await backups.drill(tmp_path, sqlite=False)).problem is None
    stored = json.loads(manifest_path(dump).read_text())
    stored["counts"]["conversations"] = 7777
    manifest_path(dump).write_text(json.dumps(stored))
    assert "other counts" in ((await backups.drill(tmp_path, sqlite=False)).problem or "")
    assert folder.last_drill(tmp_path, sqlite=False) is not None


async def test_a_kind_of_backup_is_told_by_what_is_in_it(
    url: str, sqlite_url: str, tmp_path: Path
) -> None:
    await _add(url, 2)
    dump = await _dump(url, tmp_path / "tuesday")
    assert backups.verify(dump).counts.insights == 2
    await _add(sqlite_url, 1)
    copy = await _dump(sqlite_url, tmp_path / "wednesday.dump")
    assert backups.verify(copy).counts.insights == 1
    for path, target in ((copy, url), (dump, sqlite_url)):
        with pytest.raises(BackupFailed, match="other kind of database"):
            await backups.restore(path, Database(target))
    assert await _insights(url) == 2


@pytest.mark.parametrize("also", ["127.0.0.1:1", None])
async def test_hosts_are_those_that_the_service_tries(
    url: str, tmp_path: Path, also: str | None
) -> None:
    await _add(url, 1)
    address = make_url(url)
    hosts = tuple(filter(None, [also, f"{address.host}:{address.port}"]))
    several = address.set(host=None, port=None).update_query_dict({"host": hosts})
    dump = await _dump(several.render_as_string(hide_password=False), tmp_path / "insights.dump")
    assert backups.verify(dump).counts.insights == 1


async def test_a_database_may_hold_things_of_others(url: str, tmp_path: Path) -> None:
    """Also tables with the names of the service's, in other schemas."""
    await _add(url, 2)
    for statement in (
        "CREATE SCHEMA web",
        "CREATE TABLE web.alembic_version AS SELECT 'abc' AS version_num",
        "CREATE TABLE web.insights AS SELECT 7 AS id",
        "CREATE TABLE web.calls AS SELECT 'ana' AS who",
    ):
        await _run(url, statement)
    dump = await _dump(url, tmp_path / "insights.dump")
    await _add(url, 1)
    await backups.restore(dump, Database(url))
    assert await _insights(url) == 2
    await _run(url, "CREATE VIEW web.dash AS SELECT count(*) FROM public.insights")
    with pytest.raises(BackupFailed, match="other objects depend on"):
        await backups.restore(dump, Database(url))
    await _run(url, "SELECT * FROM web.dash")


async def test_a_role_of_any_name_restores(url: str, tmp_path: Path) -> None:
    """That is no superuser."""
    role = 'The "Insights" of us'
    name = '"The ""Insights"" of us"'
    await _run(url, f"CREATE ROLE {name} LOGIN")
    database = make_url(url).database
    try:
        await _run(url, f"GRANT ALL ON DATABASE {database} TO {name}")
        await _run(url, f"GRANT ALL ON SCHEMA public TO {name}")
        theirs = make_url(url).set(username=role).render_as_string(hide_password=False)
        await _add(theirs, 2)
        dump = await _dump(theirs, tmp_path / "insights.dump")
        await _add(theirs, 1)
        await backups.restore(dump, Database(theirs))
        assert await _insights(theirs) == 2
        refused = Database(url)
        with pytest.raises(BackupFailed, match=f"are those of {role}: restore as that role"):
            await backups.restore(dump, refused)
        assert await _insights(theirs) == 2
        await backups.restore(dump, Database(theirs))  # who was refused is connected no more
    finally:
        await _run(url, f"DROP OWNED BY {name}")
        await _run(url, f"DROP ROLE {name}")


async def test_what_goes_wrong_is_said_in_a_line(url: str, tmp_path: Path) -> None:
    await _add(url, 1)
    dump = await _dump(url, tmp_path / "insights.dump")
    with pytest.raises(BackupFailed, match="/proc"):
        await _dump(url, Path("/proc/insights.dump"))
    nowhere = make_url(url).set(database="is_not_there").render_as_string(hide_password=False)
    with pytest.raises(BackupFailed, match="is_not_there"):
        await backups.restore(dump, Database(nowhere))


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
    database = Database(url)
    with pytest.raises(BackupFailed, match="nothing of the service"):
        await backups.back_up(database, tmp_path / "insights.dump")
    await _add(url, 1)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackupFailed, match="pg_dump is not installed here"):
        await backups.back_up(database, tmp_path / "insights.dump")
    await database.close()
    assert list(os.scandir(tmp_path)) == []
