"""A chat request as it comes in: its JSON, the types of its fields, and the texts in it.

Fields and types are those of the OpenAPI document in xAI's TypeScript client, October 2026; what is
unknown is ignored, as the endpoint does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.grok.judgement import texts_by_id
from tests.fakes.grok.replies import Reply

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


def read_request(arrived: float, headers: dict[str, str], raw: bytes) -> SeenRequest:
    """Everything in it that can be read."""
    request = SeenRequest(arrived, headers, raw)
    try:
        request.body = json.loads(raw)
    except ValueError as error:
        request.refusal = Reply.not_json(str(error))
        return request
    if (fault := _type_fault(request.body)) is not None:
        request.refusal = Reply.wrong_type(*fault, column=len(raw))
    else:
        request.texts = _texts(request.body)
    return request


def _texts(body: dict[str, Any]) -> dict[Any, str]:
    messages = [m for m in body["messages"] if m.get("role") == "user"]
    content = plain_text(messages[-1].get("content")) if messages else ""
    found = texts_by_id(content)
    if (asked := permitted(body, "id")) is None:
        return found
    if not found and len(asked) == 1:
        return {asked[0]: content}
    return {identity: found.get(identity, "") for identity in asked}


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


def dig(value: Any, *path: str) -> Any:
    """The value at the end of a path of keys, None if the path breaks off."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def plain_text(content: Any) -> str:
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def permitted(body: dict[str, Any], *path: str) -> list[Any] | None:
    """What the schema of the answer permits in this field of a result, None if anything."""
    schema = dig(body, "response_format", "json_schema", "schema", "properties", "results")
    found = dig(schema, "items", "properties", *path, "enum")
    return found if isinstance(found, list) else None
