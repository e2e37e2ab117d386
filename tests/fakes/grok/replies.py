"""What a fake Grok says: every reply, good and bad, its models, its prices, its judgement.

Plain values and functions, no I/O; when which reply is sent is up to `server.py`. Each row of
the error catalogue and each malformed answer has a constructor of its own, so that a test reads as
what happens: `Reply.credits_gone(403)`, `Reply.fenced()`, `Reply.ok().after(2.0)`.
"""

from __future__ import annotations

import json
import re
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Any, Literal

TEAM_ID = "1f6d0c9e-5b0a-4d6e-9a35-0c7e2b8d4f11"
KEY_ID = "8a2b7c44-93de-4f0b-8c11-6f5e0d9a7b22"

# One item of an answer: id, sentiment_score, clusters, confidence, reasoning, language, urgency.
Result = dict[str, Any]

# "slug" is what the API sends since mid-2026, "sentence" what it sent before.
Codes = Literal["slug", "sentence"]

CODES: dict[Codes, dict[int, str]] = {
    "slug": {
        400: "invalid-argument",
        401: "unauthenticated:no-credentials",
        403: "permission-denied",
        404: "not-found",
        429: "resource-exhausted",
        # No slug was ever seen for these two.
        500: "Internal error",
        503: "The service is currently unavailable",
    },
    "sentence": {
        400: "Client specified an invalid argument",
        401: "The request does not have valid authentication credentials",
        403: "The caller does not have permission to execute the specified operation",
        404: "Some requested entity was not found",
        429: "Some resource has been exhausted",
        500: "Internal error",
        503: "The service is currently unavailable",
    },
}

