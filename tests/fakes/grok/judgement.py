"""The good answer: what this Grok finds in a text, and how it finds the texts in a message.

The same text always gets the same result. Plain functions, no I/O.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

# One item of an answer: id, sentiment_score, clusters, confidence, reasoning, language, urgency.
Result = dict[str, Any]


def _words(line: str) -> frozenset[str]:
    return frozenset(line.split())


PRAISE = _words("good great love loved thanks thank happy best excellent amazing fast")
BLAME = _words("late broken worst bad hate terrible never lost slow damaged angry rude")
TOPICS = {
    "delivery_problems": _words("late delivery package parcel shipping courier lost"),
    "product_issues": _words("broken damaged defective crash crashes bug quality"),
    "billing": _words("refund refunded bill billing charged charge invoice"),
    "customer_service": _words("support agent service rude helpful waiting hold"),
    "praise": _words("love loved thanks thank great amazing excellent best"),
}
GERMAN = _words("und ist nicht mein der das ich")
URGENCY = {"now": _words("stranded hacked locked fire"), "soon": _words("when where waiting")}
_WORD = re.compile(r"[a-z]+")
_OPENING = re.compile(r"[\[{]")
_DECODER = json.JSONDecoder()


def judge(text: str, identity: Any, allowed: list[str] | None = None) -> Result:
    """The result for one text: the same text always gets the same one.

    `allowed` are the cluster names the schema permits, None if it permits any.
    """
    words = _WORD.findall(text.lower())
    good = sum(word in PRAISE for word in words)
    bad = sum(word in BLAME for word in words)
    digest = zlib.crc32(text.encode("utf-8", "replace"))
    clusters = [name for name, signs in TOPICS.items() if not signs.isdisjoint(words)]
    if allowed:
        clusters = [name for name in clusters if name in allowed]
        clusters = clusters or [allowed[digest % len(allowed)]]
    return {
        "id": identity,
        "sentiment_score": round(0.8 * (good - bad) / (good + bad), 2) if good + bad else 0.0,
        "clusters": clusters or ["general_inquiry"],
        "confidence": (50 + digest % 50) / 100,
        "reasoning": f"{good} friendly and {bad} unfriendly words.",
        "language": "de" if not GERMAN.isdisjoint(words) else "en",
        "urgency": next((each for each, signs in URGENCY.items() if signs & set(words)), "none"),
    }


def texts_by_id(content: str) -> dict[Any, str]:
    """Every object with `id` and `text` in the JSON that stands somewhere in this message."""
    found: dict[Any, str] = {}
    position = 0
    while (opening := _OPENING.search(content, position)) is not None:
        try:
            value, position = _DECODER.raw_decode(content, opening.start())
        except ValueError:
            position = opening.start() + 1
        else:
            _collect(value, found)
    return found


def _collect(value: Any, found: dict[Any, str]) -> None:
    if isinstance(value, list):
        for member in value:
            _collect(member, found)
    elif isinstance(value, dict):
        if isinstance(value.get("text"), str) and isinstance(value.get("id"), (str, int)):
            found[value["id"]] = value["text"]
        else:
            _collect(list(value.values()), found)
