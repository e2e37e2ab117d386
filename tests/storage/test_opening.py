"""Opening a database: its schema, its files, who may have it, and why a start is refused."""

import asyncio
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from backends.file_lock import FileLock
from backends.private_files import keep_private
from database import Database
from errors import StartRefused
from models import SCHEMA_REVISION
from store.conversations import ConversationStore
from tests.storage.conftest import Locks
from tests.support.factories import accept, open_read, run_sql, scalar
from tests.support.servers import free_port
from tests.support.stored import count, refused

# --- open and close -------------------------------------------------------------------------------


async def schema_revision(database: Database) -> object:
    return await scalar(database, text("SELECT version_num FROM alembic_version"))


async def test_opening_an_empty_file_makes_the_newest_schema(opened: Database) -> None:
    assert await schema_revision(opened) == SCHEMA_REVISION
    assert await count(opened) == 0


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.glob("insights.db*")}


@pytest.fixture
def usual_umask() -> Iterator[None]:
    """As in a container: new files may be read by everybody."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("usual_umask")
async def test_the_files_are_for_their_owner_alone(sqlite_url: str, tmp_path: Path) -> None:
    async with Database(sqlite_url) as database:
        await accept(database)
        open_files = modes(tmp_path)
    assert set(open_files.values()) == {0o600}
    assert {*open_files} >= {f"insights.db{suffix}" for suffix in ("", "-wal", "-shm", "-lock")}
    assert set(modes(tmp_path).values()) == {0o600}


@pytest.mark.usefixtures("usual_umask")
def test_a_new_file_is_private_from_its_first_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "chmod", lambda *_: None)  # which comes a moment later
    keep_private(str(tmp_path / "insights.db"))
    assert modes(tmp_path) == {"insights.db": 0o600}


@pytest.mark.usefixtures("usual_umask")
async def test_a_new_lock_is_private_from_its_first_moment(tmp_path: Path) -> None:
    """Whoever may read it could take it."""
    lock = FileLock(str(tmp_path / "insights.db"))
    await lock.acquire(patience=0)
    lock.release()
    assert modes(tmp_path) == {"insights.db-lock": 0o600}


@pytest.mark.usefixtures("usual_umask")
async def test_files_that_others_could_read_are_closed_to_them(
    sqlite_url: str, tmp_path: Path
) -> None:
    """As an earlier version left them, also where another program has them open just now."""
    first, second = Database(sqlite_url), Database(sqlite_url)
    await first.open()
    await accept(first)
    with closing(sqlite3.connect(tmp_path / "insights.db")) as other:
        assert other.execute("SELECT count(*) FROM conversations").fetchone() == (1,)
        await first.close()
        for name in modes(tmp_path):
            (tmp_path / name).chmod(0o664)
        await second.open()
        assert set(modes(tmp_path)) >= {"insights.db-wal", "insights.db-shm", "insights.db-lock"}
        assert set(modes(tmp_path).values()) == {0o600}
        await accept(second)
        assert other.execute("SELECT count(*) FROM conversations").fetchone() == (2,)
    await second.close()


async def test_what_the_owner_may_not_do_is_left_so(sqlite_url: str, tmp_path: Path) -> None:
    path = tmp_path / "insights.db"
    path.touch(0o444)
    keep_private(str(path))
    assert modes(tmp_path) == {"insights.db": 0o400}


async def test_opening_again_keeps_everything(database: Database, database_url: str) -> None:
    id_ = await accept(database)
    await database.close()
    for _ in range(2):
        async with Database(database_url) as again:
            await again.open()
            assert (await ConversationStore(again).find(id_)).id == id_


async def test_several_processes_may_open_a_new_postgres_database_at_once(
    new_postgres_url: str,
) -> None:
    databases = [Database(new_postgres_url) for _ in range(4)]
    try:
        async with asyncio.timeout(30):
            await asyncio.gather(*(database.open() for database in databases))
        for database in databases:
            assert await schema_revision(database) == SCHEMA_REVISION
    finally:
        for database in databases:
            await database.close()


@pytest.fixture
async def new_postgres_url(postgres_url: str, plain_dsn: str) -> AsyncIterator[str]:
    """A database where no schema has been made."""
    name = f"insights_test_new_{os.getpid()}"
    connection = await asyncpg.connect(plain_dsn)
    await connection.execute(f"CREATE DATABASE {name}")
    try:
        yield re.sub(r"/\w+$", f"/{name}", postgres_url)
    finally:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()


async def test_a_database_of_a_newer_version_stops_the_start(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "insights.db")) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")
        connection.commit()
    await refused(f"sqlite+aiosqlite:///{tmp_path}/insights.db", "9999.*newer")


async def test_a_file_that_was_refused_is_let_go(sqlite_url: str, tmp_path: Path) -> None:
    async with Database(sqlite_url) as database:
        await run_sql(database, text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StartRefused, match="newer"):
        async with Database(sqlite_url):
            pass
    with closing(sqlite3.connect(tmp_path / "insights.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (SCHEMA_REVISION,))
        connection.commit()
    async with Database(sqlite_url) as database:
        await accept(database)


async def test_a_postgres_database_of_a_newer_version_stops_the_start(
    new_postgres_url: str,
) -> None:
    async with Database(new_postgres_url) as database:
        await run_sql(database, text("UPDATE alembic_version SET version_num = '9999'"))
    await refused(new_postgres_url, "9999.*newer")


async def test_a_postgres_that_is_not_there_stops_the_start() -> None:
    url = f"postgresql+asyncpg://me:hunter2@127.0.0.1:{free_port()}/insights"
    await refused(url, r"^DATABASE_URL postgresql\+asyncpg://me:\*\*\*@127")


async def test_a_postgres_without_that_database_stops_the_start(postgres_url: str) -> None:
    await refused(re.sub(r"/\w+$", "/no_such_database", postgres_url), "^DATABASE_URL .*not exist")


async def test_a_postgres_without_that_user_stops_the_start(postgres_url: str) -> None:
    await refused(
        re.sub("//[^@]+@", "//no_such_user:hunter2@", postgres_url), "^DATABASE_URL .*no_such_user"
    )


async def test_an_option_unknown_to_the_driver_stops_the_start(postgres_url: str) -> None:
    await refused(f"{postgres_url}?sslmode=require", "^DATABASE_URL .*sslmode")


async def test_a_folder_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    await refused(f"sqlite+aiosqlite:///{tmp_path}/nowhere/insights.db", "^DATABASE_URL .*open")


async def test_a_folder_in_place_of_the_file_stops_the_start_and_stays_as_it_is(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "insights"
    folder.mkdir()
    os.chmod(folder, 0o755)
    await refused(f"sqlite+aiosqlite:///{folder}", "^DATABASE_URL .*opened: it is a folder")
    assert os.stat(folder).st_mode & 0o777 == 0o755
    assert os.listdir(tmp_path) == ["insights"]


async def test_a_file_that_is_no_database_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "insights.db").write_text("tweet_id,text\n" * 1000)
    await refused(f"sqlite+aiosqlite:///{tmp_path}/insights.db", "^DATABASE_URL .*not a database")
    assert (tmp_path / "insights.db").read_text() == "tweet_id,text\n" * 1000


async def test_a_locked_file_stops_the_start(quick_url: str, locked: "Locks") -> None:
    database = Database(quick_url)
    await database.open()
    await database.close()
    with locked():
        await refused(quick_url, "^DATABASE_URL .*locked")


# --- what SQLite is told --------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["read", "write"])
@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("secure_delete", 1)],
)
async def test_pragmas_are_in_force_on_every_connection(
    opened: Database, side: str, pragma: str, value: object
) -> None:
    asked = text(f"PRAGMA {pragma}")
    if side == "write":
        assert await opened.write(lambda connection: connection.scalar(asked)) == value
    else:
        async with open_read(opened, asked) as first, open_read(opened, asked) as second:
            pass
        assert [*await first, *await second] == [value] * 4


# --- one process per file -------------------------------------------------------------------------


async def test_a_file_that_is_open_is_refused_with_one_line(sqlite_url: str) -> None:
    async with Database(sqlite_url) as first:
        await refused(sqlite_url, r"^DATABASE_URL .*/insights\.db: another process .*PostgreSQL")
        await accept(first)


async def test_of_several_that_open_a_new_file_at_once_each_gets_it_in_turn(
    sqlite_url: str,
) -> None:
    having = 0

    async def use() -> None:
        nonlocal having
        async with Database(sqlite_url, lock_patience=60) as database:
            having += 1
            assert having == 1
            await accept(database)
            having -= 1

    async with asyncio.timeout(60):
        await asyncio.gather(*(use() for _ in range(6)))
    async with Database(sqlite_url) as last:
        assert await count(last) == 6


async def test_a_file_is_the_same_on_every_way_to_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "folder").symlink_to("data")
    (tmp_path / "link.db").symlink_to("data/insights.db")
    async with Database(f"sqlite+aiosqlite:///{tmp_path}/data/insights.db"):
        for way in ("folder/insights.db", "link.db", "data/../data/insights.db"):
            await refused(f"sqlite+aiosqlite:///{tmp_path}/{way}", "another process")
    assert set(modes(tmp_path / "data")) == {"insights.db", "insights.db-lock"}
    assert modes(tmp_path) == {}


async def test_two_files_may_be_open_at_once(tmp_path: Path) -> None:
    first, second = (Database(f"sqlite+aiosqlite:///{tmp_path}/{name}.db") for name in "ab")
    try:
        await first.open()
        await second.open()
    finally:
        await first.close()
        await second.close()


async def test_a_start_that_is_refused_lets_go_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "insights.db"
    path.write_text("not a database" * 1000)
    url = f"sqlite+aiosqlite:///{path}"
    await refused(url, "not a database")
    path.unlink()
    database = Database(url)
    await database.open()
    await database.close()


async def test_one_that_waits_for_a_file_can_be_cancelled(sqlite_url: str) -> None:
    first, second = Database(sqlite_url), Database(sqlite_url, lock_patience=60)
    await first.open()
    waiting = asyncio.create_task(second.open())
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert done == set()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await second.close()
    await first.close()
    third = Database(sqlite_url)
    await third.open()
    await third.close()


async def test_a_lock_file_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "insights.db-lock").mkdir()
    await refused(f"sqlite+aiosqlite:///{tmp_path}/insights.db", "^DATABASE_URL .*-lock cannot be")


# --- reworking ------------------------------------------------------------------------------------


async def test_it_says_which_database_it_is(database: Database, plain_dsn: str) -> None:
    if database.is_sqlite:
        assert (database.engine, database.version) == ("sqlite", sqlite3.sqlite_version)
        return
    connection = await asyncpg.connect(plain_dsn)
    shown = await connection.fetchval("SHOW server_version")
    await connection.close()
    assert (database.engine, database.version) == ("postgresql", shown.split()[0])
