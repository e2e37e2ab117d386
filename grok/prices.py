"""What xAI's models cost: the one place, in ticks (`TICKS_PER_USD` of `analysis/outcomes.py`).

From the price page of 2026-09-29 (docs.x.ai/docs/pricing) and `GET /v1/models`, whose integers are
ticks per token. A model that is not listed counts as the dearest one, so that a budget holds.
"""

from typing import NamedTuple

_LONG_PROMPT_TOKENS = 200_000
"""From here on, every token of a call costs double."""


class Price(NamedTuple):
    """Ticks per token. A model that `reasons` does so unless told not to, and that is billed too,
    outside the limit on what it writes."""

    prompt: int
    cached: int
    completion: int
    reasons: bool


_DEAREST = Price(20_000, 5_000, 60_000, reasons=True)
_PRICES = {
    "grok-4.7": _DEAREST,
    "grok-4.6": _DEAREST,
    "grok-4.5": Price(20_000, 3_000, 60_000, reasons=True),
    "grok-4.3": Price(12_500, 2_000, 25_000, reasons=False),  # we ask it not to
    "grok-4.20-0309-non-reasoning": Price(12_500, 2_000, 25_000, reasons=False),
    "grok-4.20-non-reasoning": Price(12_500, 2_000, 25_000, reasons=False),
    "grok-4.20-0309-reasoning": Price(12_500, 2_000, 25_000, reasons=True),
    "grok-4.20-reasoning": Price(12_500, 2_000, 25_000, reasons=True),
    "grok-build-0.1": Price(10_000, 2_000, 20_000, reasons=True),
}


def price_of(model: str) -> Price:
    return _PRICES.get(model, _DEAREST)


def cost(
    model: str, *, prompt_tokens: int, cached_tokens: int = 0, completion_tokens: int = 0
) -> int:
    """In ticks. `prompt_tokens` has the cached ones, `completion_tokens` the reasoning ones."""
    price = price_of(model)
    ticks = (
        (prompt_tokens - cached_tokens) * price.prompt
        + cached_tokens * price.cached
        + completion_tokens * price.completion
    )
    return 2 * ticks if prompt_tokens >= _LONG_PROMPT_TOKENS else ticks
