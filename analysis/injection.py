"""Which texts may be written for the model rather than for the support team.

Nothing is kept out for it: such a text is asked alone, so that it cannot spoil its neighbours, and
is flagged. So a rule may be wrong now and then (that costs a little packing), and a text that no
rule finds meets the other guards: data as JSON, a fixed schema, ids that are checked.
"""

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Iterator
from functools import cache

from analysis.injection_rules import AFTER_A_WORD, LOOKALIKES, OTHER_SCRIPTS, SEEN, SIGNS

Pattern = tuple[str, re.Pattern[str]]
"""Of a rule, after its name."""


class _Patterns:
    """All rules, compiled: 30 ms, which the start of the service does not wait for."""

    def __init__(self) -> None:
        self.by_word: dict[str, list[Pattern]] = {}
        for rule, starts in AFTER_A_WORD.items():
            for words, rest in starts:
                for word in words.split():
                    self.by_word.setdefault(word, []).append((rule, re.compile(rest)))
        self.signs = [(rule, re.compile(pattern)) for rule, pattern in SIGNS.items()]
        scripts = [(rule, re.compile(pattern)) for rule, pattern in OTHER_SCRIPTS.items()]
        self.signs_and_scripts = self.signs + scripts


_patterns = cache(_Patterns)
_WORD = re.compile(r"\w+")
_BLANKS = re.compile(r"[^\S\n]{2,}|\t")


def starts_a_rule(word: str) -> bool:
    """Whether a rule looks at what follows this word, as it stands in orders."""
    return word in _patterns().by_word


def suspicions(text: str) -> tuple[str, ...]:
    """The rules that the text gives cause for, by name, each once; `()` for an ordinary text."""
    read = _BLANKS.sub(" ", "\n" + "\n".join(_readings(text)))
    patterns = _patterns()
    anywhere = patterns.signs if read.isascii() else patterns.signs_and_scripts
    found = {rule for rule, pattern in anywhere if pattern.search(read)}
    for word in _WORD.finditer(read):
        for rule, rest in patterns.by_word.get(word.group(), ()):
            if rule not in found and rest.match(read, word.end()):
                found.add(rule)
    return tuple(sorted(found))


# --- the text as a model may read it --------------------------------------------------------------

_RIGHT_TO_LEFT = "\u202e"
_BASE64 = re.compile(r"[A-Za-z0-9+/]{20,}={0,2}")
_SIGN_FOR_LETTER = re.compile(r"[a-z][013457@$|][a-z]")


def _readings(text: str) -> Iterator[str]:
    """Case-folded: the text as it looks, and where that differs, with its disguises taken off."""
    if "&" in text:
        text = html.unescape(text)
    if text.isascii():
        plain = text.lower()
    else:
        plain = unicodedata.normalize("NFKC", text.translate(SEEN)).casefold()
    yield plain
    if not plain.isascii() or _SIGN_FOR_LETTER.search(plain):
        letters = unicodedata.normalize("NFKD", plain).translate(LOOKALIKES)
        yield "".join(letter for letter in letters if not unicodedata.combining(letter))
    if _RIGHT_TO_LEFT in text:
        yield plain[::-1]
    for encoded in _BASE64.findall(text):
        try:
            decoded = base64.b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
        yield decoded.casefold()
