"""`ingest_data.py` as a process whose output cannot take everything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow


def dry_run(
    folder: Path, *, out: str | int, **environment: str
) -> subprocess.CompletedProcess[str]:
    (folder / "rows.csv").write_text("text,名前\nhello,ann\n", encoding="utf-8")
    with open(out, "w", encoding="ascii") as output:
        return subprocess.run(
            [sys.executable, ROOT / "ingest_data.py", "rows.csv", "--dry-run"],
            env={**os.environ, "API_URL": "http://127.0.0.1:9", **environment},
            cwd=folder,
            stdout=output,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=60,
        )


def test_signs_that_the_terminal_has_not_are_left_out(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = dry_run(tmp_path, out=str(out), PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, "")
    assert "raw_data   ??\n1 rows read: 1 good" in out.read_text("ascii")


def test_an_output_that_is_full_or_closed_is_told_as_that(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    for out in ("/dev/full", writing):
        done = dry_run(tmp_path, out=out)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith("Stopped: cannot write: [Errno ")
