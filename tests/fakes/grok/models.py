"""The models of the API: their prices, limits and refusals, and the bill of one answer.

Prices and limits are those of docs.x.ai (pricing, 29 September 2026; rate limits, 5 October 2026),
what each refuses was observed live in 2026.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DEFAULT_MODEL = "grok-4.20-0309-non-reasoning"
PENALTIES = frozenset({"presence_penalty", "frequency_penalty"})
REASONING_TOKENS = {"none": 0, "low": 94, "medium": 300, "high": 900, "xhigh": 1800}


@dataclass(frozen=True, slots=True)
class Model:
    """Prices are ticks per token (1 USD = 10,000,000,000 ticks), limits are per minute."""

    prompt_price: int
    cached_price: int
    completion_price: int
    context: int
    requests: int
    tokens: int
    # Tokens of the system prompt nobody sent and everybody pays.
    hidden: int
    refused: frozenset[str] = PENALTIES
    # Accepted values of reasoning_effort; empty means that the parameter itself is refused.
    efforts: tuple[str, ...] = ()
    # Effort when none is asked for; "none" never reasons.
    effort: str = "none"

    def as_json(self, name: str) -> dict[str, Any]:
        """This model's entry in `GET /v1/models`."""
        return {
            "id": name,
            "aliases": [],
            "context_length": self.context,
            "created": 1_772_000_000,
            "object": "model",
            "owned_by": "xai",
            "prompt_text_token_price": self.prompt_price,
            "cached_prompt_text_token_price": self.cached_price,
            "completion_text_token_price": self.completion_price,
            "long_context_threshold": 200_000,
        }


_ALWAYS = PENALTIES | {"stop"}
_LMHX = ("low", "medium", "high", "xhigh")
MODELS = {
    "grok-4.7": Model(
        20_000, 5_000, 60_000, 500_000, 7_200, 50_000_000, 637, _ALWAYS, _LMHX, "high"
    ),
    "grok-4.6": Model(
        20_000, 5_000, 60_000, 500_000, 7_200, 50_000_000, 637, _ALWAYS, _LMHX, "high"
    ),
    "grok-4.5": Model(
        20_000, 3_000, 60_000, 500_000, 7_200, 50_000_000, 637, _ALWAYS, _LMHX[:3], "high"
    ),
    "grok-4.3": Model(
        12_500, 2_000, 25_000, 1_000_000, 1_800, 10_000_000, 185, PENALTIES, ("none", *_LMHX), "low"
    ),
    DEFAULT_MODEL: Model(12_500, 2_000, 25_000, 1_000_000, 1_800, 10_000_000, 185),
    "grok-4.20-0309-reasoning": Model(
        12_500, 2_000, 25_000, 1_000_000, 1_800, 10_000_000, 185, effort="low"
    ),
    "grok-build-0.1": Model(
        10_000, 2_000, 20_000, 256_000, 1_800, 10_000_000, 185, _ALWAYS, effort="low"
    ),
}
# Retired names and aliases answer as their target, and say so in `model`. The second part is the
# effort they imply.
REDIRECTS: dict[str, tuple[str, str | None]] = {
    "grok-4.20-non-reasoning": (DEFAULT_MODEL, None),
    "grok-4-1-fast-non-reasoning": ("grok-4.3", "none"),
    "grok-4-1-fast-reasoning": ("grok-4.3", "low"),
    "grok-4-fast-non-reasoning": ("grok-4.3", "none"),
    "grok-4-fast-reasoning": ("grok-4.3", "low"),
    "grok-4-0709": ("grok-4.3", "low"),
    "grok-3": ("grok-4.3", "none"),
    "grok-code-fast-1": ("grok-build-0.1", None),
}


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer. `cached` is part of `prompt`; `reasoning` is not in `completion`."""

    prompt: int
    cached: int
    completion: int
    reasoning: int

    def ticks(self, model: Model, *, priority: bool = False) -> int:
        """What the answer costs. Long prompts and the priority tier each double it."""
        cost = (
            (self.prompt - self.cached) * model.prompt_price
            + self.cached * model.cached_price
            + (self.completion + self.reasoning) * model.completion_price
        )
        return cost * (2 if self.prompt >= 200_000 else 1) * (2 if priority else 1)

    def as_json(self, ticks: int) -> dict[str, Any]:
        """The `usage` of an answer that costs this many ticks."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion + self.reasoning,
            "prompt_tokens_details": {
                "text_tokens": self.prompt,
                "audio_tokens": 0,
                "image_tokens": 0,
                "cached_tokens": self.cached,
            },
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
            "num_sources_used": 0,
            "cost_in_usd_ticks": ticks,
        }


def count_tokens(text: str) -> int:
    """A rough count, four bytes to a token."""
    return len(text.encode("utf-8", "replace")) // 4
