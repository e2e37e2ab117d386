"""The small offline model: softmax regression on the buckets of `features.py`. Pure Python.

`data/small.bin` is made by tools/train_offline.py: a line of JSON (`Header`), then two
planes of signed bytes, one weight for each bucket: by how much it speaks for negative, and for
positive, rather than for neutral. Then a bit for each hash that a word of the training texts has.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from analysis.offline.features import BITS, buckets, familiar_parts

NEGATIVE, NEUTRAL, POSITIVE = range(3)
KNOWN_BITS = 19
_FILE = Path(__file__).parent / "data" / "small.bin"


class Calibration(NamedTuple):
    """Logits are multiplied by the first and added to the others."""

    scale: float
    negative: float
    positive: float


class Mood(NamedTuple):
    """Probabilities of negative, neutral and positive, and what they come from: logits of negative
    and positive against neutral, and the text's `buckets`."""

    probabilities: tuple[float, float, float]
    logits: tuple[float, float]
    buckets: Mapping[int, int]


class SmallModel:
    """Its file is read when it is made: half a megabyte. Raises OSError."""

    def __init__(self, file: Path = _FILE) -> None:
        raw = file.read_bytes()
        end = raw.index(b"\n") + 1
        header = json.loads(raw[:end])
        self._step = float(header["step"])
        self._english = Calibration(*header["english"])
        self._others = Calibration(*header["others"])
        size = 1 << BITS
        planes = memoryview(raw)[end : end + 2 * size].cast("b")
        self._negative, self._positive = planes[:size], planes[size:]
        self._known = raw[end + 2 * size :]

    def judge(self, found: Sequence[str], words: Sequence[str], *, english: bool) -> Mood:
        """For the `tokens` of a text that is `plain`, and the same `folded`."""
        places = buckets(found, words)
        step = self._step / math.sqrt(max(1, len(places)))
        negative = sum(map(self._negative.__getitem__, places)) * step
        positive = sum(map(self._positive.__getitem__, places)) * step
        scale, *offsets = self._english if english else self._others
        probabilities = softmax(negative * scale + offsets[0], positive * scale + offsets[1])
        return Mood(probabilities, (negative, positive), places)

    def weights(self, mood: Mood, said: int, count: int) -> list[int]:
        """By how much each of `count` tokens speaks for the mood `said`, which is negative or
        positive, rather than for its opposite."""
        planes = self._negative, self._positive
        towards, away = planes if said == NEGATIVE else planes[::-1]
        weights = [0] * count
        for bucket, place in mood.buckets.items():
            weights[place] += towards[bucket] - away[bucket]
        return weights

    def known_share(self, words: Iterable[str]) -> float:
        """Share of the words, `folded`, that the training texts have; 1.0 of none. About one in ten
        is taken for known by mistake."""
        hits = [self._knows(part) for part in familiar_parts(words)]
        return sum(hits) / len(hits) if hits else 1.0

    def _knows(self, word: str) -> bool:
        bit = known_bit(word)
        return bool(self._known[bit >> 3] & 1 << (bit & 7))


def known_bit(word: str) -> int:
    return crc32(word.encode("utf-8", "replace"), 7) & ((1 << KNOWN_BITS) - 1)


def softmax(negative: float, positive: float) -> tuple[float, float, float]:
    """With neutral at 0."""
    top = max(negative, positive, 0.0)
    parts = math.exp(negative - top), math.exp(-top), math.exp(positive - top)
    total = sum(parts)
    return parts[0] / total, parts[1] / total, parts[2] / total
