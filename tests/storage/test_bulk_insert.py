"""Many rows by one statement."""

from collections.abc import Sequence
from itertools import groupby

from sqlalchemy import Connection, select

from analysis.outcomes import Complete
from database import Database
from models import Lane, insight_days
from store.bulk_insert import ManyRows
from store.conversations import ConversationStore
from store.queue import WorkQueue
from tests.support.factories import analysis, claim_all, new_conversations


async def _statements_to_settle(database: Database, count: int) -> int:
    """As SQLite counts: a statement that is run for each of several rows counts for each. What a
    trigger does is reported as the statement that set it off, with the same values once more."""
    await ConversationStore(database).accept(new_conversations(count), lane=Lane.LIVE)
    results = [
        (claimed, Complete(analysis(clusters=(f"topic_{number}",))))
        for number, claimed in enumerate(await claim_all(database))
    ]
    seen: list[str] = []

    def note(statement: str) -> None:
        if not statement.startswith("--"):  # what the index of words does inside
            seen.append(statement)

    def listen(connection: Connection) -> None:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        driver.set_trace_callback(note)

    await database.write(listen)
    await WorkQueue(database).settle(results)
    return len(list(groupby(seen)))


async def test_settling_many_takes_no_more_statements_than_settling_one(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    await database.open()
    try:
        await _statements_to_settle(database, 1)  # which makes what the index of words begins with
        one = await _statements_to_settle(database, 1)
        assert await _statements_to_settle(database, 20) == one
    finally:
        await database.close()


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
