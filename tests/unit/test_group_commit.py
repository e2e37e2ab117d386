"""Callers that share a commit, each with an answer of its own."""

import asyncio
from collections.abc import Sequence

import pytest

from backends.group_commit import GroupCommit
from errors import Conflict, ServiceError, Unavailable


class Ledger:
    """A `commit` that keeps what it was given, and can be held up with `gate`."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()

    async def commit(self, items: Sequence[int]) -> Sequence[str | ServiceError]:
        self.groups.append(list(items))
        self.entered.set()
        await self.gate.wait()
        if any(item < 0 for item in items):
            raise ValueError("the database chokes")
        return [Conflict(f"not {item}") if item % 10 == 9 else f"stored {item}" for item in items]

    def grouped(self, *, max_weight: int = 1000) -> GroupCommit[int, str]:
        return GroupCommit(self.commit, weigh=abs, max_weight=max_weight)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


async def submit_all(group_commit: GroupCommit[int, str], items: list[int]) -> list[object]:
    async with asyncio.timeout(5):
        return list(await asyncio.gather(*map(group_commit.submit, items), return_exceptions=True))


async def test_a_lone_caller_has_a_commit_of_its_own(ledger: Ledger) -> None:
    group_commit = ledger.grouped()
    assert await group_commit.submit(1) == "stored 1"
    assert await group_commit.submit(2) == "stored 2"
    assert ledger.groups == [[1], [2]]


async def test_those_who_come_during_a_commit_share_the_next(ledger: Ledger) -> None:
    ledger.gate.clear()
    group_commit = ledger.grouped()
    first = asyncio.create_task(group_commit.submit(1))
    await ledger.entered.wait()
    rest = [asyncio.create_task(group_commit.submit(item)) for item in (2, 3, 4)]
    await asyncio.sleep(0)  # let them line up
    ledger.gate.set()
    assert await asyncio.gather(first, *rest) == ["stored 1", "stored 2", "stored 3", "stored 4"]
    assert ledger.groups == [[1], [2, 3, 4]]


async def test_a_hundred_at_once_share_few_commits(ledger: Ledger) -> None:
    items = [10 * number + 1 for number in range(100)]
    answers = await submit_all(ledger.grouped(max_weight=10**6), items)
    assert answers == [f"stored {item}" for item in items]
    assert len(ledger.groups) <= 2


async def test_a_group_is_no_heavier_than_allowed(ledger: Ledger) -> None:
    await submit_all(ledger.grouped(max_weight=10), [4, 4, 4, 3, 3, 3, 10, 1])
    assert ledger.groups == [[4, 4], [4, 3, 3], [3], [10], [1]]


async def test_an_item_heavier_than_allowed_goes_alone(ledger: Ledger) -> None:
    answers = await submit_all(ledger.grouped(max_weight=10), [1, 50, 2])
    assert answers == ["stored 1", "stored 50", "stored 2"]
    assert ledger.groups == [[1], [50], [2]]


async def test_an_error_of_one_item_is_told_to_that_one_alone(ledger: Ledger) -> None:
    first, conflict, last = await submit_all(ledger.grouped(), [1, 9, 2])
    assert (first, last) == ("stored 1", "stored 2")
    assert isinstance(conflict, Conflict)
    assert conflict.details == "not 9"
    assert ledger.groups == [[1, 9, 2]]


async def test_an_item_that_the_database_chokes_on_spoils_no_other(ledger: Ledger) -> None:
    first, choked, last = await submit_all(ledger.grouped(), [1, -5, 2])
    assert (first, last) == ("stored 1", "stored 2")
    assert isinstance(choked, ValueError)
    assert ledger.groups == [[1, -5, 2], [1], [-5], [2]]


async def test_when_the_database_is_away_the_whole_group_hears_of_it_at_once() -> None:
    groups = []

    async def commit(items: Sequence[int]) -> Sequence[str]:
        groups.append(list(items))
        raise Unavailable("The database is locked by another process.")

    group_commit = GroupCommit[int, str](commit, weigh=abs, max_weight=1000)
    answers = await submit_all(group_commit, [1, 2, 3])
    assert [type(answer) for answer in answers] == [Unavailable] * 3
    assert groups == [[1, 2, 3]]


async def test_after_a_failure_the_next_is_served(ledger: Ledger) -> None:
    group_commit = ledger.grouped()
    with pytest.raises(ValueError, match="chokes"):
        await group_commit.submit(-1)
    assert await group_commit.submit(1) == "stored 1"


async def test_a_caller_who_has_gone_leaves_the_others_their_answers(ledger: Ledger) -> None:
    ledger.gate.clear()
    group_commit = ledger.grouped()
    first = asyncio.create_task(group_commit.submit(1))
    await ledger.entered.wait()
    gone = asyncio.create_task(group_commit.submit(2))
    stays = asyncio.create_task(group_commit.submit(3))
    await asyncio.sleep(0)
    gone.cancel()
    first.cancel()
    ledger.gate.set()
    assert await asyncio.wait_for(stays, 5) == "stored 3"
    assert first.cancelled()
    assert gone.cancelled()


async def test_drained_waits_for_everything_handed_in(ledger: Ledger) -> None:
    ledger.gate.clear()
    group_commit = ledger.grouped(max_weight=1)
    tasks = [asyncio.create_task(group_commit.submit(1)) for _ in range(3)]
    await ledger.entered.wait()
    drained = asyncio.create_task(group_commit.drained())
    await asyncio.sleep(0)
    assert not drained.done()
    ledger.gate.set()
    await asyncio.wait_for(drained, 5)
    assert ledger.groups == [[1], [1], [1]]
    assert await asyncio.gather(*tasks) == ["stored 1"] * 3


async def test_nothing_handed_in_is_drained_at_once(ledger: Ledger) -> None:
    await asyncio.wait_for(ledger.grouped().drained(), 5)
    assert ledger.groups == []


async def test_who_stopped_waiting_before_the_commit_is_left_out(ledger: Ledger) -> None:
    ledger.gate.clear()
    group_commit = ledger.grouped()
    first = asyncio.create_task(group_commit.submit(1))
    await ledger.entered.wait()
    gone, stays = (asyncio.create_task(group_commit.submit(item)) for item in (2, 3))
    await asyncio.sleep(0)  # let them line up
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    ledger.gate.set()

    assert [await first, await stays] == ["stored 1", "stored 3"]
    assert ledger.groups == [[1], [3]]
