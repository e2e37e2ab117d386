"""Which words a text holds, and which words a search asks for. Pure.

Both databases index what is made here instead of splitting texts by themselves, so that a search
finds the same on both. A word is a run of letters and digits, without regard to case or accents.
Scripts that put no blanks between words count each character as a word, and what is asked for in
them as a phrase. What is in the index was made by `words_of`: a change to it raises `VERSION`
in `store/derived.py`, so that the index is built anew.
"""

import re
import unicodedata

from errors import InvalidInput

MAX_WORD_LENGTH = 64
"""The rest of a longer word is not looked at."""
MAX_PHRASES = 50

_ACCENTS = re.compile("[\u0300-\u036f]")
# Thai, Lao, Burmese, Khmer; Japanese, Chinese; Korean, where endings are part of a word.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\uac00-\ud7af"
)
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


def words_of(text: str) -> list[str]:
    """In their order: `"Café, don't!"` gives `cafe don t`."""
    if not text.isascii():
        # Composed again, since Korean syllables come apart as well.
        text = unicodedata.normalize("NFKD", text)
        text = unicodedata.normalize("NFC", _ACCENTS.sub("", text))
    return [word[:MAX_WORD_LENGTH] for word in _WORD.findall(text.casefold())]


Phrase = tuple[str, ...]
"""Words that must follow each other."""


def parse_search(q: str) -> tuple[Phrase, ...]:
    """What a text must hold, all of it: single words, and phrases in quotes.

    Everything that is neither word nor quote only separates words, so no input is malformed. A
    word that `words_of` splits, such as `don't`, is a phrase. Raises InvalidInput where nothing is
    left to look for.
    """
    phrases: dict[Phrase, None] = {}
    for number, part in enumerate(q.split('"')):
        for piece in [part] if number % 2 else part.split():
            if words := words_of(piece):
                phrases[tuple(words)] = None
    if not phrases:
        raise InvalidInput("q: must hold a word to look for")
    if len(phrases) > MAX_PHRASES:
        raise InvalidInput(f"q: must hold at most {MAX_PHRASES} words and phrases")
    return tuple(phrases)
