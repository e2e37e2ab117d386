"""Commands of `tools/`: help, and what cannot be carried out, tell why and do nothing."""

import runpy
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrations.new_file import SCRIPT
from tools import rebuild_derived

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


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """Commands take them to themselves."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_database_that_is_not_there_is_not_made_to_be_counted_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path}/a-slip.db")
    assert rebuild_derived.main() == 2
    assert "there is no database" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--postgres"], "There is no "),
        (["--postgres", "--restores", "2"], "--postgres goes with none of"),
    ],
)
def test_a_torture_that_cannot_be_had_is_not_begun(
    arguments: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", "")  # so that no server's program is found
    monkeypatch.setattr(sys, "argv", ["torture", *arguments])

    with pytest.raises(SystemExit) as ended:
        runpy.run_module("tools.torture", run_name="__main__")

    assert ended.value.code == 2
    told = capsys.readouterr()
    assert sentence in told.err
    assert told.out == ""
