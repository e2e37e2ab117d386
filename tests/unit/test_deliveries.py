"""What comes of a try to deliver a message."""

import pytest

from analysis.deliveries import (
    DAY,
    DISABLED_AFTER_SECONDS,
    LADDER_SECONDS,
    MOST_JITTER,
    Answered,
    Delivered,
    Disabled,
    GivenUp,
    NotAnswered,
    Tried,
    TryAgain,
    decide,
)

FIRST = Tried(attempts=1, waits=0, retries=True, failing_seconds=0.0)


def tried(
    attempts: int = 1, waits: int = 0, failing: float = 0.0, *, retries: bool = True
) -> Tried:
    return Tried(attempts, waits, retries, failing)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    assert decide(Answered(status), FIRST, jitter=0) == Delivered(status)


@pytest.mark.parametrize("status", [100, 199, 301, 302, 307, 400, 401, 404, 409, 500, 502, 504])
def test_whatever_else_is_answered_is_tried_again(status: int) -> None:
    assert decide(Answered(status, "no"), FIRST, jitter=0) == TryAgain(
        5.0, f"answered {status}: no", status
    )


def test_no_answer_is_tried_again() -> None:
    assert decide(NotAnswered("reset"), FIRST, jitter=0) == TryAgain(5.0, "reset", None)


def test_the_ladder_is_that_of_standard_webhooks_and_ends() -> None:
    waits = []
    attempts = 1
    while isinstance(again := decide(Answered(500), tried(attempts), jitter=0), TryAgain):
        waits.append(again.delay)
        attempts += 1

    hours = [each * 3600 for each in (2, 5, 10, 14, 20, 24)]
    assert waits == [5, 300, 1800, *hours]
    assert again == GivenUp("answered 500", 500)
    assert attempts == 10


def test_jitter_only_lengthens_a_wait() -> None:
    again = decide(Answered(500), tried(2), jitter=1.0)

    assert isinstance(again, TryAgain)
    assert again.delay == pytest.approx(300 * (1 + MOST_JITTER))


def test_410_disables_the_endpoint_at_once() -> None:
    outcome = decide(Answered(410, "gone"), FIRST, jitter=0)

    assert isinstance(outcome, Disabled)
    assert (outcome.reason, outcome.status) == ("answered 410: gone", 410)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("asked", "delay"), [(30.0, 30.0), (0.0, 1.0), (3600.0, 3600.0), (86_400.0, 3600.0)]
)
def test_a_receiver_that_asks_for_time_gets_it_up_to_an_hour(
    status: int, asked: float, delay: float
) -> None:
    outcome = decide(Answered(status, retry_after=asked), FIRST, jitter=1)

    assert outcome == TryAgain(delay, f"answered {status}", status, waits=True)


def test_waiting_that_was_asked_for_does_not_climb_the_ladder() -> None:
    after_two_waits = decide(Answered(500), tried(attempts=3, waits=2), jitter=0)

    assert after_two_waits == TryAgain(LADDER_SECONDS[0], "answered 500", 500)


def test_one_that_asks_for_a_second_again_and_again_is_asked_ever_more_seldom() -> None:
    delays = []
    for waits in range(8):
        outcome = decide(Answered(429, retry_after=1), tried(waits + 1, waits), jitter=0)
        assert isinstance(outcome, TryAgain)
        delays.append(outcome.delay)

    assert delays == [1, 5, 300, 1800, 3600, 3600, 3600, 3600]


@pytest.mark.parametrize("status", [429, 503])
def test_without_a_time_it_is_the_ladder(status: int) -> None:
    assert decide(Answered(status), FIRST, jitter=0) == TryAgain(5.0, f"answered {status}", status)


def test_other_statuses_cannot_ask_for_time() -> None:
    assert decide(Answered(500, retry_after=60), FIRST, jitter=0) == TryAgain(
        5.0, "answered 500", 500
    )


@pytest.mark.parametrize("attempt", [Answered(500), Answered(429, retry_after=1), NotAnswered("x")])
def test_five_days_of_failures_disable_the_endpoint(attempt: Answered | NotAnswered) -> None:
    just_before = tried(3, failing=DISABLED_AFTER_SECONDS - 1)
    assert isinstance(decide(attempt, just_before, jitter=0), TryAgain)

    outcome = decide(attempt, tried(3, failing=5 * DAY), jitter=0)
    assert isinstance(outcome, Disabled)
    assert "five days" in outcome.why


def test_one_failure_after_days_without_a_message_is_tried_again() -> None:
    failing = 6 * DAY
    assert isinstance(decide(Answered(500), tried(1, failing=failing), jitter=0), TryAgain)
    assert isinstance(decide(Answered(500), tried(2, failing=failing), jitter=0), Disabled)


def test_a_success_after_five_days_is_a_success() -> None:
    assert decide(Answered(200), tried(3, failing=6 * DAY), jitter=0) == Delivered(200)


def test_a_test_is_not_tried_again() -> None:
    once = tried(retries=False)

    assert decide(Answered(500), once, jitter=0) == GivenUp("answered 500", 500)
    assert decide(Answered(429, retry_after=1), once, jitter=0) == GivenUp("answered 429", 429)
