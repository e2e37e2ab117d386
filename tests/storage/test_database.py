"""Opening, transactions, and how the errors of either database are told."""

import asyncio
import os
import re
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only

from analysis.outcomes import Complete, Fail, Requeue, Retry
from backends.sqlite import keep_private
from database import Database
from errors import NotFound, StartRefused, Unavailable
from models import SCHEMA_REVISION, Lane, conversations
from store.conversations import ConversationStore
from store.erasure import ErasureStore
from store.figures import FigureStore
from store.insights import InsightStore
from store.ledger import Ledger
from store.own_posts import OwnPostStore
from store.queue import Claimed, WorkQueue
from store.summaries import SummaryStore
from store.trends import TrendStore
from store.versions import Asked, VersionStore
from tests.storage.conftest import Locks
from tests.support.factories import (
    LEASE,
    accept,
    analysis,
    claim_all,
    claim_some,
    complete,
    insight_filter,
    new_conversation,
    new_conversations,
    open_read,
    run_sql,
    scalar,
)
from tests.support.http_helpers import eventually
from tests.support.servers import free_port


async def count(database: Database) -> int:
    return int(await scalar(database, select(func.count()).select_from(conversations)))


# --- open and close -------------------------------------------------------------------------------


@pytest.fixture
async def opened(sqlite_url: str) -> AsyncIterator[Database]:
    database = Database(sqlite_url)
    await database.open()
    yield database
    await database.close()


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
    database = Database(sqlite_url)
    await database.open()
    await accept(database)
    open_files = modes(tmp_path)
    await database.close()
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
        again = Database(database_url)
        try:
            await again.open()
            await again.open()
            assert (await ConversationStore(again).find(id_)).id == id_
        finally:
            await again.close()


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
def plain_dsn(postgres_url: str) -> str:
    """As asyncpg itself takes it."""
    return postgres_url.replace("postgresql+asyncpg://", "postgresql://")


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


async def test_a_postgres_database_of_a_newer_version_stops_the_start(
    new_postgres_url: str,
) -> None:
    database = Database(new_postgres_url)
    try:
        await database.open()
        await run_sql(database, text("UPDATE alembic_version SET version_num = '9999'"))
    finally:
        await database.close()
    await refused(new_postgres_url, "9999.*newer")


async def refused(url: str, why: str) -> None:
    """The start is refused with one line, without the password."""
    database = Database(url)
    try:
        with pytest.raises(StartRefused, match=why) as raised:
            await database.open()
        assert len(raised.value.details.splitlines()) == 1
        assert "hunter2" not in raised.value.details
    finally:
        await database.close()


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


async def test_a_folder_in_place_of_the_file_stops_the_start(tmp_path: Path) -> None:
    await refused(f"sqlite+aiosqlite:///{tmp_path}", "^DATABASE_URL .*open")


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


# --- transactions ---------------------------------------------------------------------------------


async def test_a_write_that_raises_leaves_nothing(database: Database) -> None:
    def work(connection: Connection) -> None:
        connection.execute(INSERT)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.write(work)
    assert await count(database) == 0


INSERT = text(
    "INSERT INTO conversations (id, text, timestamp, status, created_at, lane)"
    " VALUES ('conv_00000001', 'x', 0, 'pending', 0, 'live')"
)


async def test_what_is_written_is_seen_by_the_next_read(database: Database) -> None:
    await run_sql(database, INSERT)
    assert await count(database) == 1


async def test_a_read_sees_one_moment(database: Database) -> None:
    async with open_read(database, text("SELECT count(*) FROM conversations")) as read:
        await accept(database)
    assert (await read, await count(database)) == ([0, 0], 1)


async def test_a_read_cannot_change_anything(database: Database) -> None:
    with pytest.raises((Unavailable, DBAPIError), match=r"(?i)read-?only"):
        await database.read(lambda connection: connection.execute(INSERT).rowcount)
    assert await count(database) == 0


async def test_many_writes_at_once_all_come_through(database: Database) -> None:
    async def write(number: int) -> None:
        await run_sql(database, text(INSERT.text.replace("'conv_00000001'", f"'conv_{number:08}'")))

    async with asyncio.timeout(60):
        await asyncio.gather(*(write(number) for number in range(60)))
    assert await count(database) == 60


