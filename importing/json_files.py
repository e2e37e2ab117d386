"""JSON: one value a line, an array, or what the X API and X's archive give.

An array is read element by element, so that its length does not matter. A single object (a page of
the X API, a batch as this service takes it) has to fit into memory: up to MAX_OBJECT characters.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from importing.files import Source
from importing.records import PassedOver, Record
from importing.stops import GivenUp

MAX_OBJECT = 8 * 1024 * 1024
_ARCHIVE = re.compile(r"\s*window\.YTD\.[\w.]+\s*=\s*")
_BLANK = re.compile(r"[\s;]*")
_BETWEEN = re.compile(r"[\s,]*")
_OPEN, _CLOSE = re.compile(r"\["), re.compile(r"\]")


def looks_like_json(head: list[str]) -> bool:
    start = "\n".join(head).lstrip()
    return bool(_ARCHIVE.match(start) or re.match(r"\{\s*(\"|\})|\[\s*(\{|\"|\]|$)", start))


def read(source: Source, passed_over: PassedOver) -> Iterator[Record]:
    """Raises GivenUp where the JSON breaks off in a way that nothing after it can be read."""
    start = "\n".join(source.head).lstrip()
    if start.startswith("{") and _is_whole(source.head[0]):
        values = _lines(source, passed_over)
    else:
        values = _documents(source)
    for line, value in values:
        if isinstance(value, Record):
            yield value
            continue
        for fields in _unfold(value) if isinstance(value, dict) else [value]:
            if isinstance(fields, dict):
                yield Record(line, fields)
            else:
                yield Record(line, {"value": fields}, "is not a JSON object")


def _is_whole(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _lines(source: Source, passed_over: PassedOver) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(source.lines, start=1):
        if not line.strip():
            passed_over.blank += 1
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            message = getattr(error, "msg", "nested too deep")
            yield number, Record(number, {"value": line.rstrip()}, f"is not JSON: {message}")


def _documents(source: Source) -> Iterator[tuple[int, Any]]:
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
                raise GivenUp(f"{source.name}: line {text.line}: more follows after the array")
            return
        if text.at_end():
            if is_array:
                raise GivenUp(f"{source.name}: breaks off: its array is not closed")
            return
        line = text.line
        yield line, text.take()


class _Growing:
    """The file's text from where we are, as much of it as is needed. `line` counts from 1."""

    def __init__(self, source: Source) -> None:
        self._name, self._lines = source.name, source.lines
        self._decoder = json.JSONDecoder()
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
        """Whether there was any of it. May stop at the end of what has been read."""
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
        """The next value. Raises GivenUp."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._place)
            except RecursionError:
                raise GivenUp(f"{self._name}: line {self.line} is nested too deep") from None
            except ValueError as error:
                if self._ended:
                    where = f"{self._name}: line {self.line} is not JSON"
                    raise GivenUp(f"{where}: {getattr(error, 'msg', error)}") from None
            else:
                # A number may go on in what has not been read yet.
                if end < len(self._text) or self._ended:
                    self._go_to(end)
                    return value
            if len(self._text) - self._place > MAX_OBJECT:
                raise GivenUp(
                    f"{self._name}: the JSON value that starts on line {self.line} is larger than"
                    f" {MAX_OBJECT // 1024 // 1024} MiB. A file of one object a line can be of any"
                    " length: for a page of the X API, jq -c '.data[]' makes one"
                )
            self._grow()


# --- shapes ---------------------------------------------------------------------------------------


def _unfold(value: dict[str, Any]) -> Iterator[Any]:
    """The records within one JSON value: itself, a page of them, or a session's turns."""
    if isinstance(tweet := value.get("tweet"), dict):  # X's archive
        value = tweet
    if isinstance(turns := value.get("dialogContent"), list):
        yield from _session(value, turns)
    elif isinstance(data := value.get("data"), list | dict):  # the X API, version 2
        users = _dict(value.get("includes")).get("users")
        names = {
            str(user.get("id")): user.get("username")
            for user in (users if isinstance(users, list) else ())
            if isinstance(user, dict)
        }
        for tweet in data if isinstance(data, list) else [data]:
            yield _tweet(tweet, names) if isinstance(tweet, dict) else tweet
    elif isinstance(items := value.get("conversations"), list):
        yield from items
    elif "meta" in value and "text" not in value:  # a page of the X API without a result
        return
    else:
        yield _tweet(value, {})


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _tweet(tweet: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    """With its author's name and what it replies to in fields of their own."""
    user = _dict(tweet.get("user")) or _dict(tweet.get("author"))
    name = user.get("username") or user.get("screen_name")
    name = name or names.get(str(tweet.get("author_id")))
    found = dict(tweet)
    if name:
        if "author" in found:
            found["author_object"] = found["author"]
        found["author"] = name
    references = tweet.get("referenced_tweets")
    for reference in references if isinstance(references, list) else ():
        if _dict(reference).get("type") == "replied_to":
            found.setdefault("in_reply_to_tweet_id", reference.get("id"))
    return found


def _session(value: dict[str, Any], turns: list[Any]) -> Iterator[Any]:
    """A support conversation with its turns inside; the last may be beside them, with a link."""
    header, last = _dict(value.get("dialogHeader")), _dict(value.get("agentURL"))
    shared = {"session_id": header.get("sessionID"), "company": header.get("company")}
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, dict):
            yield turn
            continue
        who = next((key for key in turn if re.fullmatch(r"(client|agent)\d*", key)), "")
        yield {
            **shared,
            "turn": number,
            "tweet_id": turn.get("tweet_ID"),
            "author_id": turn.get(who),
            "inbound": who.startswith("client"),
            "created_at": turn.get("datetime"),
            "text": turn.get("message"),
        }
    if last.get("url_utterance"):
        yield {
            **shared,
            "turn": len(turns) + 1,
            "tweet_id": last.get("tweet_ID"),
            "author_id": header.get("company"),
            "inbound": False,
            "created_at": None,
            "text": last["url_utterance"],
            "doc_id": last.get("doc_id"),
            "doc_url": last.get("url"),
        }
