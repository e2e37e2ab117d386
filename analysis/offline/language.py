"""Which language a text is in: by its script, and within a script by frequent words. Pure."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from analysis.language import UNKNOWN_LANGUAGE

_DATA = Path(__file__).parent / "data" / "languages.txt"

# Scripts by the range of their letters. One that several languages are written in is asked for
# words; of the others the language follows at once.
_SCRIPTS: tuple[tuple[int, int, str], ...] = (
    (0x41, 0x24F, "latin"), (0x1E00, 0x1EFF, "latin"), (0x370, 0x3FF, "el"),
    (0x400, 0x52F, "cyrillic"),
    (0x530, 0x58F, "hy"), (0x590, 0x5FF, "he"), (0x600, 0x6FF, "arabic"), (0x750, 0x77F, "arabic"),
    (0x900, 0x97F, "devanagari"), (0x980, 0x9FF, "bn"), (0xA00, 0xA7F, "pa"), (0xA80, 0xAFF, "gu"),
    (0xB80, 0xBFF, "ta"), (0xC00, 0xC7F, "te"), (0xC80, 0xCFF, "kn"), (0xD00, 0xD7F, "ml"),
    (0xE00, 0xE7F, "th"), (0xE80, 0xEFF, "lo"), (0x1000, 0x109F, "my"), (0x10A0, 0x10FF, "ka"),
    (0x1200, 0x137F, "am"), (0x1780, 0x17FF, "km"), (0x3040, 0x30FF, "ja"), (0x3400, 0x9FFF, "zh"),
    (0xAC00, 0xD7AF, "ko"), (0x1100, 0x11FF, "ko"),
)  # fmt: skip
_SHARED = {
    "cyrillic": ("ru", "uk", "bg", "sr"),
    "arabic": ("ar", "fa", "ur"),
    "devanagari": ("hi", "mr"),
}
_ENOUGH, _USUAL = 0.6, 0.3
"""Points that a language needs among those of a shared script: a word of its own is one."""
_LEAST_SHARE = 0.012
"""Points that it needs for each letter of the text: one word in fifteen, about."""
_LEAD = 1.3
"""By how much it has to be ahead of the next one."""
_LETTER_POINTS = 0.6
_WORDS_READ = 300


@cache
def _tables() -> tuple[dict[str, dict[str, float]], dict[str, frozenset[str]]]:
    """word -> language -> points; letter -> languages. A word of n languages is worth 1/n."""
    words: dict[str, set[str]] = {}
    letters: dict[str, set[str]] = {}
    for line in _DATA.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        language, _, rest = line.partition(" ")
        table, entries = (
            (letters, list(rest.strip())) if language.endswith("'") else (words, rest.split())
        )
        for entry in entries:
            table.setdefault(entry, set()).add(language.rstrip("'"))
    return (
        {word: dict.fromkeys(sorted(found), 1 / len(found)) for word, found in words.items()},
        {letter: frozenset(found) for letter, found in letters.items()},
    )


def _script_of(letter: str) -> str | None:
    number = ord(letter)
    return next((name for low, high, name in _SCRIPTS if low <= number <= high), None)


def language_of(words: Iterable[str]) -> str:
    """An ISO 639-1 code, or `und` where the words, in small letters, do not tell. Where a script
    other than Latin holds none of the words, the language that most write it in is taken."""
    known, telling = _tables()
    scripts: Counter[str] = Counter()
    points: defaultdict[str, float] = defaultdict(float)
    for word, _ in zip(words, range(_WORDS_READ), strict=False):
        script = _script_of(word[0])
        if script is None:
            continue
        scripts[script] += len(word)
        for language, share in known.get(word, {}).items():
            points[language] += share
        if not word.isascii():
            for letter in set(word) & telling.keys():
                for language in telling[letter]:
                    points[language] += _LETTER_POINTS / len(telling[letter])
            if script == "zh" and re.search("[\u3040-\u30ff]", word):
                scripts["ja"] += 3 * len(word)  # kana are in every Japanese sentence
    if not scripts:
        return UNKNOWN_LANGUAGE
    script = scripts.most_common(1)[0][0]
    if script == "zh" and scripts["ja"]:
        return "ja"
    if script != "latin" and script not in _SHARED:
        return script
    if script in _SHARED:
        first, *others = _SHARED[script]
        points[first] += _USUAL  # most of those who use the script write in it
        return max((first, *others), key=points.__getitem__)
    among = [name for name in points if not any(name in group for group in _SHARED.values())]
    ranked = sorted(((points[name], name) for name in among), reverse=True)[:2]
    if not ranked or ranked[0][0] < max(_ENOUGH / 2, _LEAST_SHARE * sum(scripts.values())):
        return UNKNOWN_LANGUAGE
    best, name = ranked[0]
    second = ranked[1][0] if len(ranked) > 1 else 0.0
    return name if not second or (best >= _ENOUGH and best > _LEAD * second) else UNKNOWN_LANGUAGE
