"""The migrations make what `models.py` says, on both databases."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, String, delete, func, inspect, select, text

import migrations
from analysis.labels import LastWord
from analysis.urgency import Urgency
from analysis.words import parse_search
from database import Database
from migrations import new_file, upgrade
from models import SCHEMA_REVISION, Lane, Status, conversations, insights, metadata
from store import derived
from store.conversations import ConversationStore
from store.figures import FigureStore
from store.idempotency import EVERYBODY
from store.insights import InsightStore
from tests.support.factories import (
    NOON,
    claim_all,
    complete,
    insight_filter,
    keyed_conversation,
    new_conversation,
    scalar,
)
from tests.support.newest_schema import copy_where_new
from tests.support.paths import ROOT
from tests.support.servers import postgres_database, postgres_server
from tools import newest_schema


def script_directory() -> ScriptDirectory:
    config = Config()
    assert migrations.__file__ is not None
    config.set_main_option("script_location", migrations.__file__.rpartition("/")[0])
    return ScriptDirectory.from_config(config)


def test_the_revision_that_the_code_knows_is_the_newest_migration() -> None:
    assert script_directory().get_heads() == [SCHEMA_REVISION]


async def test_a_new_file_begins_with_what_all_migrations_make_of_an_empty_one(
    tmp_path: Path,
) -> None:
    migrated = newest_schema.script()
    assert new_file.SCRIPT.read_text() == migrated, "run python -m tools.newest_schema"

    database = Database(f"sqlite+aiosqlite:///{tmp_path}/insights.db")
    await database.open()
    await database.close()
    with closing(sqlite3.connect(tmp_path / "insights.db")) as made:
        assert newest_schema.script_of(made) == migrated


async def test_a_file_that_holds_anything_is_left_to_the_migrations(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "insights.db")) as connection:
        connection.execute("CREATE TABLE of_somebody_else (id INTEGER)")
        connection.commit()
    async with _connected(f"sqlite+aiosqlite:///{tmp_path}/insights.db") as database:
        assert not await database.read(new_file.is_empty)


def test_migrations_form_one_line_from_the_first() -> None:
    revisions = list(script_directory().walk_revisions())
    assert [revision.down_revision for revision in revisions] == [
        *(revision.revision for revision in revisions[1:]),
        None,
    ]


def _is_index(table: str) -> bool:
    """The index of words and what belongs to it, which `models.py` does not know."""
    return table.startswith(("insight_terms", "words_to_sweep"))


# On SQLite SQLAlchemy takes the columns that follow for a part of the computed expression.
@pytest.mark.filterwarnings("ignore:Computed default on insights.sentiment")
async def test_the_migrated_schema_is_the_one_in_the_models(database: Database) -> None:
    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_name": lambda name, kind, _: kind != "table" or not _is_index(name),
            },
        )
        return list(compare_metadata(context, metadata))

    assert await database.write(differences) == []


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def migrated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What the migrations made of each table, beside what autogenerate compares."""
    if request.param == "sqlite":
        url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('migrated')}/insights.db"
        copy_where_new(url)
    else:
        url = request.getfixturevalue("postgres_url")

    def look(connection: Connection) -> dict[str, dict[str, Any]]:
        inspector = inspect(connection)
        return {
            table: {
                "primary key": inspector.get_pk_constraint(table)["constrained_columns"],
                "checks": {check["name"] for check in inspector.get_check_constraints(table)},
                "cascades": {
                    (key["referred_table"], key["options"].get("ondelete"))
                    for key in inspector.get_foreign_keys(table)
                },
                "indexes": {
                    (index["name"], tuple(index["column_names"]), bool(index["unique"]))
                    for index in inspector.get_indexes(table)
                    if not str(index["name"]).startswith("sqlite_autoindex")
                },
            }
            for table in metadata.tables
        }

    async def open_and_look() -> dict[str, dict[str, Any]]:
        async with Database(url) as database:
            return await database.read(look, seconds=60)

    return asyncio.run(open_and_look())


@pytest.mark.parametrize("table", metadata.tables)
def test_keys_checks_and_index_columns_are_those_in_the_models(
    migrated: dict[str, dict[str, Any]], table: str
) -> None:
    model = metadata.tables[table]
    checks = {str(check.name) for check in model.constraints if hasattr(check, "sqltext")}
    assert migrated[table] == {
        "primary key": [column.name for column in model.primary_key],
        "checks": checks,
        "cascades": {(key.column.table.name, key.ondelete) for key in model.foreign_keys},
        "indexes": {
            (index.name, tuple(column.name for column in index.columns), bool(index.unique))
            for index in model.indexes
        },
    }


async def test_a_table_may_be_rebuilt_without_taking_its_insights_along(tmp_path: Path) -> None:
    """SQLite alters by copying and dropping, and a drop erases what refers to the rows."""
    async with Database(f"sqlite+aiosqlite:///{tmp_path}/insights.db") as database:
        await complete(database, new_conversation())

        def rebuild(connection: Connection) -> None:
            operations = Operations(MigrationContext.configure(connection))
            with operations.batch_alter_table("conversations") as table:
                table.alter_column("author", type_=String(500))

        await database.rework(rebuild)

        assert await scalar(database, select(func.count()).select_from(insights)) == 1
        erase = delete(insights).returning(insights.c.id)
        assert await database.write(lambda connection: connection.execute(erase).all()) == [(1,)]


async def test_a_rebuild_that_leaves_references_to_nothing_is_undone(tmp_path: Path) -> None:
    async with Database(f"sqlite+aiosqlite:///{tmp_path}/insights.db") as database:
        await complete(database, new_conversation())

        with pytest.raises(RuntimeError, match="refer"):
            await database.rework(
                lambda connection: connection.execute(delete(conversations)).rowcount
            )

        assert await scalar(database, select(func.count()).select_from(conversations)) == 1


