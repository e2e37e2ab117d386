"""The shapes in which APIs and archives give their posts as JSON, each made into flat records.

A page has its records in a list, under a name that differs from service to service. A record may
have its text in an object within it (`{"post": {"record": {"text": ...}}}`); then what is in
there comes up. A post of X that was cut off is given whole.
"""

import re
from collections.abc import Iterator
from typing import Any

from importing.columns import listed, names_a_text
from importing.errors import ImportFailed

# What posts are wrapped in, by what the usual services call it.
_WRAPPERS = (
    "tweet", "post", "record", "snippet", "topLevelComment", "comment", "source", "node",
    "attributes", "string_map_data", "legacy", "message", "status", "userComment", "review", "data",
)  # fmt: skip
_DEPTH = 5

Fields = dict[str, Any]


def unfold(name: str, value: Fields, list_name: str | None) -> Iterator[Any]:
    """The records within one JSON value: itself, a page of them, or a session's turns.

    `name` is the file's, for people. Raises ImportFailed where it could be several lists.
    """
    if list_name is not None:
        found = _at(value, list_name.split("."))
        if not isinstance(found, list):
            raise ImportFailed(
                f"{name}: there is no list {list_name} (--records); there are:"
                f" {listed(path for path, _ in _lists(value))}"
            )
        yield from _records(found, value)
    elif isinstance(turns := value.get("dialogContent"), list):
        yield from _session(value, turns)
    elif _has_text(record := _lifted(value)):
        yield _tweet(record, value.get("includes"))
    elif (items := _only_list(name, value)) is not None:
        yield from _records(items, value)
    elif not ("meta" in value and "data" not in value):  # a page of the X API without a result
        yield record


def _records(items: list[Any], page: Fields) -> Iterator[Any]:
    includes = page.get("includes")
    for item in items:
        yield _tweet(_lifted(item), includes) if isinstance(item, dict) else item


_NO_RECORDS = ("includes", "errors", "error")


def _only_list(name: str, value: Fields) -> list[Any] | None:
    """The one list of texts in it, None where there is none. Raises ImportFailed where there are
    several."""
    lists = [
        (path, items)
        for path, items in _lists(value)
        if path.split(".")[0] not in _NO_RECORDS and any(map(holds_text, items[:20]))
    ]
    if len(lists) > 1:
        raise ImportFailed(
            f"{name}: holds several lists ({listed(path for path, _ in lists)}): say --records NAME"
        )
    if lists:
        return lists[0][1]
    return next((each for key in ("data", "conversations") if (each := value.get(key)) == []), None)


def _lists(value: Fields, before: str = "", depth: int = 3) -> Iterator[tuple[str, list[Any]]]:
    """Lists of objects in it, by where they are (`feed.entry`)."""
    for key, inner in value.items():
        path = f"{before}{key}"
        if isinstance(inner, list) and any(isinstance(each, dict) for each in inner[:20]):
            yield path, inner
        elif isinstance(inner, dict) and depth > 1:
            yield from _lists(inner, f"{path}.", depth - 1)


def _at(value: Any, path: list[str]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _has_text(value: Fields) -> bool:
    return any(
        names_a_text(key) and (inner is None or isinstance(inner, str) or _is_text(inner))
        for key, inner in value.items()
    )


def _is_text(value: Any) -> bool:
    """In pieces, or in an object of its own."""
    if isinstance(value, list):
        return all(isinstance(each, str) or (_dict(each).get("text") is not None) for each in value)
    return isinstance(value, dict) and any(
        isinstance(value.get(key), str) for key in ("label", "value", "rendered")
    )


def holds_text(value: object) -> bool:
    return isinstance(value, dict) and _has_text(_lifted(value))


def _lifted(value: Fields) -> Fields:
    """With its text, and what stands beside that, at the top; itself where it has none within."""
    found = value
    for _ in range(_DEPTH):
        if _has_text(found):
            return found
        for key in _WRAPPERS:
            inner = found.get(key)
            if isinstance(inner, list) and len(inner) == 1:
                inner = inner[0]
            if isinstance(inner, dict):
                found = {name: each for name, each in found.items() if name != key} | inner
                break
        else:
            return value
    return value


def _dict(value: object) -> Fields:
    return value if isinstance(value, dict) else {}


# --- posts of X -----------------------------------------------------------------------------------


def _tweet(tweet: Fields, includes: object) -> Fields:
    """Whole, with its author and what it replies to in fields of their own."""
    found = dict(tweet)
    users = _by_id(_dict(includes).get("users"))
    if (user := users.get(str(tweet.get("author_id")))) and "author" not in tweet:
        found["author"] = user
    references = tweet.get("referenced_tweets")
    for reference in references if isinstance(references, list) else ():
        if _dict(reference).get("type") == "replied_to":
            found.setdefault("in_reply_to_tweet_id", reference.get("id"))
    if whole := _whole(tweet, _by_id(_dict(includes).get("tweets")), users):
        name = next((each for each in ("text", "full_text") if each in tweet), "text")
        if whole != tweet.get(name):
            found[name], found["cut_text"] = whole, tweet.get(name)
    return found


def _whole(tweet: Fields, tweets: dict[str, Fields], users: dict[str, Fields]) -> str | None:
    """The text at full length; None where it stands there already. A retweet is `RT @name: text`,
    as X has it, with the text of what it repeats whole."""
    if original := _retweeted(tweet, tweets):
        user = _dict(original.get("user")) or users.get(str(original.get("author_id")), {})
        handle = user.get("screen_name") or user.get("username")
        if not handle and (found := re.match(r"RT @(\w+):", _string(tweet.get("text")))):
            handle = found[1]
        text = _whole(original, {}, {}) or _string(original.get("full_text"))
        text = text or _string(original.get("text"))
        return f"RT @{handle}: {text}" if handle and text else None
    note = _dict(tweet.get("note_tweet"))
    note = _dict(_dict(note.get("note_tweet_results")).get("result")) or note
    extended = _dict(tweet.get("extended_tweet"))
    texts = (note.get("text"), extended.get("full_text"), tweet.get("full_text"))
    whole = max(map(_string, texts), key=len)
    return whole if len(whole) > len(_string(tweet.get("text"))) else None


def _retweeted(tweet: Fields, tweets: dict[str, Fields]) -> Fields:
    if original := _dict(tweet.get("retweeted_status")):
        return original
    references = tweet.get("referenced_tweets")
    for reference in references if isinstance(references, list) else ():
        if _dict(reference).get("type") == "retweeted":
            return tweets.get(str(_dict(reference).get("id")), {})
    return {}


def _by_id(values: object) -> dict[str, Fields]:
    listed_values = values if isinstance(values, list) else ()
    return {str(each.get("id")): each for each in listed_values if isinstance(each, dict)}


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


# --- sessions -------------------------------------------------------------------------------------


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
