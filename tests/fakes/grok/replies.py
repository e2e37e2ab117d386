"""Every reply of a fake Grok, good and bad, each with a constructor of its own, so that a test
reads as what happens: `Reply.credits_gone(403)`, `Reply.fenced()`, `Reply.ok().after(2.0)`.

Sentences and statuses are the API's own, from xAI's documentation, its clients' source and captures
of 2025 and 2026. When which reply is sent is up to `steering.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from tests.fakes.grok.answer import KEY_ID, Answer, Choice, document
from tests.fakes.grok.judgement import Result

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


class Reply(Answer):
    """An answer, built with one of the constructors below."""

    __slots__ = ()

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
