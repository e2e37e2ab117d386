"""A fake Grok: a real HTTP server on a real socket that behaves as `api.x.ai` does on the wire.

Inside a test, on the running event loop:

    async with FakeGrok(latency=0.05) as grok:
        grok.script(Reply.server_error(), Reply.ok())
        ...                                     # call grok.base_url with GOOD_KEY
        assert grok.counters.calls == 2

As its own process, which prints one JSON line with its `base_url` and is steered over HTTP under
`/_control/` (see `FakeGrok._control`):

    python tests/fakes/grok/server.py --port 0 --latency 0.6 --strict-rate 10

What it leaves out: streams, deferred answers, tools, batches, and more than one choice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import subprocess
import sys
import time
import uuid
from bisect import insort
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, cast

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

if __name__ == "__main__":
    # Run by its path: what `tests` is found in is three folders above.
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.fakes.grok.obedience import WAYS, obey
from tests.fakes.grok.replies import (
    CAMEL,
    CODES,
    KEY_ID,
    MODELS,
    REASONING_TOKENS,
    REDIRECTS,
    TEAM_ID,
    Choice,
    Codes,
    Model,
    Reply,
    Usage,
    count_tokens,
    judge,
    replies_named,
    texts_by_id,
)

GOOD_KEY = "xai-" + "Fake0Key9x" * 8

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


# Reading a request.


def _dig(value: Any, *path: str) -> Any:
    """The value at the end of a path of keys, None if the path breaks off."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def _plain_text(content: Any) -> str:
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


_NUMBER, _WHOLE = (int, float), (int,)
FIELD_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "model": ((str,), "a string"),
    "messages": ((list,), "a sequence"),
    "temperature": (_NUMBER, "f32"),
    "top_p": (_NUMBER, "f32"),
    "presence_penalty": (_NUMBER, "f32"),
    "frequency_penalty": (_NUMBER, "f32"),
    "max_tokens": (_WHOLE, "i32"),
    "max_completion_tokens": (_WHOLE, "i32"),
    "n": (_WHOLE, "i32"),
    "seed": (_WHOLE, "i32"),
    "stop": ((str, list), "a string or a sequence"),
    "stream": ((bool,), "a boolean"),
    "response_format": ((dict,), "an object"),
    "reasoning_effort": ((str,), "a string"),
    "user": ((str,), "a string"),
    "service_tier": ((str,), "a string"),
}
ROLES = frozenset({"system", "user", "assistant", "tool"})
_RUST_NAMES = {str: "string", bool: "boolean", int: "integer", float: "floating point"}


def _type_fault(body: Any) -> tuple[str, str] | None:
    """Path and reason of the first field that has the wrong type."""
    if not isinstance(body, dict):
        return ".", "invalid type: expected struct ChatRequest"
    if body.get("messages") is None:
        return ".", "missing field `messages`"
    for name, value in body.items():
        types, expected = FIELD_TYPES.get(name, ((object,), ""))
        # A bool is an int to Python and not to the API.
        wrong = isinstance(value, bool) and bool not in types and object not in types
        if value is not None and (wrong or not isinstance(value, types)):
            found = _RUST_NAMES.get(type(value), "map" if isinstance(value, dict) else "sequence")
            return name, f"invalid type: {found}, expected {expected}"
    for index, message in enumerate(body["messages"]):
        content = message.get("content") if isinstance(message, dict) else 0
        if not isinstance(content, (str, list, type(None))):
            return f"messages[{index}]", "invalid type, expected a message"
        if message.get("role") not in ROLES:
            return f"messages[{index}].role", "unknown variant"
    return None


@dataclass(slots=True)
class SeenRequest:
    """One chat request as it came in."""

    # time.monotonic() when the first byte of it was read, and `jitter` later where there is any.
    arrived: float
    # Names in lower case.
    headers: dict[str, str]
    raw: bytes
    # The decoded body, None if it is not JSON.
    body: Any = None
    # The answer to a body that is not JSON or has a field of the wrong type.
    refusal: Reply | None = None
    # The texts to be judged, by id.
    texts: dict[Any, str] = field(default_factory=dict)


