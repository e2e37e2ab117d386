"""A service on a real port in a thread of this process, a guarded small one, and files for the
importer."""

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from config import Settings
from main import create_app
from tests.fakes.grok.server import FakeGrok
from tests.fakes.grok.steering import GOOD_KEY
from tests.support.grok_caller import Caller
from tests.support.guarded import Server, running
from tests.support.ingesting import StartService
from tests.support.servers import free_port


@pytest.fixture
async def caller(grok: FakeGrok) -> AsyncIterator[Caller]:
    headers = {"authorization": f"Bearer {GOOD_KEY}"}
    # Loading certificates takes longer than most of these tests.
    async with httpx.AsyncClient(headers=headers, timeout=5.0, verify=False) as client:
        yield Caller(client, grok)


@pytest.fixture
def start_service(make_settings: Callable[..., Settings]) -> StartService:
    """`with start_service(max_text_length=10) as url:`"""

    @contextmanager
    def start(**settings: Any) -> Iterator[str]:
        app = create_app(make_settings(**settings))
        config = uvicorn.Config(app, port=free_port(), log_config=None, ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            deadline = time.monotonic() + 20
            while not server.started:
                assert thread.is_alive(), "the service did not start"
                assert time.monotonic() < deadline, "the service took too long to start"
                time.sleep(0.01)
            yield f"http://127.0.0.1:{config.port}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()

    return start


@pytest.fixture
def url(start_service: StartService) -> Iterator[str]:
    with start_service() as url:
        yield url


@pytest.fixture
def server() -> Iterator[Server]:
    """Behind the guard at the connection, with its short deadlines."""
    with running() as server:
        yield server


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[[str], str]:
    def write(content: str) -> str:
        path = tmp_path / "rows.csv"
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
        return str(path)

    return write
