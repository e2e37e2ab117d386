"""What a replica knows of the others."""

import time
from collections.abc import Callable
from typing import Any

import pytest

import assembly
from config import Settings
from models import SCHEMA_REVISION
from store.replicas import Beat
from worker.heartbeat import BEAT_SECONDS, Heartbeat


class Replicas:
    """Two are there."""

    async def beat(self) -> Beat:
        return Beat(2, SCHEMA_REVISION, 0.0)

    async def leave(self) -> None:
        pass


async def test_how_many_there_are_is_sure_once_all_have_counted_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replicas: Any = Replicas()
    heartbeat = Heartbeat(replicas)
    assert heartbeat.counted is None
    await heartbeat.start(on_newer_schema=lambda: None)
    assert (heartbeat.analysing, heartbeat.counted) == (2, None)
    began = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: began + BEAT_SECONDS)
    await heartbeat._beat()
    assert heartbeat.counted is None
    monkeypatch.setattr(time, "monotonic", lambda: began + BEAT_SECONDS + 1.1)
    await heartbeat._beat()
    assert heartbeat.counted == 2
    monkeypatch.undo()
    await heartbeat.stop()


@pytest.mark.parametrize(
    ("settings", "counted"),
    [({"database_url": "postgresql+asyncpg://me@db.example/insights"}, None), ({}, 1)],
)
def test_the_call_limit_goes_by_those_that_are_sure(
    monkeypatch: pytest.MonkeyPatch,
    make_settings: Callable[..., Settings],
    settings: dict[str, Any],
    counted: int | None,
) -> None:
    told: dict[str, Any] = {}
    build = assembly._build_window

    def noting(redis: Any, name: str, calls: int, **options: Any) -> Any:
        told[name] = options
        return build(redis, name, calls, **options)

    monkeypatch.setattr(assembly, "_build_window", noting)
    assembly.assemble(make_settings(**settings))
    assert told["grok"]["replicas"]() == counted