@dataclass(slots=True)
class Counters:
    """What has happened since the start or the last `reset`. Only chat requests count as calls."""

    calls: int = 0
    # GETs of /v1/models and /v1/api-key.
    lookups: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    # Refused by `strict_rate`; scripted 429s are not in here.
    rate_limited: int = 0
    # Calls whose client left before the answer.
    abandoned: int = 0
    # Connections reset by `Reply.drop`.
    dropped: int = 0
    by_status: Counter[int] = field(default_factory=Counter)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    # The sum of the bill, 10,000,000,000 to the dollar.
    billed_ticks: int = 0
    # Text to the number of well-formed requests that carried it, refused ones included.
    texts_sent: Counter[str] = field(default_factory=Counter)
    # Text to the number of answers it was billed in, malformed ones included.
    texts_billed: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Billed:
    """One line of the bill: an answer that was made, and is charged for wherever it ended up."""

    # The caller's x-client-request-id, "" if it sent none.
    request_id: str
    # The one that answered.
    model: str
    texts: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    ticks: int
    # False where the connection broke, or the client had left, before the end of the answer.
    delivered: bool


@dataclass(slots=True)
class _Rule:
    needle: str
    reply: Reply
    # None has no end.
    times: int | None


def _codes(value: Any) -> Codes:
    if value not in CODES:
        raise ValueError(f"codes are one of {sorted(CODES)}, not {value!r}")
    return cast(Codes, value)


def _way(value: Any) -> str | None:
    if value is None or value == "any" or value in WAYS:
        return cast(str | None, value)
    raise ValueError(f"obey is one of {sorted(WAYS)}, any or null, not {value!r}")


# What may be set from outside: the names of FakeGrok's attributes, and what reads them from JSON.
OPTIONS: dict[str, Callable[[Any], Any]] = {
    "latency": float,
    "latency_sigma": float,
    "jitter": float,
    "strict_rate": lambda value: None if value is None else int(value),
    "limit_requests": lambda value: None if value is None else int(value),
    "fault_rate": float,
    "faults": replies_named,
    "obey": _way,
    "bill_abandoned": bool,
    "default": Reply.named,
    "codes": _codes,
    "unknown_model_status": int,
    "key": str,
    "seed": int,
}
KEPT_REQUESTS = 1000


