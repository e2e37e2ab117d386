"""Reading what a language model wrote: whatever leaves no doubt of what was meant, and no more."""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from analysis import lenient_json
from analysis.language import read_language
from analysis.outcomes import MAX_CLUSTERS, UNKNOWN_CLUSTER, Analysis, Unusable
from analysis.urgency import read_urgency

MAX_CLUSTER_LENGTH = 64
MAX_REASONING_LENGTH = 1000


def parse_results(content: str, ids: Sequence[str]) -> dict[str, Analysis | Unusable]:
    """Find each id's result in the text that a model answered with.

    The document is `{"results": [{"id", "sentiment_score", "clusters", "confidence", "reasoning",
    "language", "urgency"}]}`, in whatever dress leaves no doubt of what was meant: in a markdown
    fence, after prose or thoughts, not quite JSON (`lenient_json`), one level deeper, under the ids
    as keys, one document for each id; where a single id was asked for, also the bare result. Of
    several documents the last counts.
    The answer has every id and no other: one that is missing, doubled or malformed is Unusable, but
    for language and urgency, which are `und` and `none` then.
    What was read stands in the details as `result`.
    """
    entries: list[_Entry] = []
    for document in lenient_json.documents(content):
        found_here, alone = _entries(document, ids)
        known = {_id_of(entry) for entry in entries}
        if alone and entries and not {"", *known} & {_id_of(found_here[0])}:
            entries = entries + found_here  # a document for each
        elif found_here:
            entries = found_here
    if not entries:
        return dict.fromkeys(ids, Unusable("the answer holds no complete JSON document"))
    if len(ids) == 1 and len(entries) == 1:
        entries = [{"id": ids[0], **entries[0]}]

    found: dict[str, list[_Entry]] = {}
    for entry in entries:
        found.setdefault(_id_of(entry), []).append(entry)

    results: dict[str, Analysis | Unusable] = {}
    for id_ in ids:
        match found.get(id_, []):
            case []:
                results[id_] = Unusable("the answer leaves this conversation out")
            case [entry]:
                results[id_] = _read_result(entry)
            case _:
                results[id_] = Unusable("the answer has this conversation twice")
    return results


_Entry = dict[str, Any]
"""What was written of one text, its keys in snake_case."""


def _entries(document: object, ids: Sequence[str], depth: int = 2) -> tuple[list[_Entry], bool]:
    """The results in a document, none where it holds none; and whether it is itself one result."""
    if isinstance(document, str):  # JSON in JSON
        document = next(reversed(lenient_json.documents(document)), None)
    if isinstance(document, list):
        entries = [_entry(one) for one in document if isinstance(one, dict)]
        if depth and len(entries) == 1 and not _is_result(entries[0]):
            entries = _entries(document[0], ids, depth - 1)[0] or entries
        return entries, False
    if not isinstance(document, dict):
        return [], False
    entry = _entry(document)
    if _is_result(entry):
        return [entry], True
    if document.keys() <= set(ids) and all(isinstance(one, dict) for one in document.values()):
        return [{"id": id_, **_entry(one)} for id_, one in document.items()], False
    inner = [entry["results"]] if "results" in entry else list(document.values())
    inner = [one for one in inner if isinstance(one, dict | list | str)] if depth else []
    found = [entries for one in inner if (entries := _entries(one, ids, depth - 1)[0])]
    return (found[0] if len(found) == 1 else []), False


def _entry(written: Mapping[str, object]) -> _Entry:
    """Also where the figures are one level deeper than the id."""
    entry = {snake_case(key): value for key, value in written.items()} | dict(written)
    for name, others in _OTHER_NAMES.items():
        for other in others:
            if name not in entry and other in entry:
                entry[name] = entry[other]
    if not _is_result(entry):
        deeper = [_entry(one) for one in written.values() if isinstance(one, dict)]
        deeper = [one for one in deeper if _is_result(one)]
        if len(deeper) == 1:
            entry = deeper[0] | entry
    return entry


