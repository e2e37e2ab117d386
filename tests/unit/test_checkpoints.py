"""When the write-ahead log is checkpointed."""

import time
from collections.abc import Callable

import pytest

from backends.checkpoints import Checkpoints


def due(
    checkpoints: Checkpoints,
    rows: int,
    pages: int = 0,
    *,
    others_wait: bool = False,
    **turn: bool,
) -> bool:
    """After one more write of so many rows."""
    checkpoints.changed(rows)
    checkpoints.written(**{"urgent": False, "background": False, **turn})
    return checkpoints.are_due(lambda: pages, others_wait=others_wait)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """So many seconds go by."""

    def go_by(seconds: float) -> None:
        moment = time.monotonic() + seconds
        monkeypatch.setattr(time, "monotonic", lambda: moment)

    return go_by


@pytest.mark.parametrize("urgent", [True, False])
def test_usual_writes_are_checkpointed_by_some_hundred_changes(urgent: bool) -> None:
    checkpoints = Checkpoints()
    assert not due(checkpoints, 399, urgent=urgent)
    assert due(checkpoints, 1, urgent=urgent)
    checkpoints.made(0)
    assert not due(checkpoints, 399, urgent=urgent)
    assert due(checkpoints, 1, urgent=urgent)


@pytest.mark.parametrize("urgent", [True, False])
def test_usual_writes_are_so_when_no_other_waits(urgent: bool) -> None:
    checkpoints = Checkpoints()
    assert not due(checkpoints, 500, urgent=urgent, others_wait=True)
    assert due(checkpoints, 1, urgent=urgent)


def test_a_few_rows_of_many_pages_are_checkpointed_too() -> None:
    """As bodies of megabytes take, and leave when they are erased."""
    checkpoints = Checkpoints()
    assert not due(checkpoints, 1, 399)
    assert due(checkpoints, 0, 400)
    checkpoints.made(400)
    assert not due(checkpoints, 1, 400)
    assert due(checkpoints, 1, 0)


def test_writes_in_the_background_are_by_some_thousand() -> None:
    checkpoints = Checkpoints()
    assert not due(checkpoints, 11_999, background=True)
    assert due(checkpoints, 1, background=True)


def test_a_large_one_waits_for_others_as_well() -> None:
    checkpoints = Checkpoints()
    assert not due(checkpoints, 12_000, background=True, others_wait=True)
    assert due(checkpoints, 1, background=True)


def test_what_is_left_of_the_background_goes_with_the_usual_writes_after_it(
    later: Callable[[float], None],
) -> None:
    checkpoints = Checkpoints()
    due(checkpoints, 5_000, background=True)
    assert not due(checkpoints, 1_000, 1_000)
    later(1.1)
    assert due(checkpoints, 1)
    checkpoints.made(0)
    assert not due(checkpoints, 399)
    assert due(checkpoints, 0, 400, urgent=True), "pages count again"


def test_between_posts_a_large_checkpoint_comes_at_the_end_of_one() -> None:
    checkpoints = Checkpoints()
    due(checkpoints, 1, urgent=True)
    assert not due(checkpoints, 12_000, background=True)
    assert not due(checkpoints, 10), "the next post may come at any time"
    assert due(checkpoints, 1, urgent=True, others_wait=True), "they are not posts"


def test_it_waits_for_posts_that_follow_at_once_but_not_for_ever() -> None:
    checkpoints = Checkpoints()
    assert due(checkpoints, 400, urgent=True)
    assert not checkpoints.can_wait, "a usual one"
    due(checkpoints, 11_600, background=True)
    assert not checkpoints.can_wait
    assert due(checkpoints, 1, urgent=True)
    assert checkpoints.can_wait
    due(checkpoints, 6_000, background=True)
    assert due(checkpoints, 1, urgent=True)
    assert not checkpoints.can_wait


def test_where_nobody_has_posted_lately_it_comes_at_once(later: Callable[[float], None]) -> None:
    checkpoints = Checkpoints()
    due(checkpoints, 1, urgent=True)
    assert not due(checkpoints, 12_000, background=True)
    later(1.1)
    assert due(checkpoints, 1, background=True)


def test_it_does_not_wait_for_ever() -> None:
    checkpoints = Checkpoints()
    due(checkpoints, 1, urgent=True)
    assert not due(checkpoints, 23_998, background=True)
    assert due(checkpoints, 1, background=True)
