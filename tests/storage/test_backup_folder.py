"""A folder of backups: which of them count, which are kept, and where none can be made."""

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from errors import StartRefused
from store.backups import folder as backup_folder
from store.backups.manifest import Counts, Manifest, manifest_path, read_manifest, write_manifest


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _fill(folder: Path, *moments: str) -> None:
    folder.mkdir(exist_ok=True)
    for moment in moments:
        (folder / f"insights-{moment}Z.db").touch()
        (folder / f"insights-{moment}Z.db.json").touch()


def test_what_a_killed_service_left_is_removed_after_an_hour(tmp_path: Path) -> None:
    _fill(tmp_path, "20260101T000000")
    left = [tmp_path / f"insights-20260102T000000Z.db.partial{end}" for end in ("", "-wal", "-shm")]
    for path in left:
        path.touch()
    tried = tmp_path / "drill-a" / "insights.db.restoring"
    tried.parent.mkdir()
    tried.touch()
    os.utime(tried.parent, (0, 0))
    made = tmp_path / "insights-20260101T000000Z.db"
    assert backup_folder.prune(made, 2, timedelta(days=1)) == []
    left.append(tried.parent)
    changing = tmp_path / "drill-b" / "insights.db-wal"  # gone before it is looked at
    changing.parent.mkdir()
    changing.symlink_to("nowhere")
    os.utime(changing.parent, (0, 0))
    for path in (*left, tried):
        os.utime(path, (0, 0))
    assert set(backup_folder.prune(made, 2, timedelta(days=1))) == set(left)
    assert _files(tmp_path) == {made.name, f"{made.name}.json", changing.parent.name}


def test_only_as_many_backups_are_kept_as_are_wanted(tmp_path: Path) -> None:
    _fill(tmp_path, *(f"20260101T0{hour}0000" for hour in range(4)))
    (tmp_path / "mine.db").touch()
    backup_folder.prune(tmp_path / "insights-20260101T030000Z.db", 2, timedelta(days=1))
    names = {"insights-20260101T030000Z.db", "insights-20260101T020000Z.db"}
    assert _files(tmp_path) == {*names, *(f"{name}.json" for name in names), "mine.db"}


def test_however_many_are_made_at_once_none_of_an_earlier_day_goes_for_them(
    tmp_path: Path,
) -> None:
    days = [f"2026010{day}T030000" for day in range(1, 8)]
    _fill(tmp_path, "by hand", *days)
    for minute in range(10, 40):
        _fill(tmp_path, f"20260107T12{minute}00")
        made = tmp_path / f"insights-20260107T12{minute}00Z.db"
        backup_folder.prune(made, 7, timedelta(days=1))
    kept = {path.stem for path in tmp_path.glob("*.db")}
    assert kept == {f"insights-{name}Z" for name in ("by hand", "20260107T123900", *days[:6])}


def _make(folder: Path, moment: datetime, *, sqlite: bool = True) -> Path:
    """A file of 7 bytes that stands for a backup, and its manifest."""
    path = folder / backup_folder.name_of(moment, sqlite=sqlite)
    path.write_bytes(b"content")
    made = Manifest(moment.isoformat(timespec="seconds"), 7, "", "", Counts(0, 0, 0, 0, 0, 0, 0))
    write_manifest(made, manifest_path(path))
    return path


def _ago(**time: float) -> datetime:
    return datetime.now(UTC) - timedelta(**time)


def test_a_backup_that_a_clock_ahead_has_dated_is_the_oldest_and_never_the_newest(
    tmp_path: Path,
) -> None:
    real, ahead = _make(tmp_path, _ago(hours=30)), _make(tmp_path, _ago(days=-800))
    newest = backup_folder.newest(tmp_path)
    assert newest is not None
    assert newest.moment < _ago(hours=29)
    assert backup_folder.dated_ahead(tmp_path) == [ahead]
    assert backup_folder.backups_in(tmp_path) == [real, ahead]
    made = _make(tmp_path, _ago())
    assert backup_folder.prune(made, 2, timedelta(days=1)) == [ahead]


@pytest.mark.parametrize("minutes", [1, 50], ids=["a minute", "nearly an hour"])
def test_what_has_just_been_made_stays_though_another_is_dated_later(
    tmp_path: Path, minutes: int
) -> None:
    later, made = _make(tmp_path, _ago(minutes=-minutes)), _make(tmp_path, _ago())
    assert backup_folder.prune(made, 1, timedelta(days=1)) == [later]


