"""Frequent words are counted before anybody searches for them, where that takes long."""

from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, event, text

from database import Database
from store.derived.word_counts import MatchCounter
from store.filters import InsightFilter, filter_of
from store.frequent_words import FrequentWords
from tests.support.factories import NOON, insert_insights, run_sql


async def count(
    database: Database, matches: MatchCounter, wanted: InsightFilter
) -> tuple[int, int]:
    """The total, and how many statements counted day by day for it."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        found = await database.read(lambda connection: matches.count(wanted, connection))
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    return found.total, sum("GROUP BY" in statement for statement in seen)


async def test_what_many_texts_hold_is_counted_once_and_what_few_hold_is_not(
    database: Database,
) -> None:
    texts = ["parcel late", "parcel lost", "parcel late again", "refund"]
    days = [NOON - timedelta(days=number) for number in range(10)]
    await insert_insights(
        database, [{"text": each, "timestamp": day} for each in texts for day in days]
    )
    if not database.is_sqlite:
        await run_sql(database, text("ANALYZE insight_terms"))
    matches = MatchCounter()
    frequent = FrequentWords(database, matches, least=20)

    steps = 1
    while await frequent.step():
        steps += 1

    assert steps == (1 if database.is_sqlite else 2)
    if database.is_sqlite:
        return
    assert await count(database, matches, filter_of({"q": "Parcel"})) == (30, 0)
    assert await count(database, matches, filter_of({"q": "late"})) == (20, 0)
    assert await count(database, matches, filter_of({"q": "refund"})) == (10, 1)
    assert not await frequent.step()
