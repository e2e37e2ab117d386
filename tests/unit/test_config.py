"""Settings from the environment: the defaults, and one clear line for whatever cannot be."""

import re
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from analysis.priority import Weights
from config import DEFAULT_CLUSTERS, ApiKey, Settings, load_settings
from errors import StartRefused

DIGEST = "0123456789abcdef" * 4


def load(**overrides: Any) -> Settings:
    """From the environment only, not from whatever `.env` lies about."""
    return load_settings(_env_file=None, **overrides)


DEFAULTS = {
    "grok_key": None,
    "analyzer": "auto",
    "offline_model": "auto",
    "grok_base_url": "https://api.x.ai/v1",
    "grok_rate_limit": 10,
    "grok_concurrency": 10,
    "grok_timeout": 30.0,
    "grok_max_attempts": 3,
    "grok_temperature": 0.3,
    "grok_proxy": None,
    "clusters": DEFAULT_CLUSTERS,
    "clusters_mode": "open",
    "database_url": "sqlite+aiosqlite:///./insights.db",
    "database_pool": 10,
    "redis_url": None,
    "inbound_rate_limit": 100,
    "batch_size": 10,
    "poll_interval": 5.0,
    "worker_enabled": True,
    "max_text_length": 10_000,
    "max_body_bytes": 2_097_152,
    "allowed_hosts": (),
    "bind": IPv4Address("0.0.0.0"),
    "own_authors": (),
    "api_keys": (),
    "priority": Weights(40, 25, 10, 5, 5, 1),
    "priority_hours": 48.0,
    "answer_goal": 1.0,
    "report_at": None,
    "webhook_private_hosts": (),
    "smtp_url": None,
    "public_url": None,
    "shutdown_grace": 10.0,
    "log_level": "info",
    "log_format": "console",
}


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_defaults_are_those_of_the_documentation(name: str, value: object) -> None:
    assert getattr(load(), name) == value


def test_every_setting_but_the_model_has_its_default_checked() -> None:
    """A setting that is added has to be added to the table above."""
    later = {"grok_pack_size", "grok_daily_budget_usd", "reuse_window", "retention_days"}
    later |= {"backup_dir", "backup_every", "backup_keep", "ledger_days"}
    assert set(Settings.model_fields) - later == {*DEFAULTS, "grok_model"}


