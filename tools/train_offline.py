"""Trains the offline models from public corpora and from the project's own lines.

    python -m tools.train_offline FOLDER

FOLDER holds clones of the repositories that tools/offline_corpora.py names. Needs numpy and scipy
(requirements-training.txt), a core and some minutes. What it writes, `analysis/offline/data/` with
its NOTICE, depends on nothing but those texts: chance is seeded, yet another BLAS may end in other
last digits, which tests/unit/test_offline_model.py allows for.
"""

import argparse
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is imported

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize

from analysis.offline.features import BITS, buckets, familiar_parts, folded, plain, tokens
from analysis.offline.model import KNOWN_BITS, SmallModel, known_bit
from tools import train_offline_large as on_vectors
from tools.made_up import lines
from tools.offline_corpora import CORPORA, Clone, Example, notice

DATA = Path(__file__).parents[1] / "analysis" / "offline" / "data"
VERSION = "2"
L2, L2_GROUPS = 3e-6, 1e-4
ITERATIONS = 150
LINE_WEIGHT, WORD_WEIGHT = 5.0, 2.0
"""Of a line and a single word of our own; a text of a corpus weighs 1."""
PRIORS = {"english": (0.33, 0.43, 0.24), "others": (0.40, 0.20, 0.40)}
"""Shares of negative, neutral and positive that are expected of those who write to a company:
between those of tweets at large, which calibrate, and of complaints."""
CAUTION = {"english": 0.87, "others": 0.8}
"""Texts to come differ from those that calibrate, so the model is to be less sure."""
KNOWN_TEXTS = 3
"""Texts that a word is in, to count as known."""

Floats: TypeAlias = Any
"""An array of numpy, which is not among the tools for developing: its type is not known there."""


def examples(folder: Path, seed: int = 1) -> list[Example]:
    """What is trained on and what calibrates, without anything that is measured on."""
    found = [
        each
        for corpus in CORPORA
        for each in corpus.read(Clone(folder, corpus.repository, corpus.commit))
    ]
    measured = {_key(each.text) for each in found if each.split != "train"}
    limits = {corpus.read.__name__.strip("_"): corpus.at_most for corpus in CORPORA}
    rng = np.random.default_rng(seed)
    counts: Counter[tuple[str, str]] = Counter()
    seen: set[tuple[str, int]] = set()
    kept = []
    for index in rng.permutation(len(found)):
        each = found[index]
        if each.split == "test":
            continue
        if each.split == "train":
            key = _key(each.text), each.label
            group = each.corpus, each.language
            if not key[0] or key[0] in measured or key in seen:
                continue
            if counts[group] >= limits[each.corpus]:
                continue
            counts[group] += 1
            seen.add(key)
        kept.append(each)
    own = [
        Example(line.text, line.label, line.language, _kind(line.topic), "train")
        for line in lines()
    ]
    return kept + own


def _kind(topic: str | None) -> str:
    return "words" if topic == "lexicon" else "lines"


def _key(text: str) -> str:
    return "".join(filter(str.isalnum, plain(text).casefold()))


def matrix(texts: Sequence[str]) -> sp.csr_matrix:
    """A row of equal values, of length 1, for each text."""
    columns: list[int] = []
    ends = [0]
    for text in texts:
        found = tokens(plain(text))
        columns += sorted(buckets(found, list(map(folded, found))))
        ends.append(len(columns))
    counts = np.diff(ends)
    values = np.repeat(1 / np.sqrt(np.maximum(1, counts)), counts).astype(np.float32)
    return sp.csr_matrix(
        (values, np.array(columns, np.int32), np.array(ends, np.int64)),
        shape=(len(texts), 1 << BITS),
    )


def fit(features: sp.csr_matrix, labels: Floats, weights: Floats, groups: Floats) -> Floats:
    """Weights, a row for each bucket. Each corpus and language has offsets of its own, which are
    thrown away: so its mix of labels does not leak into the weights."""
    count, width = features.shape
    n_groups = int(groups.max()) + 1
    wanted = np.eye(3, dtype=np.float32)[labels]
    share = (weights / weights.sum()).astype(np.float32)
    member = sp.csr_matrix((np.ones(count, np.float32), (np.arange(count), groups)))
    features_t, member_t = features.T.tocsr(), member.T.tocsr()

    def loss(theta: Floats) -> tuple[float, Floats]:
        w = theta[: width * 3].reshape(width, 3).astype(np.float32)
        b = theta[width * 3 :].reshape(n_groups, 3).astype(np.float32)
        said = on_vectors.softmax(features @ w + member @ b)
        value = -float((share * np.log((said * wanted).sum(1) + 1e-12)).sum(dtype=np.float64))
        value += 0.5 * L2 * float((w * w).sum(dtype=np.float64))
        value += 0.5 * L2_GROUPS * float((b * b).sum(dtype=np.float64))
        rest = (said - wanted) * share[:, None]
        gradient = (features_t @ rest + L2 * w).ravel(), (member_t @ rest + L2_GROUPS * b).ravel()
        return value, np.concatenate(gradient).astype(np.float64)

    start = np.zeros((width + n_groups) * 3)
    options = {"maxiter": ITERATIONS, "maxcor": 6}
    done = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    print(f"loss {done.fun:.4f} after {done.nit} steps", flush=True)
    weights_found: Floats = done.x[: width * 3].reshape(width, 3)
    return weights_found


def by_kind(found: Sequence[Example]) -> dict[str, Floats]:
    """Places of the examples that calibrate for English, and for all others."""
    kinds = {
        "english": {("tweeteval", "en"), ("umsab", "en")},
        "others": {
            (each.corpus, each.language)
            for each in found
            if each.corpus in ("umsab", "brighter", "smsa", "wisesight") and each.language != "en"
        },
    }
    return {
        name: np.array(
            [
                place
                for place, each in enumerate(found)
                if each.split == "val" and (each.corpus, each.language) in groups
            ]
        )
        for name, groups in kinds.items()
    }


