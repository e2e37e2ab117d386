"""Reading a body as the shape of a schema, and why one cannot be read, in words for its sender."""

import re
from codecs import BOM_UTF8
from email.message import Message
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from api.long_json import hash_in_pieces, read_in_pieces
from errors import InvalidInput, TooLarge
from schemas import MAX_RAW_DATA_LEVELS, ConversationIn, explain
from store.conversations import NewConversation

Body = TypeVar("Body", bound=BaseModel)

MOST_VALUES = 200_000
"""Commas and opening brackets in a body, outside of its texts. Reading so many takes some 50 ms, in
pieces."""
SMALL_BODY = 65_536
"""Bytes. Reading so many takes too little to wait for its turn with larger ones."""
DOCUMENTED: list[type[BaseModel]] = []
"""The shapes of all bodies that handlers read themselves, for `api/openapi.py`."""
_AT_ONCE = 1000
_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_SOME_VALUES = re.compile(rb'(?:(?:[^",\[{]|%b)*+[,\[{]){%d}' % (_TEXT, _AT_ONCE), re.DOTALL)

_WHERE = re.compile(r" at line (\d+) column (\d+)$")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_TWO_ESCAPES = 14
"""Bytes before the parser's stop in which the half that it stopped at is written."""
_FIELDS = {"text", "author", "timestamp", "raw_data", "idempotency_key", "lane"}


def count_values(body: bytes) -> int:
    """How many values the JSON holds, at most: what stands in texts counts as well. A pass over the
    bytes, a hundred times as fast as reading them."""
    return len(body) - len(body.translate(None, b",[{"))


def _check_values(body: bytes) -> None:
    if len(body) < MOST_VALUES or count_values(body) < MOST_VALUES:
        return
    at = 0
    for _ in range(MOST_VALUES // _AT_ONCE):  # in pieces, between which others have the interpreter
        found = _SOME_VALUES.match(body, at)
        if found is None:
            return
        at = found.end()
    raise InvalidInput(f"The body holds too many values: {MOST_VALUES:,} are read at most.")


def documented_body(shape: type[BaseModel]) -> dict[str, Any]:
    """For the OpenAPI document: the handlers read the body themselves, straight from its bytes."""
    DOCUMENTED.append(shape)
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape.__name__}"}}}
    return {"requestBody": {"required": True, "content": content}}


def header(request: Request, name: bytes) -> bytes:
    """The first of that name, in lower case; empty where there is none. Straight from the scope:
    Starlette's take five times as long."""
    for found, value in request.scope["headers"]:
        if found == name:
            assert isinstance(value, bytes)
            return value
    return b""


async def read_body(request: Request) -> bytes:
    """Raises InvalidInput for what is not JSON by its headers."""
    content_type = header(request, b"content-type")
    if content_type != b"application/json":
        _check_content_type(content_type.decode("latin-1"))
    if header(request, b"content-encoding").lower() not in (b"", b"identity"):
        raise InvalidInput("Content-Encoding: compressed bodies are not taken; send it unpacked.")
    return await _receive_body(request)


async def _receive_body(request: Request) -> bytes:
    """As `request.body()`, which goes through a generator and takes three times as long."""
    received: list[bytes] = []
    more = True
    try:
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            received.append(message.get("body", b""))
            more = message.get("more_body", False)
        return b"".join(received)
    finally:
        received.clear()  # an error keeps the frames that it came through, and what they hold


def _check_content_type(content_type: str) -> None:
    """Any of JSON's names, in the one encoding that JSON has. Raises InvalidInput."""
    message = Message()
    message["content-type"] = content_type
    kind = message.get_content_type() if content_type else ""
    if kind != "application/json" and not kind.endswith("+json"):
        form = kind in ("application/x-www-form-urlencoded", "multipart/form-data")
        raise InvalidInput(
            f"The Content-Type must be application/json{', which a form is not' if form else ''}."
        )
    if message.get_content_charset("utf-8") not in ("utf-8", "utf8", "us-ascii"):
        raise InvalidInput("The charset of the Content-Type must be utf-8, as JSON is.")


