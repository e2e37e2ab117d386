"""What sessions of PostgreSQL are set up to do, through poolers too."""

import asyncio
import time

import pytest
from sqlalchemy import Connection, text

import backends.postgres
from database import Database
from errors import StartRefused, Unavailable
from tests.support.servers import postgres_pooler

SETTINGS = text(
    "SELECT current_setting('enable_seqscan'), current_setting('jit'),"
    " current_setting('statement_timeout'),"
    " current_setting('idle_in_transaction_session_timeout'), current_setting('tcp_user_timeout')"
)


async def test_a_session_has_its_settings_also_through_a_pooler_in_session_mode(
    fresh_postgres_url: str,
) -> None:
    with postgres_pooler(fresh_postgres_url, "session") as pooled:
        for url in (fresh_postgres_url, pooled):
            async with Database(url) as database:
                found = await database.read(lambda connection: connection.execute(SETTINGS).one())
                assert tuple(found) == ("off", "off", "15s", "5s", "10000")


async def test_a_pooler_that_gives_sessions_to_several_is_refused_in_one_line(
    fresh_postgres_url: str,
) -> None:
    with postgres_pooler(fresh_postgres_url, "transaction") as pooled:
        database = Database(pooled)
        with pytest.raises(StartRefused, match="pooler in transaction mode") as refused:
            await database.open()
        assert "\n" not in refused.value.details
        await database.close()


async def test_a_process_that_stands_still_in_a_transaction_gives_up_its_locks(
    monkeypatch: pytest.MonkeyPatch, fresh_postgres_url: str
) -> None:
    monkeypatch.setattr(backends.postgres, "_IDLE_SECONDS", 1)
    database = Database(fresh_postgres_url)
    await database.open()
    lock = text("SELECT pg_advisory_xact_lock(4711)")

    def stand_still(connection: Connection) -> None:
        connection.execute(lock)
        time.sleep(1.5)
        connection.execute(lock)

    try:
        with pytest.raises(Unavailable, match=r"stood still|cannot be reached"):
            await database.write(stand_still)
        async with asyncio.timeout(5):
            await database.write(lambda connection: connection.execute(lock))
    finally:
        await database.close()


async def test_a_schema_that_is_newer_means_not_now(fresh_postgres_url: str) -> None:
    async with Database(fresh_postgres_url) as database:
        for statement in ("SELECT * FROM not_there", "SELECT not_there FROM conversations"):
            ask = text(statement)
            with pytest.raises(Unavailable, match="a newer one has changed it"):
                await database.write(lambda connection, ask=ask: connection.scalar(ask))  # type: ignore[misc]