async def test_urgent_writes_and_others_take_turns_where_both_wait(opened: Database) -> None:
    begun, gate = threading.Event(), threading.Event()
    done: list[str] = []

    def hold_up(_connection: Connection) -> None:
        begun.set()
        assert gate.wait(10)

    def write(name: str) -> asyncio.Task[None]:
        work = opened.write(lambda _connection: done.append(name), urgent=name.isupper())
        return asyncio.create_task(work)

    waiting = [asyncio.create_task(opened.write(hold_up))]
    assert await asyncio.to_thread(begun.wait, 10)
    waiting += [write(name) for name in "abAcB"]
    gone = write("C")
    await asyncio.sleep(0)  # let them line up
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    gate.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting)
    assert done == ["A", "a", "B", "b", "c"]


async def test_the_caller_of_an_urgent_write_has_his_answer_before_others_begin(
    opened: Database,
) -> None:
    begun, gate = threading.Event(), threading.Event()
    order: list[str] = []

    def hold_up(_connection: Connection) -> None:
        begun.set()
        assert gate.wait(10)

    async def write_urgently() -> None:
        await opened.write(hold_up, urgent=True)
        order.append("answered")

    async def yield_to_urgent_write() -> None:
        await opened.yield_to_urgent_write()
        order.append("gave way")

    waiting = [asyncio.create_task(write_urgently())]
    assert await asyncio.to_thread(begun.wait, 10)
    waiting.append(asyncio.create_task(yield_to_urgent_write()))
    waiting.append(asyncio.create_task(opened.write(lambda _connection: order.append("other"))))
    await asyncio.sleep(0.05)
    assert order == []
    gate.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting)
    assert order[0] == "answered"
    assert sorted(order[1:]) == ["gave way", "other"]


async def test_one_urgent_write_is_given_way_to_and_not_all_that_follow(opened: Database) -> None:
    first, gates = threading.Event(), [threading.Event(), threading.Event()]

    def hold_up(gate: threading.Event, _connection: Connection) -> None:
        first.set()
        assert gate.wait(10)

    writing = [
        asyncio.create_task(opened.write(partial(hold_up, gate), urgent=True)) for gate in gates
    ]
    assert await asyncio.to_thread(first.wait, 10)
    giving_way = asyncio.create_task(opened.yield_to_urgent_write())
    await asyncio.sleep(0)  # it begins
    gates[0].set()
    try:
        async with asyncio.timeout(10):
            await giving_way
        assert not writing[1].done()
    finally:
        gates[1].set()
        await asyncio.gather(*writing)


async def test_nobody_gives_way_for_longer_than_an_urgent_write_that_failed(
    opened: Database,
) -> None:
    def fail(_connection: Connection) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await opened.write(fail, urgent=True)
    async with asyncio.timeout(10):
        await opened.yield_to_urgent_write()
        assert await opened.write(lambda _connection: 1) == 1


async def test_many_reads_at_once_all_come_through(database: Database) -> None:
    async with asyncio.timeout(60):
        assert await asyncio.gather(*(count(database) for _ in range(60))) == [0] * 60


@pytest.mark.parametrize("steps", [*range(12), 15, 20, 30])
async def test_a_write_cancelled_at_any_moment_leaves_the_database_usable(
    database: Database, steps: int
) -> None:
    """As when a request's task is cancelled: all of the write is there, or nothing."""
    at_begin = asyncio.Event()

    async def write() -> None:
        at_begin.set()
        await run_sql(database, INSERT, text(INSERT.text.replace("00000001", "00000002")))

    task = asyncio.create_task(write())
    await at_begin.wait()
    for _ in range(steps):
        # Each pass lets a driver's thread or the socket bring things a step further.
        await asyncio.to_thread(lambda: None)
    task.cancel()
    await asyncio.wait([task])
    async with asyncio.timeout(20):
        await accept(database)  # what was begun is finished before this
        before = await count(database)
        assert before in (1, 3)
        for _ in range(3):
            await accept(database)
        assert await count(database) == before + 3


