"""What an error that Grok answers with means: how far it reaches, and how long to wait.

The sentence counts before the status: a wrong key is a 400, spent credits are a 403 or a 429, and a
403 can concern one text alone. Sentences and shapes are those that api.x.ai was seen to send in
2025 and 2026, and those of gateways before it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

import httpx

from analysis import storable


class Reach(StrEnum):
    THIS_TEXT = "this_text"
    """Whatever else is sent is not concerned."""
    RATE = "rate"
    """Everything, until a while has passed."""
    EVERYTHING = "everything"
    """Everything, until a person acts."""
    PASSING = "passing"
    """Trouble on the other side, that a later call may not meet."""


@dataclass(frozen=True, slots=True)
class GrokError:
    """`sentence` is fit to store and to log: no key, no account ids, one line, not long."""

    status: int
    sentence: str
    reach: Reach

    def __str__(self) -> str:
        return f"HTTP {self.status}: {self.sentence}"


def read_error(response: httpx.Response, *, key: str) -> GrokError:
    sentence = presentable(_sentence(response), key=key)
    return GrokError(response.status_code, sentence, _reach(response.status_code, sentence))


def presentable(sentence: str, *, key: str) -> str:
    sentence = sentence.replace(key, "***")
    sentence = re.sub(r"\bxai-[A-Za-z0-9*]+|\b\w{2,4}\*{3}\S*", "***", sentence)
    sentence = re.sub(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", "***", sentence)
    return " ".join(storable(sentence).split())[:300]


_THIS_TEXT = re.compile(
    r"content violates usage guidelines|maximum prompt length|failed to deserialize|^bad data", re.I
)
_CREDITS = re.compile(
    r"used all available credits|monthly spending limit|any credits|exceeded your current quota",
    re.I,
)
_EVERYTHING = re.compile(
    r"incorrect api key|no credentials|model not found|does not exist or your team"
    r"|not available in your region|endpoint is denied|user is blocked|grammar is too complex"
    r"|does not support (parameter|`)|not supported on this model|is deprecated",
    re.I,
)


def _reach(status: int, sentence: str) -> Reach:
    if _THIS_TEXT.search(sentence) or status in (413, 422):
        return Reach.THIS_TEXT
    if _CREDITS.search(sentence) or _EVERYTHING.search(sentence):
        return Reach.EVERYTHING
    if status == 429:
        return Reach.RATE
    if status in (401, 403, 404, 405, 410, 415):
        return Reach.EVERYTHING
    return Reach.PASSING


def _sentence(response: httpx.Response) -> str:
    """The sentence in an error body: xAI's flat one, OpenAI's nested one, plain text or HTML."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        text = response.text.strip()
        return "an HTML page" if text.startswith("<") else text or "no explanation"
    if isinstance(body, dict):
        error = body.get("error") or body.get("message")
        if isinstance(error, dict):
            error = error.get("message")
        if isinstance(error, str):
            return error
    return "no explanation"


# --- how long to wait -----------------------------------------------------------------------------


def told_wait(headers: Mapping[str, str], sentence: str) -> float | None:
    """Seconds, from a Retry-After header or else the sentence; None where neither tells."""
    told = _retry_after(headers.get("Retry-After"), datetime.now(UTC))
    return _resets_in(sentence) if told is None else told


_LIMIT = re.compile(r"requests per (second|minute) \(actual/limit\): \d+/(\d{1,9})", re.I)
_RESETS_IN = re.compile(r"resets in: (?:(\d{1,4})h ?)?(?:(\d{1,4})m ?)?(?:(\d{1,4})s)?", re.I)


def named_limit(sentence: str) -> float | None:
    """Calls a second that a 429 says are allowed; None where it does not."""
    found = _LIMIT.search(sentence)
    if found is None or not int(found[2]):
        return None
    return int(found[2]) / (60 if found[1].lower() == "minute" else 1)


def _resets_in(sentence: str) -> float | None:
    """Seconds, from a 429 that says `Resets in: 3m 4s`."""
    found = _RESETS_IN.search(sentence)
    if found is None or not any(found.groups()):
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 3600.0 * hours + 60 * minutes + seconds


def _retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds from a Retry-After header in either of its forms (RFC 9110, 10.2.3), or None."""
    if header is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}(\.\d+)?\s*", header):
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
