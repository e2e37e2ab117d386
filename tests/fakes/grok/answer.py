"""One answer to one request, as plain values, and the bytes of those that are errors.

The shapes are those that were captured from the API or its gateways: `{"code", "error"}` with a
sentence in `error`, no `code`, nested as OpenAI's, plain text, HTML of the edge, an empty body.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Any, Literal, Self

from tests.fakes.grok.judgement import Result

TEAM_ID = "1f6d0c9e-5b0a-4d6e-9a35-0c7e2b8d4f11"
KEY_ID = "8a2b7c44-93de-4f0b-8c11-6f5e0d9a7b22"

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
class Answer:
    """What is sent, and when; `replies.py` has those that are.

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

    def after(self, seconds: float) -> Self:
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