_OTHER_NAMES = {
    "id": ("conversation_id",),
    "sentiment_score": ("sentiment",),
    "clusters": ("cluster", "topics"),
}


def _is_result(entry: _Entry) -> bool:
    return "sentiment_score" in entry and "confidence" in entry


def _id_of(entry: _Entry) -> str:
    return str(entry.get("id", "")).strip().casefold()


def _read_result(entry: _Entry) -> Analysis | Unusable:
    score = _number(entry.get("sentiment_score"))
    confidence = _number(entry.get("confidence"))
    clusters = _names(entry.get("clusters"))
    reasoning = entry.get("reasoning") or ""
    if score is None or confidence is None:
        return Unusable("the answer's sentiment_score or confidence is not a number")
    if isinstance(reasoning, list) and all(isinstance(part, str) for part in reasoning):
        reasoning = " ".join(reasoning)
    if clusters is None or not isinstance(reasoning, str):
        return Unusable("the answer's clusters or reasoning have the wrong type")
    if abs(score) > 1 + _ROUGHLY or not -_ROUGHLY <= confidence <= 1 + _ROUGHLY:
        return Unusable("the answer's sentiment_score or confidence is on another scale")
    return Analysis(
        sentiment_score=min(1.0, max(-1.0, score)),
        clusters=normalise_clusters(clusters),
        confidence=min(1.0, max(0.0, confidence)),
        reasoning=storable(reasoning)[:MAX_REASONING_LENGTH],
        language=read_language(entry.get("language")),
        urgency=read_urgency(entry.get("urgency")),
        details={
            "result": {
                "sentiment_score": score,
                "clusters": clusters,
                "confidence": confidence,
                "reasoning": reasoning,
                **{
                    name: entry[name]
                    for name in ("language", "urgency")
                    if isinstance(entry.get(name), str)
                },
            }
        },
    )


_ROUGHLY = 0.1 + 1e-9
"""How far a figure may be out of its range and still be meant to be at its end."""
_QUOTED_NUMBER = re.compile(r"\s*([+\-\u2212]?)(\d{1,9}(?:\.\d{1,30})?|\.\d{1,30})\s*(%?)\s*")


def _number(value: object) -> float | None:
    """A finite JSON number, also in quotes or as `90%`, or None. Booleans are not numbers."""
    if isinstance(value, str):
        written = _QUOTED_NUMBER.fullmatch(value)
        if written is None:
            return None
        number = float(written[2]) / (100 if written[3] else 1)
        return number if written[1] in ("", "+") else -number
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _names(written: object) -> list[str] | None:
    """The names of clusters: a list of them, of objects that bear them, or one or more in a
    string. None for anything else."""
    if isinstance(written, str):
        names: list[object] = list(re.split(r"[,;|\n]", written.strip(" []")))
    elif isinstance(written, list):
        names = written
    else:
        return None
    plain = [name.get("name") if isinstance(name, dict) else name for name in names]
    return [name for name in plain if isinstance(name, str)]


# --- names and texts as they are kept -------------------------------------------------------------


def normalise_clusters(names: Sequence[object]) -> tuple[str, ...]:
    """snake_case, no doubles, at most 5, in the order given; `("unknown",)` when none is left."""
    kept: dict[str, None] = {}
    for name in names:
        snake = snake_case(name) if isinstance(name, str) else ""
        if snake:
            kept[snake] = None
    return tuple(kept)[:MAX_CLUSTERS] or (UNKNOWN_CLUSTER,)


def snake_case(name: str) -> str:
    """`Late Delivery!`, `lateDelivery` and `late-delivery` are all `late_delivery`."""
    name = unicodedata.normalize("NFKC", name)
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    name = re.sub(r"[\W_]+", "_", name.casefold())
    return name.strip("_")[:MAX_CLUSTER_LENGTH].rstrip("_")


def storable(text: str) -> str:
    """Without what no database takes: NUL and lone surrogates."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
