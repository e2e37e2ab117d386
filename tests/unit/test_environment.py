"""The surroundings as they really are: `.env` from any editor, values as launchers leave them.
Nothing of it stops a start without a line that says why."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

import ingest_data
import main
from assembly import build_analyser
from config import Settings, load_settings
from errors import StartRefused
from main import create_app
from tests.support.http_helpers import captured_log
from tests.support.ingesting import load_tweets
from tests.support.paths import ROOT

# --- the file .env --------------------------------------------------------------------------------

LINES = "# für alle – naïve\nBATCH_SIZE=7\nGROK_KEY=xai-1\n"


@pytest.mark.parametrize(
    "data",
    [
        LINES.encode(),
        LINES.encode("utf-8-sig"),
        LINES.encode("utf-16"),
        "\ufeff".encode("utf-16-be") + LINES.encode("utf-16-be"),
        LINES.encode("utf-16-le"),
        LINES.encode("utf-16-be"),
        LINES.encode("cp1252"),
        b"\xef\xbb\xbf" + LINES.encode("cp1252"),
        LINES.replace("\n", "\r\n").encode(),
        LINES.replace("\n", "\r").encode(),
        LINES.replace("=", " = ").encode(),
        LINES.replace("BATCH", "export BATCH").replace("GROK", "export  GROK").encode(),
        LINES.replace("7", '"7"').replace("xai-1", "'xai-1'").encode(),
        LINES.replace("xai-1", "xai-1   # ours").encode(),
        LINES.lower().encode(),
        LINES.replace("BATCH_SIZE", "'BATCH_SIZE'").encode(),
        LINES.replace("BATCH_SIZE", '"BATCH_SIZE"').encode(),
        b"BATCH_SIZE\n" + LINES.encode(),
    ],
)
def test_a_dotenv_file_of_any_editor_is_read(data: bytes, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(data)

    settings = load_settings(_env_file=tmp_path / ".env")

    assert (settings.batch_size, settings.grok_key) == (7, SecretStr("xai-1"))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"BATCH_SIZE=7\n\nGROK_KEY='hunter2\n", "line 3 is not NAME=value"),
        (b"BATCH_SIZE=7\nGROK_KEY: hunter2\n", "line 2 is not NAME=value"),
        (bytes(range(256)), "is no text"),
        ("BATCH_SIZE=7".encode("utf-32"), "is no text"),
    ],
)
def test_a_dotenv_file_that_cannot_be_read_is_named_in_one_line(
    data: bytes, told: str, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_bytes(data)

    with pytest.raises(StartRefused) as refused:
        load_settings(_env_file=tmp_path / ".env")

    assert ".env: " in refused.value.details
    assert told in refused.value.details
    assert "hunter2" not in refused.value.details
    assert len(refused.value.details.splitlines()) == 1


def test_a_folder_called_dotenv_holds_no_settings(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()

    assert load_settings(_env_file=tmp_path / ".env") == load_settings(_env_file=None)


@pytest.mark.parametrize("wrapped", [" {} ", "{}\n", '"{}"', "'{}'", '" {} "\r\n', "\t{}"])
def test_what_launchers_leave_around_a_value_does_not_count(
    wrapped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "GROK_KEY": "xai-1",
        "LOG_LEVEL": "debug",
        "BATCH_SIZE": "7",
        "DATABASE_URL": "sqlite+aiosqlite:///x.db",
        "GROK_MODEL": "grok-next",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, wrapped.format(value))

    found = load_settings(_env_file=None)

    assert found.grok_key == SecretStr("xai-1")
    assert (found.log_level, found.batch_size) == ("debug", 7)
    assert (found.database_url, found.grok_model) == ("sqlite+aiosqlite:///x.db", "grok-next")


@pytest.mark.parametrize("nothing", ["", " ", "\n", '""', "' '"])
def test_a_blank_variable_leaves_the_word_to_the_file(
    nothing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("BATCH_SIZE=7\n")
    monkeypatch.setenv("BATCH_SIZE", nothing)
    monkeypatch.setenv("GROK_TIMEOUT", nothing)

    settings = load_settings(_env_file=tmp_path / ".env")

    assert (settings.batch_size, settings.grok_timeout) == (7, 30.0)


def test_certificates_that_cannot_be_read_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/at/all.pem")
    with pytest.raises(StartRefused, match=r"^SSL_CERT_FILE: cannot be read"):
        build_analyser(load_settings(_env_file=None, grok_key="xai-1"))


@pytest.mark.usefixtures("nobody_elses_settings")
@pytest.mark.parametrize(
    "data",
    [
        "API_URL=http://localhost:9\n".encode("utf-16"),
        b"\xef\xbb\xbfAPI_URL='http://localhost:9'\r\n",
    ],
)
def test_the_importer_reads_a_dotenv_file_of_any_editor(
    data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_bytes(data)

    assert load_tweets(tmp_path) == ingest_data.NOTHING

    assert "cannot reach http://localhost:9: " in capsys.readouterr().err


@pytest.mark.usefixtures("nobody_elses_settings")
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("API_URL", "localhost"),
        ("API_URL", "http://"),
        ("API_URL", "http://localhost:port"),
        ("API_URL", "http://a..b"),
        ("API_KEY", "kéy"),
        ("API_KEY", "two words"),
    ],
)
def test_the_importer_says_which_of_its_settings_is_wrong(
    variable: str,
    value: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SystemExit) as stopped:
        load_tweets(tmp_path)

    assert stopped.value.code == 2
    assert f"error: {variable} must " in capsys.readouterr().err


# --- the process ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
@pytest.mark.parametrize("nonsense", ["\x7f", "{[", "-1e999", "ü" * 5000, "a\nb", "://"])
def test_nonsense_is_taken_or_named_in_one_line(
    name: str, nonsense: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name.upper(), nonsense)
    told = None
    try:
        create_app(load_settings(_env_file=None))
    except StartRefused as refused:
        told = refused.details

    assert told is None or (told.startswith(f"{name.upper()}: ") and len(told.splitlines()) == 1)


def test_what_is_nearly_a_setting_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Path(tmp_path, ".env").write_text("API_KEY=a:read:0\nRETENTION_DAYS=30\nretention_day=3\n")
    monkeypatch.chdir(tmp_path)
    for name in ("GROK_RATE_LIMT", "DATABASE_USER", "EDITOR"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("LOG_FORMAT", "json")
    meant = {
        "API_KEY": "API_KEYS",
        "GROK_RATE_LIMT": "GROK_RATE_LIMIT",
        "RETENTION_DAY": "RETENTION_DAYS",
    }
    with captured_log() as log:
        assert main.app is not None  # built anew each time
        told = [line["reason"] for line in log.named("unknown_setting")]
    assert told == [f"{name} is no setting. Is {other} meant?" for name, other in meant.items()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"BATCH_SIZE": "ten"}, "Cannot start: BATCH_SIZE: "),
        ({"GROK_KEY": "xai-1", "SSL_CERT_FILE": "/nowhere.pem"}, "Cannot start: SSL_CERT_FILE: "),
    ],
)
def test_a_start_that_is_refused_is_one_line(
    variables: dict[str, str], line: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "uvicorn", "main:app", "--app-dir", str(ROOT), "--port", "0"]

    ended = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **variables}, capture_output=True, timeout=60
    )

    assert ended.returncode != 0
    (only,) = ended.stderr.decode().splitlines()
    assert only.startswith(line)
