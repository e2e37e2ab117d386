"""Points: terms that add up, and an order that waiting alone does not change."""

from decimal import Decimal
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.priority import Facts, Weights, highest_key, key, priority
from analysis.urgency import Urgency

HOUR = 3_600_000_000
NOW = 1_737_374_400_000_000


def facts(**overrides: Any) -> Facts:
    """Of a furious customer of some reach who is locked out, has written twice before, and has
    waited for an hour and a half."""
    defaults = {
        "timestamp": NOW - 3 * HOUR // 2,
        "sentiment_score": -0.9,
        "confidence": 0.8,
        "urgency": "now",
        "suspected": False,
        "repeats": 2,
        "reach": 0.5,
        "rising": 1,
    }
    return Facts(**{**defaults, **overrides})


numbers = st.floats(0, 1000) | st.sampled_from([0.0, 0.1, 1 / 3, 5.0])
weights = st.builds(
    Weights, numbers, numbers, numbers, numbers, numbers, st.floats(-100, 100) | st.just(1.0)
)
any_facts = st.builds(
    Facts,
    st.integers(NOW - 40 * HOUR, NOW),
    st.floats(-1, 1),
    st.floats(0, 1),
    st.sampled_from([each.value for each in Urgency]),
    st.booleans(),
    st.integers(0, 3),
    st.floats(0, 1).map(lambda reach: round(reach, 6)),
    st.integers(0, 1),
)


def test_each_term_is_a_value_times_a_weight() -> None:
    found = priority(facts(), Weights(), NOW)

    assert found["points"] == 69.4667
    assert [tuple(term.values()) for term in found["terms"]] == [
        ("negative", 0.72, 40.0, 28.8),
        ("urgency", 1.0, 25.0, 25.0),
        ("repeat", 0.666667, 10.0, 6.6667),
        ("reach", 0.5, 5.0, 2.5),
        ("rising", 1.0, 5.0, 5.0),
        ("hours", 1.5, 1.0, 1.5),
    ]


def test_a_glad_customer_has_no_points_but_for_waiting() -> None:
    found = priority(
        facts(sentiment_score=0.9, urgency="none", repeats=0, reach=0.0, rising=0), Weights(), NOW
    )

    assert found["points"] == 1.5


def test_a_suspected_text_gets_no_points_for_its_urgency_and_keeps_the_others() -> None:
    plain, suspected = facts(), facts(suspected=True)

    points = [priority(each, Weights(), NOW)["points"] for each in (plain, suspected)]
    assert points[0] - points[1] == 25
    assert key(plain, Weights()) - key(suspected, Weights()) == 25 * HOUR


@given(any_facts, weights)
def test_the_terms_add_up_to_the_digit(found: Facts, weights: Weights) -> None:
    given_for = priority(found, weights, NOW)

    added = sum(Decimal(str(term["points"])) for term in given_for["terms"])
    assert added == Decimal(str(given_for["points"]))
    for term in given_for["terms"]:
        assert term["points"] == round(term["value"] * term["weight"], 4)
        assert term["weight"] == getattr(weights, term["name"])


@given(st.lists(any_facts, min_size=2, max_size=8), weights, st.integers(0, 1000 * HOUR))
@settings(max_examples=300, deadline=None)
def test_keys_order_as_points_do_at_any_time(
    found: list[Facts], weights: Weights, later: int
) -> None:
    """But for what is equal after rounding."""
    ordered = sorted(found, key=lambda each: key(each, weights), reverse=True)

    for now in (NOW, NOW + later):
        points = [priority(each, weights, now)["points"] for each in ordered]
        assert all(first >= second - 0.00011 for first, second in pairwise(points))


@given(any_facts, weights)
def test_no_key_is_above_the_highest_of_its_times(found: Facts, weights: Weights) -> None:
    first, last = found.timestamp - HOUR, found.timestamp + HOUR

    assert key(found, weights) <= highest_key(weights, first, last)


@given(st.integers(-(10**17), 10**18), weights)
def test_a_key_fits_into_a_column_whatever_the_time(timestamp: int, weights: Weights) -> None:
    assert -(2**63) < key(facts(timestamp=timestamp), weights) < 2**63


def test_a_minus_for_hours_puts_the_new_first() -> None:
    fresh, old = facts(timestamp=NOW), facts(timestamp=NOW - HOUR)

    assert key(fresh, Weights()) < key(old, Weights())
    assert key(fresh, Weights(hours=-1)) > key(old, Weights(hours=-1))
