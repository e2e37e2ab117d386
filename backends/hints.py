"""Hints between the processes on one PostgreSQL, by LISTEN and NOTIFY.

A hint says "look", never what is there: one that is lost costs the time until the next poll. It is
sent after its transaction, on a connection of its own: inside, it would make all commits that tell
something wait for each other (https://www.postgresql.org/docs/current/sql-notify.html).
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from asyncpg import InterfaceError, PostgresError
from sqlalchemy import URL, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

log = structlog.get_logger(__name__)

_CONNECT_SECONDS = 5.0
_TRY_AGAIN_SECONDS = 2.0
_SEND = text("SELECT pg_notify(:channel, '')")


class Hints:
    """From `start()` until `stop()`, with one connection. While there is none, hints are lost."""

    def __init__(self, url: URL) -> None:
        self._engine = create_async_engine(
            url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"timeout": _CONNECT_SECONDS, "command_timeout": _CONNECT_SECONDS},
        )
        self._to_send: set[str] = set()
        self._something = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, listeners: Mapping[str, Callable[[], None]]) -> None:
        """Call a listener, by the name of its channel, when another process has given a hint."""
        self._task = asyncio.create_task(self._run(listeners), name="hints")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._engine.dispose()

    def give(self, channel: str) -> None:
        """Soon, and once where several are given at a time."""
        self._to_send.add(channel)
        self._something.set()

    async def _run(self, listeners: Mapping[str, Callable[[], None]]) -> None:
        while True:
            try:
                async with self._engine.connect() as connection:
                    await self._exchange(connection, listeners)
            # What is asked of the driver itself raises the driver's own.
            except (SQLAlchemyError, PostgresError, InterfaceError, OSError) as error:
                log.info("hints_away", cause=repr(error))
            except Exception:
                log.exception("hints_failed")
            # Whoever gave one meanwhile was not heard.
            for listener in listeners.values():
                listener()
            await asyncio.sleep(_TRY_AGAIN_SECONDS)

    async def _exchange(
        self, connection: AsyncConnection, listeners: Mapping[str, Callable[[], None]]
    ) -> None:
        """Until the connection ends."""
        driver: Any = (await connection.get_raw_connection()).driver_connection
        own = driver.get_server_pid()

        def heard(_driver: object, sender: int, channel: str, _payload: str) -> None:
            if sender != own:
                listeners[channel]()

        driver.add_termination_listener(lambda _driver: self._something.set())
        for channel in listeners:
            await driver.add_listener(channel, heard)
        while not driver.is_closed():
            self._something.clear()
            channels, self._to_send = self._to_send, set()
            for channel in channels:
                await connection.execute(_SEND, {"channel": channel})
            await self._something.wait()
