"""What becomes of the files that other programs export: first those from the field, where their
folder is there, then short ones in the same shapes."""

from pathlib import Path
from typing import Any

import pytest

from tests.import_helpers import Outcome, Read

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"


@pytest.fixture
def case(read: Read) -> Any:
    """`case("reddit_comments.ndjson")`: what comes of that file."""

    def do(name: str, **options: Any) -> Outcome:
        if not (CASES / name).exists():
            pytest.skip(f"{CASES / name} is not there")
        return read(CASES / name, **options)

    return do


def fields(found: Outcome, name: str) -> list[Any]:
    return [body.get(name) for body in found.bodies]


# --- from the field -------------------------------------------------------------------------------


def test_a_post_that_was_cut_off_is_taken_whole(case: Any) -> None:
    (text,) = case("x_v11_truncated.ndjson").texts
    assert text.startswith("@acme_care Thank you")
    assert text.endswith("I want my money back now.")


def test_times_in_created_utc(case: Any) -> None:
    found = case("reddit_comments.ndjson")
    assert fields(found, "timestamp") == ["2024-01-20T10:00:00Z", "2024-01-20T11:00:00Z"]


def test_lines_before_the_header(case: Any) -> None:
    found = case("listening_preamble.csv")
    assert found.texts == ["Third week without a refund, @acme_care.", "Parcel came today, thanks!"]
    assert fields(found, "timestamp") == ["2025-01-20T10:00:00Z", "2025-01-20T11:00:00Z"]
    assert fields(found, "author") == ["maple_otter", "harbour_lane"]
    assert found.intake.passed_over.preamble == 6


def test_posts_in_html(case: Any) -> None:
    found = case("mastodon_statuses.json")
    assert found.texts == [
        "Three weeks without a refund from @acme_care.\nI don't like this & I will leave.\n#fail",
        "Parcel came today, thanks!",
    ]
    assert fields(found, "author") == ["maple_otter@social.example", "harbour_lane"]


def test_authors_that_are_objects(case: Any) -> None:
    assert fields(case("author_objects.ndjson"), "author") == ["Maple", "harbour_lane", "7"]


def test_a_list_under_a_name_of_its_own(case: Any) -> None:
    (body,) = case("zendesk_tickets.json").bodies
    assert (body["text"], body["timestamp"]) == (
        "Third week without a refund.",
        "2025-01-20T10:00:00Z",
    )


def test_years_of_two_digits(case: Any) -> None:
    found = case("excel_short_years.csv")
    assert fields(found, "timestamp") == ["2025-01-20T10:00:00Z", "2025-01-21T11:30:00Z"]


def test_our_own_export_comes_back(case: Any) -> None:
    assert case("export_round_trip.csv").texts == [
        "'quoted start",
        "=1+1",
        "@acme_care my parcel is late",
    ]
