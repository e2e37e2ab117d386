"""What a value of a record says, whatever it is wrapped in: a name, a time, a text.

Exports put people, times and texts into objects of their own (`{"name": "Ann", "email": ...}`,
`{"$date": ...}`, `{"label": "5"}`), and some of them write such objects into the cells of a CSV.
"""

import ast
import json
from typing import Any

# The public handle comes before the name that people show, and the id last.
_PERSON = (
    "acct username user_name screen_name handle userName screenName login unique_name uniqueId"
    " name display_name displayName displayname real_name full_name fullName authorName"
    " nickname first_name firstName label value"
).split()
_PEOPLE_WITHIN = ("user", "author", "profile", "account", "simpleText", "emailAddress")
_PERSON_ID = ("id_str", "id", "user_id", "_id", "did")
_WRAPPED = (
    "$date", "$numberLong", "$oid", "label", "value", "rendered", "#text", "seconds", "_seconds",
    "timestamp", "plain", "simpleText",
)  # fmt: skip
_NOBODY = frozenset(("\\N", "NULL", "null", "None", "nan", "NaN", "<NA>", "N/A", "n/a", "#N/A"))
"""As databases, pandas and spreadsheets write that there is none."""
_DEPTH = 4
IN_PIECES = '{"text":'


def author_of(value: Any, depth: int = _DEPTH) -> str | None:
    """The name of the person that the value tells of; None where it names nobody."""
    if isinstance(value, str):
        value = value.strip()
        if value[:1] in ("{", "[") and (found := _object_in(value)) is not None:
            return author_of(found, depth - 1) if depth else None
        return None if value in _NOBODY else value or None
    if isinstance(value, dict) and depth:
        for names in (_PERSON, _PEOPLE_WITHIN, _PERSON_ID):
            for name in names:
                if found := author_of(value.get(name), depth - 1):
                    return found
        return None
    if isinstance(value, list) and depth:
        return next(filter(None, (author_of(each, depth - 1) for each in value[:10])), None)
    if value is None or isinstance(value, bool | dict | list):
        return None
    return str(value)


def _object_in(cell: str) -> Any:
    """The object or list that a cell holds, as JSON or as Python shows it; None where it is text.

    What begins as an object and cannot be read is `{}`: it is a dump, and no name.
    """
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(cell)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, dict | list):
            return found
    return {} if cell.startswith(('{"', "{'", "[{")) else None


def plain(value: Any, depth: int = _DEPTH) -> str:
    """A value's own text, out of the object that it may be wrapped in; empty where it has none."""
    if isinstance(value, dict):
        inner = next((value[name] for name in _WRAPPED if name in value), None)
        return plain(inner, depth - 1) if depth else ""
    if value is None or isinstance(value, list):
        return ""
    return str(value).strip()


def text_of(value: Any) -> str | None:
    """The text of a JSON value or of a cell; None where it is an object or list that is no text.

    A text with marks in it may come in pieces: `["see ", {"type": "link", "text": "this"}]`.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list):
        return _joined(value)
    if isinstance(value, dict):
        inner = next((value[name] for name in _WRAPPED if name in value), None)
        return inner if isinstance(inner, str) else None
    return str(value)


def _joined(pieces: list[Any]) -> str | None:
    texts = [each.get("text") if isinstance(each, dict) else each for each in pieces]
    strings = [each for each in texts if isinstance(each, str)]
    return "".join(strings) if len(strings) == len(texts) else None


def text_in_pieces(cell: str) -> str | None:
    """Of a cell that begins with IN_PIECES and holds them as JSON, such as YouTube's; else None."""
    try:
        return _joined(json.loads(f"[{cell}]"))
    except (ValueError, RecursionError):
        return None
