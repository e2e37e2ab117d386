"""The service as the process it is in production: started, killed, stopped, and read from outside.

    async with ServiceProcess(tmp_path, grok_rate_limit=200) as service:
        await service.start()
        await service.client.get("/health")
        await service.kill()

Whatever becomes of the block, no process outlives it.
"""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import httpx

from config import Settings
from tests.fakes.grok.process import RunningGrok
from tests.fakes.grok.steering import GOOD_KEY
from tests.support.forks import Fork, fork
from tests.support.newest_schema import copy_where_new
from tests.support.paths import ROOT
from tests.support.servers import free_port

_IMPORTS = ("uvicorn.lifespan.on", "uvicorn.loops.auto", "api.connection_guard", "main")


class ServiceProcess:
    """One `uvicorn main:app` at a time, in a process group of its own, always on the same port.

    `folder` is its working directory and holds its log, and its database unless `database_file` or
    the setting `database_url` says otherwise. `name` tells several in one folder apart; `app` is
    what uvicorn is to serve, from its next start on. It is a fork of a process that has imported it
    already, unless it is to begin `from_nothing` or another than the service's own.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "service",
        database_file: Path | None = None,
        app: str = "main:app",
        from_nothing: bool = False,
        **settings: object,
    ) -> None:
        self.database_file = database_file or folder / "insights.db"
        self.port = free_port()
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        self._folder = folder
        self.app = app
        self._log_file = folder / f"{name}.log"
        self._log_start = 0
        self._from_nothing = from_nothing
        self._process: subprocess.Popen[bytes] | Fork | None = None
        self._settings: dict[str, object] = {
            "offline_model": "small",  # whatever is installed
            "database_url": f"sqlite+aiosqlite:///{self.database_file}",
            "log_format": "json",
            "inbound_rate_limit": 0,
            **settings,
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.kill()
        await self.client.aclose()

    # --- life ---------------------------------------------------------------------------------

    def launch(self, **settings: object) -> None:
        """Start without waiting; `settings` replace those of before, also for later lives. A
        database in `folder` is there already, and empty, at the first start."""
        self._settings.update(settings)
        if self.database_file.parent == self._folder:
            copy_where_new(str(self._settings["database_url"]))
        self.launch_under([])

    def launch_under(self, wrapper: Sequence[str]) -> None:
        """Start as an argument of another command, which is then the process that is meant here."""
        assert self._process is None
        environment = {
            name: value
            for name, value in os.environ.items()
            if name.lower() not in Settings.model_fields
        }
        environment |= {name.upper(): str(value) for name, value in self._settings.items()}
        arguments = [self.app, "--app-dir", str(ROOT), "--ws", "none", "--no-access-log"]
        arguments += ["--host", "127.0.0.1", "--port", str(self.port)]
        arguments += ["--http", "api.connection_guard:GuardedProtocol"]
        with self._log_file.open("ab") as log:
            self._log_start = log.tell()
        if not (wrapper or self._from_nothing) and self.app == "main:app":
            self._process = fork(
                "uvicorn",
                arguments,
                folder=self._folder,
                environment=environment,
                log=self._log_file,
                imports=_IMPORTS,
            )
            return
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [*wrapper, sys.executable, "-m", "uvicorn", *arguments],
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def ready(self, *, within: float = 30.0) -> None:
        """Wait until it answers /health."""
        deadline = time.monotonic() + within
        while not await self._is_healthy():
            assert self.running, f"it ended instead of starting:\n{self.log}"
            assert time.monotonic() < deadline, f"not ready after {within} s:\n{self.log}"
            await asyncio.sleep(0.02)

    async def _is_healthy(self) -> bool:
        try:
            response = await self.client.get("/health")
        except httpx.TransportError:
            return False
        return response.json() == {"status": "ok"}

    async def start(self, **settings: object) -> None:
        self.launch(**settings)
        await self.ready()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self, *, within: float) -> int:
        """Wait for its own end; the exit status, negative for a signal."""
        assert self._process is not None
        deadline = time.monotonic() + within
        while (status := self._process.poll()) is None:
            assert time.monotonic() < deadline, f"still alive after {within} s:\n{self.log}"
            await asyncio.sleep(0.02)
        self._process = None
        return status

    async def kill(self) -> None:
        """`kill -9` the whole group, if it lives, and wait for the end."""
        if self._process is None:
            return
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            await self.ended(within=10)
        self._process = None

    # --- what it left behind ------------------------------------------------------------------

    @property
    def log(self) -> str:
        """What the latest life has written."""
        with self._log_file.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """The log of the latest life, one value a line; those called `name`, or all."""
        lines = [json.loads(line) for line in self.log.splitlines()]
        return [line for line in lines if name is None or line["event"] == name]

    def completed(self) -> set[str]:
        """Ids of what its latest life completed, by its log, which tells a moment after it is so:
        whoever waits for the database may find the log one step behind."""
        return {event["id"] for event in self.events("conversation_completed")}

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask the SQLite file directly, whether or not the service is running."""
        return query(self.database_file, statement, *parameters)

    def count(self, condition: str = "true") -> int:
        """Conversations for which this SQL holds."""
        ((count,),) = self.query(f"SELECT count(*) FROM conversations WHERE {condition}")
        return int(count)

    # --- what clients do ----------------------------------------------------------------------

    async def post(self, text: str) -> str:
        """Hand in one conversation; its id."""
        response = await self.client.post("/api/v1/conversations", json={"text": text})
        assert response.status_code == 202, response.text
        return str(response.json()["conversation_id"])

    async def post_batch(self, texts: list[str]) -> list[str]:
        response = await self.client.post(
            "/api/v1/conversations/batch", json={"conversations": [{"text": t} for t in texts]}
        )
        assert response.status_code == 202, response.text
        return list(response.json()["conversation_ids"])


def query(database_file: Path, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{database_file}?mode=ro", uri=True)) as connection:
        return connection.execute(statement, parameters).fetchall()


async def until(condition: Callable[[], Any], *, within: float, what: str) -> Any:
    """Wait for `condition`, which may be async, to hold; its value. Fails with `what` after
    `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        await asyncio.sleep(0.05)


# --- the fake Grok beside it ----------------------------------------------------------------------


def grok_settings(grok: RunningGrok, **more: Any) -> dict[str, Any]:
    """Settings that make the service call this fake, with one text a call unless told otherwise, so
    that calls in flight can be counted."""
    basic = {"grok_key": GOOD_KEY, "grok_base_url": grok.base_url, "grok_pack_size": 1}
    return {**basic, **more}


async def steer(grok: RunningGrok, verb: str, **body: object) -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        response = await client.post(f"{grok.control_url}/{verb}", json=body)
        assert response.status_code == 200, response.text


async def look(grok: RunningGrok, name: str) -> Any:
    """`counters`, `texts`, `arrivals` or `last_request`."""
    async with httpx.AsyncClient(timeout=30) as client:
        response = await client.get(f"{grok.control_url}/{name}")
        assert response.status_code == 200, response.text
        return response.json()
