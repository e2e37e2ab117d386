"""Fixtures that all sizes of test share. Nothing of the developer's own environment gets in."""

import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
from fastapi import FastAPI
from sqlalchemy import Connection, text
from xdist.scheduler import LoadScopeScheduling

from analysis.analyser import Analyser
from analysis.topics import Topics
from config import Settings, load_settings
from database import Database
from grok_client import GrokClient
from main import create_app
from models import metadata
from rate_limiter import CallLimiter, LearnedRate, SlidingWindow
from runtime.logs import set_up_logs
from tests.fakes.grok.calls import CLUSTERS, MakeClient
from tests.fakes.grok.models import DEFAULT_MODEL
from tests.fakes.grok.server import FakeGrok
from tests.fakes.grok.steering import GOOD_KEY
from tests.support.clock import Clock
from tests.support.import_helpers import Read, reader
from tests.support.newest_schema import copy_where_new
from tests.support.servers import postgres_database, postgres_server, redis_server, server_of
from tests.support.sharing import BeginLongest, begin_longest, takes_quick_ones
from tests.support.worker_harness import WorkerHarness

# httpx looks for this with each request into an app: where it is not installed, not on disk again.
sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]

# How long an example takes tells how busy the machine is.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    begin_longest(items)


def pytest_configure(config: pytest.Config) -> None:
    own = getattr(config, "workerinput", None)
    if own:
        # The offline analyser's process is nicer by ten, but by 19 at most: of seven processes that
        # compute it would else get a hundredth of a core, and its first text take half a minute.
        os.nice(14)
        if takes_quick_ones(own["workerid"], own["workercount"]):
            os.nice(4)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    return BeginLongest(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.fixture(scope="session", autouse=True)
def _clean_environment(tmp_path_factory: pytest.TempPathFactory) -> None:
    proxies = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    for name in [*Settings.model_fields, "ssl_cert_file", *proxies]:
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)
    # Reading the world's certificates takes each client 30 ms, and no test goes out into the world.
    os.environ["SSL_CERT_DIR"] = str(tmp_path_factory.mktemp("no_certificates"))
    set_up_logs(level="debug", format="json")
    # A shell has what it starts in the background ignore this, and tests interrupt what they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _calm_collector() -> None:
    """Each service that starts has its collector look through everything: not through pytest."""
    gc.freeze()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A database of this test session's own, on a real PostgreSQL."""
    with postgres_server() as address, postgres_database(address) as url:
        yield url


@pytest.fixture
def fresh_postgres_url(postgres_url: str) -> Iterator[str]:
    """A database of this test's own, without a schema."""
    with postgres_database(server_of(postgres_url)) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path}/insights.db"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Whoever uses this runs twice: on a real SQLite file and on a real PostgreSQL."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Open, at the newest schema, and empty."""
    copy_where_new(database_url)
    async with Database(database_url) as database:
        if not database.is_sqlite:
            await database.write(_empty)
        yield database


@pytest.fixture
async def empty_url(database_url: str) -> str:
    """Of a database at the newest schema that is empty and open to nobody."""
    copy_where_new(database_url)
    async with Database(database_url) as database:
        if not database.is_sqlite:  # which all tests of a run share
            await database.write(_empty)
    return database_url


def _empty(connection: Connection) -> None:
    """Leave PostgreSQL as the upgrade made it, in one round trip. Making the files of a table anew
    costs as much as a test, so that few rows are deleted instead. As long as a table has less than
    ten pages, and nobody has looked how many rows it holds, its planner takes it for one of ten."""
    connection.execute(_EMPTY)


# What refers to others comes before them, and what their triggers write to after all.
_TABLES = ["insight_terms", *(table.name for table in reversed(metadata.sorted_tables))]
_TABLES.sort(key=lambda name: name == "status_counts")
_EMPTY = text(f"""
DO $$
DECLARE
    filled text[] = ARRAY[]::text[];
    large text;
    name text;
    found boolean;
BEGIN
    FOREACH name IN ARRAY ARRAY{_TABLES} LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', name) INTO found;
        IF found OR name = 'status_counts' THEN
            filled = filled || name;
        END IF;
    END LOOP;
    SELECT string_agg(relname, ', ') INTO large FROM pg_class
        WHERE oid = ANY(filled::regclass[]) AND (reltuples >= 0 OR pg_relation_size(oid) > 65536);
    IF large IS NOT NULL THEN
        EXECUTE 'TRUNCATE ' || large || ' CASCADE';
    END IF;
    FOREACH name IN ARRAY filled LOOP
        EXECUTE format('DELETE FROM %I', name);
    END LOOP;
    PERFORM setval(sequencename::regclass, 1, false) FROM pg_sequences WHERE last_value IS NOT NULL;
END $$""")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def grok() -> AsyncIterator[FakeGrok]:
    async with FakeGrok() as grok:
        yield grok


@pytest.fixture
async def make_client(grok: FakeGrok) -> AsyncIterator[MakeClient]:
    """A client of that Grok with the usual settings, but for those that are named."""
    clients = []

    def make(**overrides: Any) -> GrokClient:
        rate = overrides.pop("rate", 1000)
        settings: dict[str, Any] = {
            "key": GOOD_KEY,
            "base_url": grok.base_url,
            "model": DEFAULT_MODEL,
            "limiter": CallLimiter(SlidingWindow(rate, 1.0), LearnedRate(rate)),
            "concurrency": 10,
            "timeout": 5.0,
            "temperature": 0.3,
            "topics": Topics(CLUSTERS),
            "jitter": lambda: 0.0,
        }
        clients.append(GrokClient(**{**settings, **overrides}))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
async def harness(sqlite_url: str) -> AsyncIterator[WorkerHarness]:
    copy_where_new(sqlite_url)
    async with Database(sqlite_url) as database:
        yield WorkerHarness(database)


@pytest.fixture
def make_settings(sqlite_url: str) -> Callable[..., Settings]:
    """Settings for a test: an empty SQLite file of its own, no inbound limit, and what is named."""

    def make(**overrides: Any) -> Settings:
        defaults = {
            "database_url": sqlite_url,
            "inbound_rate_limit": 0,
            "offline_model": "small",  # whatever is installed
            "_env_file": None,
        }
        settings = load_settings(**{**defaults, **overrides})
        copy_where_new(settings.database_url)
        return settings

    return make


class RunningApp:
    """A whole service in this process: `client` speaks HTTP to it without a socket."""

    def __init__(self, app: FastAPI, client: httpx.AsyncClient) -> None:
        self.app = app
        self.client = client


StartApp = Callable[..., AbstractAsyncContextManager[RunningApp]]


@pytest.fixture
def start_app(make_settings: Callable[..., Settings]) -> StartApp:
    """`async with start_app(max_text_length=10) as running: await running.client.get(...)`."""

    @asynccontextmanager
    async def start(
        *, analyser: Analyser | None = None, **settings: Any
    ) -> AsyncIterator[RunningApp]:
        app = create_app(make_settings(**settings), analyser=analyser)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            yield RunningApp(app, client)

    return start


@pytest.fixture
async def client(start_app: StartApp) -> AsyncIterator[httpx.AsyncClient]:
    """A service with all its defaults and the offline analyser."""
    async with start_app() as running:
        yield running.client


@pytest.fixture
def nobody_elses_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In an empty folder, without settings of the importer in the environment."""
    monkeypatch.delenv("API_URL", raising=False)
    monkeypatch.delenv("API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """`read("text\\nhello\\n", dates="dmy")`: what comes of a file with this content."""
    return reader(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("a small disk needs root and `mount`")
    command = [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