_OLD_ROWS = (
    "INSERT INTO conversations (id, text, timestamp, status, created_at, lane, idempotency_key,"
    " body_hash) VALUES ('conv_00000001', 'late दिल', 5, 'completed', 1, 'live', 'key-1',"
    f" '{'0' * 64}')",
    "INSERT INTO conversations (id, text, timestamp, status, created_at, lane) VALUES"
    " ('conv_00000002', 'a', 6, 'pending', 2, 'bulk'), ('conv_00000003', 'b', 7, 'pending', 3,"
    " 'live'), ('conv_00000004', 'c', 8, 'failed', 4, 'bulk')",
    "INSERT INTO insights (id, conversation_id, timestamp, text, sentiment_score, clusters,"
    " confidence, reasoning, grok_analysis, created_at) VALUES (1, 'conv_00000001', 5,"
    " 'late दिल', -0.5, '[\"late\"]', 0.9, '', '{}', 1)",
)


def _make_old(revision: str, connection: Connection) -> None:
    """A database as that revision left it: a completed conversation and three others."""
    config = Config()
    config.set_main_option("script_location", str(Path(upgrade.__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
    names, values = "cluster, timestamp, insight_id", "'late', 5, 1"
    if revision > "0002":
        names, values = f"{names}, sentiment_score, confidence", f"{values}, -0.5, 0.9"
    clusters = f"INSERT INTO insight_clusters ({names}) VALUES ({values})"
    for statement in (*_OLD_ROWS, clusters):
        connection.execute(text(statement))


@pytest.fixture(params=["sqlite", "postgres"])
def empty_database_url(request: pytest.FixtureRequest, sqlite_url: str) -> Iterator[str]:
    """Without a schema."""
    if request.param == "sqlite":
        yield sqlite_url
    else:
        with postgres_server() as address, postgres_database(address) as url:
            yield url


@pytest.mark.parametrize("revision", ["0001", "0002", "0003", "0004", "0006"])
def test_an_old_database_serves_what_it_held(empty_database_url: str, revision: str) -> None:
    asyncio.run(_make(empty_database_url, revision))
    asyncio.run(_check_served(empty_database_url))


_ASKED: list[dict[str, Any]] = [
    {},
    {"cluster": "late"},
    {"words": parse_search("दिल"), "cluster": "late"},
    {"language": "und"},
    {"urgency": Urgency.NONE, "labelled": LastWord.MODEL},
]


async def _check_served(url: str) -> None:
    async with Database(url) as database:
        await derived.ensure(database)

        always = {"start_time": datetime(1970, 1, 1, tzinfo=UTC), "end_time": NOON}
        for asked in _ASKED:
            page = await InsightStore(database).page(
                insight_filter(**always, **asked), limit=9, cursor=None
            )
            assert page.total_count == len(page.insights) == 1
        assert {key: n for key, n in (await _counts(database)).items() if n} == {
            (Status.COMPLETED, Lane.LIVE): 1,
            (Status.PENDING, Lane.LIVE): 1,
            (Status.PENDING, Lane.BULK): 1,
            (Status.FAILED, Lane.BULK): 1,
        }
        known = [keyed_conversation(text="late दिल")]
        for owner in (EVERYBODY, "ana"):
            store = ConversationStore(database)
            assert await store.accept(known, lane=Lane.LIVE, owner=owner) == ["conv_00000001"]
        assert [item.id for item in await claim_all(database)] == ["conv_00000003", "conv_00000002"]
        assert (await _counts(database))[Status.PROCESSING, Lane.BULK] == 1
        assert not await derived.rebuild(database)


async def _counts(database: Database) -> Mapping[tuple[Status, Lane], int]:
    return (await FigureStore(database).all()).queue.counts


_START = """
import asyncio, os, signal, sys
from sqlalchemy import Engine, event
from database import Database
from store import derived

@event.listens_for(Engine, "before_cursor_execute")
def die(connection, cursor, statement, *rest):
    if sys.argv[2] in statement:
        os.kill(os.getpid(), signal.SIGKILL)

async def start():
    async with Database(sys.argv[1]) as database:
        await derived.ensure(database)

asyncio.run(start())
"""


def _start_and_die_at(statement: str, url: str) -> None:
    command = [sys.executable, "-c", _START, url, statement]
    assert subprocess.run(command, cwd=ROOT, timeout=60).returncode == -signal.SIGKILL


def test_starts_that_are_killed_amid_an_upgrade_and_amid_a_rebuild_leave_it_to_the_next(
    empty_database_url: str,
) -> None:
    asyncio.run(_make(empty_database_url, "0006"))
    _start_and_die_at("CREATE INDEX idx_insight_sentiment", empty_database_url)
    assert asyncio.run(_revision_of(empty_database_url)) == "0006"
    _start_and_die_at("INSERT INTO insight_rollups", empty_database_url)
    assert asyncio.run(_revision_of(empty_database_url)) == SCHEMA_REVISION
    asyncio.run(_check_served(empty_database_url))


async def _make(url: str, revision: str) -> None:
    async with _connected(url) as database:
        await database.rework(partial(_make_old, revision))


async def _revision_of(url: str) -> Any:
    async with _connected(url) as database:
        return await scalar(database, text("SELECT version_num FROM alembic_version"))


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Database]:
    """Without an upgrade."""
    database = Database(url)
    try:
        await database._backend.connect()
        yield database
    finally:
        await database.close()
