"""How much of SQLite's index of words is merged when."""

from store.derived.word_index import MergesDue


def test_each_fourth_insight_that_comes_alone_merges_a_little() -> None:
    due = MergesDue()
    assert [due.pages(1) for _ in range(8)] == [0, 0, 0, 16, 0, 0, 0, 16]


def test_many_at_once_merge_in_proportion() -> None:
    due = MergesDue()
    assert due.pages(1000) == 4 * (1 + 1000 // 25)
    assert [due.pages(20) for _ in range(4)] == [0, 0, 0, 16]
    assert due.pages(60) == 0
    assert due.pages(1) == 16
