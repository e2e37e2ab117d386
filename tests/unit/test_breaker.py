"""When to stop calling and when to try again, on a clock that only moves when told to."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clock import Clock
from tests.support.http_helpers import captured_log
from worker.breaker import FAILURES_TO_OPEN, LONGEST_GAP_SECONDS, Breaker


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock=clock)


def fail(breaker: Breaker, *conversations: str, reason: str = "HTTP 503") -> None:
    """A call with these begins and fails."""
    breaker.failed(breaker.begin(), reason, conversations)


def open_by_failures(breaker: Breaker) -> None:
    for number in range(FAILURES_TO_OPEN):
        fail(breaker, f"c{number}")


def open_until_a_person_acts(breaker: Breaker, reason: str = "HTTP 400: Incorrect API key") -> None:
    breaker.blocked(breaker.begin(), reason)


BOTH = pytest.mark.parametrize("open_it", [open_by_failures, open_until_a_person_acts])

# --- opening --------------------------------------------------------------------------------------


def test_a_new_one_is_closed(breaker: Breaker) -> None:
    assert breaker.reason is None
    assert breaker.next_probe_seconds() is None
    assert breaker.wait_left() == 0.0


def test_five_failures_in_a_row_of_different_conversations_open_it(breaker: Breaker) -> None:
    for number in range(4):
        fail(breaker, f"c{number}")
        assert breaker.reason is None
    fail(breaker, "c4", reason="HTTP 500: oh")
    assert breaker.reason == "HTTP 500: oh"


def test_one_conversation_that_fails_again_and_again_does_not(breaker: Breaker) -> None:
    for _ in range(50):
        fail(breaker, "c0")
    assert breaker.reason is None


def test_a_packed_call_is_one_failure_however_many_it_carried(breaker: Breaker) -> None:
    for pack in range(4):
        fail(breaker, *(f"c{pack}-{number}" for number in range(10)))
    assert breaker.reason is None
    fail(breaker, "another", "c0-0")
    assert breaker.reason is not None


def test_those_of_a_packed_call_that_fail_again_alone_are_not_new(breaker: Breaker) -> None:
    pack = [f"c{number}" for number in range(10)]
    fail(breaker, *pack)
    for one in pack:
        fail(breaker, one)
    assert breaker.reason is None


def test_any_answer_between_begins_the_row_anew(breaker: Breaker) -> None:
    for number in range(40):
        if number % 4 == 0:
            breaker.succeeded()
        fail(breaker, f"c{number}")
    assert breaker.reason is None


def test_a_call_that_told_nothing_neither_counts_nor_begins_the_row_anew(breaker: Breaker) -> None:
    for number in range(FAILURES_TO_OPEN):
        breaker.not_tried(breaker.begin())
        assert breaker.reason is None
        fail(breaker, f"c{number}")
    assert breaker.reason is not None


def test_what_only_a_person_can_mend_opens_it_at_once(breaker: Breaker) -> None:
    open_until_a_person_acts(breaker, "HTTP 403: no credits")
    assert breaker.reason == "HTTP 403: no credits"
    assert breaker.next_probe_seconds() == 60.0


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4), max_size=30))
def test_it_opens_no_earlier_than_five_conversations_have_failed(packs: list[list[str]]) -> None:
    breaker = Breaker(clock=Clock())
    for sent, pack in enumerate(packs, start=1):
        fail(breaker, *pack)
        different = len({one for earlier in packs[:sent] for one in earlier})
        if breaker.reason is not None:
            assert sent >= FAILURES_TO_OPEN
            assert different >= FAILURES_TO_OPEN


# --- refusals that may be nobody's fault ----------------------------------------------------------


def refuse(
    breaker: Breaker, conversation: str, text: str = "", reason: str = "HTTP 422: no"
) -> Any:
    """A call with this text alone begins and is refused."""
    return breaker.refused(breaker.begin(), reason, conversation, text or conversation)


def test_the_same_refusal_of_three_texts_in_a_row_opens_it_and_names_those_before(
    breaker: Breaker,
) -> None:
    assert refuse(breaker, "c1", reason="HTTP 422: no 'a' at line 1") == ()
    assert refuse(breaker, "c2", reason="HTTP 422: no 'b' at line 23") == ()
    assert breaker.reason is None
    assert set(refuse(breaker, "c3")) == set(), "another refusal"
    assert refuse(breaker, "c4") == ()
    assert set(refuse(breaker, "c5")) == {"c3", "c4"}
    assert breaker.reason == "HTTP 422: no"
    assert breaker.next_probe_seconds() == 60.0


def test_one_text_however_often_it_is_posted_does_not(breaker: Breaker) -> None:
    for number in range(20):
        assert refuse(breaker, f"c{number}", "same") == ()
    refuse(breaker, "d1")
    assert breaker.reason is None
    assert len(refuse(breaker, "d2")) == 21


def test_an_answer_between_begins_the_row_of_refusals_anew(breaker: Breaker) -> None:
    for number in range(20):
        if number % 2 == 0:
            breaker.succeeded()
        assert refuse(breaker, f"c{number}") == ()
    assert breaker.reason is None


def test_failures_and_calls_that_told_nothing_leave_the_row_of_refusals_as_it_is(
    breaker: Breaker,
) -> None:
    for number in range(3):
        fail(breaker, f"d{number}")
        breaker.not_tried(breaker.begin())
        refuse(breaker, f"c{number}")
    assert breaker.reason == "HTTP 422: no"


@BOTH
def test_a_probe_that_is_refused_keeps_it_open(
    breaker: Breaker, clock: Clock, open_it: Callable[[Breaker], None]
) -> None:
    under_way = breaker.begin()
    open_it(breaker)
    before = breaker.reason
    assert breaker.refused(under_way, "HTTP 422: no", "c", "c") == ()
    assert breaker.reason == before
    clock.now += 60
    assert refuse(breaker, "c") == ()
    assert breaker.reason == "HTTP 422: no"
    assert breaker.wait_left() > 0


def test_a_text_that_probes_are_refused_for_makes_room_ever_longer(
    breaker: Breaker, clock: Clock
) -> None:
    """However many of them are first in the queue, another has its turn in the end."""
    open_until_a_person_acts(breaker)
    due = dict.fromkeys(range(12), 0.0)
    tried: list[int] = []
    while len(set(tried)) < len(due) and len(tried) < 1000:
        clock.now += 60
        first = min(text for text in due if due[text] <= clock.now)
        tried.append(first)
        due[first] = clock.now + breaker.probe_delay
    assert set(tried) == set(due)


# --- probing --------------------------------------------------------------------------------------


def probes(breaker: Breaker, clock: Clock, count: int) -> list[float]:
    """Seconds before each of so many probes, all of which fail."""
    waits = []
    for _ in range(count):
        waits.append(breaker.wait_left())
        clock.now += waits[-1]
        fail(breaker, "probe")
    return waits


def test_an_outage_is_probed_ever_more_rarely(breaker: Breaker, clock: Clock) -> None:
    open_by_failures(breaker)
    waits = [round(wait, 6) for wait in probes(breaker, clock, 300)]
    assert waits[:3] == [1.0, 2.0, 3.0]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_GAP_SECONDS == 60.0


def test_the_end_of_an_outage_is_noticed_after_a_small_part_of_its_length(
    breaker: Breaker, clock: Clock
) -> None:
    open_by_failures(breaker)
    began = clock.now
    for _ in range(100):
        (wait,) = probes(breaker, clock, 1)
        assert wait <= max(3.0, (clock.now - began) / 20)


def test_what_a_person_must_mend_is_probed_once_a_minute(breaker: Breaker, clock: Clock) -> None:
    open_until_a_person_acts(breaker)
    for _ in range(10):
        assert breaker.wait_left() == 60.0
        clock.now += 60
        open_until_a_person_acts(breaker)


@BOTH
def test_one_probe_at_a_time(
    breaker: Breaker, clock: Clock, open_it: Callable[[Breaker], None]
) -> None:
    open_it(breaker)
    clock.now += 60
    assert breaker.wait_left() == 0.0
    assert breaker.next_probe_seconds() == 0.0
    breaker.begin()
    assert breaker.wait_left() > 0.0
    assert breaker.next_probe_seconds() == 0.0
    clock.now += 3600
    assert breaker.wait_left() > 0.0, "however long it takes"


@BOTH
def test_a_probe_that_told_nothing_may_be_made_again_at_once(
    breaker: Breaker, clock: Clock, open_it: Callable[[Breaker], None]
) -> None:
    open_it(breaker)
    reason = breaker.reason
    clock.now += 60
    breaker.not_tried(breaker.begin())
    assert breaker.wait_left() == 0.0
    assert breaker.reason == reason


@BOTH
def test_calls_that_were_under_way_when_it_opened_put_no_probe_off(
    breaker: Breaker, clock: Clock, open_it: Callable[[Breaker], None]
) -> None:
    under_way = [breaker.begin() for _ in range(20)]
    open_it(breaker)
    reason, next_probe = breaker.reason, breaker.next_probe_seconds()
    for number, begun in enumerate(under_way):
        breaker.failed(begun, "an old story", [f"d{number}"])
    assert (breaker.reason, breaker.next_probe_seconds()) == (reason, next_probe)


@BOTH
def test_calls_that_were_under_way_when_it_opened_end_no_probe(
    breaker: Breaker, clock: Clock, open_it: Callable[[Breaker], None]
) -> None:
    first, second = breaker.begin(), breaker.begin()
    open_it(breaker)
    reason = breaker.reason
    clock.now += 60
    probe = breaker.begin()
    breaker.failed(first, "an old story", ["d1"])
    breaker.not_tried(second)
    assert breaker.reason == reason
    assert breaker.wait_left() > 0.0, "no second probe beside the first"
    breaker.not_tried(probe)
    assert breaker.wait_left() == 0.0


def test_many_that_are_blocked_together_are_probed_after_a_minute(
    breaker: Breaker, clock: Clock
) -> None:
    under_way = [breaker.begin() for _ in range(20)]
    for begun in under_way:
        breaker.blocked(begun, "HTTP 401")
        clock.now += 1
    assert breaker.next_probe_seconds() == 60.0 - 20


def test_a_probe_that_fails_otherwise_gives_the_newest_reason(
    breaker: Breaker, clock: Clock
) -> None:
    open_by_failures(breaker)
    clock.now += 1
    fail(breaker, "c9", reason="HTTP 502: bad gateway")
    assert breaker.reason == "HTTP 502: bad gateway"
    assert breaker.next_probe_seconds() == 2.0


def test_an_outage_that_turns_out_to_need_a_person_is_probed_once_a_minute(
    breaker: Breaker, clock: Clock
) -> None:
    open_by_failures(breaker)
    clock.now += 1
    open_until_a_person_acts(breaker, "HTTP 400: Incorrect API key")
    assert breaker.reason == "HTTP 400: Incorrect API key"
    assert breaker.next_probe_seconds() == 60.0


# --- closing --------------------------------------------------------------------------------------


@BOTH
def test_any_answer_closes_it(
    breaker: Breaker, clock: Clock, open_it: Callable[[Breaker], None]
) -> None:
    open_it(breaker)
    clock.now += 60
    breaker.begin()
    breaker.succeeded()
    assert breaker.reason is None
    assert breaker.next_probe_seconds() is None
    assert breaker.wait_left() == 0.0


def test_an_answer_to_a_call_that_was_under_way_when_it_opened_closes_it(breaker: Breaker) -> None:
    breaker.begin()
    open_by_failures(breaker)
    breaker.succeeded()
    assert breaker.wait_left() == 0.0


def test_once_closed_it_takes_five_failures_to_open_it_again(
    breaker: Breaker, clock: Clock
) -> None:
    open_by_failures(breaker)
    probes(breaker, clock, 20)
    breaker.succeeded()
    for number in range(4):
        fail(breaker, f"d{number}")
        assert breaker.reason is None
    fail(breaker, "d4")
    assert breaker.next_probe_seconds() == 1.0, "and probes begin anew"


def test_one_that_needed_a_person_may_open_for_an_outage_the_next_time(
    breaker: Breaker, clock: Clock
) -> None:
    open_until_a_person_acts(breaker)
    breaker.succeeded()
    open_by_failures(breaker)
    assert breaker.next_probe_seconds() == 1.0


# --- what is told ---------------------------------------------------------------------------------


def test_opening_and_closing_are_logged_once_each(breaker: Breaker, clock: Clock) -> None:
    with captured_log() as log:
        open_by_failures(breaker)
        probes(breaker, clock, 3)
        breaker.succeeded()
        breaker.succeeded()
    (opened,) = log.named("breaker_opened")
    (closed,) = log.named("breaker_closed")
    assert opened["reason"] == "HTTP 503"
    assert opened["next_probe_seconds"] == 1.0
    assert closed["seconds"] == 6.0


EVENTS = st.sampled_from(["begin", "succeeded", "failed", "blocked", "not_tried", "later"])


@given(st.lists(st.tuples(EVENTS, st.sampled_from("abcdefgh"), st.floats(0, 100)), max_size=60))
def test_whatever_happens_a_call_may_begin_within_a_minute_or_after_the_probe(
    events: list[tuple[str, str, float]],
) -> None:
    clock = Clock()
    breaker = Breaker(clock=clock)
    under_way = [breaker.begin()]
    for event, conversation, seconds in events:
        match event:
            case "begin":
                under_way.append(breaker.begin())
            case "failed" if under_way:
                breaker.failed(under_way.pop(), "HTTP 503", [conversation])
            case "blocked" if under_way:
                breaker.blocked(under_way.pop(0), "HTTP 401")
            case "not_tried" if under_way:
                breaker.not_tried(under_way.pop(0))
            case "succeeded":
                breaker.succeeded()
            case _:
                clock.now += seconds
        assert 0.0 <= breaker.wait_left() <= LONGEST_GAP_SECONDS + 1e-6
        assert (breaker.reason is None) == (breaker.next_probe_seconds() is None)
        if breaker.reason is None:
            assert breaker.wait_left() == 0.0
    for begun in under_way:
        breaker.not_tried(begun)
    clock.now += LONGEST_GAP_SECONDS + 1e-6
    assert breaker.wait_left() == 0.0
