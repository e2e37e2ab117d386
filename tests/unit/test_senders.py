"""What a text's data tells of who wrote it."""

from typing import Any

import pytest

from analysis.senders import MOST_FOLLOWERS, account, followers_of, is_outbound, reach


@pytest.mark.parametrize("name", ["acme", "@Acme", " @ACME ", "ACME"])
def test_an_account_is_the_same_however_it_is_written(name: str) -> None:
    assert account(name) == "acme"


@pytest.mark.parametrize(
    "raw_data",
    [
        {"followers_count": 1200},
        {"followers": 1200},
        {"user": {"followers_count": 1200}},
        {"author": {"followers_count": 1200}},
        {"public_metrics": {"followers_count": 1200}},
        {"author": {"public_metrics": {"followers_count": 1200}}},
        {"followers": "1200"},
        {"followers": 1200.0},
        {"followers_count": "many", "user": {"followers_count": 1200}},
        {"author": "ana", "followers": 1200},
    ],
)
def test_followers_are_found_under_each_of_their_names(raw_data: dict[str, Any]) -> None:
    assert followers_of(raw_data) == 1200


@pytest.mark.parametrize(
    "count",
    [
        *(-1, 1.5, float("-inf"), float("nan"), True, None),
        *("", "-3", "1e3", [], {"count": 3}),
    ],
)
def test_what_is_no_count_of_followers_is_none(count: object) -> None:
    assert followers_of({"followers": count}) is None


@pytest.mark.parametrize("count", [10**12, 1e30, 10**400, float("inf"), "9" * 12, "9" * 5000])
def test_more_followers_than_there_are_people_are_as_many_as_count_at_all(count: object) -> None:
    assert followers_of({"followers": count}) == MOST_FOLLOWERS
    assert reach(MOST_FOLLOWERS) == 1.0


@pytest.mark.parametrize(
    ("raw_data", "outbound"),
    [
        ({"inbound": False}, True),
        ({"inbound": "False"}, True),
        ({"inbound": "0"}, True),
        ({"inbound": True}, False),
        ({"inbound": "true"}, False),
        ({"inbound": None}, False),
        ({"inbound": ""}, False),
        ({"inbound": []}, False),
        ({}, False),
    ],
)
def test_only_what_is_said_not_to_come_in_goes_out(
    raw_data: dict[str, Any], outbound: bool
) -> None:
    assert is_outbound(raw_data) == outbound


@pytest.mark.parametrize(
    ("followers", "expected"),
    [(None, 0.0), (0, 0.0), (9, 0.166667), (999, 0.5), (999_999, 1.0), (MOST_FOLLOWERS, 1.0)],
)
def test_reach_grows_alike_with_each_ten_times_as_many(
    followers: int | None, expected: float
) -> None:
    assert reach(followers) == expected
