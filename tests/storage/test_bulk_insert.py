"""Many rows by one statement."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pytest
from sqlalchemy import Connection, bindparam, select

from analysis.outcomes import Complete
from database import Database
from models import Lane, insight_days, insights
from store.bulk_insert import ManyChanges, ManyRows
from store.conversations import ConversationStore
from store.derived import word_index
from store.queue import WorkQueue
from store.statements import Prepared, among
from tests.support.factories import analysis, claim_all, insert_insights, new_conversations


async def _statements_to_settle(database: Database, count: int) -> int:
    """As SQLite counts: a statement that is run for each of several rows counts for each. What a
    trigger does is reported as the statement that set it off, with the same values once more."""
    await ConversationStore(database).accept(new_conversations(count), lane=Lane.LIVE)
    results = [
        (claimed, Complete(analysis(clusters=(f"topic_{number}",))))
        for number, claimed in enumerate(await claim_all(database))
    ]
    seen: list[str] = []

    # What the index of words does inside; and what the writer's thread does before and after, which
    # may come too early or too late to be seen.
    others = ("--", "BEGIN", "COMMIT", "PRAGMA")

    def note(statement: str) -> None:
        if not statement.startswith(others):
            seen.append(statement)

    def listen(connection: Connection) -> None:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        driver.set_trace_callback(note)

    await database.write(listen)
    await WorkQueue(database).settle(results)
    return len(list(groupby(seen)))


async def test_settling_many_takes_hardly_more_statements_than_settling_one(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A merge of that index is due after some transactions of this process, whichever these were.
    monkeypatch.setattr(word_index.MergesDue, "pages", lambda _self, _rows: 0)
    async with Database(sqlite_url) as database:
        await _statements_to_settle(database, 1)  # which makes what the index of words begins with
        one = await _statements_to_settle(database, 1)
        assert await _statements_to_settle(database, 20) < one + 5


async def test_any_number_of_rows_is_written_and_adds_up(database: Database) -> None:
    rows = [(day, day % 7) for day in range(2345)]
    changes = ManyRows(insight_days, adding=True)

    def work(connection: Connection) -> Sequence[tuple[int, int]]:
        changes.insert(connection, rows)
        changes.insert(connection, rows[::2])
        found = connection.execute(select(insight_days).order_by(insight_days.c.day))
        return [(day, number) for day, number in found]

    assert await database.write(work) == [
        (day, number * (1 + (day % 2 == 0))) for day, number in rows
    ]


async def test_any_number_of_rows_is_changed_by_its_key(database: Database) -> None:
    rows = [{"clusters": [f"topic_{number % 3}"]} for number in range(300)]
    await insert_insights(database, rows)
    changes = ManyChanges(insights, ("clusters", "label", "confidence"))

    def work(connection: Connection) -> Sequence[tuple[Any, ...]]:
        ids = connection.scalars(select(insights.c.id).order_by(insights.c.id)).all()
        changes.update(
            connection,
            [
                (id_, [f"new_{place % 2}"], {"at": place} if place % 3 else None, place / 300)
                for place, id_ in enumerate(ids)
            ],
        )
        columns = insights.c
        found = connection.execute(
            select(columns.clusters, columns.label, columns.confidence).order_by(columns.id)
        )
        return [tuple(row) for row in found]

    assert await database.write(work) == [
        ([f"new_{place % 2}"], {"at": place} if place % 3 else None, place / 300)
        for place in range(300)
    ]


async def test_one_of_many_values_is_found_on_both_databases(database: Database) -> None:
    await insert_insights(database, [{}] * 60)
    columns = insights.c
    statement = Prepared(
        select(columns.conversation_id)
        .where(
            among(columns.conversation_id, "ids"),
            ~among(columns.id, "without"),
            columns.confidence >= bindparam("least"),
            columns.own == 0,
        )
        .order_by(columns.id)
    )

    def work(connection: Connection) -> tuple[Any, ...]:
        rows = connection.execute(select(columns.id, columns.conversation_id).order_by(columns.id))
        (first, one), (_, two), *_ = rows.all()
        asked = {"ids": [two, one, "conv_none"], "without": [], "least": 0.0}
        others: list[dict[str, Any]] = [{}, {"without": [first]}, {"ids": []}]
        found = [[row[0] for row in statement.run(connection, asked | other)] for other in others]
        return found, one, two

    found, one, two = await database.read(work)
    assert found == [[one, two], [two], []]
