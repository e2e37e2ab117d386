"""Which words a text holds, and which words a search asks for. Pure.

Both databases index what is made here instead of splitting texts by themselves, so that a search
finds the same on both. A word is a run of letters and digits with their marks, without regard to
case, to accents, and to the vowel points of Arabic and Hebrew, which most people leave out. Other
marks tell words apart: the vowel signs of Hindi, for example. HTML entities are the signs that they
stand for: whoever looks for `can't` does not know that somebody's program wrote `can&#39;t`.
Scripts that put no blanks between words count each character as a word, and what is asked for in
them as a phrase. What is in the index was made by `words_of`: a change to it raises `VERSION`
in `store/derived/__init__.py`, so that the index is built anew.
"""

import itertools
import math
import re
import unicodedata
from collections.abc import Sequence
from functools import cache

from analysis.entities import undone
from errors import InvalidInput

MAX_WORD_LENGTH = 64
"""The rest of a longer word is not looked at."""
MAX_WORDS = 50
MAX_PHRASE_WORDS = 10
"""The index compares the places of all words of a phrase, in every text that has them."""
_CHARACTERS_FOR_A_WORD = 4
"""In scripts that put no blanks between words."""

_IGNORED = re.compile(
    "["
    "\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"  # accents
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"  # Hebrew points
    # Arabic: vowel points, signs for reciting, and the stroke that only lengthens a word. What
    # makes another letter of one, as hamza does, stays.
    "\u0610-\u061a\u0640\u064b-\u0652\u0656-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0898-\u089f\u08ca-\u08ff"
    "\u0711\u0730-\u074a"  # Syriac points
    "\ufe00-\ufe0f\U000e0100-\U000e01ef\u180b-\u180d\u180f"  # which shape of a character
    "\u00ad\u2060\ufeff"  # where a line may break, and where not
    "]"
    # Joiners choose a shape after a sign. After a letter they part words, as in Persian.
    "|(?<=[\u0900-\u0dff\u0f00-\u0fff])[\u200c\u200d]"
)
"""What people write or leave out in one and the same word."""

# Thai, Lao, Burmese, Khmer; Japanese, Chinese; Korean, where endings are part of a word.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\uac00-\ud7af"
)


def _marks(*ranges: range) -> str:
    """All vowel signs and other marks in there, for a class in a regular expression."""
    codes = itertools.chain(*ranges)
    return "".join(filter(lambda sign: unicodedata.category(sign) in ("Mn", "Mc"), map(chr, codes)))


_IS_CHARACTER = re.compile(rf"[{_UNSPACED}]")
_LETTERS = rf"[^\W_{_UNSPACED}]"


@cache
def _word() -> re.Pattern[str]:
    """Made at its first use: going through all marks and compiling takes 20 ms."""
    # Classes below and above 0x10000 apart: one for both would be searched from its beginning. Most
    # words end before a blank, which need not be looked for in either.
    marks = (
        rf"(?![\x00-\u0482])(?:[{_marks(range(0x0483, 0x3000), range(0xA600, 0xAC00))}]"
        rf"|[{_marks(range(0x10000, 0x12000), range(0x16A00, 0x17000), range(0x1E000, 0x1EA00))}])"
    )
    return re.compile(rf"[{_UNSPACED}]|{_LETTERS}+(?:{marks}+{_LETTERS}*)*")


def words_of(text: str) -> list[str]:
    """In their order: `"Café, don't!"` gives `cafe don t`."""
    text = undone(text)
    if not text.isascii():
        # Composed again, since Korean syllables come apart as well.
        text = unicodedata.normalize("NFKD", text)
        text = unicodedata.normalize("NFC", _IGNORED.sub("", text))
    return [word[:MAX_WORD_LENGTH] for word in _word().findall(text.casefold())]


Phrase = tuple[str, ...]
"""Words that must follow each other. The last may be a beginning: then a `*` ends it."""

LEAST_BEGINNING = 3
"""Letters of a beginning: the index goes through all words that begin so."""
MAX_BEGINNINGS = 5


def parse_search(q: str) -> tuple[Phrase, ...]:
    """What a text must hold, all of it: single words, and phrases in quotes.

    A star after a word of three letters or more, outside of quotes, makes it a beginning: `refun*`.
    Everything else that is neither word nor quote only separates words, so no input is malformed. A
    word that `words_of` splits, such as `don't`, is a phrase. Raises InvalidInput where nothing is
    left to look for, or too much.
    """
    phrases: dict[Phrase, None] = {}
    in_all = beginnings = 0
    for number, part in enumerate(q.split('"')):
        for piece in [part] if number % 2 else part.split():
            if words := words_of(piece):
                if not number % 2 and _is_beginning(piece, words):
                    words[-1] += "*"
                    beginnings += 1
                phrases[tuple(words)] = None
                size = _words_in(words)
                in_all += size
                if size > MAX_PHRASE_WORDS:
                    raise InvalidInput(f"q: a phrase must hold at most {MAX_PHRASE_WORDS} words")
    if not phrases:
        raise InvalidInput("q: must hold a word to look for")
    if in_all > MAX_WORDS:
        raise InvalidInput(f"q: must hold at most {MAX_WORDS} words in all")
    if beginnings > MAX_BEGINNINGS:
        raise InvalidInput(f"q: must hold at most {MAX_BEGINNINGS} beginnings of words")
    return tuple(phrases)


def _is_beginning(piece: str, words: Sequence[str]) -> bool:
    """Whether a star is right after its last word, and that word could go on."""
    goes_on = piece[-1] == "*" and len(words_of(f"{piece[:-1]}x")) == len(words)
    return goes_on and len(words[-1]) >= LEAST_BEGINNING


def _words_in(phrase: Sequence[str]) -> int:
    """As a reader would count them, who does not take each character of Japanese for a word."""
    characters = sum(_IS_CHARACTER.match(word) is not None for word in phrase)
    return len(phrase) - characters + math.ceil(characters / _CHARACTERS_FOR_A_WORD)
