"""What the offline model sees of a text: buckets of hashed words, pairs of words and letters. Pure.

The time is linear in the text's length, and bounded where it counts: of at most `_MAX_TOKENS` words
the first `_MAX_WORD` letters are looked at, and only the first `_MAX_SPELLED` buckets may come from
pieces of words.
"""

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from zlib import crc32

BITS = 18
_MASK = (1 << BITS) - 1
_MAX_WORD = 40
_MAX_SPELLED = 4000
_MAX_TOKENS, _LAST_TOKENS = 2000, 500

_HANDLE_OR_LINK = re.compile(r"(?<!\w)@\w+|(?:https?://|www\.)\S+", re.IGNORECASE)
# Variation selectors, joiners and skin tones: they change how an emoji looks, not what it says.
_DRESS = re.compile("[\ufe0e\ufe0f\u200b-\u200d\u2060\U0001f3fb-\U0001f3ff]+")
# Signs that are drawn onto a letter: regular expressions do not count them as parts of a word.
_SIGNS = (
    r"\u0300-\u036f\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u0900-\u0963\u0966-\u0dff"
    r"\u0e31\u0e33-\u0e3a\u0e47-\u0e4e\u102b-\u103e\u17b6-\u17d3"
)
_WIDE = str.maketrans("！？＃", "!?#")
_TOKEN = re.compile(
    r"[>]?[:;=8xX]['`]?-?[)(\]\[dDpPoO/\\|*3]+(?!\w)|D:(?!\w)|<3+|</3"  # emoticons
    rf"|[^\W_](?:[^\W_]|[{_SIGNS}])*(?:['’][^\W_](?:[^\W_]|[{_SIGNS}])*)*"  # words
    r"|[!?]+|\.\.+|…"
    r"|[\u2190-\u2bff\U0001f000-\U0001faff]"  # arrows, hearts, emoji
)
_DRAWN_OUT = re.compile(r"(\w)\1{2,}")
_DIGITS = re.compile(r"\d+")
# Scripts that put no space between words: Thai, Lao, Burmese, Khmer, kana, Han.
_DENSE = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_NEGATIONS = frozenset(
    "not no never none nobody nothing cannot cant don't doesn't didn't isn't wasn't won't can't"
    " couldn't shouldn't wouldn't aren't ain't haven't hasn't weren't dont doesnt didnt isnt wasnt"
    " wont without hardly zero nicht kein keine keinen nie pas jamais aucun aucune rien nunca nada"
    " sin não nao sem non mai niente nessun senza niet geen nooit niets nie nic bez не нет ни без"
    " değil yok hiç tidak gak bukan tanpa inte ingen inga aldrig لا ما لم ليس بدون नहीं".split()
)
_REACH = 3
"""Words after a negation that it is taken to negate."""


def plain(text: str) -> str:
    """The text as its fingerprint sees it, without handles and links, its entities undone: texts
    that count as the same are the same here."""
    text = _HANDLE_OR_LINK.sub(" ", unicodedata.normalize("NFC", text))
    if "&" in text:
        text = _HANDLE_OR_LINK.sub(" ", html.unescape(html.unescape(" ".join(text.split()))))
    return " ".join(_DRESS.sub("", text).translate(_WIDE).split())


def tokens(text: str) -> list[str]:
    """Words, emoji, emoticons and runs of ! ? . in order, of a text that is `plain`; of one with
    very many, the beginning and the end. Where there are no spaces, a word is what comes between
    two signs, or a part of it."""
    found = _TOKEN.findall(text)
    if any(len(token) > _MAX_WORD for token in found):
        found = [part for token in found for part in _parted(token)]
    if len(found) > _MAX_TOKENS:
        found = found[: _MAX_TOKENS - _LAST_TOKENS] + found[-_LAST_TOKENS:]
    return found


def _parted(token: str) -> list[str]:
    if len(token) <= _MAX_WORD or not is_dense(token):
        return [token]
    return [token[at : at + _MAX_WORD // 2] for at in range(0, len(token), _MAX_WORD // 2)]


def folded(token: str) -> str:
    """Without what only stresses a word: capitals, drawn-out letters; all numbers are alike."""
    token = token[:_MAX_WORD].casefold()
    if not token.isalpha():
        if token[0] in "!?.":
            return token[:2]
        token = _DIGITS.sub("0", token.replace("’", "'"))
    return _DRAWN_OUT.sub(r"\1\1", token)


def is_dense(token: str) -> bool:
    return not token.isascii() and _DENSE.search(token) is not None


def familiar_parts(words: Iterable[str]) -> Iterator[str]:
    """What can be asked of a word, `folded`, to see whether the model has met it: itself or, where
    its script puts no space between words, its pairs of letters."""
    for word in words:
        if is_dense(word):
            yield from (word[at : at + 2] for at in range(max(1, len(word) - 1)))
        elif len(word) > 1:
            yield word


def buckets(found: Sequence[str], words: Sequence[str]) -> dict[int, int]:
    """Bucket -> place of the token that first brought it, for the `tokens` of a text and the same
    `folded`.

    Buckets are numbers of `BITS` bits.
    """
    seen: dict[int, int] = {}
    add = seen.setdefault
    before = b"^"
    two_before = b"^"
    negated = shouted = 0
    for place, (token, low) in enumerate(zip(found, words, strict=True)):
        word = low.encode("utf-8", "replace")
        if len(token) > 2 and token.isupper():
            shouted += 1
        add(crc32(word, 1) & _MASK, place)
        add(crc32(before + b" " + word, 2) & _MASK, place)
        add(crc32(two_before + b" " + before + b" " + word, 3) & _MASK, place)
        if negated and low[0].isalpha():
            add(crc32(word, 4) & _MASK, place)
            negated -= 1
        if low in _NEGATIONS:
            negated = _REACH
        if not low[0].isalnum():  # emoji and the like say in one sign what words say in many
            add(crc32(word, 8) & _MASK, place)
            add(crc32(word, 9) & _MASK, place)
        before, two_before = word, before
        if len(low) > 1 and low[0].isalnum() and len(seen) < _MAX_SPELLED:
            for piece in _pieces(low):
                add(crc32(piece, 5) & _MASK, place)
    if not found:
        return {}
    add(crc32(before + b" $", 2) & _MASK, len(found) - 1)
    if shouted:
        add(crc32(b"shouted%d" % (2 * shouted > len(found)), 6) & _MASK, 0)
    add(crc32(b"long%d" % min(4, len(found) // 8), 6) & _MASK, 0)
    return seen


def _pieces(word: str) -> list[bytes]:
    """Its runs of 3 to 5 letters, with the ends of the word; of a dense script 1 to 4."""
    if word.isascii():
        raw = b"<" + word.encode() + b">"
        last = len(raw) + 1
        return [raw[at : at + size] for size in (3, 4, 5) for at in range(last - size)]
    if is_dense(word):
        sizes: tuple[int, ...] = (1, 2, 3, 4)
    else:
        word, sizes = f"<{word}>", (3, 4, 5)
    last = len(word) + 1
    return [
        word[at : at + size].encode("utf-8", "replace")
        for size in sizes
        for at in range(last - size)
    ]
