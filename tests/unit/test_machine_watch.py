"""What is wrong with the service itself, as it is told."""

import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from worker.machine import MachineWatch
from worker.stalls import StallWatch

NOW = datetime(2025, 1, 20, 12, tzinfo=UTC)


class _Disk(NamedTuple):
    total: int
    used: int
    free: int


Make = Callable[..., MachineWatch]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def watch(
        *,
        reason: str | None = None,
        spent: bool = False,
        idle: float = 0.0,
        stalled: float = 0.0,
        pause: float = 0.0,
        backup_age: timedelta | None = None,
        **rest: Any,
    ) -> MachineWatch:
        async def stalled_seconds() -> float:
            return stalled

        newest = None if backup_age is None else SimpleNamespace(moment=NOW - backup_age)
        keeper: Any = SimpleNamespace(newest=newest, every=timedelta(hours=24))
        figures: Any = SimpleNamespace(stalled_seconds=stalled_seconds)
        runner: Any = SimpleNamespace(breaker=SimpleNamespace(reason=reason), out_of_money=spent)
        throttle = SimpleNamespace(pause_left=lambda: pause, call_interval=0.0)
        analyser: Any = SimpleNamespace(throttle=throttle)
        return MachineWatch(
            runner,
            StallWatch(figures, runner, analyser, seconds_since_progress=lambda: idle),
            folders={"database": tmp_path},
            backups=keeper,
            now=lambda: NOW,
            **rest,
        )

    return watch


@pytest.mark.parametrize(
    ("state", "troubles"),
    [
        ({}, set()),
        ({"reason": "The key is wrong."}, {"breaker"}),
        ({"spent": True, "idle": 700.0, "stalled": 700.0}, {"budget"}),
        ({"idle": 601.0, "stalled": 601.0}, {"stalled"}),
        ({"idle": 601.0, "stalled": 601.0, "pause": 3.0}, set()),
        ({"idle": 601.0, "stalled": 599.0}, set()),
        ({"idle": 601.0}, set()),
        ({"idle": 599.0, "stalled": 5000.0}, set()),
        ({"backup_age": timedelta(hours=47)}, set()),
        ({"backup_age": timedelta(hours=49)}, {"backup"}),
        ({"backup_age": timedelta(days=-800)}, {"backup"}),
    ],
)
async def test_what_is_wrong_is_named(
    make: Make, state: dict[str, Any], troubles: set[str]
) -> None:
    assert (await make(**state).troubles()).keys() == troubles


@pytest.mark.parametrize(("free", "is_told"), [(51, False), (49, True)])
async def test_a_disk_that_is_nearly_full_is_told(
    make: Make, monkeypatch: pytest.MonkeyPatch, free: int, is_told: bool
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: _Disk(1000, 1000 - free, free))
    assert ("disk of the database" in await make().troubles()) is is_told


async def test_disks_are_asked_beside_the_event_loop(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_in = []

    def usage(_folder: Path) -> _Disk:
        asked_in.append(threading.current_thread())
        return _Disk(1000, 0, 1000)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    await make().troubles()
    assert asked_in
    assert threading.current_thread() not in asked_in
