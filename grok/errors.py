"""What an error from Grok means: its scope, and how long to wait.

The sentence counts before the status: a wrong key is a 400, spent credits are a 403 or a 429, and a
403 can concern one text alone. Sentences and shapes are those that api.x.ai was seen to send in
2025 and 2026, and those of other servers of its kind: OpenAI, Azure, Mistral, vLLM, llama.cpp, TGI,
LiteLLM, OpenRouter, Groq, Together, Ollama, DeepSeek.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx

from analysis.parsing import storable
from runtime.retry_after import told_seconds

MAX_READ = 2000
"""Characters of what an error says that are looked at."""


class ErrorScope(StrEnum):
    THIS_TEXT = "this_text"
    """This text alone: no other is refused for it."""
    THIS_REQUEST = "this_request"
    """A refusal that may be due to the text, or to what all calls have in common."""
    THIS_ANSWER = "this_answer"
    """This answer: the server itself could not use what the model wrote."""
    RATE = "rate"
    """All calls, for a while."""
    EVERYTHING = "everything"
    """All calls, until a person acts."""
    PASSING = "passing"
    """Trouble on the other side, which a later call may not meet."""


@dataclass(frozen=True, slots=True)
class GrokError:
    """`sentence` is fit to store and to log: no key, no account ids, one line, not long."""

    status: int
    sentence: str
    scope: ErrorScope

    def __str__(self) -> str:
        return f"HTTP {self.status}: {self.sentence}"


def read_error(
    response: httpx.Response, *, key: str, texts: Sequence[str] = (), status: int | None = None
) -> GrokError:
    """`texts` are those that were sent: a field's name that stands in one of them may be quoted
    from there. `status` is given where the body names another one than the response has."""
    status = response.status_code if status is None else status
    told = _read_body(response)
    return GrokError(status, presentable(told.sentence, key=key), _scope(status, told, texts))


def error_within(response: httpx.Response) -> int | None:
    """The status of an error that came as a 200, as some gateways send it."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict) or body.get("choices") or not body.get("error"):
        return None
    error = body["error"]
    code = str(error.get("code") if isinstance(error, dict) else body.get("code"))
    return int(code) if re.fullmatch(r"[45]\d\d", code) else 502


