"""Grok over HTTP: one call in xAI's chat completions format, and what its answer means.

Field names, error bodies and headers are xAI's (docs.x.ai, REST API reference, chat completions);
other OpenAI-compatible servers answer in the same shape. Nothing here knows of rows or statuses.
"""

import asyncio
import json
import math
import random
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx
import structlog
from pydantic_core import to_json

from analysis.analyser import Throttle
from analysis.outcomes import (
    Analysis,
    Answer,
    Blocked,
    Call,
    CallOutcome,
    NotNow,
    Refused,
    Reply,
    TransientFailure,
    Unusable,
)
from analysis.parsing import parse_results, storable
from analysis.topics import Topics
from grok import prices
from grok.errors import (
    ErrorScope,
    error_within,
    named_limit,
    presentable,
    read_error,
    told_wait,
)
from grok.prompt import PROMPT_VERSION, Prompt, Request
from grok.transport import TooMuch, build_transport, send
from rate_limiter import CallLimiter
from runtime.proxies import NOT_REACHED, Proxy
from runtime.turns import give_back_right_of_way, take_right_of_way

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT_SECONDS = 10.0
MAX_RETRY_AFTER_SECONDS = 120.0
MAX_RATE_PAUSE_SECONDS = 30.0
MAX_COST_TICKS = 10**15  # 100,000 USD for a call is no bill but a mistake
MAX_KEPT_CHARACTERS = 100_000
"""Of what the model wrote."""


class _HeldBack(Exception):
    """A pause began before the call had left."""


class _LimitedCalls(Throttle):
    def __init__(
        self, limiter: CallLimiter, prompt: Prompt, *, concurrency: int, pack_size: int
    ) -> None:
        super().__init__(concurrency=concurrency, pack_size=pack_size)
        self._limiter = limiter
        self._prompt = prompt

    @property
    def calls_at_once(self) -> int:
        return min(self.concurrency, self._limiter.calls)

    @property
    def call_limit_per_second(self) -> float:
        """Less than what was set where Grok said so."""
        return self._limiter.rate

    @property
    def call_interval(self) -> float:
        return self._limiter.interval

    @property
    def is_crowded(self) -> bool:
        return self._limiter.is_crowded

    def highest_cost(self, texts: Sequence[str]) -> int:
        return self._prompt.highest_cost(texts)

    def pause_left(self) -> float:
        return self._limiter.pause_left()

    def assume_window_used(self) -> None:
        self._limiter.assume_window_used()


