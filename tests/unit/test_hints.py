"""Hints between replicas while PostgreSQL, or a pooler before it, is away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url

from backends.hints import Hints
from tests.support.http_helpers import captured_log, eventually


@pytest.mark.parametrize("error", [asyncpg.ConnectionDoesNotExistError, asyncpg.InterfaceError])
async def test_a_connection_that_ends_amid_what_the_driver_is_asked_is_no_fault_of_ours(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    @asynccontextmanager
    async def connect() -> AsyncIterator[None]:
        yield

    async def exchange(*_: object) -> None:
        raise error("connection was closed in the middle of operation")

    hints = Hints(make_url("postgresql+asyncpg://nobody@127.0.0.1:1/nothing"))
    engine: Any = hints._engine
    monkeypatch.setattr(type(engine), "connect", lambda _engine: connect())
    monkeypatch.setattr(hints, "_exchange", exchange)
    looked: list[None] = []
    with captured_log() as log:
        hints.start({"channel": lambda: looked.append(None)})
        await eventually(lambda: looked)
        await hints.stop()
    assert [event["event"] for event in log.events] == ["hints_away"]