@pytest.mark.parametrize("steps", range(8))
async def test_a_read_cancelled_at_any_moment_leaves_the_database_usable(
    database: Database, steps: int
) -> None:
    for _ in range(6):  # more often than there are connections
        task = asyncio.create_task(count(database))
        for _ in range(steps):
            await asyncio.to_thread(lambda: None)
        task.cancel()
        await asyncio.wait([task])
    async with asyncio.timeout(20):
        assert await asyncio.gather(*(count(database) for _ in range(12))) == [0] * 12
        await accept(database)
        assert await count(database) == 1


# --- a locked SQLite file -------------------------------------------------------------------------


class Rows:
    """One conversation in each state that a write needs."""

    failed: str
    pending: str
    claimed: list[Claimed]

    @classmethod
    async def make(cls, database: Database) -> "Rows":
        rows = cls()
        rows.failed = await accept(database)
        (failing,) = await claim_all(database)
        await WorkQueue(database).settle([(failing, Fail("refused"))])
        await ConversationStore(database).accept(new_conversations(4), lane=Lane.LIVE)
        rows.claimed = await claim_all(database)
        await Ledger(database).reserve("request", model="grok", conversations=1, highest_cost=1)
        rows.pending = await accept(database)
        return rows


Write = Callable[[Database, Rows], Awaitable[object]]
WRITES: dict[str, Write] = {
    "accept": lambda database, _: ConversationStore(database).accept(
        [new_conversation()], lane=Lane.LIVE
    ),
    "erase": lambda database, rows: ConversationStore(database).erase(rows.pending),
    "erase_older_than": lambda database, _: ErasureStore(database).erase_older_than(
        datetime(2100, 1, 1, tzinfo=UTC), limit=1
    ),
    "sweep": lambda database, _: ErasureStore(database).sweep(),
    "retry": lambda database, rows: ConversationStore(database).retry(rows.failed),
    "retry_failed": lambda database, _: ConversationStore(database).retry_failed(),
    "claim": lambda database, _: claim_some(database, limit=1),
    "claim_suspect": lambda database, _: WorkQueue(database).claim_suspect(lease=LEASE),
    "reserve": lambda database, _: Ledger(database).reserve(
        "request", model="grok", conversations=1, highest_cost=1
    ),
    "forget": lambda database, _: Ledger(database).forget(older_than_days=1, limit=1),
    "close_orphans": lambda database, _: Ledger(database).close_orphans(),
    "settle a completion": lambda database, rows: WorkQueue(database).settle(
        [(rows.claimed[0], Complete(analysis()))]
    ),
    "settle a failure": lambda database, rows: WorkQueue(database).settle(
        [(rows.claimed[1], Fail("refused"))]
    ),
    "settle a retry": lambda database, rows: WorkQueue(database).settle(
        [(rows.claimed[2], Retry("503", 1.0))]
    ),
    "settle what is put back": lambda database, rows: WorkQueue(database).settle(
        [(rows.claimed[3], Requeue())]
    ),
    "extend": lambda database, rows: WorkQueue(database).extend(
        {rows.claimed[0].token}, lease=LEASE
    ),
    "rescue": lambda database, _: WorkQueue(database).rescue(all_orphaned=True),
    "take_up": lambda database, _: VersionStore(database).take_up(
        Asked("offline", "words", "", None, "open", ("praise",))
    ),
    "step": lambda database, _: OwnPostStore(database, ["shop"]).step(""),
    "check_writable": lambda database, _: database.check_writable(),
}


def test_every_public_method_of_the_stores_is_in_the_tables_of_writes_or_reads() -> None:
    """A method that is added has to meet a locked database as well."""
    reads = {
        "drained",
        "find",
        "failed",
        "page",
        "all_of",
        "has_cluster",
        "newest",
        "newest_id",
        "since",
        "summary",
        "trends",
        "all",
        "completed_per_second",
        "stalled_seconds",
        "analysed_before",
        "recent_sightings",
        "called_lately",
        "today",
        "total",
        "is_taken_up",
        # Parts of a transaction of somebody else's.
        "count",
        "keys_after",
    }
    methods = {
        name
        for store in (
            ConversationStore,
            ErasureStore,
            WorkQueue,
            Ledger,
            InsightStore,
            SummaryStore,
            TrendStore,
            FigureStore,
            VersionStore,
            OwnPostStore,
        )
        for name, value in vars(store).items()
        if callable(value) and not name.startswith("_")
    }
    assert methods - reads == {name.split()[0] for name in WRITES} - {"check_writable"}


