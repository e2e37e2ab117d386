"""Figures that are kept for a day follow every change of that day, and of no other."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta

import pytest
from sqlalchemy import Connection, func, select

from analysis.micros import DAY
from database import Database
from errors import Unavailable
from models import insights
from store import derived
from store.conversations import ConversationStore
from store.derived.day_cache import DayCache, Days, bump_day_version, full_days
from store.filters import Span
from tests.support.factories import (
    NOON,
    complete,
    insert_insight,
    new_conversation,
    of_another_process,
)

FIRST = int(NOON.timestamp()) // 86_400
WEEK = Days(FIRST, FIRST + 7)


class Counter:
    """Counts insights by day, and notes for which days it was asked to."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.kept = DayCache[int](most=100)
        self.asked: list[int] = []

    def count(self, connection: Connection, days: Days = WEEK) -> dict[int, int]:
        def ask(changed: Sequence[int]) -> dict[int, int]:
            self.asked += [day - FIRST for day in changed]
            return {day: _count_of(day, connection) for day in changed}

        counts = self.kept.get("all", days, connection, ask)
        return {day - FIRST: counts[day] for day in sorted(counts)}

    async def __call__(self, days: Days = WEEK) -> tuple[dict[int, int], list[int]]:
        """The counts, and which days were counted for it."""
        self.asked = []
        counts = await self.database.read(lambda connection: self.count(connection, days))
        return counts, self.asked


def _count_of(day: int, connection: Connection) -> int:
    of_day = insights.c.timestamp.between(day * DAY, (day + 1) * DAY - 1)
    return connection.scalar(select(func.count()).select_from(insights).where(of_day)) or 0


async def test_only_days_that_changed_are_counted_again(
    database: Database,
) -> None:
    counter = Counter(database)
    async with of_another_process(database) as other:
        ids = [
            await insert_insight(database, timestamp=NOON + timedelta(days=day)) for day in (0, 2)
        ]
        assert await counter() == ({0: 1, 2: 1}, [0, 2])
        assert await counter() == ({0: 1, 2: 1}, [])
        await complete(other, new_conversation(timestamp=NOON + timedelta(days=2)))
        assert await counter() == ({0: 1, 2: 2}, [2])
        await complete(other, new_conversation(timestamp=NOON + timedelta(days=8)))
        assert await counter() == ({0: 1, 2: 2}, [])
        await ConversationStore(other).erase(ids[0])
        assert await counter() == ({0: 0, 2: 2}, [0])
        assert await counter(Days(FIRST + 2, FIRST + 3)) == ({2: 2}, [])
        assert await counter(Days(FIRST, FIRST)) == ({}, [])
        await derived.rebuild(other)
        assert await counter() == ({0: 0, 2: 2}, [0, 2])


async def test_who_sees_an_older_state_is_not_told_of_a_newer_one(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    await database.open()
    counter = Counter(database)
    await insert_insight(database)
    loop = asyncio.get_running_loop()

    def look_twice(connection: Connection) -> list[dict[int, int]]:
        before = counter.count(connection)
        for work in (insert_insight(database), counter()):
            asyncio.run_coroutine_threadsafe(work, loop).result(10)
        return [before, counter.count(connection)]

    try:
        assert await database.read(look_twice) == [{0: 1}, {0: 1}]
        assert (await counter())[0] == {0: 2}
    finally:
        await database.close()


@pytest.mark.parametrize(("most", "questions"), [(8, 200), (1000, 2)])
async def test_the_latest_questions_are_kept_and_not_too_many_answers(
    database: Database, monkeypatch: pytest.MonkeyPatch, most: int, questions: int
) -> None:
    """Two of them, for one reason or the other."""
    monkeypatch.setattr("store.derived.day_cache._QUERIES", questions)
    for day in range(3):
        await insert_insight(database, timestamp=NOON + timedelta(days=day))
    kept = DayCache[int](most=most)
    asked: list[str] = []

    def ask_all(connection: Connection) -> None:
        for question in ("a", "b", "a", "c", "a", "b"):

            def ask(changed: Sequence[int], question: str = question) -> dict[int, int]:
                asked.append(question)
                return dict.fromkeys(changed, 0)

            assert len(kept.get(question, WEEK, connection, ask)) == 3

    await database.read(ask_all)
    assert asked == ["a", "b", "c", "b"]


def test_only_days_that_are_wholly_inside_count_as_whole() -> None:
    assert full_days(Span(0, DAY)) == (0, 1)
    assert full_days(Span(1, 2 * DAY)) == (1, 2)
    assert full_days(Span(0, 2 * DAY - 1)) == (0, 1)
    assert full_days(Span(1, DAY)) == (1, 1)
    assert full_days(Span(5, 8)) == (1, 1)
    assert full_days(Span(-DAY, 0)) == (-1, 0)


async def test_what_was_found_before_it_was_stopped_is_kept(database: Database) -> None:
    """A question that takes too long for one read gets further with each."""
    days = [0, 3, 4, 7]
    await database.write(
        lambda connection: bump_day_version(connection, [day * DAY for day in days])
    )
    kept = DayCache[int](most=100)
    asked: list[list[int]] = []

    def ask(some: Sequence[int]) -> Mapping[int, int]:
        asked.append(list(some))
        if len(asked) == 2:
            raise Unavailable("stopped")
        return dict.fromkeys(some, 1)

    def get(connection: Connection) -> Mapping[int, int]:
        return kept.get("q", Days(0, 10), connection, ask, at_a_time=2)

    with pytest.raises(Unavailable):
        await database.read(get)
    assert await database.read(get) == dict.fromkeys(days, 1)
    assert asked == [[0, 3], [4, 7], [4, 7]]


async def test_queries_that_find_no_day_with_insights_are_forgotten_too(
    database: Database,
) -> None:
    cache = DayCache[int](most=1_000)

    def ask_for_many(connection: Connection) -> None:
        for query in range(500):
            assert cache.get(query, Days(0, 5), connection, lambda _days: {}) == {}

    await database.read(ask_for_many)
    assert len(cache._queries) <= 200
