"""What one conversation has gathered, and what is read for a page: no more than an answer holds."""

import json
from typing import Any

import pytest
from pydantic_core import to_json
from sqlalchemy import Connection, insert, update

from analysis.handling import HandlingState
from api.insight_answers import insights_json
from database import Database
from models import Lane, Status, conversations
from store.conversations import ConversationStore
from store.derived.word_counts import MatchCounter
from store.handling import HandlingStore
from store.histories import MOST_LINES
from store.insight_row import BYTES_OF_PAGE
from store.label_history import LabelStore
from store.lookup import failed_page
from store.priority import PriorityStore
from tables.people import handling_log, label_log
from tests.support.factories import (
    insert_insight,
    insert_insights,
    insight_filter,
    new_conversation,
)
from tests.support.labels import find_priorities


def write_logs(id_: str, connection: Connection) -> None:
    values = {"sentiment_score": 0.0, "clusters": [], "confidence": 1.0}
    common = {"conversation_id": id_, "at": 1, "by": "ana"}
    handled = {**common, "state": "open", "key_name": "desk", "until": None}
    labelled = {**common, "before": values, "after": values}
    connection.execute(insert(handling_log), _numbered(handled, "note", MOST_LINES))
    connection.execute(insert(label_log), _numbered(labelled, "reason", MOST_LINES))


def _numbered(line: dict[str, Any], name: str, count: int) -> list[dict[str, Any]]:
    """Two more than `count`."""
    return [{**line, name: str(number)} for number in range(count + 2)]


async def test_of_a_long_history_the_last_lines_are_told_the_oldest_first(
    database: Database,
) -> None:
    id_ = await insert_insight(database)
    await database.write(lambda connection: write_logs(id_, connection))
    handling, labels = HandlingStore(database), LabelStore(database)

    notes = [line.note for line in (await handling.find(id_)).history]
    assert notes == [str(number) for number in range(2, MOST_LINES + 2)]
    reasons = [line.reason for line in (await labels.record(id_)).log]
    assert reasons == [str(number) for number in range(2, MOST_LINES + 2)]


@pytest.mark.parametrize("text", ["漢" * 1000, "\x01" * 1000], ids=["wide", "escaped"])
async def test_a_history_of_long_lines_ends_at_the_bytes_of_a_page(
    database: Database, text: str
) -> None:
    """However few of them that are; and the newest is told, however long it is."""
    id_ = await insert_insight(database)

    def write(connection: Connection) -> None:
        values = {"sentiment_score": 0.0, "clusters": [], "confidence": 1.0}
        common = {"conversation_id": id_, "at": 1, "by": "ana"}
        handled = {**common, "state": "open", "key_name": "", "until": None}
        labelled = {**common, "before": values, "after": values}
        for number in range(900):
            connection.execute(insert(handling_log), {**handled, "note": f"{text}{number}"})
            connection.execute(insert(label_log), {**labelled, "reason": f"{text}{number}"})

    await database.write(write)
    notes = [line.note for line in (await HandlingStore(database).find(id_)).history]
    reasons = [line.reason for line in (await LabelStore(database).record(id_)).log]
    for told in (notes, reasons):
        assert 0.8 * BYTES_OF_PAGE < len(to_json(told)) <= BYTES_OF_PAGE
        assert told == [f"{text}{number}" for number in range(900 - len(told), 900)]


async def test_no_more_of_what_failed_is_read_than_a_page_has(database: Database) -> None:
    raw = json.dumps({"": "x" * 900_000})
    items = [new_conversation(raw_data=raw) for _ in range(5)]
    await ConversationStore(database).accept(items, lane=Lane.LIVE)
    await database.write(lambda c: c.execute(update(conversations).values(status=Status.FAILED)))
    asked: list[int] = []

    class Watched:
        def __init__(self, connection: Connection) -> None:
            self._connection = connection
            self.scalar = connection.scalar

        def execute(self, statement: Any, values: Any = None) -> Any:
            if values is not None and "ids" in values:
                asked.append(len(values["ids"]))
            return self._connection.execute(statement, values)

    page = await database.read(lambda connection: failed_page(5, None, Watched(connection)))  # type: ignore[arg-type]

    assert asked == [len(page.conversations)] == [2]


async def test_a_page_by_priority_ends_at_its_bytes_and_nothing_is_skipped_or_repeated(
    database: Database,
) -> None:
    text = "\x01" * 9900  # 59 kB of JSON
    ids = await insert_insights(database, [{"text": text} for _ in range(70)])
    await find_priorities(database)
    wanted = insight_filter(handling=HandlingState.OPEN)
    store = PriorityStore(database, MatchCounter())
    found: list[str] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        page = await store.page(wanted, limit=1000, cursor=cursor)
        assert len(b"".join(insights_json(page, wanted))) <= BYTES_OF_PAGE
        found += [each.conversation_id for each in page.insights]
        pages, cursor = pages + 1, page.next_cursor
    assert sorted(found) == sorted(ids)
    assert pages == 3