_WRITTEN = ("conversations", "insights", "calls", "analysis_versions", "applied_settings")


async def snapshot(database: Database) -> list[Any]:
    return await database.read(
        lambda connection: [
            connection.execute(text(f"SELECT * FROM {table} ORDER BY 1")).all()
            for table in _WRITTEN
        ]
    )


@pytest.mark.parametrize("name", WRITES)
async def test_every_write_to_a_locked_file_is_unavailable_and_works_after(
    quick: Database, locked: Locks, name: str
) -> None:
    rows = await Rows.make(quick)
    before = await snapshot(quick)
    with locked():
        for _ in range(2):
            with pytest.raises(Unavailable, match="locked by another process") as raised:
                await WRITES[name](quick, rows)
            assert raised.value.retry_after is not None
            assert raised.value.retry_after >= 1
        assert await snapshot(quick) == before
    async with asyncio.timeout(10):
        await WRITES[name](quick, rows)
    with_nothing_to_do = ("check_writable", "sweep", "claim_suspect", "forget")
    if name not in with_nothing_to_do:
        assert await snapshot(quick) != before


async def test_a_locked_file_can_still_be_read(quick: Database, locked: Locks) -> None:
    (id_,) = await complete(quick, new_conversation())
    with locked():
        assert (await ConversationStore(quick).find(id_)).id == id_
        queue = (await FigureStore(quick).all()).queue
        page = await InsightStore(quick).page(insight_filter(), limit=10, cursor=None)
    assert sum(queue.counts.values()) == 1
    assert page.next_cursor is None


async def test_all_who_wait_at_a_locked_file_hear_of_it_together(
    quick: Database, locked: Locks
) -> None:
    store = ConversationStore(quick)
    with locked():
        answers = await asyncio.gather(
            *(store.accept([item], lane=Lane.LIVE) for item in new_conversations(50)),
            return_exceptions=True,
        )
    assert {type(answer) for answer in answers} == {Unavailable}
    assert await count(quick) == 0
    await store.accept(new_conversations(50), lane=Lane.LIVE)
    assert await count(quick) == 50


async def test_a_short_lock_is_waited_for(sqlite_url: str, locked: Locks) -> None:
    """As long as `BUSY_TIMEOUT_SECONDS`, which is as in the service here."""
    database = Database(sqlite_url)
    await database.open()
    try:
        with ExitStack() as held:
            held.enter_context(locked())
            accepting = asyncio.create_task(accept(database))
            done, _ = await asyncio.wait([accepting], timeout=0.2)
            assert done == set()
        assert (await asyncio.wait_for(accepting, 10)).startswith("conv_")
    finally:
        await database.close()


# --- a full disk ----------------------------------------------------------------------------------