OVERLOADED = {
    "capacity": (
        "Service temporarily unavailable. The model is at capacity and currently cannot serve "
        "this request. Please try again later."
    ),
    "silent": "Service temporarily unavailable. The model did not respond to this request.",
    "degraded": (
        "Service temporarily unavailable. The model's availability is currently degraded."
    ),
    "first_token": "Timed out waiting for first token",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """The part of a 200 that the model wrote; None travels as JSON null (or, for
    `reasoning_content`, as no field at all)."""

    content: str | None
    finish_reason: str = "stop"
    reasoning_content: str | None = None
    refusal: str | None = None


def document(results: list[Result]) -> str:
    """The JSON text a well-behaved model writes for these results."""
    return json.dumps({"results": results}, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer to one request. Build it with the constructors below.

    `{model}` and `{team}` in `error` are filled in when it is sent.
    """

    status_code: int = 200
    # Turns the right results into what this reply says instead; None for everything but a 200.
    choose: Callable[[list[Result]], Choice] | None = None
    error: str = ""
    # None means the usual one for the status.
    code: str | None = None
    shape: Literal["flat", "no_code", "nested", "plain", "html", "empty"] = "flat"
    # Seconds; None sends no Retry-After header.
    retry_after: int | None = None
    retry_after_as_date: bool = False
    # "silent" closes the connection without a byte, "halfway" in the middle of the body.
    broken: Literal["silent", "halfway"] | None = None
    # Seconds before the first byte; None means the fake's latency for a 200, else nothing.
    delay: float | None = None

    def after(self, seconds: float) -> Reply:
        """The same reply, sent this long after the request arrived."""
        return replace(self, delay=seconds)

    def error_body(self, model: str, codes: Codes) -> tuple[str, bytes]:
        """Content type and bytes of an answer other than a 200."""
        sentence = self.error.replace("{model}", model).replace("{team}", TEAM_ID)
        match self.shape:
            case "plain":
                return "text/plain; charset=utf-8", sentence.encode()
            case "html":
                return "text/html; charset=UTF-8", sentence.encode()
            case "empty":
                return "text/plain", b""
        code = self.code or CODES[codes].get(self.status_code, str(self.status_code))
        value: dict[str, Any] = {"code": code, "error": sentence}
        if self.shape == "no_code":
            value = {"error": sentence}
        elif self.shape == "nested":
            value = {"error": {"message": sentence, "type": code, "code": code}}
        return "application/json", json.dumps(value, ensure_ascii=False).encode()

    def error_headers(self) -> list[tuple[str, str]]:
        if self.retry_after is None:
            return []
        if self.retry_after_as_date:
            # HTTP dates have no fractions: rounding up keeps the pause at least as long as asked.
            when = int(time.time() + self.retry_after) + 1
            return [("retry-after", formatdate(when, usegmt=True))]
        return [("retry-after", str(self.retry_after))]

    @staticmethod
    def named(spec: str | Mapping[str, Any]) -> Reply:
        """The reply that JSON calls by name: `"server_error"`, or with arguments
        `{"reply": "credits_gone", "status": 403, "delay": 0.5}`. Raises ValueError."""
        arguments = {"reply": spec} if isinstance(spec, str) else dict(spec)
        name = arguments.pop("reply", None)
        delay = arguments.pop("delay", None)
        if name not in CONSTRUCTORS:
            raise ValueError(f"no reply is called {name!r}")
        try:
            reply: Reply = getattr(Reply, name)(**arguments)
        except TypeError as error:
            raise ValueError(f"reply {name}: {error}") from None
        return reply if delay is None else reply.after(float(delay))

    # 200, as asked for.

    @staticmethod
    def ok() -> Reply:
        return Reply(choose=lambda results: Choice(document(results)))

    @staticmethod
    def hang(seconds: float = 3600.0) -> Reply:
        """A good answer that comes far too late; the client is expected to leave first."""
        return Reply.ok().after(seconds)

    # 200, and yet not what was asked for.

    @staticmethod
    def fenced() -> Reply:
        return Reply(choose=lambda results: Choice(f"```json\n{document(results)}\n```"))

    @staticmethod
    def empty_content() -> Reply:
        return Reply(choose=lambda results: Choice(""))

    @staticmethod
    def null_content() -> Reply:
        return Reply(choose=lambda results: Choice(None))

    @staticmethod
    def reasoning_only() -> Reply:
        """The right JSON, in the field beside the one that is read."""
        return Reply(choose=lambda results: Choice("", reasoning_content=document(results)))

    @staticmethod
    def truncated() -> Reply:
        """finish_reason length, the JSON cut after two thirds."""

        def choose(results: list[Result]) -> Choice:
            whole = document(results)
            return Choice(whole[: len(whole) * 2 // 3], finish_reason="length")

        return Reply(choose=choose)

    @staticmethod
    def unfinished(reason: str = "content_filter") -> Reply:
        """Whole JSON under a finish_reason that does not say it is whole."""
        return Reply(choose=lambda results: Choice(document(results), finish_reason=reason))

    @staticmethod
    def two_documents() -> Reply:
        """A neutral draft, then the real answer: the last document counts."""

        def choose(results: list[Result]) -> Choice:
            draft = [{**r, "sentiment_score": 0.0, "clusters": ["draft"]} for r in results]
            return Choice(f"{document(draft)}\n{document(results)}")

        return Reply(choose=choose)

    @staticmethod
    def garbage(text: str = "I am sorry, I would rather talk about the weather.") -> Reply:
        return Reply(choose=lambda results: Choice(text))

    @staticmethod
    def out_of_range(score: float = 7, confidence: float = -3) -> Reply:
        """And nine clusters with odd names."""
        odd = ["Delivery Problems!!", "", "  praise ", "praise", "product-issues", "n" * 200]
        odd += ["\u043f\u043e\u0445\u0432\u0430\u043b\u0430", "\U0001f69a", "unknown"]
        odd_figures = {"sentiment_score": score, "confidence": confidence}
        return _each(lambda r: {**r, **odd_figures, "clusters": odd})

    @staticmethod
    def odd_types() -> Reply:
        """Words for numbers, a list as a string, null where a number belongs."""
        odd = {"sentiment_score": "good", "clusters": "praise", "confidence": None, "reasoning": 5}
        return _each(lambda r: {**r, **odd})

    @staticmethod
    def left_out() -> Reply:
        """The last text asked for has no result."""
        return _list(lambda results: results[:-1])

    @staticmethod
    def missing_id() -> Reply:
        """The first result does not say which text it is for."""

        def change(results: list[Result]) -> list[Result]:
            first = [{k: v for k, v in result.items() if k != "id"} for result in results[:1]]
            return first + results[1:]

        return _list(change)

    @staticmethod
    def doubled_id() -> Reply:
        """The first text has two results, and they disagree."""

        def change(results: list[Result]) -> list[Result]:
            again = [
                {**first, "sentiment_score": -0.9 if first["sentiment_score"] > 0 else 0.9}
                for first in results[:1]
            ]
            return results + again

        return _list(change)

    @staticmethod
    def wrong_id(instead: str = "an-id-nobody-sent") -> Reply:
        return _list(lambda rs: [{**r, "id": instead} for r in rs[:1]] + rs[1:])

    @staticmethod
    def bare_object() -> Reply:
        """The first result alone, without the list around it."""
        return Reply(choose=lambda rs: Choice(json.dumps(rs[0] if rs else {}, ensure_ascii=False)))

    @staticmethod
    def refusal(text: str = "I cannot help with that request.") -> Reply:
        return Reply(choose=lambda results: Choice(None, refusal=text))

    # Refusals that hold until a person acts.

    @staticmethod
    def wrong_key(masked: bool = False) -> Reply:
        """400, not 401; `masked` is the older wording that repeats part of the key."""
        key = ": xa***==" if masked else ""
        return Reply(
            400,
            error=f"Incorrect API key provided{key}. "
            "You can obtain an API key from https://console.x.ai.",
        )

    @staticmethod
    def no_credentials() -> Reply:
        return Reply(401, error="No credentials presented.")

    @staticmethod
    def unknown_model(status: int = 400) -> Reply:
        if status == 400:
            return Reply(400, error="Model not found: {model}")
        return Reply(
            status,
            error="The model {model} does not exist or your team {team} does not have access to "
            "it. If you believe this is a mistake, please contact support and quote your team ID "
            "and the model name.",
        )

    @staticmethod
    def region() -> Reply:
        return Reply(403, error="The model {model} is not available in your region.")

    @staticmethod
    def new_team() -> Reply:
        return Reply(
            403,
            error="Your newly created team doesn't have any credits or licenses yet. "
            "You can purchase those on https://console.x.ai/team/{team}.",
        )

    @staticmethod
    def credits_gone(status: int = 429) -> Reply:
        """The same sentence came with 429 early in 2026 and with 403 later."""
        return Reply(
            status,
            error="Your team {team} has either used all available credits or reached its monthly "
            "spending limit. To continue making API requests, please purchase more credits or "
            "raise your spending limit.",
        )

    @staticmethod
    def access_denied() -> Reply:
        """The key's access list lacks this endpoint."""
        return Reply(
            403,
            error="Access to the chat endpoint is denied. "
            "Please ensure you're using the correct credentials.",
        )

    @staticmethod
    def blocked_user() -> Reply:
        return Reply(403, error="User is blocked", code="unauthorized:blocked-user")

    @staticmethod
    def parameter_refused(parameter: str = "presencePenalty", older: bool = False) -> Reply:
        if older:
            return Reply(400, error=f"Argument not supported on this model: {parameter}")
        return Reply(400, error=f"Model {{model}} does not support parameter {parameter}.")

    @staticmethod
    def effort_refused(value: str = "none") -> Reply:
        return Reply(400, error=f"This model does not support `reasoning_effort` value `{value}`.")

    @staticmethod
    def grammar_too_complex(status: int = 400) -> Reply:
        """Permanent although it may come as a 503."""
        return Reply(status, error="Grammar is too complex.")

    @staticmethod
    def search_gone() -> Reply:
        return Reply(
            410,
            error="Live search is deprecated. Please switch to the Agent Tools API",
            shape="no_code",
        )

    @staticmethod
    def method_not_allowed() -> Reply:
        return Reply(405, shape="empty")

    @staticmethod
    def not_json_type() -> Reply:
        sentence = "Expected request with `Content-Type: application/json`"
        return Reply(415, error=sentence, shape="plain")

    # Refusals of this one request.

    @staticmethod
    def content_violation(tail: bool = False) -> Reply:
        """`tail` names the team, the key and the check that failed."""
        more = f"Team: {{team}}, API key ID: {KEY_ID}, Model: {{model}}, "
        more += "Failed check: SAFETY_CHECK_TYPE_BIO"
        return Reply(403, error="Content violates usage guidelines. " + (more if tail else ""))

    @staticmethod
    def context_overflow(limit: int = 256_000, actual: int = 259_445) -> Reply:
        """Both in tokens."""
        return Reply(
            400,
            error=f"This model's maximum prompt length is {limit} "
            f"but the request contains {actual} tokens.",
        )

    @staticmethod
    def bad_data(what: str = "Messages cannot be empty") -> Reply:
        return Reply(400, error=f"Bad data: {what}")

    @staticmethod
    def not_json(reason: str = "expected value at line 1 column 1") -> Reply:
        return Reply(
            400, error=f"Failed to parse the request body as JSON: {reason}", shape="plain"
        )

    @staticmethod
    def wrong_type(path: str = "messages", reason: str = "", column: int = 1) -> Reply:
        """422; `path` is the field, `reason` what was found there and what was expected."""
        reason = reason or "invalid type: string, expected a sequence"
        return Reply(
            422,
            error="Failed to deserialize the JSON body into the target type: "
            f"{path}: {reason} at line 1 column {column}",
            shape="plain",
        )

    # Refusals that pass by themselves.

    @staticmethod
    def rate_per_second(
        limit: int = 2,
        actual: int | None = None,
        retry_after: int | None = None,
        as_date: bool = False,
    ) -> Reply:
        """`retry_after` in seconds; None sends no header, as no capture of the API shows one."""
        return Reply(
            429,
            error="Too many requests for team {team} and model {model}. Your team's rate limit is "
            f"\u2014 Requests per Second (actual/limit): {limit if actual is None else actual}"
            f"/{limit}. Your rate limit tier is determined based on your historical API spend.",
            retry_after=retry_after,
            retry_after_as_date=as_date,
        )

    @staticmethod
    def rate_per_minute(
        limit: int = 60, actual: int = 101, resets_in: str | None = "3m 4s"
    ) -> Reply:
        resets = f" Resets in: {resets_in}" if resets_in else ""
        return Reply(
            429,
            error="Too many requests for team {team} and model {model}. Your team's rate limit is "
            f"\u2014 Requests per Minute (actual/limit): {actual}/{limit}.{resets}",
        )

    @staticmethod
    def tokens_per_minute(limit: int = 16_000, actual: int = 65_605) -> Reply:
        return Reply(
            429,
            error="Too many tokens for team {team} and model {model}. Your team's rate limit is "
            f"\u2014 Tokens per Minute (actual/limit): {actual}/{limit}.",
        )

    @staticmethod
    def server_error() -> Reply:
        return Reply(500, error="Internal error while processing the request.")

    @staticmethod
    def at_capacity(
        wording: Literal["capacity", "silent", "degraded", "first_token"] = "capacity",
        retry_after: int | None = None,
    ) -> Reply:
        return Reply(503, error=OVERLOADED[wording], retry_after=retry_after)

    @staticmethod
    def cloudflare(status: int = 520, retry_after: int | None = None) -> Reply:
        """The HTML page of the edge when the API behind it failed; `retry_after` in seconds."""
        page = (
            "<!DOCTYPE html>\n<html><head><title>api.x.ai | {status}</title></head>"
            "<body><h1>Web server error</h1><p>Error code {status}</p></body></html>"
        )
        return Reply(
            status,
            error=page.replace("{status}", str(status)),
            shape="html",
            retry_after=retry_after,
        )

    @staticmethod
    def drop(halfway: bool = False) -> Reply:
        """The connection is reset without an answer, or `halfway` through a good one."""
        return replace(Reply.ok(), broken="halfway" if halfway else "silent")

    # Any status in any shape, for what the catalogue does not hold.

    @staticmethod
    def status(
        status_code: int,
        error: str = "Something went wrong.",
        shape: Literal["flat", "no_code", "nested", "plain", "html", "empty"] = "flat",
        retry_after: int | None = None,
    ) -> Reply:
        return Reply(status_code, error=error, shape=shape, retry_after=retry_after)


def _list(change: Callable[[list[Result]], list[Result]]) -> Reply:
    return Reply(choose=lambda results: Choice(document(change(results))))


def _each(change: Callable[[Result], Result]) -> Reply:
    return _list(lambda results: [change(result) for result in results])


# The names that JSON may use, see `Reply.named`.
CONSTRUCTORS = frozenset(
    name
    for name, member in vars(Reply).items()
    if isinstance(member, staticmethod) and name != "named"
)

# What goes wrong by itself and passes by itself, or concerns one answer: nobody has to act. The
# rest of the error catalogue is refusals of one text, and what only a person can mend. A name here
# stands for all of its replies wherever JSON lists faults.
GROUPS: dict[str, tuple[str | dict[str, Any], ...]] = {
    "passing": (
        # High limits: what is to be learned from them would outlast the fault.
        {"reply": "rate_per_second", "limit": 500},
        {"reply": "rate_per_second", "limit": 500, "retry_after": 1},
        {"reply": "rate_per_second", "limit": 500, "retry_after": 1, "as_date": True},
        {"reply": "rate_per_minute", "limit": 30_000, "resets_in": "1s"},
        "tokens_per_minute",
        "server_error",
        *({"reply": "at_capacity", "wording": wording} for wording in OVERLOADED),
        *({"reply": "cloudflare", "status": status} for status in (520, 521, 522, 523, 524, 530)),
        *({"reply": "status", "status_code": status} for status in (500, 502, 503, 504, 529)),
        {"reply": "status", "status_code": 502, "shape": "html"},
        {"reply": "status", "status_code": 503, "shape": "nested"},
        {"reply": "status", "status_code": 504, "shape": "empty"},
        "drop",
        {"reply": "drop", "halfway": True},
    ),
    "odd_answers": (
        "fenced",
        "empty_content",
        "null_content",
        "reasoning_only",
        "truncated",
        {"reply": "unfinished", "reason": "length"},
        {"reply": "unfinished", "reason": "eos_token"},
        "two_documents",
        "garbage",
        "out_of_range",
        "odd_types",
        "left_out",
        "missing_id",
        "doubled_id",
        "wrong_id",
        "bare_object",
    ),
    "this_text": (
        "content_violation",
        {"reply": "content_violation", "tail": True},
        "context_overflow",
        "wrong_type",
        "bad_data",
        "refusal",
        "unfinished",
    ),
    "until_a_person_acts": (
        "wrong_key",
        {"reply": "wrong_key", "masked": True},
        "no_credentials",
        "unknown_model",
        {"reply": "unknown_model", "status": 404},
        "region",
        "new_team",
        "credits_gone",
        {"reply": "credits_gone", "status": 403},
        "access_denied",
        "blocked_user",
        "parameter_refused",
        {"reply": "parameter_refused", "older": True},
        "effort_refused",
        "grammar_too_complex",
        {"reply": "grammar_too_complex", "status": 503},
        "search_gone",
        "method_not_allowed",
        "not_json_type",
    ),
}


def replies_named(specs: Iterable[str | Mapping[str, Any]]) -> tuple[Reply, ...]:
    """Those replies, a group's name standing for all of its own. Raises ValueError."""
    members: list[str | Mapping[str, Any]] = []
    for spec in specs:
        members += GROUPS[spec] if isinstance(spec, str) and spec in GROUPS else [spec]
    return tuple(Reply.named(spec) for spec in members)


# Models and money.

DEFAULT_MODEL = "grok-4.20-0309-non-reasoning"
PENALTIES = frozenset({"presence_penalty", "frequency_penalty"})
CAMEL = {
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "stop": "stop",
    "reasoning_effort": "reasoningEffort",
}
REASONING_TOKENS = {"none": 0, "low": 94, "medium": 300, "high": 900, "xhigh": 1800}


@dataclass(frozen=True, slots=True)
class Model:
    """Prices are ticks per token (1 USD = 10,000,000,000 ticks), limits are per minute."""

    prompt_price: int
    cached_price: int
    completion_price: int
    context: int
    requests: int
    tokens: int
    # Tokens of the system prompt nobody sent and everybody pays.
    hidden: int
    refused: frozenset[str] = PENALTIES
    # Accepted values of reasoning_effort; empty means that the parameter itself is refused.
    efforts: tuple[str, ...] = ()
    # Effort when none is asked for; "none" never reasons.
    effort: str = "none"

    def as_json(self, name: str) -> dict[str, Any]:
        """This model's entry in `GET /v1/models`."""
        return {
            "id": name,
            "aliases": [],
            "context_length": self.context,
            "created": 1_772_000_000,
            "object": "model",
            "owned_by": "xai",
            "prompt_text_token_price": self.prompt_price,
            "cached_prompt_text_token_price": self.cached_price,
            "completion_text_token_price": self.completion_price,
            "long_context_threshold": 200_000,
        }


_ALWAYS = PENALTIES | {"stop"}
_LMHX = ("low", "medium", "high", "xhigh")
MODELS = {
    "grok-4.7": Model(
        20_000, 5_000, 60_000, 500_000, 7_200, 50_000_000, 637, _ALWAYS, _LMHX, "high"
    ),
    "grok-4.6": Model(
        20_000, 5_000, 60_000, 500_000, 7_200, 50_000_000, 637, _ALWAYS, _LMHX, "high"
    ),
    "grok-4.5": Model(
        20_000, 3_000, 60_000, 500_000, 7_200, 50_000_000, 637, _ALWAYS, _LMHX[:3], "high"
    ),
    "grok-4.3": Model(
        12_500, 2_000, 25_000, 1_000_000, 1_800, 10_000_000, 185, PENALTIES, ("none", *_LMHX), "low"
    ),
    DEFAULT_MODEL: Model(12_500, 2_000, 25_000, 1_000_000, 1_800, 10_000_000, 185),
    "grok-4.20-0309-reasoning": Model(
        12_500, 2_000, 25_000, 1_000_000, 1_800, 10_000_000, 185, effort="low"
    ),
    "grok-build-0.1": Model(
        10_000, 2_000, 20_000, 256_000, 1_800, 10_000_000, 185, _ALWAYS, effort="low"
    ),
}
# Retired names and aliases answer as their target, and say so in `model`. The second part is the
# effort they imply.
REDIRECTS: dict[str, tuple[str, str | None]] = {
    "grok-4.20-non-reasoning": (DEFAULT_MODEL, None),
    "grok-4-1-fast-non-reasoning": ("grok-4.3", "none"),
    "grok-4-1-fast-reasoning": ("grok-4.3", "low"),
    "grok-4-fast-non-reasoning": ("grok-4.3", "none"),
    "grok-4-fast-reasoning": ("grok-4.3", "low"),
    "grok-4-0709": ("grok-4.3", "low"),
    "grok-3": ("grok-4.3", "none"),
    "grok-code-fast-1": ("grok-build-0.1", None),
}


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer. `cached` is part of `prompt`; `reasoning` is not in `completion`."""

    prompt: int
    cached: int
    completion: int
    reasoning: int

    def ticks(self, model: Model, *, priority: bool = False) -> int:
        """What the answer costs. Long prompts and the priority tier each double it."""
        cost = (
            (self.prompt - self.cached) * model.prompt_price
            + self.cached * model.cached_price
            + (self.completion + self.reasoning) * model.completion_price
        )
        return cost * (2 if self.prompt >= 200_000 else 1) * (2 if priority else 1)

    def as_json(self, ticks: int) -> dict[str, Any]:
        """The `usage` of an answer that costs this many ticks."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion + self.reasoning,
            "prompt_tokens_details": {
                "text_tokens": self.prompt,
                "audio_tokens": 0,
                "image_tokens": 0,
                "cached_tokens": self.cached,
            },
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
            "num_sources_used": 0,
            "cost_in_usd_ticks": ticks,
        }


def count_tokens(text: str) -> int:
    """A rough count, four bytes to a token."""
    return len(text.encode("utf-8", "replace")) // 4


# The good answer.


def _words(line: str) -> frozenset[str]:
    return frozenset(line.split())


PRAISE = _words("good great love loved thanks thank happy best excellent amazing fast")
BLAME = _words("late broken worst bad hate terrible never lost slow damaged angry rude")
TOPICS = {
    "delivery_problems": _words("late delivery package parcel shipping courier lost"),
    "product_issues": _words("broken damaged defective crash crashes bug quality"),
    "billing": _words("refund refunded bill billing charged charge invoice"),
    "customer_service": _words("support agent service rude helpful waiting hold"),
    "praise": _words("love loved thanks thank great amazing excellent best"),
}
GERMAN = _words("und ist nicht mein der das ich")
URGENCY = {"now": _words("stranded hacked locked fire"), "soon": _words("when where waiting")}
_WORD = re.compile(r"[a-z]+")
_OPENING = re.compile(r"[\[{]")
_DECODER = json.JSONDecoder()


def judge(text: str, identity: Any, allowed: list[str] | None = None) -> Result:
    """The result for one text: the same text always gets the same one.

    `allowed` are the cluster names the schema permits, None if it permits any.
    """
    words = _WORD.findall(text.lower())
    good = sum(word in PRAISE for word in words)
    bad = sum(word in BLAME for word in words)
    digest = zlib.crc32(text.encode("utf-8", "replace"))
    clusters = [name for name, signs in TOPICS.items() if not signs.isdisjoint(words)]
    if allowed:
        clusters = [name for name in clusters if name in allowed]
        clusters = clusters or [allowed[digest % len(allowed)]]
    return {
        "id": identity,
        "sentiment_score": round(0.8 * (good - bad) / (good + bad), 2) if good + bad else 0.0,
        "clusters": clusters or ["general_inquiry"],
        "confidence": (50 + digest % 50) / 100,
        "reasoning": f"{good} friendly and {bad} unfriendly words.",
        "language": "de" if not GERMAN.isdisjoint(words) else "en",
        "urgency": next((each for each, signs in URGENCY.items() if signs & set(words)), "none"),
    }


def texts_by_id(content: str) -> dict[Any, str]:
    """Every object with `id` and `text` in the JSON that stands somewhere in this message."""
    found: dict[Any, str] = {}
    position = 0
    while (opening := _OPENING.search(content, position)) is not None:
        try:
            value, position = _DECODER.raw_decode(content, opening.start())
        except ValueError:
            position = opening.start() + 1
        else:
            _collect(value, found)
    return found


def _collect(value: Any, found: dict[Any, str]) -> None:
    if isinstance(value, list):
        for member in value:
            _collect(member, found)
    elif isinstance(value, dict):
        if isinstance(value.get("text"), str) and isinstance(value.get("id"), (str, int)):
            found[value["id"]] = value["text"]
        else:
            _collect(list(value.values()), found)