def test_default_model_is_a_grok_that_does_not_reason() -> None:
    assert re.fullmatch(r"grok-.+-non-reasoning", load().grok_model)


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("GROK_KEY", "xai-123", SecretStr("xai-123")),
        ("PRIORITY", '{"urgency": 30}', Weights(urgency=30.0)),
        ("PRIORITY", '{"hours": -0.5, "reach": 0}', Weights(hours=-0.5, reach=0.0)),
        ("ANALYZER", "offline", "offline"),
        ("ANALYZER", "OFFLINE", "offline"),
        ("GROK_BASE_URL", "http://localhost:9999/v1", "http://localhost:9999/v1"),
        ("GROK_MODEL", "grok-next", "grok-next"),
        ("GROK_RATE_LIMIT", "1", 1),
        ("GROK_TIMEOUT", "0.5", 0.5),
        ("GROK_TEMPERATURE", "0", 0.0),
        ("GROK_TEMPERATURE", "2", 2.0),
        ("CLUSTERS", "billing, delivery ,,praise", ("billing", "delivery", "praise")),
        ("CLUSTERS", "one", ("one",)),
        ("CLUSTERS_MODE", "Closed", "closed"),
        ("BACKUP_DIR", "~/backups", Path.home() / "backups"),
        ("DATABASE_URL", "sqlite+aiosqlite:///data.db", "sqlite+aiosqlite:///data.db"),
        ("DATABASE_URL", "sqlite+aiosqlite:////var/data.db", "sqlite+aiosqlite:////var/data.db"),
        (
            "DATABASE_URL",
            "postgresql+asyncpg://me:secret@db:5432/insights",
            "postgresql+asyncpg://me:secret@db:5432/insights",
        ),
        (
            "DATABASE_URL",
            "postgresql+asyncpg://me:p%40ss@db/insights?sslmode=require",
            "postgresql+asyncpg://me:p%40ss@db/insights?ssl=require",
        ),
        ("REDIS_URL", "redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("REDIS_URL", "rediss://localhost", "rediss://localhost"),
        ("INBOUND_RATE_LIMIT", "0", 0),
        ("BATCH_SIZE", "1000", 1000),
        ("POLL_INTERVAL", "0.05", 0.05),
        ("WORKER_ENABLED", "false", False),
        ("WORKER_ENABLED", "0", False),
        ("WORKER_ENABLED", "True", True),
        ("MAX_TEXT_LENGTH", "280", 280),
        ("SHUTDOWN_GRACE", "0", 0.0),
        ("LOG_LEVEL", "WARNING", "warning"),
        ("LOG_FORMAT", "json", "json"),
        ("ALLOWED_HOSTS", "a.example, B.Example.,", ("a.example", "b.example")),
        ("ALLOWED_HOSTS", "10.0.0.5,[2001:DB8::1]", ("10.0.0.5", "2001:db8::1")),
        ("WEBHOOK_PRIVATE_HOSTS", "n8n, 10.0.0.5,[::1]", ("n8n", "10.0.0.5", "::1")),
        ("SMTP_URL", "smtps://me:hunter2@mail.example:465", "smtps://me:hunter2@mail.example:465"),
        ("BIND", "127.0.0.1", IPv4Address("127.0.0.1")),
        ("OWN_AUTHORS", "@Shop, help , SHOP,@,", ("help", "shop")),
        ("API_KEYS", f"ann:read:{DIGEST}", (ApiKey("ann", "read", DIGEST),)),
        (
            "API_KEYS",
            f" ann:read:{DIGEST} , bob smith:admin:{DIGEST.upper()},",
            (ApiKey("ann", "read", DIGEST), ApiKey("bob smith", "admin", DIGEST)),
        ),
    ],
)
def test_settings_are_read_from_the_environment(
    variable: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    assert getattr(load(), variable.lower()) == value


IMPOSSIBLE = [
    ("PRIORITY", "urgency=30"),
    ("PRIORITY", "[40, 25]"),
    ("PRIORITY", '{"urgent": 30}'),
    ("PRIORITY", '{"urgency": -1}'),
    ("PRIORITY", '{"urgency": 1001}'),
    ("PRIORITY", '{"urgency": "30"}'),
    ("PRIORITY", '{"urgency": true}'),
    ("PRIORITY", '{"urgency": NaN}'),
    ("PRIORITY", '{"hours": -101}'),
    (
        "PRIORITY",
        '{"negative": 0, "urgency": 0, "repeat": 0, "reach": 0, "rising": 0, "hours": 0}',
    ),
    ("PRIORITY_HOURS", "0"),
    ("ANSWER_GOAL", "-1"),
    ("ANALYZER", "chatgpt"),
    ("GROK_BASE_URL", "api.x.ai/v1"),
    ("GROK_BASE_URL", "ftp://api.x.ai"),
    ("GROK_BASE_URL", "http://a..b/v1"),
    ("GROK_BASE_URL", "http://api x.ai/v1"),
    ("GROK_BASE_URL", "http://" + "a" * 64 + ".ai/v1"),
    ("GROK_PROXY", "ftp://proxy"),
    ("GROK_PROXY", "http://me:hunter2@proxy:port"),
    ("GROK_RATE_LIMIT", "0"),
    ("GROK_RATE_LIMIT", "-5"),
    ("GROK_RATE_LIMIT", "ten"),
    ("GROK_RATE_LIMIT", "2.5"),
    ("GROK_RATE_LIMIT", "99999999999999999999"),
    ("GROK_CONCURRENCY", "0"),
    ("GROK_CONCURRENCY", "1e"),
    ("GROK_TIMEOUT", "0"),
    ("GROK_TIMEOUT", "-1"),
    ("GROK_TIMEOUT", "nan"),
    ("GROK_TIMEOUT", "inf"),
    ("GROK_TIMEOUT", "30s"),
    ("GROK_MAX_ATTEMPTS", "0"),
    ("GROK_TEMPERATURE", "2.1"),
    ("ALLOWED_HOSTS", "https://a.example"),
    ("ALLOWED_HOSTS", "a.example:8000"),
    ("ALLOWED_HOSTS", "a.example/insights"),
    ("ALLOWED_HOSTS", "*.example"),
    ("ALLOWED_HOSTS", "a b"),
    ("WEBHOOK_PRIVATE_HOSTS", "http://n8n"),
    ("WEBHOOK_PRIVATE_HOSTS", "n8n:5678"),
    ("SMTP_URL", "mail.example"),
    ("REPORT_AT", "monday 08:00"),
    ("REPORT_AT", "mon 08:00 Mars"),
    ("SMTP_URL", "smtp://hunter2@mail.example"),
    ("SMTP_URL", "smtp://me:hunter2@mail.example:0"),
    ("BIND", "localhost"),
    ("BIND", "127.0.0.1:8000"),
    ("GROK_TEMPERATURE", "-0.1"),
    ("GROK_TEMPERATURE", "nan"),
    ("CLUSTERS", ","),
    ("CLUSTERS", "delivery,!!!"),
    ("GROK_BASE_URL", "https://api.x.ai/v1?key=hunter2"),
    ("GROK_BASE_URL", "https://api.x.ai/v1#top"),
    ("GROK_BASE_URL", "https://team:hunter2@gateway.example/v1"),
    ("REDIS_URL", "redis://:hunter2@localhost/zero"),
    ("DATABASE_URL", "postgresql+asyncpg://me:hunter2@db:99999/insights"),
    ("DATABASE_URL", "postgresql+asyncpg://me:hunter2@db:0/insights"),
    ("DATABASE_POOL", "1"),
    ("PUBLIC_URL", "insights.example.com"),
    ("PUBLIC_URL", "https://insights.example.com?a=b"),
    ("CLUSTERS_MODE", "ajar"),
    ("DATABASE_URL", "insights.db"),
    ("DATABASE_URL", "sqlite:///insights.db"),
    ("DATABASE_URL", "sqlite+aiosqlite://"),
    ("DATABASE_URL", "sqlite+aiosqlite:///"),
    ("DATABASE_URL", "sqlite+aiosqlite:///:memory:"),
    ("DATABASE_URL", "sqlite+aiosqlite:///?cache=shared"),
    ("DATABASE_URL", "postgresql://me:hunter2@db/insights"),
    ("DATABASE_URL", "postgresql+psycopg://me:hunter2@db/insights"),
    ("DATABASE_URL", "postgresql+asyncpg://me:hunter2@db:port/insights"),
    ("DATABASE_URL", "postgresql+asyncpg://me:hunter2@a..b/insights"),
    ("DATABASE_URL", "mysql://me:hunter2@db/insights"),
    ("REDIS_URL", "localhost:6379"),
    ("REDIS_URL", "http://:hunter2@localhost:6379"),
    ("REDIS_URL", "redis://:hunter2@localhost:6379?socket_timeout=long"),
    ("INBOUND_RATE_LIMIT", "-1"),
    ("INBOUND_RATE_LIMIT", "many"),
    ("INBOUND_RATE_LIMIT", "99999999999999999999"),
    ("BATCH_SIZE", "0"),
    ("BATCH_SIZE", "1001"),
    ("POLL_INTERVAL", "0"),
    ("POLL_INTERVAL", "-5"),
    ("POLL_INTERVAL", "inf"),
    ("WORKER_ENABLED", "maybe"),
    ("MAX_TEXT_LENGTH", "0"),
    ("MAX_BODY_BYTES", "2 MiB"),
    ("MAX_BODY_BYTES", "0"),
    ("MAX_BODY_BYTES", "8388609"),
    ("MAX_TEXT_LENGTH", "100001"),
    ("SHUTDOWN_GRACE", "-1"),
    ("SHUTDOWN_GRACE", "nan"),
    ("SHUTDOWN_GRACE", "inf"),
    ("LOG_LEVEL", "loud"),
    ("LEDGER_DAYS", "0"),
    ("LOG_FORMAT", "xml"),
    ("API_KEYS", "hunter2"),
    ("API_KEYS", "ann:hunter2"),
    ("API_KEYS", "ann:read:hunter2"),
    ("API_KEYS", f"ann:owner:{DIGEST}"),
    ("API_KEYS", f"ann:READ:{DIGEST}"),
    ("API_KEYS", f":read:{DIGEST}"),
    ("API_KEYS", f"ann:read:{DIGEST}0"),
    ("API_KEYS", f"ann:read:{DIGEST[:-1]}"),
    ("API_KEYS", f"ann:read:{DIGEST[:-1]}g"),
]


@pytest.mark.parametrize(("variable", "text"), IMPOSSIBLE)
def test_an_impossible_value_stops_the_start_with_one_line_that_names_it(
    variable: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(StartRefused) as refused:
        load()
    details = refused.value.details
    assert details.startswith(f"{variable}: ")
    assert len(details.splitlines()) == 1
    assert len(details) > len(variable) + 10  # a sentence, not only the name
    assert "hunter2" not in details
    assert DIGEST[:-1] not in details
    assert not re.search("Input should|pattern", details)  # of the library, not for people


def test_all_impossible_values_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_SIZE", "0")
    monkeypatch.setenv("LOG_LEVEL", "loud")
    with pytest.raises(StartRefused) as refused:
        load()
    problems = refused.value.details.split("; ")
    assert [problem.partition(":")[0] for problem in problems] == ["BATCH_SIZE", "LOG_LEVEL"]


def test_a_bad_api_key_is_told_by_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEYS", f"ann:read:{DIGEST},bob:write:hunter2")
    with pytest.raises(StartRefused, match=r"^API_KEYS: entry 2 is not name:scope:sha256"):
        load()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_an_empty_variable_is_as_if_unset(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    untouched = load()
    monkeypatch.setenv(name.upper(), "")
    assert load() == untouched


def test_grok_without_a_key_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANALYZER", "grok")
    with pytest.raises(StartRefused, match=r"^ANALYZER.*GROK_KEY") as refused:
        load()
    assert len(refused.value.details.splitlines()) == 1


@pytest.mark.parametrize(
    ("analyzer", "key", "uses_grok"),
    [
        ("auto", None, False),
        ("auto", "xai-123", True),
        ("grok", "xai-123", True),
        ("offline", "xai-123", False),
        ("offline", None, False),
    ],
)
def test_grok_is_used_where_there_is_a_key_and_nothing_against_it(
    analyzer: str, key: str | None, uses_grok: bool
) -> None:
    assert load(analyzer=analyzer, grok_key=key).uses_grok is uses_grok


def test_no_secret_is_shown_by_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROK_KEY", "xai-hunter2")
    monkeypatch.setenv("API_KEYS", f"ann:read:{DIGEST}")
    monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://me:hunter2@db/insights")
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@localhost")
    monkeypatch.setenv("SMTP_URL", "smtp://me:hunter2@localhost")
    settings = load()
    for shown in (repr(settings), str(settings)):
        assert "hunter2" not in shown
        assert DIGEST not in shown


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load().batch_size = 5  # type: ignore[misc]


def test_a_dotenv_file_in_the_working_folder_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("# ours\nBATCH_SIZE=7\nSOMETHING_ELSE=1\nGROK_KEY='xai-1'\n")
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert (settings.batch_size, settings.grok_key) == (7, SecretStr("xai-1"))


def test_the_environment_wins_over_a_dotenv_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("BATCH_SIZE=7\nPOLL_INTERVAL=7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BATCH_SIZE", "8")
    assert load_settings().batch_size == 8
    assert load_settings().poll_interval == 7


def test_a_bad_value_in_a_dotenv_file_stops_the_start_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("BATCH_SIZE=none\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StartRefused, match=r"^BATCH_SIZE: "):
        load_settings()
