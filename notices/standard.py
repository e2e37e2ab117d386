"""The body of a `standard` message: `type`, `timestamp` and `data`, in less than 20 kB."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from pydantic_core import to_json

from analysis.messages import Message, MessageType
from notices.fitting import fit

MAX_BYTES = 20_000 - 1
_CUTS = ((20, 2000), (10, 500), (5, 100), (3, 20))
"""How many items of a list are kept and how many characters of a text, where all is too much."""


def body(message: Message, at: datetime) -> bytes:
    """`at` is when it was made, the same at every try."""
    return next(
        written
        for data in _ever_less(message.data)
        if len(written := _write(message.type, at, data)) <= MAX_BYTES
    )


def _write(type_: MessageType, at: datetime, data: Mapping[str, Any]) -> bytes:
    return to_json({"type": type_.value, "timestamp": at, "data": data}, inf_nan_mode="null")


def _ever_less(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield _writable(data)
    data = {name: value for name, value in data.items() if name != "html"}
    yield _writable(data)
    for items, characters in _CUTS:
        yield _cut(data, items, characters)
    scalars = {n: v for n, v in data.items() if not isinstance(v, Mapping | list)}
    yield _cut(scalars, *_CUTS[-1])
    yield {}


def _writable(value: Any) -> Any:
    """Without halves of characters, which UTF-8 has no bytes for."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, Mapping):
        return {_writable(name): _writable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(each) for each in value]
    return value


def _cut(value: Any, items: int, characters: int) -> Any:
    if isinstance(value, str):
        return fit(_writable(value), characters)
    if isinstance(value, Mapping):
        return {_writable(name): _cut(each, items, characters) for name, each in value.items()}
    if isinstance(value, list | tuple):
        kept = [_cut(each, items, characters) for each in value[:items]]
        more = len(value) - items
        if more > 0 and all(isinstance(each, str) for each in value):
            kept.append(f"and {more} more")
        return kept
    return value