async def test_a_full_disk_is_unavailable_and_works_once_there_is_room(small_disk: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{small_disk}/insights.db")
    await database.open()
    try:
        (small_disk / "ballast").write_bytes(b"x" * 300_000)
        stored = 0

        async def fill() -> None:
            nonlocal stored
            async with asyncio.timeout(60):
                while True:
                    await accept(database, "x" * 5000)
                    stored += 1

        with pytest.raises(Unavailable, match="disk"):
            await fill()
        assert await count(database) == stored > 0
        (small_disk / "ballast").unlink()
        await database.check_writable()
        await accept(database, "x" * 5000)
        assert await count(database) == stored + 1
    finally:
        await database.close()


# --- PostgreSQL goes away -------------------------------------------------------------------------


@pytest.fixture
async def postgres(postgres_url: str) -> AsyncIterator[Database]:
    database = Database(postgres_url)
    await database.open()
    await run_sql(database, text("TRUNCATE conversations CASCADE"))
    yield database
    await database.close()


async def end_all_connections(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        ended = await connection.fetch(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return len(ended)
    finally:
        await connection.close()


async def test_after_all_connections_were_ended_the_next_call_works(
    postgres: Database, plain_dsn: str
) -> None:
    await asyncio.gather(*(count(postgres) for _ in range(5)))
    assert await end_all_connections(plain_dsn) >= 1
    assert await asyncio.gather(*(count(postgres) for _ in range(20))) == [0] * 20
    await accept(postgres)
    assert await count(postgres) == 1


async def test_a_write_whose_connection_is_ended_midway_is_unavailable_and_leaves_nothing(
    postgres: Database, plain_dsn: str
) -> None:
    def work(connection: Connection) -> None:
        connection.execute(INSERT)
        await_only(end_all_connections(plain_dsn))
        connection.execute(text("SELECT 1"))

    with pytest.raises(Unavailable):
        await postgres.write(work)
    assert await count(postgres) == 0
    await accept(postgres)


async def test_a_commit_whose_connection_is_ended_is_unavailable(
    postgres: Database, plain_dsn: str
) -> None:
    def work(connection: Connection) -> None:
        connection.execute(INSERT)
        await_only(end_all_connections(plain_dsn))

    with pytest.raises(Unavailable):
        await postgres.write(work)
    assert await count(postgres) == 0


async def test_while_postgres_is_not_there_every_call_is_unavailable() -> None:
    """As when it goes away after the start: never opened, so that no connection lies ready."""
    database = Database(f"postgresql+asyncpg://postgres@127.0.0.1:{free_port()}/insights")
    try:
        for _ in range(2):
            with pytest.raises(Unavailable, match="cannot be reached"):
                await database.check_writable()
            with pytest.raises(Unavailable, match="cannot be reached"):
                await ConversationStore(database).find("conv_00000000")
            with pytest.raises(Unavailable, match="cannot be reached"):
                await accept(database)
    finally:
        await database.close()


async def test_a_statement_that_is_wrong_stays_a_bug(database: Database) -> None:
    """Only what waiting may mend is Unavailable."""

    async def read() -> None:
        await scalar(database, text("SELECT no_such_function()"))

    with pytest.raises(DBAPIError, match="no_such_function") as raised:
        await read()
    assert not isinstance(raised.value, Unavailable)
    assert await count(database) == 0


# --- erasing --------------------------------------------------------------------------------------


async def test_there_is_a_checkpoint_once_nobody_waits_for_a_write(
    opened: Database, tmp_path: Path
) -> None:
    """The file itself only grows by a checkpoint, which SQLite alone would put off until the log
    has sixteen million bytes."""
    file = tmp_path / "insights.db"
    before = file.stat().st_size
    await ConversationStore(opened).accept([new_conversation("x" * 1000)] * 500, lane=Lane.BULK)
    await eventually(lambda: file.stat().st_size > before + 400_000)


async def test_a_truncating_checkpoint_empties_the_log(opened: Database, tmp_path: Path) -> None:
    await accept(opened)
    assert (tmp_path / "insights.db-wal").stat().st_size > 0
    await opened.checkpoint_truncate()
    assert (tmp_path / "insights.db-wal").stat().st_size == 0
    assert await count(opened) == 1


async def test_erasing_succeeds_although_no_checkpoint_can_be_made(
    quick: Database, locked: Locks
) -> None:
    id_ = await accept(quick)
    with locked():
        await quick.checkpoint_truncate()
    await ConversationStore(quick).erase(id_)
    with pytest.raises(NotFound):
        await ConversationStore(quick).find(id_)


# --- one process per file -------------------------------------------------------------------------


async def test_a_file_that_is_open_is_refused_with_one_line(sqlite_url: str) -> None:
    first = Database(sqlite_url)
    await first.open()
    await refused(sqlite_url, r"^DATABASE_URL .*/insights\.db: another process .*PostgreSQL")
    await accept(first)
    await first.close()


async def test_of_several_that_open_a_new_file_at_once_each_gets_it_in_turn(
    sqlite_url: str,
) -> None:
    having = 0

    async def use() -> None:
        nonlocal having
        database = Database(sqlite_url, lock_patience=60)
        await database.open()
        having += 1
        assert having == 1
        await accept(database)
        having -= 1
        await database.close()

    async with asyncio.timeout(60):
        await asyncio.gather(*(use() for _ in range(6)))
    last = Database(sqlite_url)
    await last.open()
    assert await count(last) == 6
    await last.close()


async def test_a_file_is_the_same_on_every_way_to_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "folder").symlink_to("data")
    (tmp_path / "link.db").symlink_to("data/insights.db")
    first = Database(f"sqlite+aiosqlite:///{tmp_path}/data/insights.db")
    await first.open()
    for way in ("folder/insights.db", "link.db", "data/../data/insights.db"):
        await refused(f"sqlite+aiosqlite:///{tmp_path}/{way}", "another process")
    await first.close()
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


async def test_while_all_is_reworked_no_write_begins(opened: Database) -> None:
    """Two connections that write or checkpoint at one moment could lose what was committed."""
    begun, over = threading.Event(), threading.Event()

    def rework(connection: Connection) -> int:
        begun.set()
        await_only(asyncio.to_thread(over.wait, 20))
        return connection.execute(INSERT).rowcount

    reworking = asyncio.create_task(opened.rework(rework))
    assert await asyncio.to_thread(begun.wait, 20)
    writes = [
        asyncio.create_task(accept(opened)),
        asyncio.create_task(opened.check_writable()),
        asyncio.create_task(opened.checkpoint_truncate()),
    ]
    done, _ = await asyncio.wait(writes, timeout=0.3)
    assert done == set()
    assert await count(opened) == 0  # reads go on
    over.set()
    async with asyncio.timeout(20):
        await asyncio.gather(reworking, *writes)
    assert await count(opened) == 2


async def test_reworking_that_fails_or_is_cancelled_leaves_nothing_and_frees_the_writer(
    database: Database,
) -> None:
    begun = asyncio.Event()

    def fail(connection: Connection) -> None:
        connection.execute(INSERT)
        raise ZeroDivisionError

    def hang(connection: Connection) -> None:
        connection.execute(INSERT)
        begun.set()
        await_only(asyncio.sleep(60))

    with pytest.raises(ZeroDivisionError):
        await database.rework(fail)
    reworking = asyncio.create_task(database.rework(hang))
    await begun.wait()
    reworking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reworking
    async with asyncio.timeout(20):
        assert await count(database) == 0
        await accept(database)
    assert await count(database) == 1


async def test_reworking_a_locked_file_is_unavailable(sqlite_url: str, locked: Locks) -> None:
    database = Database(sqlite_url)
    await database.open()
    try:
        with locked(), pytest.raises(Unavailable, match="locked by another process"):
            await database.rework(lambda connection: connection.execute(INSERT).rowcount)
        await accept(database)
    finally:
        await database.close()


async def test_it_says_which_database_it_is(database: Database, plain_dsn: str) -> None:
    if database.is_sqlite:
        assert (database.engine, database.version) == ("sqlite", sqlite3.sqlite_version)
        return
    connection = await asyncpg.connect(plain_dsn)
    shown = await connection.fetchval("SHOW server_version")
    await connection.close()
    assert (database.engine, database.version) == ("postgresql", shown.split()[0])


# --- what is erased leaves the files --------------------------------------------------------------


async def test_an_erased_text_leaves_the_log_also_when_a_reader_stood_in_the_way(
    opened: Database, tmp_path: Path
) -> None:
    store = ConversationStore(opened)
    (id_,) = await store.accept([new_conversation("a-most-private-text")], lane=Lane.LIVE)
    async with open_read(opened, text("SELECT count(*) FROM conversations")):
        await store.erase(id_)
    await store.accept([new_conversation("the next one")], lane=Lane.LIVE)

    assert files_with(tmp_path, b"the next one") != []
    assert files_with(tmp_path, b"a-most-private-text") == []


def files_with(folder: Path, needle: bytes) -> list[str]:
    return [path.name for path in folder.glob("insights.db*") if needle in path.read_bytes()]
