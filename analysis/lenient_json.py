"""Finding JSON in what a model wrote, and reading it where it is not quite JSON.

Only what leaves no doubt is read: a document that breaks off is none, and neither are its parts.
Time is bounded: a long text is looked at once, and its possible beginnings only so many times.
"""

import json
import re
from collections.abc import Iterator
from contextlib import suppress

MAX_CHARACTERS = 200_000
MAX_BEGINNINGS = 200
MAX_MENDED = 5

_DOCUMENT = r"\{|\[(?=\s*[{\]])"  # an object, or a list of them: prose has brackets too
_ANYWHERE = re.compile(_DOCUMENT)
_AT_LINE_START = re.compile(rf"(?<=\n)(?:{_DOCUMENT})")
_PLACEHOLDER = re.compile(r"\{[^{}\[\]\"':,\n]*\}")
"""As prose has it: `{name}`."""
_THINKING = re.compile(r"\s*<(think\w*|thought|reasoning|reflection)>", re.I)
_DECODER = json.JSONDecoder(strict=False)  # line breaks may stand in strings


def documents(content: str) -> list[object]:
    """Every complete object or list of objects, in order, after what the model thought aloud.

    One that breaks off yields nothing, nor do its inner parts: the next is looked for where a line
    starts with one, or behind what is a mere `{name}`.
    """
    content = content[: MAX_CHARACTERS + 1]
    if len(content) > MAX_CHARACTERS:
        return []
    thinking = _THINKING.match(content)
    if thinking is not None:
        _, closed, content = content.partition(f"</{thinking[1]}>")
        if not closed:
            return []
    if content.lstrip().startswith('"'):  # the whole answer as a string in JSON
        with suppress(ValueError, RecursionError):
            content = str(json.loads(content, strict=False))
    found = list(_documents(content))
    # Some servers take the tag away that thinking begins with, and leave the one that ends it.
    return found or list(_documents(content.rpartition("</think>")[2]))


def _documents(content: str) -> Iterator[object]:
    start = _ANYWHERE.search(content)
    mended = 0
    for _ in range(MAX_BEGINNINGS):
        if start is None:
            return
        try:
            try:
                document, end = _DECODER.raw_decode(content, start.start())
            except ValueError:
                mended += 1
                if mended > MAX_MENDED:
                    raise
                as_json, end = _mended(content, start.start())
                document = json.loads(as_json, strict=False)
        except ValueError:
            if placeholder := _PLACEHOLDER.match(content, start.start()):
                start = _ANYWHERE.search(content, placeholder.end())
            else:
                start = _AT_LINE_START.search(content, start.end())
        except RecursionError:
            return
        else:
            yield document
            start = _ANYWHERE.search(content, end)


# --- what is not quite JSON -----------------------------------------------------------------------

_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*")
    | (?P<single>'(?:[^'\\]|\\.)*')
    | (?P<skipped>//[^\n]* | /\*.*?\*/ | ,(?=\s*[}\]]))
    | (?P<open>[{\[]) | (?P<close>[}\]])
    | (?P<key>[A-Za-z_]\w*(?=\s*:))
    | (?P<word>[^\s"'{}\[\]:,/]+)
    | [:,\s]+""",
    re.VERBOSE | re.DOTALL,
)
_NUMBER = re.compile(r"\+?(-?)(\d*)(\.\d*)?")
_WORDS = {"True": "true", "False": "false", "None": "null"}  # as Python writes them


def _mended(content: str, start: int) -> tuple[str, int]:
    """The document without trailing commas and comments, with quotes and numbers as JSON has them;
    and where it ends. Raises ValueError where it breaks off."""
    parts: list[str] = []
    depth, position = 0, start
    while token := _TOKEN.match(content, position):
        position = token.end()
        kind, text = token.lastgroup, token.group()
        if kind == "skipped":
            continue
        if kind == "single":
            inner = re.sub(r"\\.|\"", _requoted, text[1:-1], flags=re.DOTALL)
            text = f'"{inner}"'
        elif kind == "key":
            text = f'"{text}"'
        elif kind == "word":
            text = _word(text)
        depth += (kind == "open") - (kind == "close")
        parts.append(text)
        if kind == "close" and not depth:
            return "".join(parts), position
    raise ValueError("the document breaks off")


def _requoted(found: re.Match[str]) -> str:
    return {"\\'": "'", '"': '\\"'}.get(found.group(), found.group())


def _word(word: str) -> str:
    if re.fullmatch(r"[+-]?[\d.]+\s*%", word):
        return f'"{word}"'
    number = _NUMBER.fullmatch(word)
    if number is not None and (number[2] or (number[3] or ".") != "."):
        fraction = number[3] if number[3] not in (None, ".") else ""
        return f"{number[1]}{number[2] or '0'}{fraction}"
    return _WORDS.get(word, word)
