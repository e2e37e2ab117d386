"""Commands of `tools/`: help and a wrong option tell how one is called, and do nothing."""

import runpy
import sys
from pathlib import Path

import pytest

from migrations.new_file import SCRIPT

COMMANDS = [
    "backup",
    "drill",
    "migrate",
    "move",
    "newest_schema",
    "rebuild_derived",
    "restore",
    "verify",
]


@pytest.mark.parametrize("argument", ["--help", "--nonsense"])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_and_a_wrong_option_tell_how_a_command_is_called_and_do_nothing(
    name: str,
    argument: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, argument])
    monkeypatch.delitem(sys.modules, f"tools.{name}", raising=False)
    written = SCRIPT.stat().st_mtime_ns

    with pytest.raises(SystemExit):
        runpy.run_module(f"tools.{name}", run_name="__main__")

    told = capsys.readouterr()
    assert f"python -m tools.{name}" in told.out + told.err
    assert list(tmp_path.iterdir()) == []
    assert SCRIPT.stat().st_mtime_ns == written
