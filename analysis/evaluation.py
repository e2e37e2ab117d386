"""How good an analyser's answers are: figures over answers and the labels that people set. Pure.

Calibration is the expected calibration error over ten equal bins of confidence: the mean distance
between how sure the analyser is and how often it is right, weighted by the bins' sizes (Guo et al.,
"On Calibration of Modern Neural Networks", ICML 2017). Intervals are Wilson's at 95 %.
"""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CLASSES = ("negative", "neutral", "positive")
BINS = 10
_LENGTHS = (50, 100, 140, 280)
_95_PERCENT = 1.96


@dataclass(frozen=True, slots=True)
class Judged:
    """One text: what people say, and what the analyser does. `said` None: it gave no answer."""

    text: str
    label: str
    language: str
    said: str | None = None
    score: float = 0.0
    confidence: float = 0.0
    reasoning: str = ""

    @property
    def is_right(self) -> bool:
        return self.said == self.label


@dataclass(frozen=True, slots=True)
class Slice:
    """Figures over some of the texts; a text without an answer counts as wrong."""

    name: str
    count: int
    accuracy: float
    low: float
    high: float
    macro_f1: float
    calibration_error: float


def measure(name: str, judged: Sequence[Judged]) -> Slice:
    right = sum(each.is_right for each in judged)
    scores = [score for of in CLASSES if (score := f1(judged, of)) is not None]
    low, high = wilson(right, len(judged))
    accuracy = right / len(judged) if judged else 0.0
    macro_f1 = sum(scores) / max(1, len(scores))
    return Slice(name, len(judged), accuracy, low, high, macro_f1, calibration(judged)[1])


def f1(judged: Iterable[Judged], of: str) -> float | None:
    """None for a class that neither people nor the analyser have used."""
    true = said = both = 0
    for each in judged:
        true += each.label == of
        said += each.said == of
        both += each.label == each.said == of
    return 2 * both / (true + said) if true + said else None


def wilson(right: int, count: int) -> tuple[float, float]:
    if not count:
        return 0.0, 1.0
    share, z2 = right / count, _95_PERCENT**2
    middle = share + z2 / (2 * count)
    spread = _95_PERCENT * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return (middle - spread) / (1 + z2 / count), (middle + spread) / (1 + z2 / count)


def confusion(judged: Iterable[Judged]) -> dict[str, dict[str, int]]:
    """Counts by label, then by what was said; `none` is no answer."""
    counts = Counter((each.label, each.said or "none") for each in judged)
    return {label: {said: counts[label, said] for said in (*CLASSES, "none")} for label in CLASSES}


@dataclass(frozen=True, slots=True)
class Bin:
    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def calibration(judged: Iterable[Judged]) -> tuple[list[Bin], float]:
    """The bins that are not empty, and the expected calibration error."""
    answered = [each for each in judged if each.said is not None]
    by_bin: dict[int, list[Judged]] = {}
    for each in answered:
        by_bin.setdefault(min(BINS - 1, int(each.confidence * BINS)), []).append(each)
    bins = [
        Bin(
            number / BINS,
            (number + 1) / BINS,
            len(group),
            sum(each.confidence for each in group) / len(group),
            sum(each.is_right for each in group) / len(group),
        )
        for number, group in sorted(by_bin.items())
    ]
    error = sum(one.count * abs(one.accuracy - one.confidence) for one in bins)
    return bins, error / len(answered) if answered else 0.0


def by_language(judged: Sequence[Judged]) -> list[Slice]:
    groups: dict[str, list[Judged]] = {}
    for each in judged:
        groups.setdefault(each.language, []).append(each)
    found = [measure(name, group) for name, group in groups.items()]
    return sorted(found, key=lambda one: -one.count)


def by_length(judged: Sequence[Judged]) -> list[Slice]:
    """In characters."""
    found = []
    for low, high in zip((0, *_LENGTHS), (*_LENGTHS, math.inf), strict=True):
        group = [each for each in judged if low < len(each.text) <= high]
        if group:
            name = f"over {low}" if high == math.inf else f"{low + 1}-{high}"
            found.append(measure(name, group))
    return found


def script_of(text: str) -> str:
    """The script that most of its letters are in, for texts whose language nobody names."""
    scripts = Counter(
        unicodedata.name(letter, "?").split()[0] for letter in text if letter.isalpha()
    )
    return scripts.most_common(1)[0][0].capitalize() if scripts else "No letters"
