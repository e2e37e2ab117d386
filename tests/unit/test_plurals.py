"""Numbers of things, as people are told them."""

from collections import Counter

import pytest

from importing.records import SkippedLines
from importing.report import Tally, account
from runtime.plurals import counted


@pytest.mark.parametrize(
    ("count", "told"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1000, "1,000 rows")]
)
def test_one_of_a_thing_has_no_plural(count: int, told: str) -> None:
    assert counted(count, "row") == told


def test_a_plural_may_be_a_word_of_its_own() -> None:
    assert [counted(count, "is", "are") for count in (1, 2)] == ["1 is", "2 are"]


def test_the_sum_of_an_account_is_in_the_same_words_for_any_number() -> None:
    (line,) = account(Tally(read=1, duplicates=1), Counter(), SkippedLines(), None)
    assert line == "1 rows read: 0 accepted, 1 duplicates, 0 rejected."