class _Protocol(HttpToolsProtocol):
    """Notes when a request came in: before the application has had its turn, which may be after
    that of others."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["arrived"] = time.monotonic()  # type: ignore[typeddict-unknown-key]


class FakeGrok:
    """The server. Construct without I/O, open with `async with`; every option is an attribute that
    may be changed while it runs.

    A request that passes the API's own checks gets, in this order: the reply of the first text
    rule that matches, the next scripted reply, a random fault, the default reply.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        latency: float = 0.0,
        latency_sigma: float = 0.0,
        jitter: float = 0.0,
        strict_rate: int | None = None,
        limit_requests: int | None = None,
        fault_rate: float = 0.0,
        faults: tuple[Reply, ...] = (),
        obey: str | None = None,
        bill_abandoned: bool = False,
        seed: int = 0,
        codes: Codes = "slug",
        unknown_model_status: int = 400,
        key: str = GOOD_KEY,
    ) -> None:
        """`latency` is in seconds and holds for 200s: constant, or the median of a log-normal
        distribution when `latency_sigma` is above 0. `jitter`, in seconds, is the most by which
        the way delays a request before it counts as arrived. `strict_rate` admits that many
        requests in any trailing second. `limit_requests` is the number that a good answer's headers
        tell as the limit of a minute, None the model's own. `fault_rate` is the share (0 to 1) of
        requests answered with one of `faults`. `seed` fixes all draws. `obey` is how to do what
        texts order (`obedience.py`), None never to. `bill_abandoned` also charges for answers
        whose client left before they came, as the real one does. Port 0 takes any free one.
        """
        self.host = host
        self.port = port
        self.latency = latency
        self.latency_sigma = latency_sigma
        self.jitter = jitter
        self.strict_rate = strict_rate
        self.limit_requests = limit_requests
        self.fault_rate = fault_rate
        self.faults = faults
        self.obey = obey
        self.bill_abandoned = bill_abandoned
        self.default = Reply.ok()
        self.codes: Codes = codes
        self.unknown_model_status = unknown_model_status
        self.key = key
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
        self.seed = seed
        self.counters = Counters()
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
    def seed(self) -> int:
        return self._seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._seed = seed
        self._latency_draw = random.Random(f"latency {seed}")
        self._jitter_draw = random.Random(f"jitter {seed}")
        self._fault_draw = random.Random(f"faults {seed}")

    # Steering.

    def script(self, *replies: Reply) -> None:
        """Answer the next requests with these, one each, in this order."""
        self._script.extend(replies)

    def when_text(self, needle: str, reply: Reply, *, times: int | None = None) -> None:
        """Answer requests that carry a text containing `needle` with this, at most `times` times;
        None has no end."""
        self._rules.append(_Rule(needle, reply, times))

    def configure(self, options: Mapping[str, Any]) -> None:
        """Set options from JSON, replies by name (`Reply.named`). Raises ValueError or TypeError,
        and then nothing is set."""
        if unknown := options.keys() - OPTIONS.keys():
            raise ValueError(f"no such options: {sorted(unknown)}")
        values = {name: OPTIONS[name](value) for name, value in options.items()}
        for name, value in values.items():
            setattr(self, name, value)

    def reset(self) -> None:
        """Forget every count, request, rule and scripted reply; options stay."""
        # Requests under way are still in flight afterwards.
        in_flight = self.counters.in_flight
        self.counters = Counters(in_flight=in_flight, max_in_flight=in_flight)
        # time.monotonic() of every chat request, almost in the order they came.
        self.arrivals: list[float] = []
        self.requests: deque[SeenRequest] = deque(maxlen=KEPT_REQUESTS)
        self.bill: list[Billed] = []
        # When each spell of `down` that is over began and ended, by time.monotonic().
        self.outages: list[tuple[float, float]] = []
        self._script: deque[Reply] = deque()
        self._rules: list[_Rule] = []
        self._admitted: list[float] = []
        self._prefixes: dict[tuple[str, str], list[str]] = {}
        self._read = 0

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

    async def _come_back(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._outage = None
        await self.up()

    def _forget_outage(self) -> None:
        if self._outage is not None:
            self._outage.cancel()
            self._outage = None

    async def up(self) -> None:
        """End `down`, on the same port."""
        self._forget_outage()
        if self._server is None:
            await self._start()
        if self._down:
            self.outages.append((self._down_since, time.monotonic()))
        self._down = False

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
        protocol = _Protocol(self._config, self._state, app_state={})
        protocol.access_log = False
        return protocol

    async def _stop(self) -> None:
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for connection in list(self._state.connections):
            cast(Any, connection).transport.abort()
        # Aborted connections end the waiting of their requests, see `_client_stays`.
        await asyncio.gather(*self._state.tasks, return_exceptions=True)
        await server.wait_closed()

    # Serving.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == "/v1/chat/completions":
            arrived = float(scope["arrived"])
            if self.jitter > 0.0:
                arrived += self._jitter_draw.uniform(0.0, self.jitter)
                await asyncio.sleep(arrived - time.monotonic())
            await self._chat(arrived, scope, receive, send)
        elif path.startswith("/_control/"):
            await self._control(path.removeprefix("/_control/"), scope["method"], receive, send)
        else:
            await self._look_up(path, scope, send)

    async def _chat(self, arrived: float, scope: Scope, receive: Receive, send: Send) -> None:
        counters = self.counters
        counters.calls += 1
        counters.in_flight += 1
        counters.max_in_flight = max(counters.max_in_flight, counters.in_flight)
        self.arrivals.append(arrived)
        try:
            raw = await _read(receive)
            if raw is None:
                self.counters.abandoned += 1
                return
            request = self._record(SeenRequest(arrived, _headers(scope), raw))
            reply = self._reply(scope["method"], request)
            delay = reply.delay
            if delay is None:
                delay = self._draw_latency() if reply.choose else 0.0
            if not await _client_stays(receive, delay - (time.monotonic() - arrived)):
                self.counters.abandoned += 1
                if self.bill_abandoned and reply.choose:
                    self._answer(reply, request, delivered=False)
            elif reply.broken == "silent":
                self.counters.dropped += 1
                await _reset_connection(receive, send)
            elif reply.choose is None:
                await self._send_error(send, reply, str(_dig(request.body, "model") or "latest"))
            else:
                await self._send_answer(receive, send, reply, request)
        finally:
            self.counters.in_flight -= 1
            self._changed.set()

    def _record(self, request: SeenRequest) -> SeenRequest:
        try:
            request.body = json.loads(request.raw)
        except ValueError as error:
            request.refusal = Reply.not_json(str(error))
        else:
            if (fault := _type_fault(request.body)) is not None:
                request.refusal = Reply.wrong_type(*fault, column=len(request.raw))
            else:
                request.texts = self._texts(request.body)
                self.counters.texts_sent.update(request.texts.values())
        self.requests.append(request)
        self._read += 1
        self._changed.set()
        return request

    @staticmethod
    def _texts(body: dict[str, Any]) -> dict[Any, str]:
        messages = [m for m in body["messages"] if m.get("role") == "user"]
        content = _plain_text(messages[-1].get("content")) if messages else ""
        found = texts_by_id(content)
        schema = _dig(body, "response_format", "json_schema", "schema", "properties", "results")
        asked = _dig(schema, "items", "properties", "id", "enum")
        if not isinstance(asked, list):
            return found
        if not found and len(asked) == 1:
            return {asked[0]: content}
        return {identity: found.get(identity, "") for identity in asked}

    def _reply(self, method: str, request: SeenRequest) -> Reply:
        if self._down:
            return Reply.at_capacity()
        if (refusal := self._refusal(method, request)) is not None:
            return refusal
        if not self._admits(request.arrived):
            self.counters.rate_limited += 1
            return Reply.rate_per_second(limit=self.strict_rate or 0)
        for rule in self._rules:
            if rule.times != 0 and any(rule.needle in text for text in request.texts.values()):
                rule.times = None if rule.times is None else rule.times - 1
                return rule.reply
        if self._script:
            return self._script.popleft()
        if self.faults and self._fault_draw.random() < self.fault_rate:
            return self._fault_draw.choice(self.faults)
        return self.default

    def _refusal(self, method: str, request: SeenRequest) -> Reply | None:
        """What the API itself would refuse, in the order of its checks."""
        body = request.body
        if method != "POST":
            return Reply.method_not_allowed()
        if not request.raw or "json" not in request.headers.get("content-type", ""):
            return Reply.not_json_type()
        if request.refusal is not None:
            return request.refusal
        name = body.get("model") or "latest"
        model = MODELS.get(REDIRECTS.get(name, (name, None))[0])
        if model is None:
            return Reply.unknown_model(self.unknown_model_status)
        if (refusal := self._key_refusal(request.headers)) is not None:
            return refusal
        if not body["messages"]:
            return Reply.bad_data()
        if body.get("search_parameters") is not None:
            return Reply.search_gone()
        for parameter in CAMEL:
            if body.get(parameter) is not None and (
                parameter in model.refused
                or (parameter == "reasoning_effort" and not model.efforts)
            ):
                return Reply.parameter_refused(CAMEL[parameter])
        effort = body.get("reasoning_effort")
        if effort is not None and effort not in model.efforts:
            return Reply.effort_refused(effort)
        if (prompt := _prompt_tokens(body, model)) > model.context:
            return Reply.context_overflow(model.context, prompt)
        return None

    def _key_refusal(self, headers: Mapping[str, str]) -> Reply | None:
        authorization = headers.get("authorization")
        if authorization is None:
            return Reply.no_credentials()
        return None if authorization == f"Bearer {self.key}" else Reply.wrong_key()

    def _admits(self, arrived: float) -> bool:
        if self.strict_rate is None:
            return True
        # Bodies can be read in another order than requests arrived, so the list is kept sorted.
        self._admitted = [past for past in self._admitted if past > arrived - 1.0]
        if len(self._admitted) >= self.strict_rate:
            return False
        insort(self._admitted, arrived)
        return True

    def _draw_latency(self) -> float:
        if self.latency_sigma <= 0.0 or self.latency <= 0.0:
            return self.latency
        return self._latency_draw.lognormvariate(math.log(self.latency), self.latency_sigma)

    def _usage(self, name: str, model: Model, request: SeenRequest, content: str) -> Usage:
        body = request.body
        contents = [_plain_text(message.get("content")) for message in body["messages"]]
        prompt = _prompt_tokens(body, model)
        cached = 0
        if conversation := request.headers.get("x-grok-conv-id"):
            if len(self._prefixes) > 10_000:
                self._prefixes.clear()
            known = self._prefixes.get((name, conversation), [])
            self._prefixes[name, conversation] = contents
            for past, present in zip(known, contents, strict=False):
                if past != present:
                    break
                cached += count_tokens(present)
            if cached:
                cached = (cached + model.hidden) // 64 * 64
        implied = REDIRECTS.get(body["model"], ("", None))[1]
        effort = body.get("reasoning_effort") or implied or model.effort
        return Usage(prompt, cached, count_tokens(content), REASONING_TOKENS[effort])

    async def _send_answer(
        self, receive: Receive, send: Send, reply: Reply, request: SeenRequest
    ) -> None:
        answer = self._answer(reply, request, delivered=reply.broken is None)
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
            await _start_response(send, 200, headers, len(data))
            half = {"type": "http.response.body", "body": data[: len(data) // 2], "more_body": True}
            await send(half)
            await _reset_connection(receive, send)
            return
        self.counters.by_status[200] += 1
        await _respond(send, 200, headers, data)

    def _answer(self, reply: Reply, request: SeenRequest, *, delivered: bool) -> dict[str, Any]:
        """The completion, and its line on the bill."""
        body = request.body
        name = REDIRECTS.get(body["model"], (body["model"], None))[0]
        model = MODELS[name]
        choice = self._choice(reply, request)
        usage = self._usage(name, model, request, choice.content or choice.reasoning_content or "")
        priority = body.get("service_tier") == "priority"
        ticks = usage.ticks(model, priority=priority)
        message = {"role": "assistant", "content": choice.content, "refusal": choice.refusal}
        if choice.reasoning_content is not None:
            message["reasoning_content"] = choice.reasoning_content
        counters = self.counters
        counters.prompt_tokens += usage.prompt
        counters.cached_tokens += usage.cached
        counters.completion_tokens += usage.completion
        counters.reasoning_tokens += usage.reasoning
        counters.billed_ticks += ticks
        counters.texts_billed.update(request.texts.values())
        self.bill.append(
            Billed(
                request_id=request.headers.get("x-client-request-id", ""),
                model=name,
                texts=len(request.texts),
                prompt_tokens=usage.prompt,
                cached_tokens=usage.cached,
                completion_tokens=usage.completion,
                reasoning_tokens=usage.reasoning,
                ticks=ticks,
                delivered=delivered,
            )
        )
        return {
            "id": str(uuid.uuid4()),
            "object": "chat.completion",
            "created": int(time.time()),
            "model": name,
            "choices": [{"index": 0, "message": message, "finish_reason": choice.finish_reason}],
            "usage": usage.as_json(ticks),
            "system_fingerprint": "fp_1fb66439292298c7",
            "service_tier": "priority" if priority else "default",
        }

    def _choice(self, reply: Reply, request: SeenRequest) -> Choice:
        body = request.body
        schema = _dig(body, "response_format", "json_schema", "schema", "properties", "results")
        allowed = _dig(schema, "items", "properties", "clusters", "items", "enum")
        results = [judge(text, identity, allowed) for identity, text in request.texts.items()]
        assert reply.choose is not None
        obeyed = obey(results, request.texts, self.obey) if self.obey else None
        choice = obeyed or reply.choose(results)
        cap = body.get("max_completion_tokens") or body.get("max_tokens")
        if cap is None or choice.content is None or count_tokens(choice.content) <= cap:
            return choice
        cut = choice.content.encode()[: cap * 4].decode(errors="ignore")
        return Choice(cut, "length", choice.reasoning_content, choice.refusal)

    async def _send_error(self, send: Send, reply: Reply, model: str) -> None:
        content_type, data = reply.error_body(model, self.codes)
        headers = [(b"content-type", content_type.encode())]
        headers += [(name.encode(), value.encode()) for name, value in reply.error_headers()]
        self.counters.by_status[reply.status_code] += 1
        await _respond(send, reply.status_code, headers, data)

    async def _look_up(self, path: str, scope: Scope, send: Send) -> None:
        """The free GETs: the list of models and the check of a key."""
        self.counters.lookups += 1
        refusal = Reply.at_capacity() if self._down else self._key_refusal(_headers(scope))
        if refusal is None and path not in ("/v1/models", "/v1/api-key"):
            refusal = Reply.status(404, shape="empty")
        if refusal is not None:
            content_type, data = refusal.error_body("", self.codes)
            headers = [(b"content-type", content_type.encode())]
            await _respond(send, refusal.status_code, headers, data)
        elif path == "/v1/models":
            models = [model.as_json(name) for name, model in MODELS.items()]
            await _respond_json(send, 200, {"object": "list", "data": models})
        else:
            await _respond_json(send, 200, _key_json(self.key))

    async def _control(self, verb: str, method: str, receive: Receive, send: Send) -> None:
        """Steering from another process. Bodies and answers are JSON.

        GET counters, texts (sent and billed, by text), arrivals and outages (time.monotonic()
        seconds, one clock for all processes of a machine), bill, last_request. POST script
        {"replies": [..]}, when_text {"needle", "reply", "times"}, defaults {option: value}, down
        {"mode", "seconds"} ("refuse" takes this control away too, so it needs seconds), up, reset.
        """
        raw = await _read(receive)
        try:
            body = json.loads(raw or b"{}")
            if not isinstance(body, dict):
                raise TypeError("the body must be a JSON object")
            if method == "GET":
                await _respond_json(send, 200, self._view(verb))
                return
            match verb:
                case "script":
                    self.script(*[Reply.named(spec) for spec in body["replies"]])
                case "when_text":
                    reply = Reply.named(body["reply"])
                    self.when_text(body["needle"], reply, times=body.get("times"))
                case "defaults":
                    self.configure(body)
                case "down":
                    mode = body.get("mode", "unavailable")
                    if mode == "refuse":
                        self._refuse_soon(float(body["seconds"]))
                    else:
                        seconds = body.get("seconds")
                        await self.down(mode, None if seconds is None else float(seconds))
                case "up":
                    await self.up()
                case "reset":
                    self.reset()
                case _:
                    raise KeyError(verb)
        except (KeyError, TypeError, ValueError) as error:
            await _respond_json(send, 400, {"error": f"{type(error).__name__}: {error}"})
        else:
            await _respond_json(send, 200, {"ok": True})

    def _refuse_soon(self, seconds: float) -> None:
        """Once the answer to whoever asked for it is out."""

        async def refuse() -> None:
            await asyncio.sleep(0.05)
            self._outage = None  # this task, which `down` must not cancel
            await self.down("refuse", seconds)

        self._forget_outage()
        self._outage = asyncio.create_task(refuse())

    def _view(self, name: str) -> Any:
        match name:
            case "counters":
                by_text = {"texts_sent", "texts_billed"}
                names = (each.name for each in fields(Counters) if each.name not in by_text)
                return {name: getattr(self.counters, name) for name in names}
            case "texts":
                return {"sent": self.counters.texts_sent, "billed": self.counters.texts_billed}
            case "arrivals":
                return self.arrivals
            case "outages":
                return self.outages
            case "bill":
                return [asdict(line) for line in self.bill]
            case "last_request":
                request = self.last_request if self.requests else None
                return request and {"headers": request.headers, "body": request.body}
        raise KeyError(name)


# The wire.


async def _read(receive: Receive) -> bytes | None:
    """The whole body, None if the client left before its end."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += bytes(message["body"])
        if not message["more_body"]:
            return body


async def _client_stays(receive: Receive, seconds: float) -> bool:
    """Wait this long; False as soon as the client has gone."""
    if seconds <= 0.0:
        return True
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return True
    return False


async def _reset_connection(receive: Receive, send: Send) -> None:
    # ASGI has no word for this: `send` is a method of uvicorn's request cycle, which holds the
    # transport. Returning before it has noticed would make it answer 500.
    cast(Any, send).__self__.transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start_response(
    send: Send, status: int, headers: list[tuple[bytes, bytes]], length: int
) -> None:
    headers = [
        *headers,
        (b"content-length", b"%d" % length),
        (b"x-request-id", str(uuid.uuid4()).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _respond(
    send: Send, status: int, headers: list[tuple[bytes, bytes]], data: bytes
) -> None:
    await _start_response(send, status, headers, len(data))
    await send({"type": "http.response.body", "body": data})


async def _respond_json(send: Send, status: int, value: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await _respond(send, status, headers, json.dumps(value).encode())


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _prompt_tokens(body: dict[str, Any], model: Model) -> int:
    tokens = sum(count_tokens(_plain_text(message.get("content"))) for message in body["messages"])
    with_schema = _dig(body, "response_format", "type") == "json_schema"
    return tokens + model.hidden + (40 if with_schema else 0)


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


# As a process of its own.


@dataclass(frozen=True, slots=True)
class RunningGrok:
    """Where a fake in another process listens. This is also its line of JSON on stdout."""

    base_url: str
    control_url: str
    pid: int


@contextmanager
def grok_process(*options: str) -> Iterator[RunningGrok]:
    """Run this file as a process, ready when the block begins.

    It is killed at the end of the block, and ends by itself if the process that started it dies.
    """
    command = [sys.executable, __file__, "--until-stdin-closes", *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            yield RunningGrok(**json.loads(process.stdout.readline()))
        finally:
            process.kill()


async def _serve(options: argparse.Namespace) -> None:
    grok = FakeGrok(host=options.host, port=options.port)
    given = {name: value for name, value in vars(options).items() if value is not None}
    grok.configure({name: value for name, value in given.items() if name in OPTIONS})
    # Held up by a busy machine, it would see requests arrive later than they did, and refuse some
    # that kept to its rate. Only root may do this.
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    async with grok:
        running = RunningGrok(grok.base_url, grok.control_url, os.getpid())
        print(json.dumps(asdict(running)), flush=True)
        if options.until_stdin_closes:
            await asyncio.to_thread(sys.stdin.read)
        else:
            await asyncio.Event().wait()


def main(argv: list[str] | None = None) -> None:
    """Serve until killed. Options are those of `FakeGrok`; times in seconds."""
    parser = argparse.ArgumentParser(description="A fake Grok on a local port.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, help="seconds, or the median of them")
    parser.add_argument("--latency-sigma", type=float, help="above 0: log-normal latency")
    parser.add_argument(
        "--jitter", type=float, help="seconds that the way delays a request at most"
    )
    parser.add_argument("--strict-rate", type=int, help="requests in any trailing second")
    parser.add_argument("--limit-requests", type=int, help="a minute's limit in the headers")
    parser.add_argument("--fault-rate", type=float, help="share of faults, 0 to 1")
    parser.add_argument(
        "--faults", type=lambda names: names.split(","), help="names of replies or groups"
    )
    parser.add_argument("--obey", choices=[*sorted(WAYS), "any"], help="do what texts order")
    parser.add_argument("--bill-abandoned", action="store_true", default=None)
    parser.add_argument("--default", help="name of the usual reply")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--codes", choices=["slug", "sentence"])
    parser.add_argument("--unknown-model-status", type=int, choices=[400, 404])
    parser.add_argument("--key")
    parser.add_argument("--until-stdin-closes", action="store_true")
    options = parser.parse_args(argv)
    with asyncio.Runner(loop_factory=Config("").get_loop_factory()) as runner:
        runner.run(_serve(options))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
