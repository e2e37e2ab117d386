"""Answers as a model writes them, and what is read in them."""

import json
from typing import Any

from analysis.outcomes import Analysis, Unusable


def entry(id_: Any = "a", **overrides: Any) -> dict[str, Any]:
    whole = {
        "id": id_,
        "sentiment_score": -0.5,
        "clusters": ["delivery_problems"],
        "confidence": 0.8,
        "reasoning": "Late.",
    }
    return {**whole, **overrides}


def answer(*entries: object) -> str:
    return json.dumps({"results": entries})


def as_read(
    sentiment_score: float = -0.5,
    clusters: tuple[str, ...] = ("delivery_problems",),
    confidence: float = 0.8,
    reasoning: str = "Late.",
    written: dict[str, Any] | None = None,
    language: str = "und",
) -> Analysis:
    """What an entry becomes; `written` holds what stood in it otherwise."""
    result = {
        "sentiment_score": sentiment_score,
        "clusters": list(clusters),
        "confidence": confidence,
        "reasoning": reasoning,
        **(written or {}),
    }
    details = {"result": result}
    return Analysis(
        sentiment_score, clusters, confidence, reasoning, details=details, language=language
    )


def reason_of(result: Analysis | Unusable) -> str:
    assert isinstance(result, Unusable)
    return result.reason
