"""`ingest_data.py` where its temporary files cannot be written: what it says, and what it keeps."""

import errno
import io
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import ingest_data
from importing.duplicates import Duplicates
from importing.rejected import RejectedRows
from tests.support.ingesting import Scripted

pytestmark = pytest.mark.usefixtures("nobody_elses_settings")

NO_ROOM = OSError(errno.ENOSPC, "No space left on device")


def fail_at(count: int, error: Exception) -> Callable[..., bool]:
    calls = iter(range(1, count))

    def fail(*_arguments: object) -> bool:
        if next(calls, None) is None:
            raise error
        return True

    return fail


@pytest.mark.parametrize("error", [NO_ROOM, sqlite3.OperationalError("database or disk is full")])
def test_what_came_before_the_disk_was_full_is_sent_and_the_disk_is_named(
    error: Exception,
    write_csv: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Duplicates, "is_new_with_id", fail_at(201, error))
    file = write_csv("id,text\n" + "".join(f"{number},text\n" for number in range(300)))
    service = Scripted()
    assert service.load(file) == 1
    assert len(service.keys) == 200
    out, err = capsys.readouterr()
    assert "201 rows read: 200 accepted, 0 duplicates, 0 rejected, 1 not sent." in out
    (line,) = err.splitlines()
    assert line.startswith("Stopped: a temporary file in ")
    assert "TMPDIR" in line
    assert file not in line


def test_rejected_rows_without_room_are_no_fault_of_the_file(
    write_csv: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(RejectedRows, "add", fail_at(1, NO_ROOM))
    assert Scripted().load(write_csv("text\ngood\n")) == 0
    assert Scripted().load(write_csv("text,n\ngood,\n,1\n")) == 1
    assert "Stopped: a temporary file in " in capsys.readouterr().err


def test_ids_without_room_are_told_once(
    write_csv: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also what is still to be written when the file is closed cannot be."""
    monkeypatch.setattr(tempfile, "TemporaryFile", partial(open, "/dev/full", "w+b"))
    file = write_csv("text\n" + "".join(f"text {number}\n" for number in range(300)))
    assert Scripted().load(file) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Stopped: a temporary file in ")


def test_standard_input_that_finds_no_room(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Pipe(b"text\nhello\n")))
    monkeypatch.setattr(shutil, "copyfileobj", fail_at(1, NO_ROOM))
    assert Scripted().load("-") == 3
    assert capsys.readouterr().err.startswith("Stopped: a temporary file in ")


def test_standard_input_that_is_closed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert Scripted().load("-") == 3
    assert capsys.readouterr().err.startswith("Stopped: standard input is closed")


@pytest.mark.parametrize(
    "option", ["--patience=nan", "--patience=-1", "--max-text=0", "--skip-lines=-1", "--max-text=x"]
)
def test_numbers_that_mean_nothing_are_refused(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        ingest_data.main([str(tmp_path), option])
    assert caught.value.code == 2
    assert f"argument {option.split('=')[0]}: must be a number, " in capsys.readouterr().err
