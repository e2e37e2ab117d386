"""Topics and urgency of a text by the words it holds, in several languages. Pure.

data/topics.txt and urgency.txt have the words. A text is read once: at each word the tables
are asked for the word itself and for its beginnings, so that their size costs nothing.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from heapq import nlargest
from pathlib import Path

from analysis.offline.features import folded, is_dense, tokens
from analysis.urgency import Urgency

_FOLDER = Path(__file__).parent / "data"
_WEAK, _SURE, _SUREST = 0.8, 2.0, 3.0
_SHORTEST_BEGINNING, _LONGEST_PIECE = 2, 4
_AGAIN = 0.15
"""What a word adds that comes again, of what it is worth."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A word or, with `rest`, a phrase that begins with it."""

    language: str
    name: str
    points: float
    rest: tuple[str, ...] = ()
    is_beginning: bool = False


class WordTable:
    """Names, and words that speak for them."""

    def __init__(self, text: str) -> None:
        """Lines as data/topics.txt explains them."""
        self._whole: defaultdict[str, list[_Entry]] = defaultdict(list)
        self._beginnings: defaultdict[str, list[_Entry]] = defaultdict(list)
        self._languages: set[str] = set()
        self._first_letters: set[str] = set()
        name = ""
        for line in text.splitlines():
            if line.startswith("["):
                name = line[1:-1]
            elif line and not line.startswith("#"):
                language, *entries = line.split()
                self._languages.add(language)
                for entry in entries:
                    self._add(language, name, entry)

    def _add(self, language: str, name: str, entry: str) -> None:
        points = (_WEAK, _SURE, _SUREST)[len(entry) - len(entry.lstrip("!"))]
        entry = entry.lstrip("!")
        is_beginning = entry.endswith("*")
        phrase = tuple(folded(token) for token in tokens(entry.rstrip("*").replace("+", " ")))
        if len(phrase) == 1 and is_beginning:
            self._beginnings[phrase[0]].append(_Entry(language, name, points))
        else:
            points += 0.5 * (len(phrase) - 1)
            self._first_letters.add(phrase[0][0])
            self._whole[phrase[0]].append(_Entry(language, name, points, phrase[1:], is_beginning))

    def points(self, words: Sequence[str], language: str) -> dict[str, float]:
        """By name, of a text's words, `folded`. A phrase is worth more than a word. Where there are
        no words of `language`, those of all languages count."""
        found: defaultdict[str, float] = defaultdict(float)
        seen: set[int] = set()
        any_language = language not in self._languages
        for place, word in enumerate(words):
            for entry in self._at(words, place, word):
                if not any_language and entry.language != language:
                    continue
                found[entry.name] += entry.points * (_AGAIN if id(entry) in seen else 1.0)
                seen.add(id(entry))
        return dict(found)

    def _at(self, words: Sequence[str], place: int, word: str) -> Iterable[_Entry]:
        for entry in self._whole.get(word, ()):
            if not entry.rest or _goes_on(entry, words, place + 1):
                yield entry
        if is_dense(word):
            for start, letter in enumerate(word):
                if letter not in self._first_letters:
                    continue
                for end in range(start + 1, min(start + _LONGEST_PIECE, len(word)) + 1):
                    if end - start < len(word):
                        yield from self._whole.get(word[start:end], ())
        else:
            for end in range(_SHORTEST_BEGINNING, len(word) + 1):
                yield from self._beginnings.get(word[:end], ())


def _goes_on(entry: _Entry, words: Sequence[str], place: int) -> bool:
    end = place + len(entry.rest)
    following = words[place:end]
    if len(following) < len(entry.rest):
        return False
    if entry.is_beginning:
        return tuple(following[:-1]) == entry.rest[:-1] and following[-1].startswith(entry.rest[-1])
    return tuple(following) == entry.rest


@cache
def _table(name: str) -> WordTable:
    return WordTable((_FOLDER / f"{name}.txt").read_text(encoding="utf-8"))


# --- topics ---------------------------------------------------------------------------------------

OTHER, PRAISE, QUESTION = "other", "praise", "question"
_WORTH, _MOST_POINTS = 0.5, 6.0
"""Each point of a word makes a topic e to the power of so much as likely."""
_SURE_OF_PRAISE = 0.65
"""Below, another topic goes first."""
_NEAR = 0.6
"""A second topic is named where it has at least this share of the first one's points."""


def topic_points(words: Sequence[str], language: str) -> dict[str, float]:
    """By topic, of the words of a text, `folded`; without praise and question, which the mood and
    the form tell."""
    return _table("topics").points(words, language)


def with_sense(points: Mapping[str, float], sense: Mapping[str, float]) -> dict[str, float]:
    """The points of the words, together with the probabilities that the whole text gives them."""
    return {
        name: share * math.exp(_WORTH * min(points.get(name, 0.0), _MOST_POINTS))
        for name, share in sense.items()
        if name != PRAISE
    }


def topics_of(points: Mapping[str, float], *, praise: float, asks: bool) -> tuple[str, ...]:
    """The best one first, a second where it is near. `praise` is how sure it is that the mood is
    positive, 0.0 where it is not the likeliest; `asks` is a text that holds a question and no
    complaint."""
    ranked = nlargest(2, points, key=points.__getitem__)
    if len(ranked) == 2 and points[ranked[1]] < _NEAR * points[ranked[0]]:
        del ranked[1]
    if praise:
        named = tuple(name for name in ranked[:1] if name not in (OTHER, QUESTION))
        return (PRAISE, *named) if praise >= _SURE_OF_PRAISE else (*named, PRAISE)
    if asks and not ranked:
        return (QUESTION,)
    if len(ranked) == 2 and OTHER in ranked:
        ranked.remove(OTHER)
    return tuple(ranked) or (OTHER,)


def is_question(words: Sequence[str]) -> bool:
    return any("?" in word for word in words) or bool(words and words[0] in _ASKING)


_ASKING = frozenset(
    "how when where what which who why is are can could do does will would should may"
    " wie wann wo was welche wer warum kann könnt gibt ist"
    " cómo cuándo dónde qué cuál quién puedo pueden hay"
    " comment quand où quel quelle qui pourquoi puis est-ce"
    " come quando dove quale chi perché posso si c'è"
    " como onde qual quem posso tem vocês"
    " hoe wanneer waar wat welke wie kan zijn"
    " jak kiedy gdzie czy ile nasıl ne как когда где сколько есть"
    " bagaimana kapan berapa apakah كيف متى هل أين كم कैसे कब क्या hur när var".split()
)


# --- urgency --------------------------------------------------------------------------------------


def urgency_of(
    words: Sequence[str], language: str, *, praises: bool, complains: bool, asks: bool
) -> Urgency:
    if praises:
        return Urgency.NONE
    points = _table("urgency").points(words, language)
    waits = complains or asks
    presses = points.get(Urgency.NOW, 0.0) + (points.get("today", 0.0) if waits else 0.0)
    if presses >= _SURE and not points.get("calm"):
        return Urgency.NOW
    if (
        asks
        or points.get(Urgency.SOON, 0.0) >= _SURE
        or (complains and points.get("wants", 0.0) >= _WEAK)
    ):
        return Urgency.SOON
    return Urgency.NONE
