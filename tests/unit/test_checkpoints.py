"""When the write-ahead log is checkpointed."""

import pytest

from backends.checkpoints import Checkpoints


def due(checkpoints: Checkpoints, changes: int, pages: int = 0, **turn: bool) -> bool:
    return checkpoints.are_due(changes, pages, **{"urgent": False, "background": False, **turn})


@pytest.mark.parametrize("urgent", [True, False])
def test_usual_writes_are_checkpointed_by_some_hundred_changes(urgent: bool) -> None:
    checkpoints = Checkpoints()
    assert not due(checkpoints, 399, urgent=urgent)
    assert due(checkpoints, 400, urgent=urgent)
    checkpoints.made(400, 0)
    assert not due(checkpoints, 799, urgent=urgent)
    assert due(checkpoints, 800, urgent=urgent)


def test_a_few_rows_of_many_pages_are_checkpointed_too() -> None:
    """As bodies of megabytes take, and leave when they are erased."""
    checkpoints = Checkpoints()
    assert not due(checkpoints, 1, 399)
    assert due(checkpoints, 1, 400)
    checkpoints.made(1, 400)
    assert not due(checkpoints, 2, 400)
    assert due(checkpoints, 3, 0)


def test_writes_in_the_background_are_by_some_thousand() -> None:
    checkpoints = Checkpoints()
    assert not due(checkpoints, 11_999, background=True)
    assert due(checkpoints, 12_000, background=True)


def test_what_is_left_of_the_background_waits_as_long_for_a_usual_write() -> None:
    checkpoints = Checkpoints()
    due(checkpoints, 5_000, background=True)
    assert not due(checkpoints, 5_400)
    assert due(checkpoints, 12_000)
    checkpoints.made(12_000, 0)
    assert due(checkpoints, 12_400)


def test_after_a_post_a_large_checkpoint_waits_until_its_result_is_settled() -> None:
    checkpoints = Checkpoints()
    due(checkpoints, 10, urgent=True)
    assert not due(checkpoints, 12_010, background=True)
    assert not due(checkpoints, 12_020, urgent=True)
    assert due(checkpoints, 12_030)


def test_it_does_not_wait_for_ever() -> None:
    checkpoints = Checkpoints()
    due(checkpoints, 10, urgent=True)
    assert due(checkpoints, 24_000, background=True)
