"""Where the service writes, and whether there is room."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from runtime.disks import folders_written_to, room_in


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize(
    ("total", "free", "is_short"),
    [(1000, 51, False), (1000, 50, False), (1000, 49, True), (0, 0, False)],
)
def test_less_than_a_twentieth_is_short(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, total: int, free: int, is_short: bool
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(total, total - free, free))
    room = room_in(tmp_path)
    assert room is not None
    assert (room.free, room.is_short) == (free, is_short)


def test_of_a_folder_that_is_not_there_nothing_can_be_told(tmp_path: Path) -> None:
    assert room_in(tmp_path / "gone") is None


def test_a_database_of_ones_own_and_backups_are_written_to(tmp_path: Path) -> None:
    database, backups = tmp_path / "data", tmp_path / "backups"
    sqlite = f"sqlite+aiosqlite:///{database}/insights.db"
    assert folders_written_to(sqlite, None) == {"database": database}
    assert folders_written_to(sqlite, backups) == {"database": database, "backups": backups}
    elsewhere = "postgresql+asyncpg://me@db.example/insights"
    assert folders_written_to(elsewhere, backups) == {"backups": backups}
