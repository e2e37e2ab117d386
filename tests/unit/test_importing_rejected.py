"""The file of rejected rows is new, a file of its own, and never over or through what is there."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from importing.records import Record
from importing.rejected import RejectedRows


@pytest.fixture
def rejected(tmp_path: Path) -> Iterator[RejectedRows]:
    """With one row, for `rows.csv` in the test's folder."""
    rows = RejectedRows(tmp_path / "rows.csv", ["text"])
    rows.add(Record(2, {"text": "late"}), "why")
    yield rows
    rows.close()


def test_rows_that_are_there_already_are_not_written_again(
    rejected: RejectedRows, tmp_path: Path
) -> None:
    assert rejected.write() == rejected.write() == tmp_path / "rows.csv"


def test_a_link_to_the_very_rows_is_not_taken_for_their_file(
    rejected: RejectedRows, tmp_path: Path
) -> None:
    written = rejected.write()
    assert written
    written.rename(tmp_path / "elsewhere.csv")
    written.symlink_to(tmp_path / "elsewhere.csv")

    assert rejected.write() == tmp_path / "rows-2.csv"


def test_what_is_there_stays_where_the_file_system_has_no_links(
    rejected: RejectedRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_from: str, _to: str) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "rows.csv").write_text("mine")

    assert rejected.write() == tmp_path / "rows-2.csv"
    assert (tmp_path / "rows.csv").read_text() == "mine"
    assert (tmp_path / "rows-2.csv").stat().st_mode & 0o777 == 0o600


def test_a_pipe_of_that_name_is_not_waited_for(rejected: RejectedRows, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.csv")
    written: list[Path | None] = []
    writing = threading.Thread(target=lambda: written.append(rejected.write()))
    writing.start()
    writing.join(10)
    if writing.is_alive():
        os.close(os.open(tmp_path / "rows.csv", os.O_WRONLY))
        writing.join()
        pytest.fail("it waits for somebody to write")
    assert written == [tmp_path / "rows-2.csv"]