class GrokClient:
    """An `Analyser`. At most `concurrency` calls are under way at once, and as many in any second
    as `limiter` lets pass. A 429 holds all calls back."""

    name = "grok"
    notice = None

    def __init__(
        self,
        *,
        key: str,
        base_url: str,
        model: str,
        limiter: CallLimiter,
        concurrency: int,
        timeout: float,
        temperature: float,
        topics: Topics,
        pack_size: int = 1,
        proxy: Proxy | None = None,
        certificates: ssl.SSLContext | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`timeout` is the seconds that a call with one text may take, twice that with more;
        `certificates` are httpx's own where none are given; `jitter` gives 0..1."""
        self.model = model
        self._answering_model: str | None = None  # the last one
        self._key = key
        self._limiter = limiter
        self._timeout = timeout
        self._connect_timeout = min(timeout, CONNECT_TIMEOUT_SECONDS)
        self._via = f" by way of the proxy {proxy}" if proxy else ""
        self._topics = topics
        self._prompt = Prompt(model=model, temperature=temperature, topics=topics)
        self.throttle = _LimitedCalls(
            limiter, self._prompt, concurrency=concurrency, pack_size=pack_size
        )
        self._jitter = jitter
        self._rate_refusals = 0  # in a row
        self._places = asyncio.Semaphore(concurrency)
        # A cache of prompts is one server's: a few ids that stay lead to the same few servers, and
        # the id that was given back last is taken first.
        self._cache_ids = [str(uuid4()) for _ in range(concurrency)]
        self._url = httpx.URL(f"{base_url.rstrip('/')}/chat/completions")
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"python-httpx/{httpx.__version__}",
        }
        # What a call may take in all is counted from the moment that it leaves.
        self._timeouts = httpx.Timeout(None, connect=self._connect_timeout).as_dict()
        self._transport = build_transport(
            connections=concurrency, proxy=proxy, certificates=certificates
        )

    async def aclose(self) -> None:
        await self._transport.aclose()

    # --- what the worker plans with -----------------------------------------------------------

    @property
    def reuse_key(self) -> str:
        return f"{self.model}\n{self._answering_model or self.model}\n{self._prompt.identity}"

    # --- a call -------------------------------------------------------------------------------

    async def analyse(
        self,
        texts: Sequence[str],
        *,
        request_id: str | None = None,
        on_sent: Callable[[], None] = lambda: None,
    ) -> Reply:
        request = self._prompt.request(texts)
        async with self._places:
            cache_id = self._cache_ids.pop()
            try:
                return await self._call(
                    request, texts, cache_id, request_id or str(uuid4()), on_sent
                )
            finally:
                self._cache_ids.append(cache_id)

    async def _call(
        self,
        request: Request,
        texts: Sequence[str],
        cache_id: str,
        request_id: str,
        on_sent: Callable[[], None],
    ) -> Reply:
        count = len(request.ids)
        seconds = self._timeout * (2 if count > 1 else 1)
        clock = asyncio.get_running_loop().time
        sent_at: float | None = None
        turn: float | None = None
        greeted: list[Any] = []  # the connection to a SOCKS proxy, before it stands

        async def at_event(event: str, info: Mapping[str, Any]) -> None:
            """The turn is taken when the connection stands and the request is about to leave:
            making a connection takes a while that nobody knows beforehand. It counts from when the
            request has left."""
            nonlocal sent_at, turn
            if event == "socks.connect_tcp.complete":
                greeted.append(info["return_value"])
            if event == "http11.send_request_body.complete" and turn is not None:
                self._limiter.left(turn)
                give_back_right_of_way()
            if event == "http11.receive_response_headers.complete":
                take_right_of_way()
            leaves = event == "http11.send_request_headers.started"
            if not leaves or info["request"].method != b"POST":  # CONNECT opens a proxy's tunnel
                return
            deadline.reschedule(None)
            turn = await self._limiter.wait_turn()
            if turn is None:
                raise _HeldBack
            sent_at = clock()
            deadline.reschedule(sent_at + seconds)
            on_sent()

        own_headers = {"x-client-request-id": request_id, "x-grok-conv-id": cache_id}
        http_request = httpx.Request(
            "POST",
            self._url,
            headers=self._headers | own_headers,
            content=to_json(request.body),
            extensions={"timeout": self._timeouts, "trace": at_event},
        )
        try:
            # A proxy's handshake comes after connecting, and has no timeout of its own in httpx.
            until_connected = 3 * self._connect_timeout
            async with asyncio.timeout(until_connected) as deadline:
                response = await send(self._transport, http_request)
        except _HeldBack:
            return Reply([NotNow("Grok takes no calls for the moment")] * count)
        except (httpx.TimeoutException, TimeoutError):
            failure = TransientFailure(f"Grok did not answer within {seconds:g} s{self._via}")
            reply = Reply([failure] * count, Call(CallOutcome.TIMEOUT, cost_usd_ticks=None))
        except TooMuch as error:
            failure = TransientFailure(f"Grok's answer {error}")
            reply = Reply([failure] * count, Call(CallOutcome.FAILED, cost_usd_ticks=None))
        except NOT_REACHED as error:
            cause = type(error).__name__
            if isinstance(error, httpx.ProxyError):
                cause += f": {presentable(str(error), key=self._key)}"
            failure = TransientFailure(f"Grok could not be reached ({cause}){self._via}")
            call = Call(CallOutcome.CONNECTION_ERROR, cost_usd_ticks=None)
            reply = Reply([failure] * count, call)
        else:
            reply = self._read(response, request.ids, texts)
        if sent_at is None:  # there was no connection to send it on
            for stream in greeted:  # httpx leaves it open when the handshake fails
                await stream.aclose()
            return Reply(reply.answers)
        assert reply.call is not None
        return reply._replace(call=replace(reply.call, seconds=clock() - sent_at))

    def _read(self, response: httpx.Response, ids: Sequence[str], texts: Sequence[str]) -> Reply:
        status = response.status_code
        if status == httpx.codes.OK:
            told = error_within(response)
            if told is None:
                self._rate_refusals = 0
                return self._read_completion(response, ids)
            status = told
        answer, call = self._read_error(response, status, texts)
        return Reply([answer] * len(ids), call)

    # --- a good answer ------------------------------------------------------------------------

    def _read_completion(self, response: httpx.Response, ids: Sequence[str]) -> Reply:
        self._learn_limit(response)
        try:
            completion = response.json(parse_constant=_no_number, parse_float=_finite)
            choice = completion["choices"][0]
            message = choice["message"]
            usage = completion.get("usage") or {}
            call, cost = self._cost(completion, usage)
            content, refusal = _plain(message.get("content")), message.get("refusal")
        except _MALFORMED:
            unusable = Unusable("the answer is not a chat completion")
            return Reply([unusable] * len(ids), Call(CallOutcome.UNUSABLE, cost_usd_ticks=None))
        self._notice_model(call.model)

        finish = choice.get("finish_reason")
        # The bill is for the call; each text bears an equal part of it.
        share, rest = divmod(cost, len(ids))
        details = {
            "analyser": self.name,
            "model": completion.get("model"),
            "requested_model": self.model,
            "prompt_version": PROMPT_VERSION,
            "response_id": completion.get("id"),
            "finish_reason": finish,
            "usage": usage,
        }
        if len(ids) > 1:
            details["conversations"] = len(ids)  # and their results are not each other's business
        else:
            details["content"] = None if content is None else content[:MAX_KEPT_CHARACTERS]

        if str(finish).casefold() == "content_filter":
            refusal = refusal or "its content filter held the answer back"
        if refusal:
            refused = Refused(f"Grok refused: {presentable(str(refusal), key=self._key)}")
            # It was answered and billed, unlike a refusal that is an error.
            return Reply([refused] * len(ids), call)
        if str(finish).casefold() == "length":
            results: dict[str, Analysis | Unusable] = dict.fromkeys(
                ids, Unusable("the answer broke off (length)")
            )
        elif not content or not content.strip():
            results = dict.fromkeys(ids, Unusable("the answer is empty"))
        else:
            results = parse_results(content, ids)
        answers: list[Answer] = []
        for position, id_ in enumerate(ids):
            result = results[id_]
            own = result.details if len(ids) > 1 else {}
            part = share + (rest if position == 0 else 0)
            if isinstance(result, Analysis):
                result = replace(result, clusters=self._topics.merge(result.clusters))
            answers.append(replace(result, details={**details, **own}, cost_usd_ticks=part))
        if not all(isinstance(answer, Analysis) for answer in answers):
            call = replace(call, outcome=CallOutcome.UNUSABLE)
        return Reply(answers, call)

    def _cost(self, completion: Mapping[str, Any], usage: Mapping[str, Any]) -> tuple[Call, int]:
        """The call and its cost in ticks, which nobody knows where `usage` cannot be read."""
        model = completion.get("model")
        model = model if isinstance(model, str) else self.model
        call = Call(CallOutcome.ANSWERED, model=storable(model)[:100], cost_usd_ticks=None)
        try:
            prompt = _count(usage.get("prompt_tokens"))
            cached = _count((usage.get("prompt_tokens_details") or {}).get("cached_tokens"))
            # Reasoning tokens are billed like the others, and counted apart from them.
            reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
            written = _count(usage.get("completion_tokens")) + _count(reasoning)
            told = _count(usage.get("cost_in_usd_ticks"))
        except _MALFORMED:
            return call, 0
        cached = min(cached, prompt)
        ticks = prices.cost(
            model, prompt_tokens=prompt, cached_tokens=cached, completion_tokens=written
        )
        # 0 may mean "not reported".
        ticks = min(told or ticks, MAX_COST_TICKS)
        call = replace(
            call,
            prompt_tokens=prompt,
            cached_tokens=cached,
            completion_tokens=written,
            cost_usd_ticks=ticks,
        )
        return call, ticks

    def _learn_limit(self, response: httpx.Response) -> None:
        per_minute = response.headers.get("x-ratelimit-limit-requests", "")
        if re.fullmatch(r"\d{1,9}", per_minute) and int(per_minute):
            self._limiter.told(int(per_minute) / 60)

    def _notice_model(self, model: str | None) -> None:
        if model != self._answering_model:
            self._answering_model = model
            if model != self.model:
                log.warning("grok_answers_as", asked=self.model, answered=model)

    # --- an error -----------------------------------------------------------------------------

    def _read_error(
        self, response: httpx.Response, status: int, texts: Sequence[str]
    ) -> tuple[Answer, Call]:
        error = read_error(response, key=self._key, texts=texts, status=status)
        match error.scope:
            case ErrorScope.THIS_TEXT | ErrorScope.THIS_REQUEST:
                doubtful = error.scope is ErrorScope.THIS_REQUEST
                refused = Refused(str(error), doubtful=doubtful)
                return refused, Call(CallOutcome.REFUSED, cost_usd_ticks=None)
            case ErrorScope.THIS_ANSWER:
                return Unusable(str(error)), Call(CallOutcome.UNUSABLE, cost_usd_ticks=None)
            case ErrorScope.RATE:
                self._hold_back(response, error.sentence)
                return NotNow(str(error)), Call(CallOutcome.RATE_LIMITED)
            case ErrorScope.EVERYTHING:
                return Blocked(str(error)), Call(CallOutcome.BLOCKED)
            case ErrorScope.PASSING:
                unknown = response.is_success or error.status in _TIMEOUTS_ON_THE_WAY
                cost = None if unknown else 0
                failure = TransientFailure(f"{error}{self._via}")
                return failure, Call(CallOutcome.FAILED, cost_usd_ticks=cost)

    def _hold_back(self, response: httpx.Response, sentence: str) -> None:
        """All calls, after a 429; those that are refused together count as one."""
        together = self._limiter.pause_left() > 0
        self._rate_refusals += not together
        pause = self._rate_pause(response, sentence)
        self._limiter.pause(pause)
        if together:
            return
        self._limiter.refused(named_limit(sentence))
        log.warning("grok_rate_limited", pause_seconds=round(pause, 2), reason=sentence)

    def _rate_pause(self, response: httpx.Response, sentence: str) -> float:
        """Seconds: as told, else 1, 2, 4 ... 30 with jitter."""
        told = told_wait(response.headers, sentence)
        if told or (told == 0.0 and self._rate_refusals <= 1):  # "at once" is believed once
            return min(told, MAX_RETRY_AFTER_SECONDS)
        backoff = min(2.0 ** min(self._rate_refusals - 1, 10), MAX_RATE_PAUSE_SECONDS)
        return backoff * (1 + self._jitter() / 4)


def _plain(content: object) -> str | None:
    """What a message says, also in parts or as the document itself; None where it says nothing."""
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        return "".join(part for part in parts if isinstance(part, str))
    if isinstance(content, dict):
        return json.dumps(content)
    return content if isinstance(content, str) else None


_TIMEOUTS_ON_THE_WAY = (504, 520, 522, 523, 524)
"""Who stands before the API gave up waiting: it may have answered all the same, and billed that."""

# What reading a completion of the wrong shape, or with numbers out of range, comes to.
_MALFORMED = (OverflowError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON, and no database stores it as such")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("no database stores it as JSON")
    return number


def _count(value: object) -> int:
    """Of tokens, or of ticks: never negative, and never more than can be added up."""
    number = int(value) if isinstance(value, int | float | str) else 0
    return min(max(0, number), MAX_COST_TICKS)
