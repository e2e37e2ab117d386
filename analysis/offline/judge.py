"""What the offline analyser makes of a text: mood, topics, language, urgency, and why. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import nlargest

from analysis.language import UNKNOWN_LANGUAGE
from analysis.offline.features import folded, plain, tokens
from analysis.offline.language import language_of
from analysis.offline.large import LANGUAGES, LargeModel, Sense
from analysis.offline.model import NEGATIVE, NEUTRAL, POSITIVE, Mood, SmallModel
from analysis.offline.topics import (
    is_question,
    topic_points,
    topics_of,
    urgency_of,
    with_sense,
)
from analysis.outcomes import UNKNOWN_CLUSTER, Analysis
from analysis.sentiment import NEGATIVE_BELOW, POSITIVE_ABOVE
from analysis.urgency import Urgency

SMALL, LARGE = "words-3", "vectors-3"
"""Names of the models; they change whenever what they say does."""

_READ = frozenset("ar de en es fr hi id it ja ko nl pl pt ru sv th tr zh".split())
"""Languages that the small model was taught in our own lines as well."""
_FAMILIAR = 0.5
"""Share of a text's words that the small model has to have met where it is in none of them."""
_UNKNOWN_CONFIDENCE = 0.1
_BEYOND = 0.01
"""How far past the neutral range a score is moved whose mood is not neutral."""
_WORDS_SHOWN, _WORD_LENGTH_SHOWN = 2, 30


@dataclass(frozen=True, slots=True)
class _Reading:
    """A text as its fingerprint sees it, its tokens, the same folded, and what they say."""

    text: str
    found: list[str]
    words: list[str]
    language: str
    mood: Mood

    @property
    def is_english(self) -> bool:
        return _is_english(self.language)


class Judge:
    """The models are read when the first text is judged."""

    def __init__(self, *, large: bool = False) -> None:
        self._uses_large = large
        self.model = LARGE if large else SMALL

    @cached_property
    def _small(self) -> SmallModel:
        return SmallModel()

    @cached_property
    def _large(self) -> LargeModel:
        return LargeModel()

    def judge(self, texts: Sequence[str]) -> list[Analysis]:
        """An analysis for each text, in order."""
        readings = [self._read(text) for text in texts]
        senses: list[Sense | None] = [None] * len(readings)
        if self._uses_large:
            known = [i for i, reading in enumerate(readings) if reading.language in LANGUAGES]
            found = self._large.read([readings[i].text for i in known])
            for i, sense in zip(known, found, strict=True):
                senses[i] = sense
        return [self._conclude(*each) for each in zip(readings, senses, strict=True)]

    def _read(self, text: str) -> _Reading:
        text = plain(text)
        found = tokens(text)
        words = [folded(token) for token in found]
        language = language_of(word for word in words if word[0].isalpha())
        mood = self._small.judge(found, words, english=_is_english(language))
        return _Reading(text, found, words, language, mood)

    def _conclude(self, reading: _Reading, sense: Sense | None) -> Analysis:
        words, language = reading.words, reading.language
        if language not in _READ and self._is_strange(words):
            return self._answer(
                0.0,
                (UNKNOWN_CLUSTER,),
                _UNKNOWN_CONFIDENCE,
                "it does not know the language of this text",
                language,
                Urgency.NONE,
            )
        probabilities = reading.mood.probabilities
        points = topic_points(words, language)
        if sense is not None:
            probabilities = self._large.mixed(
                reading.mood.logits, sense, english=reading.is_english
            )
            points = with_sense(points, sense.topics)
        said = max(range(3), key=probabilities.__getitem__)
        asks = said != POSITIVE and is_question(words)
        praise = probabilities[said] if said == POSITIVE else 0.0
        clusters = topics_of(points, praise=praise, asks=asks and said == NEUTRAL)
        weights = [] if said == NEUTRAL else self._small.weights(reading.mood, said, len(words))
        because = _because(reading.found, weights, said)
        return self._answer(
            _score(probabilities, said),
            clusters,
            probabilities[said],
            f"{because}, and its words point to {', '.join(clusters)}",
            language,
            urgency_of(
                words,
                language,
                praises=said == POSITIVE,
                complains=said == NEGATIVE,
                asks=asks,
            ),
        )

    def _is_strange(self, words: Sequence[str]) -> bool:
        return self._small.known_share(word for word in words if word[0].isalpha()) < _FAMILIAR

    def _answer(
        self,
        score: float,
        clusters: tuple[str, ...],
        confidence: float,
        because: str,
        language: str,
        urgency: Urgency,
    ) -> Analysis:
        details = {"analyser": "offline", "model": self.model}
        return Analysis(
            sentiment_score=round(score, 4),
            clusters=clusters,
            confidence=round(confidence, 2),
            reasoning=f"Offline analyser: {because}.",
            details=details | {"language": language, "urgency": urgency},
            language=language,
            urgency=urgency,
        )


def _is_english(language: str) -> bool:
    """Short texts that tell no language are mostly English, or emoji."""
    return language in ("en", UNKNOWN_LANGUAGE)


def _score(probabilities: tuple[float, float, float], said: int) -> float:
    """Positive less negative, moved no further than it takes to agree with the likeliest mood."""
    negative, _, positive = probabilities
    score = positive - negative
    if said == NEUTRAL:
        return min(POSITIVE_ABOVE, max(NEGATIVE_BELOW, score))
    if said == NEGATIVE:
        return min(NEGATIVE_BELOW - _BEYOND, score)
    return max(POSITIVE_ABOVE + _BEYOND, score)


def _because(found: Sequence[str], weights: Sequence[int], said: int) -> str:
    """Which words weighed most, as the small model itself has added them up."""
    if said == NEUTRAL:
        return "it sounds neither pleased nor annoyed"
    heaviest = nlargest(_WORDS_SHOWN, range(len(found)), key=weights.__getitem__)
    least = max(1.0, weights[heaviest[0]] / 2) if heaviest else 0.0
    shown = [found[place] for place in sorted(heaviest) if weights[place] >= least]
    quoted = [f'"{word[:_WORD_LENGTH_SHOWN]}"' for word in dict.fromkeys(shown)]
    mood = "negative" if said == NEGATIVE else "positive"
    match quoted:
        case []:
            return f"it sounds {mood}"
        case [word]:
            return f"{word} sounds {mood}"
        case _:
            return f"{' and '.join(quoted)} sound {mood}"
