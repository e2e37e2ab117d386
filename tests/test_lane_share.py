"""The bulk lane's fifth."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_processor import LaneShare


def claim(share: LaneShare, limit: int, *, live: int, bulk: int) -> tuple[int, int]:
    """What a claim takes from queues of that length, the reserved bulk first; recorded."""
    reserved = min(share.bulk_first(limit), limit, bulk)
    from_live = min(live, limit - reserved)
    from_bulk = min(bulk, limit - from_live)
    share.record(limit=limit, live=from_live, bulk=from_bulk)
    return from_live, from_bulk


PLENTY = 10**9


def claims(limits: Iterable[int], *, live: int = PLENTY, bulk: int = PLENTY) -> list[int]:
    """How many of each claim are bulk."""
    share = LaneShare(0.2)
    return [claim(share, limit, live=live, bulk=bulk)[1] for limit in limits]


@pytest.mark.parametrize(
    ("limits", "bulk"),
    [
        ([1] * 10, [0, 0, 0, 0, 1, 0, 0, 0, 0, 1]),
        ([2] * 5, [0, 0, 1, 0, 1]),
        ([5] * 3, [1, 1, 1]),
        ([10] * 3, [2, 2, 2]),
        ([7] * 5, [1, 1, 2, 1, 2]),
    ],
)
def test_of_two_busy_lanes_bulk_gets_a_fifth(limits: list[int], bulk: list[int]) -> None:
    assert claims(limits) == bulk


@given(st.lists(st.integers(1, 50), min_size=1, max_size=200))
def test_of_two_busy_lanes_bulk_is_never_a_whole_call_short_of_a_fifth_nor_over_it(
    limits: list[int],
) -> None:
    share = LaneShare(0.2)
    all_calls = all_bulk = 0
    for limit in limits:
        live, bulk = claim(share, limit, live=PLENTY, bulk=PLENTY)
        assert live + bulk == limit
        all_calls += limit
        all_bulk += bulk
        assert all_calls * 0.2 - 1 < all_bulk <= all_calls * 0.2 + 1e-6


@given(st.lists(st.integers(1, 50), min_size=1, max_size=50))
def test_without_live_work_bulk_gets_every_call(limits: list[int]) -> None:
    assert claims(limits, live=0) == limits


@given(st.lists(st.integers(1, 50), min_size=1, max_size=50))
def test_without_bulk_work_live_loses_no_call(limits: list[int]) -> None:
    share = LaneShare(0.2)
    for limit in limits:
        assert claim(share, limit, live=PLENTY, bulk=0) == (limit, 0)


@given(st.lists(st.integers(1, 20), max_size=100), st.integers(1, 20))
def test_an_empty_bulk_lane_saves_nothing_up(idle: list[int], limit: int) -> None:
    share = LaneShare(0.2)
    for idle_limit in idle:
        claim(share, idle_limit, live=PLENTY, bulk=0)
    assert share.bulk_first(limit) <= limit * 0.2 + 1


@given(st.lists(st.integers(1, 20), max_size=100))
def test_calls_that_bulk_got_while_live_was_idle_are_not_held_against_it(idle: list[int]) -> None:
    share = LaneShare(0.2)
    for idle_limit in idle:
        claim(share, idle_limit, live=0, bulk=PLENTY)
    assert share.bulk_first(10) >= 2


def test_never_more_is_reserved_than_there_are_calls() -> None:
    share = LaneShare(0.2)
    for _ in range(4):
        claim(share, 1, live=PLENTY, bulk=PLENTY)
    assert share.bulk_first(1) == 1
