"""What tests of the running service share: the one shape of an error, waiting, and an analyser
that answers when and what the test says."""

import asyncio
import inspect
import io
import json
import socket
import sqlite3
import threading
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from analysis.analyser import Analyser, Throttle
from analysis.outcomes import Analysis, Answer, Call, CallOutcome, Reply
from api.connection_guard import GuardedProtocol
from config import load_settings
from main import create_app
from runtime.logs import set_up_logs
from tests.fakes.grok.server import FakeGrok
from tests.fakes.grok.steering import GOOD_KEY
from tests.support.newest_schema import copy_where_new

CONVERSATIONS = "/api/v1/conversations"
INSIGHTS = "/api/v1/insights"
STATS = "/api/v1/stats"
ALL_TIME = {"start_time": "0001-01-01T00:00:00Z", "end_time": "9999-12-31T23:59:59Z"}

WAITING_HELPS = {429, 503}
_NOT_FOR_CLIENTS = ("Traceback", "sqlite", "sqlalchemy", "asyncpg", "SELECT ", "INSERT ", ".py")

NOTHING_DONE = {"state": "open", "by": None, "until": None, "at": None}
"""The handling of a conversation that nobody has done anything about."""


# --- the shape of an error ------------------------------------------------------------------------


def assert_error(response: httpx.Response, status: int, code: str, details: str = "") -> str:
    """Whatever holds for every error, and that `details` is part of its sentence; gives that."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    body = response.json()
    assert body["error"] == code, body
    sentence = body["details"]
    assert isinstance(sentence, str), body
    assert sentence.strip(), body
    assert "\n" not in sentence
    assert details in sentence, body
    if status in WAITING_HELPS:
        assert set(body) == {"error", "details", "retry_after"}, body
        assert type(body["retry_after"]) is int, body
        assert body["retry_after"] >= 1, body
        assert response.headers["retry-after"] == str(body["retry_after"])
    else:
        assert set(body) == {"error", "details"}, body
        assert "retry-after" not in response.headers
    for sign in _NOT_FOR_CLIENTS:
        assert sign.lower() not in response.text.lower(), body
    return sentence


# --- waiting --------------------------------------------------------------------------------------

PATIENCE = 50.0
"""Seconds after which what is waited for will not come. A busy machine may stand still
for some; what must not be the reason for it to come, as the next poll, takes longer."""


async def eventually(
    condition: Callable[[], Any], *, within: float = PATIENCE, what: str = ""
) -> Any:
    """Ask, or await, until the answer is true, and give it. Fails after `within` seconds."""
    last: Any = None
    try:
        async with asyncio.timeout(within):
            while True:
                last = condition()
                if inspect.isawaitable(last):
                    last = await last
                if last:
                    return last
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {within:g} s: {what or condition} ({last!r})") from None


async def submit(client: httpx.AsyncClient, text: str = "My parcel is late.", **fields: Any) -> str:
    """Post one conversation; its id."""
    response = await client.post(CONVERSATIONS, json={"text": text, **fields})
    assert response.status_code == 202, response.text
    return str(response.json()["conversation_id"])


async def submit_batch(client: httpx.AsyncClient, items: Sequence[Any], **fields: Any) -> list[str]:
    """Post texts, or whole items, as one batch; their ids."""
    items = [{"text": item} if isinstance(item, str) else item for item in items]
    response = await client.post(f"{CONVERSATIONS}/batch", json={"conversations": items, **fields})
    assert response.status_code == 202, response.text
    return list(response.json()["conversation_ids"])


async def show(client: httpx.AsyncClient, id_: str) -> dict[str, Any]:
    response = await client.get(f"{CONVERSATIONS}/{id_}")
    assert response.status_code == 200, response.text
    return dict(response.json())


async def in_status(
    client: httpx.AsyncClient, id_: str, status: str, *, within: float = PATIENCE
) -> dict[str, Any]:
    """Wait until the conversation has this status; the whole of it then."""
    seen: dict[str, Any] = {}

    async def has_status() -> bool:
        seen.update(await show(client, id_))
        return bool(seen["status"] == status)

    await eventually(has_status, within=within, what=f"{id_} {status}")
    return seen


async def completed(
    client: httpx.AsyncClient, text: str = "My parcel is late.", **fields: Any
) -> str:
    """Post one conversation and wait until it is analysed; its id."""
    id_ = await submit(client, text, **fields)
    await in_status(client, id_, "completed")
    return id_


async def all_done(client: httpx.AsyncClient, *, within: float = PATIENCE) -> dict[str, Any]:
    """Wait until nothing is pending or processing; the stats then."""

    async def nothing_left() -> dict[str, Any] | None:
        stats = (await client.get(STATS)).json()
        left = [*stats["counts"]["pending"].values(), *stats["counts"]["processing"].values()]
        return None if any(left) else stats

    found = await eventually(nothing_left, within=within, what="all conversations done")
    assert found is not None
    return found


async def list_all(client: httpx.AsyncClient, **parameters: Any) -> list[dict[str, Any]]:
    """All insights that match, on one page."""
    response = await client.get(INSIGHTS, params={**ALL_TIME, "limit": 1000, **parameters})
    assert response.status_code == 200, response.text
    return list(response.json()["insights"])


# --- an analyser in the test's hand ---------------------------------------------------------------


def good(
    score: float = 0.5, clusters: Sequence[str] = ("praise",), confidence: float = 0.9
) -> Analysis:
    return Analysis(score, tuple(clusters), confidence, "It says so.", {"analyser": "scripted"})


def paid(cost: int = 10, outcome: CallOutcome = CallOutcome.ANSWERED) -> Call:
    """A call that has cost so many ticks."""
    return Call(outcome, model="m", prompt_tokens=5, completion_tokens=2, cost_usd_ticks=cost)


class ScriptedThrottle(Throttle):
    """Limits only how many calls are under way, and counts how often it is asked to wait."""

    call_interval = 0.0
    calls_at_once = 0

    def __init__(self, *, concurrency: int, pack_size: int) -> None:
        super().__init__(concurrency=concurrency, pack_size=pack_size)
        self.calls_at_once = concurrency
        self.cost: int | None = None
        """What a call may cost at most, in ticks."""
        self.asked = 0
        self.others_called = False

    def highest_cost(self, texts: Sequence[str]) -> int | None:
        return self.cost

    def pause_left(self) -> float:
        self.asked += 1
        return 0.0

    def assume_window_used(self) -> None:
        self.others_called = True


class ScriptedAnalyser:
    """An `Analyser` without a network: texts are answered with what was scripted for them, else
    with `answer`; held ones not before they are let go."""

    name = "scripted"
    model = "scripted-1"
    notice: str | None = None
    reuse_key = "scripted-1"

    def __init__(
        self,
        *,
        concurrency: int = 10,
        pack_size: int = 1,
        answer: Callable[[str], Answer] = lambda _text: good(),
    ) -> None:
        self.throttle = ScriptedThrottle(concurrency=concurrency, pack_size=pack_size)
        self.answer = answer
        self.call: Call | None = None
        """What each call is told to have been."""
        self.calls: list[tuple[str, ...]] = []
        """The texts of each call, in the order in which calls began."""
        self.under_way = 0
        self.max_under_way = 0
        self._scripted: defaultdict[str, deque[Answer | Exception]] = defaultdict(deque)
        self._held: dict[str, asyncio.Event] = {}

    @property
    def texts(self) -> list[str]:
        return [text for call in self.calls for text in call]

    def script(self, text: str, *answers: Answer | Exception) -> None:
        """What this text gets, one after the other; then `answer` again."""
        self._scripted[text].extend(answers)

    def hold(self, part: str) -> None:
        """Answer no text that has this in it until `let_go`."""
        self._held[part] = asyncio.Event()

    def let_go(self, part: str) -> None:
        self._held.pop(part).set()

    async def analyse(
        self,
        texts: Sequence[str],
        *,
        request_id: str | None = None,
        on_sent: Callable[[], None] = lambda: None,
    ) -> Reply:
        self.calls.append(tuple(texts))
        on_sent()
        self.under_way += 1
        self.max_under_way = max(self.max_under_way, self.under_way)
        try:
            for part, let_go in list(self._held.items()):
                if any(part in text for text in texts):
                    await let_go.wait()
            return Reply(self.answers(texts), self.call)
        finally:
            self.under_way -= 1

    def answers(self, texts: Sequence[str]) -> list[Answer]:
        return [self._answer(text) for text in texts]

    def _answer(self, text: str) -> Answer:
        scripted = self._scripted.get(text)
        answer = scripted.popleft() if scripted else self.answer(text)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def aclose(self) -> None:
        pass


def grok_settings(grok: FakeGrok, **overrides: Any) -> dict[str, Any]:
    """Settings that point the service at this fake."""
    return {"grok_key": GOOD_KEY, "grok_base_url": grok.base_url, **overrides}


# --- one service for many tests -------------------------------------------------------------------

on_shared_loop = pytest.mark.asyncio(loop_scope="module")
"""For tests that use a service that a whole module shares."""


@asynccontextmanager
async def service(
    folder: Path, *, analyser: Analyser | None = None, **settings: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A service with its database in `folder`, for a fixture that lives longer than one test."""
    url = f"sqlite+aiosqlite:///{folder}/insights.db"
    copy_where_new(url)
    defaults = {"database_url": url, "inbound_rate_limit": 0, "_env_file": None}
    app = create_app(load_settings(**{**defaults, **settings}), analyser=analyser)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client


