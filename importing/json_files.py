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
_BETWEEN = re.compile(r"[\s,]*")
_REPLIED_TO = "replied_to"


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
        elif isinstance(value, dict):
            yield from (Record(line, fields) for fields in _unfold(value))
        else:
            yield Record(line, {"value": value}, "is not a JSON object")


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
    decoder = json.JSONDecoder()
    buffer, place, line = "", 0, 1
    lines = source.lines
    ended = False
    start = True
    while True:
        if start and (match := _ARCHIVE.match(buffer)):
            place = match.end()
        between = _BETWEEN.match(buffer, place)
        position = between.end() if between else place
        if start and buffer[position : position + 1] == "[":
            line += buffer.count("\n", place, position)
            place, start = position + 1, False
            continue
        if buffer[position:].strip() in ("]", "];"):
            position = len(buffer)
        if position < len(buffer):
            try:
                value, end = decoder.raw_decode(buffer, position)
            except ValueError as error:
                if ended:
                    where = line + buffer.count("\n", place, position)
                    raise GivenUp(f"{source.name}: line {where} is not JSON: {error}") from None
            else:
                start = False
                line += buffer.count("\n", place, position)
                yield line, value
                line += buffer.count("\n", position, end)
                place = end
                continue
        if ended:
            return
        buffer, place = buffer[place:], 0
        if len(buffer) > MAX_OBJECT:
            raise GivenUp(
                f"{source.name}: the JSON value that starts on line {line} is larger than"
                f" {MAX_OBJECT // 1024 // 1024} MiB. One object a line can be of any length:"
                " for a page of the X API, jq -c '.data[]' makes them"
            )
        # Twice as much each time, so that a long value is not started on over and over.
        wanted = max(65_536, len(buffer))
        pieces = [buffer]
        while wanted > 0:
            more = next(lines, "")
            if not more:
                ended = True
                break
            pieces.append(more)
            wanted -= len(more)
        buffer = "".join(pieces)


# --- shapes ---------------------------------------------------------------------------------------


def _unfold(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The records within one JSON value: itself, a page of them, or a session's turns."""
    if isinstance(tweet := value.get("tweet"), dict):  # X's archive
        value = tweet
    if isinstance(turns := value.get("dialogContent"), list):
        yield from _session(value, turns)
    elif isinstance(data := value.get("data"), list | dict):  # the X API, version 2
        includes = value.get("includes")
        users = includes.get("users", []) if isinstance(includes, dict) else []
        names = {user.get("id"): user.get("username") for user in users if isinstance(user, dict)}
        for tweet in data if isinstance(data, list) else [data]:
            if isinstance(tweet, dict):
                yield _tweet(tweet, names)
    elif isinstance(items := value.get("conversations"), list):
        yield from (item for item in items if isinstance(item, dict))
    elif "meta" in value and "text" not in value:  # a page of the X API without a result
        return
    else:
        yield _tweet(value, {})


def _tweet(tweet: dict[str, Any], names: dict[Any, Any]) -> dict[str, Any]:
    """With its author's name and what it replies to in fields of their own."""
    user = tweet.get("user") or tweet.get("author")
    name = names.get(tweet.get("author_id"))
    if isinstance(user, dict):
        name = user.get("username") or user.get("screen_name") or name
    found = dict(tweet)
    if name:
        if "author" in found:
            found["author_object"] = found["author"]
        found["author"] = name
    for reference in tweet.get("referenced_tweets") or ():
        if isinstance(reference, dict) and reference.get("type") == _REPLIED_TO:
            found.setdefault("in_reply_to_tweet_id", reference.get("id"))
    return found


def _session(value: dict[str, Any], turns: list[Any]) -> Iterator[dict[str, Any]]:
    """A support conversation with its turns inside; the last may be beside them, with a link."""
    header = value.get("dialogHeader") or {}
    last = value.get("agentURL") or {}
    shared = {"session_id": header.get("sessionID"), "company": header.get("company")}
    for number, turn in enumerate(turns, start=1):
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
