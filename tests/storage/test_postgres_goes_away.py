"""PostgreSQL ends connections or is not there: what is told, and what works afterwards."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only

from database import Database
from errors import Unavailable
from store.conversations import ConversationStore
from tests.support.factories import accept, run_sql, scalar
from tests.support.servers import free_port
from tests.support.stored import count
from tests.support.tcp import serving

INSERT = text(
    "INSERT INTO conversations (id, text, timestamp, status, created_at, lane)"
    " VALUES ('conv_00000001', 'x', 0, 'pending', 0, 'live')"
)


@pytest.fixture
async def postgres(postgres_url: str) -> AsyncIterator[Database]:
    async with Database(postgres_url) as database:
        await run_sql(database, text("TRUNCATE conversations CASCADE"))
        yield database


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


class Firewall:
    """Passes on to PostgreSQL. What `forget` is called on it resets when it next hears of it, as
    firewalls do to connections that rested for long."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._clients: list[asyncio.StreamWriter] = []
        self._forgotten: set[asyncio.StreamWriter] = set()

    def forget(self) -> int:
        self._forgotten = set(self._clients)
        return len(self._forgotten)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.append(writer)
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        answers = asyncio.create_task(self._pass_on(from_server, writer))
        while (data := await reader.read(65536)) and writer not in self._forgotten:
            to_server.write(data)
        answers.cancel()
        to_server.close()
        writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


async def test_a_connection_that_rested_and_died_unseen_is_replaced(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing tells that it did, so it is asked."""
    monkeypatch.setattr("backends.postgres._RESTED_SECONDS", 0.1)
    url = make_url(postgres_url)
    assert url.port is not None
    firewall = Firewall(url.port)
    async with (
        serving(firewall.handle) as port,
        Database(url.set(host="127.0.0.1", port=port).render_as_string(False)) as database,
    ):
        before = await asyncio.gather(*(count(database) for _ in range(5)))
        assert firewall.forget() >= 2
        await asyncio.sleep(0.15)
        assert await asyncio.gather(*(count(database) for _ in range(5))) == before


async def test_a_connection_is_asked_whether_it_lives_where_it_has_rested(
    postgres: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time would cost three ways there and back."""
    monkeypatch.setattr("backends.postgres._RESTED_SECONDS", 60.0)
    dialect = postgres._backend._engine.dialect  # type: ignore[attr-defined]
    ask, asked = dialect.do_ping, []

    def do_ping(connection: object) -> bool:
        asked.append(connection)
        return bool(ask(connection))

    monkeypatch.setattr(dialect, "do_ping", do_ping)
    for _ in range(3):
        await count(postgres)
    assert not asked
    monkeypatch.setattr("backends.postgres._RESTED_SECONDS", 0.0)
    await count(postgres)
    assert len(asked) == 1


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
