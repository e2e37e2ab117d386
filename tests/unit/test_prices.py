"""What calls cost, to the tick."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.outcomes import TICKS_PER_USD
from grok.prices import cost, price_of
from tests.fakes.grok.models import DEFAULT_MODEL, MODELS, REDIRECTS, Usage

TOKENS = st.integers(0, 300_000)


def test_the_documented_example_costs_what_xai_says() -> None:
    """719 prompt tokens, 64 of them cached, and 72 written: see `usage` in xAI's reference."""
    assert cost(
        "grok-4.20-0309-non-reasoning", prompt_tokens=719, cached_tokens=64, completion_tokens=72
    ) == (10_115_500)


def test_a_million_tokens_cost_what_the_price_page_says() -> None:
    # In halves, since from 200,000 prompt tokens on they are dearer.
    dollars = {"grok-4.7": (2.00, 6.00), "grok-4.3": (1.25, 2.50), "grok-build-0.1": (1.00, 2.00)}
    for model, (prompt, completion) in dollars.items():
        assert 10 * cost(model, prompt_tokens=100_000) == prompt * TICKS_PER_USD
        assert (
            cost(model, prompt_tokens=0, completion_tokens=1_000_000) == completion * TICKS_PER_USD
        )


@given(
    model=st.sampled_from(sorted(MODELS)),
    prompt=TOKENS,
    cached=TOKENS,
    completion=TOKENS,
    reasoning=TOKENS,
)
def test_it_is_what_the_other_side_bills(
    model: str, prompt: int, cached: int, completion: int, reasoning: int
) -> None:
    cached = min(cached, prompt)
    ours = cost(
        model,
        prompt_tokens=prompt,
        cached_tokens=cached,
        completion_tokens=completion + reasoning,
    )
    assert ours == Usage(prompt, cached, completion, reasoning).ticks(MODELS[model])


@pytest.mark.parametrize(("tokens", "factor"), [(199_999, 1), (200_000, 2), (200_001, 2)])
def test_a_long_prompt_doubles_everything(tokens: int, factor: int) -> None:
    price = price_of(DEFAULT_MODEL)
    ticks = cost(DEFAULT_MODEL, prompt_tokens=tokens, cached_tokens=1000, completion_tokens=10)
    assert ticks == factor * (
        (tokens - 1000) * price.prompt + 1000 * price.cached + 10 * price.completion
    )


@pytest.mark.parametrize("model", ["grok-99", "", "somebody-elses-model", "GROK-4.3"])
def test_a_model_that_is_not_known_is_as_dear_as_the_dearest(model: str) -> None:
    unknown = price_of(model)
    for known in MODELS.values():
        assert unknown.prompt >= known.prompt_price
        assert unknown.cached >= known.cached_price
        assert unknown.completion >= known.completion_price
    assert unknown.reasons


@pytest.mark.parametrize("name", sorted(REDIRECTS))
def test_a_retired_name_is_not_taken_for_cheaper_than_what_answers(name: str) -> None:
    target = MODELS[REDIRECTS[name][0]]
    assert price_of(name).prompt >= target.prompt_price
    assert price_of(name).completion >= target.completion_price


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_model_that_reasons_without_being_asked_is_known_to(name: str) -> None:
    reasons = MODELS[name].effort != "none" and name != "grok-4.3"  # which is asked not to
    assert price_of(name).reasons == reasons
