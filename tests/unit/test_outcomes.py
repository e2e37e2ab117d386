"""What an answer leads to: complete, ask again, wait or fail."""

import pytest

from analysis.outcomes import (
    Analysis,
    Answer,
    Blocked,
    Complete,
    Fail,
    NotNow,
    Outcome,
    Refused,
    Requeue,
    Retry,
    TransientFailure,
    Unusable,
    decide,
    fallback,
)
from tests.support.factories import analysis

GOOD = analysis()
UNUSABLE = Unusable("it is not JSON")
DOWN = TransientFailure("503")

DECISIONS: list[tuple[Answer, int, Outcome]] = [
    (GOOD, 1, Complete(GOOD)),
    (GOOD, 99, Complete(GOOD)),
    (UNUSABLE, 1, Retry("it is not JSON", delay=0.0)),
    (UNUSABLE, 2, Retry("it is not JSON", delay=0.0)),
    (UNUSABLE, 3, Complete(fallback(UNUSABLE))),
    (UNUSABLE, 4, Complete(fallback(UNUSABLE))),
    (DOWN, 1, Retry("503", delay=1.0)),
    (DOWN, 2, Retry("503", delay=2.0)),
    (DOWN, 3, Retry("503", delay=4.0)),
    (DOWN, 4, Fail("503")),
    (DOWN, 5, Fail("503")),
    (Refused("against the rules"), 1, Fail("against the rules")),
    (NotNow("breaker open"), 1, Requeue()),
    (NotNow("breaker open"), 99, Requeue()),
    (Blocked("no credits"), 1, Requeue()),
    (Blocked("no credits"), 99, Requeue()),
]


@pytest.mark.parametrize(("answer", "attempts", "outcome"), DECISIONS)
def test_each_answer_leads_to_its_outcome(answer: Answer, attempts: int, outcome: Outcome) -> None:
    assert decide(answer, attempts, max_attempts=3, jitter=0.0) == outcome


# What came of a call with others may be their fault, and so ends nothing.
PACKED: list[tuple[Answer, int, Outcome]] = [
    (GOOD, 1, Complete(GOOD)),
    (UNUSABLE, 1, Retry("it is not JSON", delay=0.0, alone=True)),
    (UNUSABLE, 3, Retry("it is not JSON", delay=0.0, alone=True)),
    (UNUSABLE, 99, Retry("it is not JSON", delay=0.0, alone=True)),
    (Refused("against the rules"), 1, Retry("against the rules", delay=0.0, alone=True)),
    (Refused("against the rules"), 99, Retry("against the rules", delay=0.0, alone=True)),
    (DOWN, 1, Retry("503", delay=1.0)),
    (DOWN, 2, Retry("503", delay=2.0, alone=True)),
    (DOWN, 4, Retry("503", delay=8.0, alone=True)),
    (NotNow("breaker open"), 1, Requeue()),
    (Blocked("no credits"), 99, Requeue()),
]


@pytest.mark.parametrize(("answer", "attempts", "outcome"), PACKED)
def test_what_came_of_a_packed_call_ends_nothing_but_is_asked_again_alone(
    answer: Answer, attempts: int, outcome: Outcome
) -> None:
    assert decide(answer, attempts, max_attempts=3, jitter=0.0, packed=True) == outcome


def test_a_refusal_that_may_not_be_the_texts_fault_is_none_in_an_outage() -> None:
    unclear = Refused("HTTP 422: no", doubtful=True)
    assert decide(unclear, 1, max_attempts=3, jitter=0.0) == Fail("HTTP 422: no")
    for packed in (False, True):
        assert decide(
            unclear, 1, max_attempts=3, jitter=0.0, packed=packed, outage=True, probe_delay=90.0
        ) == Requeue(delay=90.0)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("attempts", [1, 4, 99])
def test_an_outage_is_no_conversations_failure(packed: bool, attempts: int) -> None:
    outcome = decide(DOWN, attempts, max_attempts=3, jitter=0.0, packed=packed, outage=True)
    assert outcome == Requeue()


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (GOOD, Complete(GOOD)),
        (UNUSABLE, Complete(fallback(UNUSABLE))),
        (Refused("against the rules"), Fail("against the rules")),
    ],
)
def test_what_was_answered_counts_also_in_an_outage(answer: Answer, outcome: Outcome) -> None:
    assert decide(answer, 3, max_attempts=3, jitter=0.0, outage=True) == outcome


def test_a_single_attempt_goes_straight_to_the_fallback() -> None:
    assert decide(UNUSABLE, 1, max_attempts=1, jitter=0.0) == Complete(fallback(UNUSABLE))


@pytest.mark.parametrize(("jitter", "delay"), [(0.0, 2.0), (0.5, 2.5), (1.0, 3.0)])
def test_jitter_stretches_a_delay_by_up_to_a_half(jitter: float, delay: float) -> None:
    assert decide(DOWN, 2, max_attempts=3, jitter=jitter) == Retry("503", delay=delay)


def test_fallback_says_why_and_keeps_the_answer_and_its_cost() -> None:
    unusable = Unusable("it breaks off", details={"content": "{"}, cost_usd_ticks=7)
    assert fallback(unusable) == Analysis(
        sentiment_score=0.0,
        clusters=("unknown",),
        confidence=0.0,
        reasoning="No usable analysis: it breaks off",
        details={"content": "{", "fallback": True},
        cost_usd_ticks=7,
    )
