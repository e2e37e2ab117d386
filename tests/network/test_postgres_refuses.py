"""A PostgreSQL that is there, but lets the service in no more, or not as it needs it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import text

from database import Database
from errors import StartRefused, Unavailable
from tests.support.factories import accept
from tests.support.servers import postgres_pooler, server_of
from tests.support.stored import count


class Owner:
    """A role of this test's own, which owns the database `url`."""

    def __init__(self, admin_url: str) -> None:
        self.name = f"owner_{uuid4().hex[:8]}"
        parts = urlsplit(admin_url)
        self.url = parts._replace(netloc=f"{self.name}@{parts.hostname}:{parts.port}").geturl()
        self.database = parts.path[1:]
        self._admin_url = admin_url.replace("+asyncpg", "")

    async def run(self, statement: str) -> None:
        """As the server's administrator; what is not about tables, from another database."""
        url = self._admin_url
        if "DATABASE" in statement or statement.startswith("SELECT"):
            url = f"{server_of(url)}/postgres"
        admin = await asyncpg.connect(url)
        try:
            await admin.execute(statement.format(role=self.name, database=self.database))
        finally:
            await admin.close()

    async def end_sessions(self) -> None:
        await self.run(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{role}'"
        )


@pytest.fixture
async def owner(fresh_postgres_url: str) -> AsyncIterator[Owner]:
    owner = Owner(fresh_postgres_url)
    await owner.run("CREATE ROLE {role} LOGIN")
    await owner.run("ALTER DATABASE {database} OWNER TO {role}")
    await owner.run("ALTER SCHEMA public OWNER TO {role}")
    try:
        yield owner
    finally:
        await owner.run("ALTER DATABASE {database} ALLOW_CONNECTIONS true")
        await owner.end_sessions()
        await owner.run("ALTER DATABASE {database} OWNER TO CURRENT_USER")
        await owner.run("DROP OWNED BY {role} CASCADE")
        await owner.run("DROP ROLE {role}")


@pytest.mark.parametrize(
    ("refuse", "relent"),
    [
        ("ALTER ROLE {role} NOLOGIN", "ALTER ROLE {role} LOGIN"),
        (
            "ALTER DATABASE {database} ALLOW_CONNECTIONS false",
            "ALTER DATABASE {database} ALLOW_CONNECTIONS true",
        ),
        (
            "REVOKE CONNECT ON DATABASE {database} FROM PUBLIC, {role}",
            "GRANT CONNECT ON DATABASE {database} TO {role}",
        ),
    ],
)
async def test_whoever_is_let_in_no_more_waits_until_it_is_again(
    owner: Owner, refuse: str, relent: str
) -> None:
    async with Database(owner.url) as database:
        await accept(database)
        await owner.run(refuse)
        await owner.end_sessions()
        for _ in range(2):
            with pytest.raises(Unavailable, match=r"let this service in|denies this service"):
                await count(database)
        await owner.run(relent)
        assert await count(database) == 1


async def test_what_the_role_may_no_more_waits_until_it_may_again(owner: Owner) -> None:
    async with Database(owner.url) as database:
        await owner.run("REVOKE INSERT ON conversations FROM {role}")
        with pytest.raises(Unavailable, match="denies this service"):
            await accept(database)
        await owner.run("GRANT INSERT ON conversations TO {role}")
        await accept(database)
        assert await count(database) == 1


async def test_where_no_connection_is_left_reads_take_turns_with_those_that_there_are(
    owner: Owner,
) -> None:
    async with Database(owner.url) as database:
        ask = text("SELECT pg_sleep(0.02)")
        await owner.run("ALTER ROLE {role} CONNECTION LIMIT 2")
        asked = (
            database.read(lambda connection: connection.scalar(ask), seconds=60.0)
            for _ in range(20)
        )
        assert len(await asyncio.gather(*asked)) == 20


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_that_cannot_hold_every_text_is_refused_in_one_line(
    owner: Owner, encoding: str
) -> None:
    name = f"{owner.database}_{encoding.lower()}"
    await owner.run(
        f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C'"
        " LC_CTYPE 'C'"
    )
    database = Database(owner.url.replace(owner.database, name))
    try:
        with pytest.raises(StartRefused, match=f"encoding is {encoding}") as refused:
            await database.open()
        assert "\n" not in refused.value.details
    finally:
        await database.close()
        await owner.run(f"DROP DATABASE {name} WITH (FORCE)")


async def test_what_waits_for_its_turn_sees_what_others_wrote_whatever_the_database_says(
    owner: Owner,
) -> None:
    await owner.run("ALTER DATABASE {database} SET default_transaction_isolation = 'serializable'")
    async with Database(owner.url) as database:
        ask = text("SHOW transaction_isolation")
        found: Any = await database.write(lambda connection: connection.scalar(ask))
        assert found == "read committed"


@pytest.fixture
def busy_pooler(fresh_postgres_url: str) -> Iterator[str]:
    """In transaction mode, with sessions to choose from: it gives each transaction the next."""
    with postgres_pooler(fresh_postgres_url, "transaction", "server_round_robin = 1\n") as url:
        yield url


@pytest.mark.parametrize("options", ["", "?prepared_statement_cache_size=0"])
async def test_a_pooler_that_changes_sessions_under_a_connection_is_refused(
    busy_pooler: str, options: str
) -> None:
    plain = busy_pooler.replace("+asyncpg", "")
    others = [await asyncpg.connect(plain, statement_cache_size=0) for _ in range(4)]
    for other in others:
        await other.execute("BEGIN")
    for other in others:
        await other.execute("COMMIT")
        await other.close()
    database = Database(busy_pooler + options)
    with pytest.raises(StartRefused, match="pooler in transaction mode"):
        await database.open()
    await database.close()