def parse_body(shape: type[Body], body: bytes, *, max_text_length: int | None = None) -> Body:
    """For bodies of few values; `LongBody` reads others. A byte order mark before the JSON is
    passed over. Raises InvalidInput with one sentence that names the field."""
    body = body.removeprefix(BOM_UTF8)
    try:
        return shape.model_validate_json(body, context={"max_text_length": max_text_length})
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
    if errors[0]["type"] == "json_invalid":
        raise InvalidInput(_explain_bad_json(body, errors[0]["ctx"]["error"]))
    raise InvalidInput(explain(errors))


async def read_short(shape: type[Body], request: Request) -> Body:
    """Any body but conversations: what is wrong with 2 MB of them takes a second to tell, in which
    nobody else is served. Raises InvalidInput, and TooLarge for one of more than 64 KiB."""
    body = await read_body(request)
    if len(body) > SMALL_BODY:
        raise TooLarge(f"The body is larger than {SMALL_BODY} bytes.")
    return parse_body(shape, body)


class LongBody(Generic[Body]):
    """A body that is read in pieces, on a thread, and let go of in the same way by `free`. What is
    no JSON is read at once: the parser tells why, and makes no values of it before.

    Raises InvalidInput, as `parse_body` does.
    """

    def __init__(
        self, shape: type[Body], body: bytes, *, max_text_length: int | None = None
    ) -> None:
        body = body.removeprefix(BOM_UTF8)
        _check_values(body)
        self._json = read_in_pieces(body)
        if self._json is None:
            self.read = parse_body(shape, body, max_text_length=max_text_length)
            return
        try:
            self.read = shape.model_validate(
                self._json.value, context={"max_text_length": max_text_length}
            )
        except ValidationError as error:
            errors = error.errors(include_url=False, include_input=False)
            self.free()
            raise InvalidInput(explain(errors)) from None
        except BaseException:
            self.free()
            raise

    def to_new(self, item: ConversationIn, idempotency_key: str | None) -> NewConversation:
        """`item` is a part of what was read."""
        if self._json is None:
            return item.to_new(idempotency_key)
        return item.to_new(idempotency_key, write=self._json.write, hash_=hash_in_pieces)

    def free(self) -> None:
        """Nothing of what was read can be used after it."""
        if self._json is not None:
            self._json.free()


def _explain_bad_json(body: bytes, problem: str) -> str:
    """`problem` is what the parser says. Names the field where it can be told."""
    if body.startswith(b"\x1f\x8b"):
        return "The body is not valid JSON: it is compressed with gzip, which is not taken."
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in body[:4]:
        return "The body is not valid JSON: it must be in UTF-8, not in UTF-16 or UTF-32."
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return f"The body is not valid JSON: it must be in UTF-8, which byte {error.start} is not."
    where = _WHERE.search(problem)
    if where is None:
        return f"The body is not valid JSON: {problem}"
    line, column = int(where[1]), int(where[2])
    start_of_line = len(body) - len(body.split(b"\n", line - 1)[-1])
    stop = start_of_line + column
    if problem.startswith("recursion limit"):
        return f"{_field_at(body, stop - 1)}: must be at most {MAX_RAW_DATA_LEVELS} levels deep"
    half = _SURROGATE.search(body, max(0, stop - _TWO_ESCAPES), stop)
    if "hex escape" in problem and half:
        field = _field_at(body, half.start())
        return f"{field}: not valid JSON, as it has half of a character (a lone surrogate)"
    return f"The body is not valid JSON: {problem}"


def _field_at(body: bytes, stop: int) -> str:
    """The field in which the JSON up to `stop` breaks off, such as `conversations[1].text`."""
    try:
        value: Any = from_json(body[:stop], allow_partial="trailing-strings")
    except ValueError:
        return "The body"
    place = ""
    if isinstance(value, dict) and value and next(reversed(value)) == "conversations":
        items = value["conversations"]
        place = "conversations"
        if isinstance(items, list) and items:
            place, value = f"conversations[{len(items) - 1}]", items[-1]
    if isinstance(value, dict) and value and (field := next(reversed(value))) in _FIELDS:
        place += f".{field}" if place else field
    return place or "The body"
