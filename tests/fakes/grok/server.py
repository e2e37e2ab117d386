"""A fake Grok: a real HTTP server on a real socket that behaves as `api.x.ai` does on the wire.

Inside a test, on the running event loop:

    async with FakeGrok(latency=0.05) as grok:
        grok.script(Reply.server_error(), Reply.ok())
        ...                                     # call grok.base_url with GOOD_KEY
        assert grok.counters.calls == 2

`process.py` runs it as a process of its own, which is steered over HTTP (`control.py`).

What it leaves out: streams, deferred answers, tools, batches, and more than one choice.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from typing import Any, Literal, cast

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tests.fakes.grok.answer import KEY_ID, TEAM_ID
from tests.fakes.grok.checks import key_refusal, refusal
from tests.fakes.grok.completions import Billed, Completions, Counters
from tests.fakes.grok.control import control
from tests.fakes.grok.models import MODELS
from tests.fakes.grok.replies import Reply
from tests.fakes.grok.request import SeenRequest, dig, read_request
from tests.fakes.grok.steering import Steering
from tests.fakes.grok.wire import (
    Protocol,
    Receive,
    Scope,
    Send,
    client_stays,
    headers_of,
    read_body,
    reset_connection,
    respond,
    respond_halfway,
    respond_json,
)

KEPT_REQUESTS = 1000


class FakeGrok(Steering):
    """The server. Construct without I/O, open with `async with`.

    A request that passes the API's own checks gets, in this order: the reply of the first text
    rule that matches, the next scripted reply, a random fault, the default reply.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, **options: Any) -> None:
        """`options` are those of `Steering`. Port 0 takes any free one."""
        super().__init__(**options)
        self.host = host
        self.port = port
        self.counters = Counters()
        self._down = False
        self._down_since = 0.0
        # Ends `down` after its seconds.
        self._outage: asyncio.Task[None] | None = None
        self._config = Config(
            cast(Any, self),
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            proxy_headers=False,
            server_header=False,
            # Longer than any client keeps an idle connection, so that the client closes it first.
            timeout_keep_alive=120,
        )
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()
        self.reset()

    @property
    def base_url(self) -> str:
        """Where the client is pointed at, `/v1` included; known once the server is open."""
        return f"http://{self.host}:{self.port}/v1"

    @property
    def control_url(self) -> str:
        return f"http://{self.host}:{self.port}/_control"

    @property
    def last_request(self) -> SeenRequest:
        """The chat request that came last. Raises IndexError before the first."""
        return self.requests[-1]

    @property
    def bill(self) -> list[Billed]:
        return self._completions.bill

    def reset(self) -> None:
        """Forget every count, request, rule and scripted reply; options stay."""
        self.forget()
        # Requests under way are still in flight afterwards.
        in_flight = self.counters.in_flight
        self.counters = Counters(in_flight=in_flight, max_in_flight=in_flight)
        # time.monotonic() of every chat request, almost in the order they came.
        self.arrivals: list[float] = []
        self.requests: deque[SeenRequest] = deque(maxlen=KEPT_REQUESTS)
        # When each spell of `down` that is over began and ended, by time.monotonic().
        self.outages: list[tuple[float, float]] = []
        self._completions = Completions(self.counters)
        self._read = 0

    # Waiting.

    async def saw(self, calls: int, *, within: float = 5.0) -> None:
        """Wait until this many chat requests have been read in full since the last `reset`.
        Raises TimeoutError after `within` seconds."""
        async with asyncio.timeout(within):
            while self._read < calls:
                self._changed.clear()
                await self._changed.wait()

    async def idle(self, *, within: float = 5.0) -> None:
        """Wait until no chat request is in flight. Raises TimeoutError after `within` seconds."""
        async with asyncio.timeout(within):
            while self.counters.in_flight:
                self._changed.clear()
                await self._changed.wait()

    # Outages.

    async def down(
        self, mode: Literal["unavailable", "refuse"] = "unavailable", seconds: float | None = None
    ) -> None:
        """Be unreachable for `seconds`, None until `up`: answer everything with 503, or close all
        connections and refuse new ones. Raises ValueError for another mode."""
        if mode not in ("unavailable", "refuse"):
            raise ValueError(f"no such mode: {mode!r}")
        self._forget_outage()
        self._down = True
        self._down_since = time.monotonic()
        if mode == "refuse":
            await self._stop()
        if seconds is not None:
            self._outage = asyncio.create_task(self._come_back(seconds))

    async def up(self) -> None:
        """End `down`, on the same port."""
        self._forget_outage()
        if self._server is None:
            await self._start()
        if self._down:
            self.outages.append((self._down_since, time.monotonic()))
        self._down = False

    def refuse_soon(self, seconds: float) -> None:
        """`down("refuse")`, once the answer to whoever asked for it is out."""

        async def refuse() -> None:
            await asyncio.sleep(0.05)
            self._outage = None  # this task, which `down` must not cancel
            await self.down("refuse", seconds)

        self._forget_outage()
        self._outage = asyncio.create_task(refuse())

    async def _come_back(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._outage = None
        await self.up()

    def _forget_outage(self) -> None:
        if self._outage is not None:
            self._outage.cancel()
            self._outage = None

    # Life.

    async def __aenter__(self) -> FakeGrok:
        await self._start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._forget_outage()
        await self._stop()

    async def _start(self) -> None:
        # uvicorn.Server would take over signals and logging and be slow to stop, so only its
        # protocol is used.
        if not self._config.loaded:
            self._config.load()
        loop = asyncio.get_running_loop()
        # Not a socket made here: with its protocol number left at 0, asyncio would not set
        # TCP_NODELAY, and each answer on a kept connection would take 40 ms.
        self._server = await loop.create_server(self._protocol, self.host, self.port, backlog=2048)
        self.port = self._server.sockets[0].getsockname()[1]

    def _protocol(self) -> HttpToolsProtocol:
        protocol = Protocol(self._config, self._state, app_state={})
        protocol.access_log = False
        return protocol

    async def _stop(self) -> None:
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for connection in list(self._state.connections):
            cast(Any, connection).transport.abort()
        # Aborted connections end the waiting of their requests, see `client_stays`.
        await asyncio.gather(*self._state.tasks, return_exceptions=True)
        await server.wait_closed()

    # Serving.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == "/v1/chat/completions":
            arrived = float(scope["arrived"])
            if (way := self.draw_jitter()) > 0.0:
                arrived += way
                await asyncio.sleep(arrived - time.monotonic())
            await self._chat(arrived, scope, receive, send)
        elif path.startswith("/_control/"):
            verb = path.removeprefix("/_control/")
            await control(self, verb, scope["method"], receive, send)
        else:
            await self._look_up(path, scope, send)

    async def _chat(self, arrived: float, scope: Scope, receive: Receive, send: Send) -> None:
        counters = self.counters
        counters.calls += 1
        counters.in_flight += 1
        counters.max_in_flight = max(counters.max_in_flight, counters.in_flight)
        self.arrivals.append(arrived)
        try:
            raw = await read_body(receive)
            if raw is None:
                self.counters.abandoned += 1
                return
            request = self._record(read_request(arrived, headers_of(scope), raw))
            reply = self._reply(scope["method"], request)
            delay = reply.delay
            if delay is None:
                delay = self.draw_latency() if reply.choose else 0.0
            if not await client_stays(receive, delay - (time.monotonic() - arrived)):
                self.counters.abandoned += 1
                if self.bill_abandoned and reply.choose:
                    self._complete(reply, request, delivered=False)
            elif reply.broken == "silent":
                self.counters.dropped += 1
                await reset_connection(receive, send)
            elif reply.choose is None:
                self.counters.by_status[reply.status_code] += 1
                await self._send_error(send, reply, str(dig(request.body, "model") or "latest"))
            else:
                await self._send_answer(receive, send, reply, request)
        finally:
            self.counters.in_flight -= 1
            self._changed.set()

    def _record(self, request: SeenRequest) -> SeenRequest:
        self.counters.texts_sent.update(request.texts.values())
        self.requests.append(request)
        self._read += 1
        self._changed.set()
        return request

    def _reply(self, method: str, request: SeenRequest) -> Reply:
        if self._down:
            return Reply.at_capacity()
        status = self.unknown_model_status
        refused = refusal(method, request, key=self.key, unknown_model_status=status)
        if refused is not None:
            return refused
        if not self.admits(request.arrived):
            self.counters.rate_limited += 1
            return Reply.rate_per_second(limit=self.strict_rate or 0)
        return self.next_reply(request.texts.values())

    def _complete(self, reply: Reply, request: SeenRequest, *, delivered: bool) -> dict[str, Any]:
        return self._completions.make(reply, request, way=self.obey, delivered=delivered)

    async def _send_answer(
        self, receive: Receive, send: Send, reply: Reply, request: SeenRequest
    ) -> None:
        """The headers are those of good answers alone, as captured in 2026: what remains always
        equals the limit."""
        answer = self._complete(reply, request, delivered=reply.broken is None)
        model = MODELS[answer["model"]]
        per_minute = self.limit_requests or model.requests
        milliseconds = int((time.monotonic() - request.arrived) * 1000)
        headers = [
            (b"content-type", b"application/json"),
            (b"x-ratelimit-limit-requests", b"%d" % per_minute),
            (b"x-ratelimit-remaining-requests", b"%d" % per_minute),
            (b"x-ratelimit-limit-tokens", b"%d" % model.tokens),
            (b"x-ratelimit-remaining-tokens", b"%d" % model.tokens),
            (b"x-metrics-e2e-ms", b"%d" % milliseconds),
            (b"x-zero-data-retention", b"false"),
        ]
        data = json.dumps(answer).encode()
        if reply.broken == "halfway":
            self.counters.dropped += 1
            await respond_halfway(receive, send, headers, data)
            return
        self.counters.by_status[200] += 1
        await respond(send, 200, headers, data)

    async def _send_error(self, send: Send, reply: Reply, model: str) -> None:
        content_type, data = reply.error_body(model, self.codes)
        headers = [("content-type", content_type), *reply.error_headers()]
        encoded = [(name.encode(), value.encode()) for name, value in headers]
        await respond(send, reply.status_code, encoded, data)

    async def _look_up(self, path: str, scope: Scope, send: Send) -> None:
        """The free GETs: the list of models and the check of a key."""
        self.counters.lookups += 1
        refused = Reply.at_capacity() if self._down else key_refusal(headers_of(scope), self.key)
        if refused is None and path not in ("/v1/models", "/v1/api-key"):
            refused = Reply.status(404, shape="empty")
        if refused is not None:
            await self._send_error(send, refused, "")
        elif path == "/v1/models":
            models = [model.as_json(name) for name, model in MODELS.items()]
            await respond_json(send, 200, {"object": "list", "data": models})
        else:
            await respond_json(send, 200, _key_json(self.key))


def _key_json(key: str) -> dict[str, Any]:
    return {
        "redacted_api_key": f"{key[:6]}...{key[-4:]}",
        "name": "fake",
        "api_key_id": KEY_ID,
        "acls": ["api-key:endpoint:*", "api-key:model:*"],
        "team_id": TEAM_ID,
        "team_blocked": False,
        "api_key_blocked": False,
        "api_key_disabled": False,
    }