def test_a_drill_that_a_clock_ahead_has_dated_does_not_count(tmp_path: Path) -> None:
    for at, is_known in ((_ago(days=-800), False), (_ago(days=1), True)):
        drill = backup_folder.Drill(at.replace(microsecond=0), "insights-x.db", 1.0, None)
        backup_folder.record_drill(tmp_path, drill)
        assert backup_folder.last_drill(tmp_path) == (drill if is_known else None)


def test_what_is_left_of_an_attempt_under_a_clock_ahead_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "insights-20280101T000000Z.db.partial"
    left.touch()
    os.utime(left, (_ago(days=-800).timestamp(),) * 2)
    made = _make(tmp_path, _ago())
    assert backup_folder.prune(made, 2, timedelta(days=1)) == [left]


def test_a_file_of_another_size_than_its_manifest_says_is_no_backup(tmp_path: Path) -> None:
    earlier, cut = _make(tmp_path, _ago(days=2)), _make(tmp_path, _ago(days=1))
    cut.write_bytes(b"")
    assert backup_folder.newest(tmp_path) == read_manifest(earlier)
    manifest_path(earlier).write_text(manifest_path(earlier).read_text().replace("T", "at"))
    assert backup_folder.newest(tmp_path) is None, "nor is one with a time that cannot be read"


def test_backups_of_the_other_kind_of_database_count_for_nothing(tmp_path: Path) -> None:
    made = _make(tmp_path, _ago(days=1), sqlite=False)
    others = {_make(tmp_path, _ago(hours=hour)) for hour in range(5)}
    newest = backup_folder.newest(tmp_path, sqlite=False)
    assert newest == read_manifest(made)
    assert backup_folder.prune(made, 1, timedelta(days=1)) == []
    assert set(backup_folder.backups_in(tmp_path)) == others
    drill = backup_folder.Drill(_ago().replace(microsecond=0), made.name, 1.0, None)
    backup_folder.record_drill(tmp_path, drill)
    assert backup_folder.last_drill(tmp_path) is None
    assert backup_folder.last_drill(tmp_path, sqlite=False) == drill


@pytest.mark.parametrize("trouble", [errno.EIO, errno.EROFS, errno.ENOSPC, errno.ESTALE])
def test_a_disk_in_trouble_does_not_keep_the_service_from_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: int
) -> None:
    def fail(**_options: object) -> None:
        raise OSError(trouble, os.strerror(trouble))

    monkeypatch.setattr(backup_folder, "TemporaryFile", fail)
    backup_folder.check_folder(tmp_path)
    monkeypatch.undo()
    (tmp_path / "a_file").touch()
    with pytest.raises(StartRefused, match="BACKUP_DIR"):
        backup_folder.check_folder(tmp_path / "a_file")


@pytest.mark.parametrize(
    "name",
    [
        "insights-20260101T000000Z.db",
        "insights-20260101T000000Z.db.partial",
        "drill-mine/insights.db",
    ],
)
def test_a_database_that_would_be_removed_as_an_old_backup_is_refused(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(StartRefused, match=r"BACKUP_DIR: the database .* name it otherwise"):
        backup_folder.check_folder(tmp_path, tmp_path / name)
    backup_folder.check_folder(tmp_path, tmp_path / "insights.db")
    backup_folder.check_folder(tmp_path, tmp_path.parent / name)


def test_a_file_that_a_service_has_open_is_no_backup(tmp_path: Path) -> None:
    live, made = _make(tmp_path, _ago(days=1)), _make(tmp_path, _ago())
    live.with_name(live.name + "-wal").touch()
    assert backup_folder.backups_in(tmp_path) == [made]
    assert backup_folder.prune(made, 1, timedelta(days=1)) == []


def test_only_the_folder_itself_is_made_at_the_start(tmp_path: Path) -> None:
    backup_folder.check_folder(tmp_path / "backups")
    assert (tmp_path / "backups").is_dir()
    with pytest.raises(StartRefused, match="No such file"):
        backup_folder.check_folder(tmp_path / "unmounted" / "backups")
    assert not (tmp_path / "unmounted").exists()
