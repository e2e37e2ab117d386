"""JSON: one value a line, an array, or pages of what APIs and archives give.

An array is read element by element, so that its length does not matter, and so is the list of an
object that is larger than MAX_OBJECT characters. Smaller objects (a page of an API) are held whole.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from importing.columns import MAX_COLUMNS
from importing.errors import ImportFailed
from importing.files import Source
from importing.records import Record, SkippedLines
from importing.shapes import holds_text, unfold

MAX_OBJECT = 8 * 1024 * 1024
MOST_LEVELS = 64
"""Of what is nested: more the service does not take."""
_DECODER = json.JSONDecoder(parse_constant=lambda _name: None)
"""NaN is how some programs write that there is nothing."""
_MOST_BEFORE = 1000
_ARCHIVE = re.compile(r"\s*window\.YTD\.[\w.]+\s*=\s*")
_BLANK = re.compile(r"[\s;]*")
_BETWEEN = re.compile(r"[\s,]*")
_OPEN, _CLOSE = re.compile(r"\[\s*"), re.compile(r"\]")
_OPEN_OBJECT, _CLOSE_OBJECT = re.compile(r"\{\s*"), re.compile(r"\}")
_COLON = re.compile(r"\s*:\s*")


def looks_like_json(head: list[str]) -> bool:
    start = "\n".join(head).lstrip()
    return bool(_ARCHIVE.match(start) or re.match(r"\{\s*(\"|\})|\[\s*(\{|\"|\[|\]|$)", start))


def read(source: Source, skipped: SkippedLines, list_name: str | None = None) -> Iterator[Record]:
    """`list_name` is that of the list which holds the records, where they stand in a larger
    object. Raises ImportFailed where the JSON breaks off so that nothing after it can be read."""
    start = "\n".join(source.head).lstrip()
    if start.startswith("{") and _is_whole(source.head[0]):
        values = _lines(source, skipped)
    else:
        values = _documents(source, list_name)
    for line, value in values:
        if isinstance(value, Record):
            yield value
            continue
        for fields in unfold(source.name, value, list_name) if isinstance(value, dict) else [value]:
            if not isinstance(fields, dict):
                yield Record(line, {"value": fields}, "is not a JSON object")
            elif len(fields) > MAX_COLUMNS:
                yield Record(line, {}, f"has more than {MAX_COLUMNS:,} fields")
            elif _is_deeper(fields, MOST_LEVELS):
                yield Record(line, {}, f"is nested deeper than {MOST_LEVELS} levels")
            else:
                yield Record(line, fields)


def _is_deeper(value: Any, levels: int) -> bool:
    for each in value.values() if type(value) is dict else value:
        # In this way, as it looks at all that a row has.
        if (type(each) is dict or type(each) is list) and (
            levels <= 1 or _is_deeper(each, levels - 1)
        ):
            return True
    return False


def _is_whole(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    except RecursionError:
        pass
    return True


def _lines(source: Source, skipped: SkippedLines) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(source.lines, start=1):
        if not line.strip():
            skipped.blank += 1
            continue
        try:
            yield number, _DECODER.decode(line)
        except RecursionError:
            yield number, Record(number, {"value": line.rstrip()}, "is nested too deep")
        except ValueError as error:  # also of a number with thousands of digits
            message = getattr(error, "msg", "a number is too long")
            yield number, Record(number, {"value": line.rstrip()}, f"is not JSON: {message}")


def _documents(source: Source, list_name: str | None) -> Iterator[tuple[int, Any]]:
    """The elements of an array, or objects one after another over several lines."""
    text = _Growing(source)
    text.skip(_ARCHIVE)
    text.skip(_BLANK)
    is_array = text.skip(_OPEN)
    while True:
        text.skip(_BETWEEN)
        if is_array and text.skip(_CLOSE):
            text.skip(_BLANK)
            if not text.at_end():
                raise ImportFailed(f"{source.name}: line {text.line}: more follows after the array")
            return
        if text.at_end():
            if is_array:
                raise ImportFailed(f"{source.name}: breaks off: its array is not closed")
            return
        line = text.line
        try:
            value = text.take()
        except _TooLarge:
            if is_array or not text.skip(_OPEN_OBJECT):
                raise
            yield from _members(source.name, text, list_name)
        else:
            yield line, value


def _members(name: str, text: "_Growing", list_name: str | None) -> Iterator[tuple[int, Any]]:
    """The records of an object that is too large to be held: the elements of its one list of texts,
    as they come. Raises ImportFailed."""
    taken: str | None = list_name
    while not text.skip(_CLOSE_OBJECT):
        key = text.take()
        text.skip(_COLON)
        if not text.skip(_OPEN):
            text.take()
            text.skip(_BETWEEN)
            continue
        before: list[tuple[int, Any]] = []  # elements without a text, until one has one
        chosen = key == list_name
        while not text.skip(_CLOSE):
            line, value = text.line, text.take()
            text.skip(_BETWEEN)
            if not chosen and list_name is None and holds_text(value):
                _check_list(name, key, taken)
                taken, chosen = key, True
                yield from before
            if chosen:
                yield line, {key: [value]} if list_name else value
            elif len(before) < _MOST_BEFORE:
                before.append((line, value))
        text.skip(_BETWEEN)


def _check_list(name: str, key: str, taken: str | None) -> None:
    """Raises ImportFailed."""
    if key == "data":
        raise ImportFailed(
            f"{name}: this page of the X API is larger than {MAX_OBJECT // 1024 // 1024} MiB: ask"
            " for smaller ones, or make one object a line of it with jq -c '.data[]'"
        )
    if taken is not None:
        raise ImportFailed(f"{name}: holds several lists ({taken}, {key}): say --records NAME")


class _TooLarge(ImportFailed):
    """A value exceeds MAX_OBJECT characters. Nothing of it has been consumed."""


class _Growing:
    """A window on the file's text, which grows until it holds the next value.

    `line` is that of the next character, counted from 1.
    """

    def __init__(self, source: Source) -> None:
        self._name, self._lines = source.name, source.lines
        self._decoder = _DECODER
        self._text, self._place, self._ended = "", 0, False
        self.line = 1
        self._grow()

    def _grow(self) -> None:
        # Twice as much each time, so that a long value is not started on over and over.
        pieces = [self._text[self._place :]]
        wanted = max(65_536, min(len(pieces[0]), MAX_OBJECT - len(pieces[0])))
        while wanted > 0 and (line := next(self._lines, "")):
            pieces.append(line)
            wanted -= len(line)
        self._ended = wanted > 0
        self._text, self._place = "".join(pieces), 0

    def _go_to(self, place: int) -> None:
        self.line += self._text.count("\n", self._place, place)
        self._place = place

    def skip(self, pattern: re.Pattern[str]) -> bool:
        """Go past what matches here; whether that was at least one character."""
        found = pattern.match(self._text, self._place)
        while found and found.end() == len(self._text) and not self._ended:
            self._go_to(found.end())
            self._grow()
            found = pattern.match(self._text, self._place) or found
            if found.end() == 0:
                return True
        if found:
            self._go_to(found.end())
        return bool(found and found[0])

    def at_end(self) -> bool:
        return self._ended and self._place == len(self._text)

    def take(self) -> Any:
        """The next value. Raises ImportFailed."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._place)
            except RecursionError:
                raise ImportFailed(f"{self._name}: line {self.line} is nested too deep") from None
            except ValueError as error:
                if self._ended:
                    where = f"{self._name}: line {self.line} is not JSON"
                    raise ImportFailed(f"{where}: {getattr(error, 'msg', error)}") from None
            else:
                # A number may go on in what has not been read yet.
                if end < len(self._text) or self._ended:
                    self._go_to(end)
                    return value
            if len(self._text) - self._place > MAX_OBJECT:
                raise _TooLarge(
                    f"{self._name}: the JSON value that starts on line {self.line} is larger than"
                    f" {MAX_OBJECT // 1024 // 1024} MiB. A file of one object a line can be of any"
                    " length: for a page of the X API, jq -c '.data[]' makes one"
                )
            self._grow()