def presentable(sentence: str, *, key: str) -> str:
    sentence = sentence.replace(key, "***")[:MAX_READ]
    # The second begins where a word does, so that no word is gone through from each of its letters.
    cut_short = r"(?<![^\s'\"(])[^\s'\"(]*\*{3}[^\s'\")]*"
    sentence = re.sub(rf"\bxai-[A-Za-z0-9*]+|{cut_short}", "***", sentence)
    sentence = re.sub(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", "***", sentence)
    sentence = re.sub(r"\b(org|proj)[-_][A-Za-z0-9]{8,}", "***", sentence)
    return " ".join(storable(sentence).split())[:300]


# --- the scope ------------------------------------------------------------------------------------

_CREDITS = re.compile(
    r"used all available credits|monthly spending limit|any credits|exceeded your current quota"
    r"|insufficient[_ ](quota|credits?|balance|funds)|credit balance|credit limit"
    r"|billing hard limit",
    re.I,
)
_CONTENT = re.compile(
    r"content violates usage guidelines|content[_ ]filter|content[_ ]?(management )?policy"
    r"|responsible ?ai ?policy|rejected (as a result of|by) (our|the) safety"
    r"|(prompt|input|content|text|request|messages?|output) (\w+ ){0,3}flagged|requires moderation"
    r"|inappropriate content|data_inspection_failed|unsafe content",
    re.I,
)
_TOO_LONG = re.compile(
    r"context[_ -]?(length|window|size|limit)[_ ]?((is|has been|was) )?exceed"
    r"|exceed\w*[_ ](?:[^\s.]+ ){0,5}context|context window exceeds"
    r"|(maximum|max) (context|prompt|input|sequence|model) length|maximum length \d"
    r"|context length (of|is) only|(greater|longer|larger) than the (\S+ ){0,3}context"
    r"|(reduce|shorten) (the length|your (prompt|input|messages?)|the (prompt|input|messages?))"
    r"|(prompt|input|text|messages?|content|string|request)( \(.{1,30}\))? (is |are )?too[_ ]"
    r"(long|large)|string_above_max_length|request_too_large|longer than the maximum"
    r"|inputs?`? tokens \+ |must have less than \d+ tokens|at least 1, got -|range of input length"
    r"|token count \S* ?exceeds|exceeds? the (maximum )?(number of tokens|limit of \d+)"
    r"|exceeded model token limit|input tokens exceed|tokens in the prompt (cannot )?exceed"
    r"|prompt_tokens_exceeded",
    re.I,
)
_EVERYTHING = re.compile(
    r"(incorrect|invalid|missing|expired|no|wrong)[_ ]api[_ ]?key|no credentials"
    r"|api[_ ]key (is )?(not (valid|found)|invalid|missing|expired|disabled|blocked)"
    r"|model[_ ](does )?not[_ ](found|exist)|does not exist or your team|model (\S+ ){1,3}(does not"
    r" exist|was not found|not found|has been (decommissioned|retired)|is deprecated)"
    r"|invalid[_ ]model|not a valid model|no such model|unknown model"
    r"|not available in your region|endpoint is denied|user is blocked|is deprecated",
    re.I,
)
_FORMAT = re.compile(
    r"grammar|json[_ ]?schema|json mode|structured output|response[_ ]?format|UnsupportedParams",
    re.I,
)
# Of a refusal: what is refused is not a text.
_PARAMETER = re.compile(
    r"max[_ ]?(completion|new|output)?[_ ]?tokens|reasoning[_ ]?effort|temperature\b"
    r"|(unknown|unrecogni[sz]ed|unsupported|unexpected)[_ ](request |keyword )?"
    r"(argument|param\w*|field|property|key|value|name)|extra (inputs|fields)|extra_forbidden"
    r"|additional properties|(does not|doesn't) support|(is|are) (not supported|unsupported)"
    r"|not supported (on|with|by|for|in)|unavailable now|system (role|message|prompt)",
    re.I,
)
_BODY_WAS_DAMAGED = re.compile(r"failed to parse the request body", re.I)
_TEXT_FIELDS = frozenset("messages content text prompt input inputs query".split())


@dataclass(frozen=True, slots=True)
class _Told:
    """`sentence` is for people; `words` has codes and types besides, to be searched; `fields` are
    the names that the body gives to what is wrong, as `temperature` or `messages.1.content`."""

    sentence: str
    words: str
    fields: Sequence[str] = ()


def _scope(status: int, told: _Told, texts: Sequence[str]) -> ErrorScope:
    words = told.words[:MAX_READ]
    if _CREDITS.search(words):
        return ErrorScope.EVERYTHING
    if re.search(r"json_validate_failed|generated json does not match", words, re.I):
        return ErrorScope.THIS_ANSWER
    if _CONTENT.search(words) or _TOO_LONG.search(words) or status == 413:
        return ErrorScope.THIS_TEXT
    refused = status in (400, 422)
    about_a_text = bool(told.fields) and all(map(_is_text, told.fields))
    if not (refused and about_a_text) and (
        _EVERYTHING.search(words) or _names_it(_FORMAT, words, texts)
    ):
        return ErrorScope.EVERYTHING
    if status == 429:
        return ErrorScope.RATE
    if status in (401, 402, 403, 404, 405, 407, 410, 415):
        return ErrorScope.EVERYTHING
    if not refused or _BODY_WAS_DAMAGED.search(words):
        return ErrorScope.PASSING
    if about_a_text:
        return ErrorScope.THIS_REQUEST
    if told.fields or _names_it(_PARAMETER, words, texts):
        return ErrorScope.EVERYTHING
    return ErrorScope.THIS_REQUEST


def _is_text(field: str) -> bool:
    names = [name for name in re.split(r"[^A-Za-z_]+", field) if name]
    return bool(names) and names[-1] in _TEXT_FIELDS


def _names_it(pattern: re.Pattern[str], words: str, texts: Sequence[str]) -> bool:
    """Whether it is found, and not merely quoted from a text."""
    return any(
        not any(found.group().casefold() in text.casefold() for text in texts)
        for found in pattern.finditer(words)
    )


# --- what the body says ---------------------------------------------------------------------------

_DEPTH = 6
_SENTENCES = ("error", "message", "detail", "details", "errors", "msg", "description", "title")
_SIGNS = ("code", "type", "status", "error_type", "innererror")


def _read_body(response: httpx.Response) -> _Told:
    """xAI's flat body, OpenAI's nested one, FastAPI's list, one in the other, text or HTML."""
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        text = response.text.strip()
        sentence = "an HTML page" if text.startswith("<") else text or "no explanation"
        return _Told(sentence, sentence)
    sentences = list(dict.fromkeys(_sentences(body)))
    fields = list(dict.fromkeys(_fields(body)))
    sentence = "; ".join(sentences)
    if unnamed := [field for field in fields if field not in sentence]:
        sentence = f"{sentence} ({', '.join(unnamed)})".strip()
    words = " ".join([sentence, *_signs(body)])
    return _Told(sentence or "no explanation", words, fields)


def _sentences(value: Any, depth: int = _DEPTH) -> Iterator[str]:
    """What is written for people, wherever it stands."""
    value = _unpacked(value)
    if not depth:
        return
    if isinstance(value, str):
        if value.strip():
            yield value.strip()
    elif isinstance(value, list):
        for one in value[:10]:
            yield from _sentences(one, depth - 1)
    elif isinstance(value, dict):
        metadata = value.get("metadata")  # OpenRouter: what the server behind it said
        raw = metadata.get("raw") if isinstance(metadata, dict) else None
        for part in (*(value.get(name) for name in _SENTENCES), raw):
            for sentence in _sentences(part, depth - 1):
                where = _place(value) if part is value.get("msg") else ""
                yield f"{where}: {sentence}" if where else sentence


def _fields(value: Any, depth: int = _DEPTH) -> Iterator[str]:
    value = _unpacked(value)
    if not depth:
        return
    if isinstance(value, list):
        for one in value[:10]:
            yield from _fields(one, depth - 1)
    elif isinstance(value, dict):
        if place := _place(value):
            yield place
        for name in (*_SENTENCES, "metadata", "raw"):
            yield from _fields(value.get(name), depth - 1)


def _signs(value: Any, depth: int = _DEPTH) -> Iterator[str]:
    value = _unpacked(value)
    if isinstance(value, list):
        value = value[0] if value else None
    if not depth or not isinstance(value, dict):
        return
    for name in _SIGNS:
        if isinstance(value.get(name), str):
            yield value[name]
    for name in (*_SENTENCES, "innererror", "metadata", "raw"):
        yield from _signs(value.get(name), depth - 1)


def _place(error: Mapping[str, Any]) -> str:
    """Which field an entry is about: OpenAI's `param`, FastAPI's `loc`."""
    param, loc = error.get("param"), error.get("loc")
    if isinstance(param, str):
        return param.removeprefix("body.")
    if isinstance(loc, list):
        return ".".join(str(part) for part in loc if part != "body")
    return ""


def _unpacked(value: Any) -> Any:
    """What is JSON in a string, as gateways pass on what they got."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


# --- how long to wait -----------------------------------------------------------------------------


def told_wait(headers: Mapping[str, str], sentence: str) -> float | None:
    """Seconds, from Azure's and OpenAI's own header in milliseconds, Retry-After, or else the
    sentence; None where none tells."""
    milliseconds = headers.get("Retry-After-Ms", "")
    if re.fullmatch(r"\s*\d{1,9}(\.\d+)?\s*", milliseconds):
        return float(milliseconds) / 1000
    told = told_seconds(headers.get("Retry-After"))
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