# --- the surroundings -----------------------------------------------------------------------------


def _connect(sqlite_url: str) -> sqlite3.Connection:
    path = sqlite_url.removeprefix("sqlite+aiosqlite:///")
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


@asynccontextmanager
async def locked_by_another(sqlite_url: str) -> AsyncIterator[None]:
    """While this is entered, another connection holds the write lock of the SQLite file."""
    with closing(_connect(sqlite_url)) as connection:
        # In a thread: the service may be in a transaction, and must get on to end it.
        await asyncio.to_thread(connection.execute, "BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


async def run_sql(sqlite_url: str, statement: str, *parameters: Any) -> list[Any]:
    """One statement from outside the service, committed; its rows."""

    def run() -> list[Any]:
        with closing(_connect(sqlite_url)) as connection:
            return connection.execute(statement, parameters).fetchall()

    return await asyncio.to_thread(run)


class CapturedLog(io.StringIO):
    @property
    def events(self) -> list[dict[str, Any]]:
        """Every line, read as JSON."""
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def named(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.events if line["event"] == event]


@contextmanager
def captured_log(*, level: str = "info", format: str = "json") -> Iterator[CapturedLog]:
    """All that is logged, by us and by libraries, as it would stand on standard error."""
    log = CapturedLog()
    try:
        with redirect_stderr(log):
            set_up_logs(level=level, format=format)
            yield log
    finally:
        set_up_logs(level="debug", format="json")


@contextmanager
def served(app: Any, *, http: type[asyncio.Protocol] = GuardedProtocol) -> Iterator[str]:
    """The app behind a real socket, served from a thread of its own; gives its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # who connects before the start is over waits for it
        server = uvicorn.Server(uvicorn.Config(app, http=http, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            address = f"http://127.0.0.1:{listener.getsockname()[1]}"
            assert httpx.get(f"{address}/health", timeout=60).status_code == 200
            yield address
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive(), "the server did not stop"
