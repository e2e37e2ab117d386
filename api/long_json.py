"""Large JSON, read, written and freed in pieces, between which other threads have their turn.

The parser is one call that keeps the interpreter's lock from its first byte to its last: 30 ms for
the largest body, in which nobody else is served. Here a scan finds where the text can be cut, each
call of the parser gets one piece, and the containers around the pieces are put together by hand.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from itertools import groupby, islice
from typing import Any

from pydantic_core import from_json, to_json

PIECE_BYTES = 4_096
"""Reading so many takes a quarter of a millisecond, whatever they say."""
_FREED_AT_ONCE = 1000
_WRITTEN_AT_ONCE = 32
"""Members, of which each may have the size of a piece."""
_MOST_LEVELS = 200
"""As deep as the parser goes."""
_BLANK = b" \t\n\r"

_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_PLAIN = rb'(?:[^",\[\]{}]|%b)' % _TEXT
_FLAT = rb"[\[{]%b*+(?:,%b*+){0,20}+[\]}]" % (_PLAIN, _PLAIN)
"""A container without another in it. The parser sees whether its brackets are a pair."""
_MEMBERS = re.compile(rb"(?:%b*+(?:%b%b*+)?+,){1,200}+" % (_PLAIN, _FLAT, _PLAIN), re.DOTALL)
"""Some whole members of the container that is open, each with the comma behind it. Only one flat
container is looked for before a comma: JSON has no more, and what only looks like it could have any
number, to be passed again at each."""
_NEXT_BRACKET = re.compile(rb"%b*+([\[\]{}])" % _PLAIN, re.DOTALL)

_ENCODER = json.JSONEncoder(sort_keys=True)


class _NotCut(Exception):
    """The text is no JSON, or not to be read in pieces."""


class _Container:
    """One that is open while the text is read. It has a `value` only once its text has been cut:
    until then it is a part of what the parser is given of the container around it."""

    __slots__ = ("after_child", "comma", "opening", "read_to", "start", "value")

    def __init__(self, opening: bytes, start: int) -> None:
        self.opening = opening
        self.start = start
        self.value: Any = None
        self.read_to = start + 1
        self.comma: int | None = None  # the last one that has not been read
        self.after_child = False  # nothing but a comma may follow

    def add(self, text: bytes) -> None:
        """Members, without the comma behind the last one."""
        if self.after_child:
            gap, comma, text = text.partition(b",")
            if gap.strip(_BLANK):
                raise _NotCut
            self.after_child = False
            if not comma:
                return
        closing = b"]" if self.opening == b"[" else b"}"
        members = _parse(self.opening + text + closing)
        if not members:
            raise _NotCut
        if self.opening == b"[":
            self.value.extend(members)
        else:
            self.value.update(members)

    def put(self, before: bytes, child: Any) -> None:
        """A member that is a container, after the text that stands before it."""
        if self.after_child:
            raise _NotCut
        if self.opening == b"{":
            (key,) = _parse(b"{" + before + b"null}")
            self.value[key] = child
        elif before.strip(_BLANK):
            raise _NotCut
        else:
            self.value.append(child)


def _parse(text: bytes) -> Any:
    try:
        return from_json(text)
    except ValueError:
        raise _NotCut from None


class LongJson:
    """The value of a JSON text, and its containers that were put together from pieces."""

    def __init__(self, value: Any, containers: dict[int, Any]) -> None:
        self.value = value
        self._containers = containers

    def write(self, members: Mapping[str, Any]) -> bytes:
        """An object that is a part of the value, or a copy of one, as compact JSON."""
        written: list[bytes] = []
        for is_large, some in groupby(members.items(), lambda each: self._is_large(each[1])):
            if is_large:
                written += (b"%b:%b" % (to_json(key), self._write(each)) for key, each in some)
            else:
                while few := dict(islice(some, _WRITTEN_AT_ONCE)):
                    written.append(to_json(few)[1:-1])
        return b"{%b}" % b",".join(written)

    def _write(self, value: Any) -> bytes:
        if isinstance(value, dict):
            return self.write(value)
        written: list[bytes] = []
        for is_large, some in groupby(value, self._is_large):
            if is_large:
                written += map(self._write, some)
            else:
                while few := list(islice(some, _WRITTEN_AT_ONCE)):
                    written.append(to_json(few)[1:-1])
        return b"[%b]" % b",".join(written)

    def _is_large(self, value: Any) -> bool:
        return id(value) in self._containers

    def free(self) -> None:
        """Let go of the value piece by piece: the last reference would free all of it at once."""
        for container in self._containers.values():
            while container:
                if isinstance(container, list):
                    del container[-_FREED_AT_ONCE:]
                else:
                    for key in list(islice(container, _FREED_AT_ONCE)):
                        del container[key]


def read_in_pieces(text: bytes) -> LongJson | None:
    """None for what is no JSON, or a single value of it: then the parser tells more."""
    try:
        return _read(text)
    except _NotCut:
        return None


def _read(text: bytes) -> LongJson:
    at = len(text) - len(text.lstrip(_BLANK))
    if text[at : at + 1] not in (b"[", b"{"):
        raise _NotCut
    open_ = [_Container(text[at : at + 1], at)]
    root = open_[0]
    containers: dict[int, Any] = {}
    at += 1
    read_to = 0
    while open_:
        inner = open_[-1]
        if members := _MEMBERS.match(text, at):
            at = members.end()
            inner.comma = at - 1
            if at - read_to > PIECE_BYTES:
                read_to = at
                _cut(text, open_, containers)
            continue
        bracket = _NEXT_BRACKET.match(text, at)
        if bracket is None:
            raise _NotCut
        at = bracket.end()
        if bracket[1] in b"[{":
            if len(open_) >= _MOST_LEVELS:
                raise _NotCut
            open_.append(_Container(bracket[1], at - 1))
            continue
        if bracket[1] != (b"]" if inner.opening == b"[" else b"}"):
            raise _NotCut
        open_.pop()
        if inner.value is not None:
            inner.add(text[inner.read_to : at - 1])
            if open_:
                open_[-1].read_to = at
                open_[-1].comma = None
                open_[-1].after_child = True
    if text[at:].strip(_BLANK):
        raise _NotCut
    if root.value is None:
        return LongJson(_parse(text), {})
    return LongJson(root.value, containers)


def _cut(text: bytes, open_: list[_Container], containers: dict[int, Any]) -> None:
    """Read all whole members before the last comma of the innermost container."""
    outer: _Container | None = None
    for one in open_:
        if one.value is None:
            one.value = [] if one.opening == b"[" else {}
            containers[id(one.value)] = one.value
            if outer is not None:
                before = outer.read_to
                if outer.comma is not None:
                    outer.add(text[outer.read_to : outer.comma])
                    before = outer.comma + 1
                outer.put(text[before : one.start], one.value)
        outer = one
    inner = open_[-1]
    assert inner.comma is not None
    inner.add(text[inner.read_to : inner.comma])
    inner.read_to = inner.comma + 1
    inner.comma = None


def hash_in_pieces(content: Any) -> str:
    """What `schemas.hash_of` gives, in pieces."""
    digest = hashlib.sha256()
    for piece in _ENCODER.iterencode(content):
        digest.update(piece.encode())
    return digest.hexdigest()
