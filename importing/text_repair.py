"""Undoes what programs did to a text on its way, where that loses nothing and leaves no doubt.

Each mend is counted under its name, and the text as it was stays in `raw_data`.
"""

import json
import re
import unicodedata

from analysis.entities import undone
from importing.markup import to_text

MISREAD = "had been read in a wrong encoding (â€™ for ’)"
MARKUP = "had been markup (<p>, <br>)"
CUT_OFF = "had been cut off, and stood whole in another column"
PIECES = 'had stood in pieces ({"text": ...})'
ENTITIES = "had HTML entities (&amp; for &)"
ESCAPES = "had escapes (\\u2019 for ’)"
STILL_MISREAD = "still look misread: bytes of them are lost"
FORMULA = "had been turned into a formula (=@ for @)"
UNREADABLE = "held bytes that are no text; each is now �"

_REPLACED = "\ufffd"
_NO_TEXT = re.compile("[\ud800-\udfff]+|\x00")
_ESCAPE = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")

# How Windows-1252 shows the bytes 80-BF; it leaves some out, which programs then pass as they are.
_AS_CP1252 = {
    byte: bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(0x80, 0x100)
}
# As Latin-1 shows them, which is how Facebook and Instagram write what one downloads from them.
_BYTE = {chr(byte): byte for byte in range(0x80, 0x100)} | {
    letter: byte for byte, letter in _AS_CP1252.items()
}
_FOLLOWING = re.escape("".join(_AS_CP1252[byte] for byte in range(0x80, 0xC0))) + "\x80-\x9f"
_STILL_MISREAD = re.compile("â€|ðŸ|[ÂÃ][-¿]")
_MISREAD = re.compile(
    f"[\u00c2-\u00df][{_FOLLOWING}]|[\u00e0-\u00ef][{_FOLLOWING}]{{2}}|[\u00f0-\u00f4][{_FOLLOWING}]{{3}}"
)


def storable(text: str) -> tuple[str, bool]:
    """Without NUL and half characters, which no database takes; and whether any was in it."""
    if (text.isascii() and "\0" not in text) or not _NO_TEXT.search(text):
        return text, False
    return _NO_TEXT.sub(_REPLACED, text), True


def mend(text: str) -> tuple[str, list[str]]:
    """The text as it was meant, and the names of what was undone."""
    done: list[str] = []
    if not text.isascii():
        text, changed = mend_misread(text)
        if changed:
            done.append(MISREAD)
        if _STILL_MISREAD.search(text):
            done.append(STILL_MISREAD)
    if "<" in text and ">" in text and (seen := to_text(text)) is not None:
        text = storable(seen)[0]
        done.append(MARKUP)
    elif (found := undone(text)) != text:
        text = storable(found)[0]
        done.append(ENTITIES)
    if "\\u" in text and (found := _ESCAPE.sub(_unescape, text)) != text:
        text = found
        done.append(ESCAPES)
    if text.startswith("=@"):
        text = text[1:]
        done.append(FORMULA)
    return text, done


def mend_misread(text: str) -> tuple[str, bool]:
    """UTF-8 that was read as Windows-1252. Only what makes whole characters again is touched."""
    found = _MISREAD.sub(_read_again, text)
    return found, found != text


def _read_again(match: re.Match[str]) -> str:
    try:
        return bytes(_BYTE[letter] for letter in match[0]).decode()
    except UnicodeDecodeError:
        return match[0]


def _unescape(match: re.Match[str]) -> str:
    found = str(json.loads(f'"{match[0]}"'))
    return match[0] if _NO_TEXT.search(found) else found


def is_blank(text: str) -> bool:
    """Also where it holds nothing but what nobody can see."""
    return not any(unicodedata.category(letter) not in _INVISIBLE for letter in text)


_INVISIBLE = frozenset(("Zs", "Zl", "Zp", "Cc", "Cf"))