def words_of(text: str) -> list[str]:
    return [folded(token) for token in tokens(plain(text)) if token[0].isalpha()]


def calibrate(logits: Sequence[Floats], examples_: Sequence[Example], kind: str) -> Floats:
    """A scale for each of `logits` (rows of negative and positive against neutral), then offsets
    for negative and positive, so that probabilities are right where classes are as `PRIORS` of the
    `kind` say. Each corpus and language counts as much as its square root of texts."""
    labels = np.array([each.label for each in examples_])
    sizes = Counter((each.corpus, each.language) for each in examples_)
    weights = np.array([sizes[each.corpus, each.language] ** -0.5 for each in examples_])
    for label in range(3):
        at = labels == label
        weights[at] *= PRIORS[kind][label] / weights[at].sum()
    wanted = np.eye(3)[labels]

    def loss(theta: Floats) -> float:
        mixed = sum(a * z for a, z in zip(theta, logits, strict=False)) + theta[-2:]
        said = on_vectors.softmax(np.insert(mixed, 1, 0.0, axis=1))
        return -float((weights * np.log((said * wanted).sum(1) + 1e-12)).sum())

    start = np.array([1 / len(logits)] * len(logits) + [0.0, 0.0])
    found: Floats = minimize(loss, start, method="BFGS").x * CAUTION[kind]
    return found


def known_words(texts: Sequence[Example]) -> bytes:
    counts: Counter[str] = Counter()
    for each in texts:
        if each.split == "train":
            weight = KNOWN_TEXTS if each.corpus in ("lines", "words") else 1
            for word in set(familiar_parts(words_of(each.text))):
                counts[word] += weight
    bits = np.zeros(1 << KNOWN_BITS, np.uint8)
    for word, count in counts.items():
        if count >= KNOWN_TEXTS:
            bits[known_bit(word)] = 1
    print(f"{sum(c >= KNOWN_TEXTS for c in counts.values())} words, {bits.mean():.1%} of the bits")
    packed: bytes = np.packbits(bits, bitorder="little").tobytes()
    return packed


def arrays(found: Sequence[Example]) -> tuple[Floats, Floats, Floats]:
    """Labels, weights, and numbers of the corpus and language."""
    names = sorted({(each.corpus, each.language) for each in found})
    groups = [names.index((each.corpus, each.language)) for each in found]
    weight = {"lines": LINE_WEIGHT, "words": WORD_WEIGHT}
    weights = [weight.get(each.corpus, 1.0) for each in found]
    return np.array([each.label for each in found]), np.array(weights), np.array(groups)


def small(found: Sequence[Example], data: Path) -> None:
    labels, weights, groups = arrays(found)
    features = matrix([each.text for each in found])
    at = np.array([index for index, each in enumerate(found) if each.split == "train"])
    print(f"{len(at)} texts, {features.nnz / len(found):.0f} features each", flush=True)
    w = fit(features[at], labels[at], weights[at], groups[at])
    against_neutral = w[:, [0, 2]] - w[:, [1]]
    step = np.abs(against_neutral).max() / 127
    planes = np.round(against_neutral / step).astype(np.int8)
    logits = features @ (planes.astype(np.float32) * step)
    header: dict[str, object] = {"version": VERSION, "step": float(step)}
    for name, indices in by_kind(found).items():
        scale, *offsets = calibrate([logits[indices]], [found[i] for i in indices], name)
        print(f"{name}: {len(indices)} texts, scale {scale:.3f}, offsets {np.round(offsets, 3)}")
        header[name] = [round(float(x), 4) for x in (scale, *offsets)]
    with (data / "small.bin").open("wb") as file:
        file.write(json.dumps(header).encode() + b"\n")
        file.write(planes.T.tobytes())
        file.write(known_words(found))


def large(found: Sequence[Example], data: Path, cache: Path | None) -> None:
    labels, weights, groups = arrays(found)
    x = on_vectors.vectors([each.text for each in found], cache)
    at = np.array([place for place, each in enumerate(found) if each.split == "train"])
    parts = on_vectors.net(x[at], labels[at], weights[at], groups[at])
    small_model = SmallModel(data / "small.bin")
    for name, places in by_kind(found).items():
        ours = [found[place] for place in places]
        mix = calibrate(
            [small_logits(small_model, ours), on_vectors.logits(parts, x[places])], ours, name
        )
        print(f"{name}: {np.round(mix, 3)}")
        parts[name] = mix.astype(np.float32)
    parts |= on_vectors.topics(cache)
    smaller = {key: each.astype(np.float16) for key, each in parts.items() if key in ("a", "c")}
    np.savez(data / "large.npz", **parts | smaller)


def small_logits(model: SmallModel, found: Sequence[Example]) -> Floats:
    logits = []
    for each in found:
        there = tokens(plain(each.text))
        logits.append(model.judge(there, list(map(folded, there)), english=True).logits)
    return np.array(logits)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the offline models.")
    add = parser.add_argument
    add("folder", type=Path, help="clones of the corpora's repositories")
    add("--data", type=Path, default=DATA, help="where to write (analysis/offline/data)")
    add("--only", choices=("small", "large"), help="one of the two; the large one needs the small")
    add("--vectors", type=Path, metavar="FILE", help="keep sentence vectors there, for a next run")
    options = parser.parse_args()
    found = examples(options.folder)
    if options.only != "large":
        small(found, options.data)
    if options.only != "small":
        large(found, options.data, options.vectors)
    (options.data / "NOTICE").write_text(notice(), encoding="utf-8")


if __name__ == "__main__":
    main()
