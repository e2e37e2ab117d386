"""How much a page of insights holds, and what a cursor may be, on both databases."""

import base64
from datetime import UTC, datetime

import pytest
from pydantic_core import to_json

from analysis.words import parse_search
from api.insight_answers import insight_item, insights_json
from database import Database
from errors import InvalidInput
from store import cursors
from store.filters import InsightFilter
from store.insight_row import BYTES_OF_PAGE
from store.insights import BYTES_OF_EXPORT, InsightPage, InsightStore, _size_of
from store.listed import SHOWN
from tests.support.factories import NOON, insert_insight, insert_insights, insight_filter


@pytest.fixture
def store(database: Database) -> InsightStore:
    return InsightStore(database)


async def test_a_cursor_can_go_into_a_url_as_it_is(database: Database, store: InsightStore) -> None:
    for timestamp in (NOON, datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)):
        await insert_insights(database, [{"timestamp": timestamp}] * 2)
        wanted = insight_filter(start_time=timestamp, end_time=timestamp)
        cursor = (await store.page(wanted, limit=1, cursor=None)).next_cursor
        assert cursor is not None
        assert cursor.replace("-", "").replace("_", "").isalnum()
        assert cursor.isascii()


def packed(size: int) -> str:
    return base64.urlsafe_b64encode(b"\x01" * size).decode().rstrip("=")


MALFORMED = [
    "",
    " ",
    "0",
    "null",
    "abc",
    "page2",
    "conv_a1b2c3d4",
    "AAAA" * 1000,
    "=" * 24,
    "A" * 21 + "=" * 3,
    packed(15),
    packed(16),
    packed(20),
    packed(21),
    packed(17),
    packed(8),
    packed(16) + "A",
    packed(16) + "====",
    packed(16)[:-1],
    packed(16)[:-1] + "!",
    packed(16)[:-1] + "ä",
    packed(16) + "\n",
    " " + packed(16),
    packed(16).replace("A", "\x00"),
    "🙂" * 22,
    "\ud800" * 22,
    "../../etc/passwd",
    "' OR 1=1 --",
    '{"timestamp": 1}',
]


@pytest.mark.parametrize("cursor", MALFORMED, ids=range(len(MALFORMED)))
async def test_a_cursor_that_is_none_of_ours_is_invalid_input(
    sqlite_store: InsightStore, cursor: str
) -> None:
    with pytest.raises(InvalidInput, match=r"^cursor: "):
        await sqlite_store.page(insight_filter(), limit=10, cursor=cursor)


async def test_a_cursor_that_was_altered_or_is_of_another_list_is_invalid_input(
    sqlite_store: InsightStore,
) -> None:
    position = (1_737_367_200_000_000, 7)
    cursor = cursors.encode("insights", *position)
    assert cursors.decode("insights", cursor) == position
    altered = [
        cursor[:place] + ("B" if letter == "A" else "A") + cursor[place + 1 :]
        for place, letter in enumerate(cursor)
    ]
    others = [cursor.lower(), cursor[::-1], cursor + "=", cursor + "A", cursor[:-1]]
    for bad in [*altered, *others, cursors.encode("failed", *position)]:
        with pytest.raises(InvalidInput, match=r"^cursor: "):
            await sqlite_store.page(insight_filter(), limit=10, cursor=bad)


@pytest.fixture
def sqlite_store(sqlite_url: str) -> InsightStore:
    """Never opened: a bad cursor is found out before the database is asked."""
    return InsightStore(Database(sqlite_url))


@pytest.mark.parametrize("position", [(2**63 - 1, 2**63 - 1), (-(2**63), -(2**63)), (0, 0)])
async def test_a_cursor_far_away_gives_an_empty_or_a_whole_page(
    database: Database, store: InsightStore, position: tuple[int, int]
) -> None:
    id_ = await insert_insight(database)
    cursor = cursors.encode("insights", *position)
    page = await store.page(insight_filter(), limit=10, cursor=cursor)
    listed = [insight.conversation_id for insight in page.insights]
    assert listed == ([id_] if position[0] > 0 else [])


# --- bytes ----------------------------------------------------------------------------------------

LONG = "\x01" * 9900
"""59 kB of JSON."""


async def test_a_page_ends_at_its_bytes_and_nothing_is_skipped_or_repeated(
    database: Database, store: InsightStore
) -> None:
    short = [{"text": f"{number}"} for number in range(200)]
    long = [{"text": f"w {number} {LONG}"} for number in range(80)]
    ids = await insert_insights(database, [*short, *long, *short])
    for wanted in (insight_filter(), insight_filter(words=parse_search("w"))):
        expected = ids[::-1] if wanted.words is None else ids[200:280][::-1]
        found: list[str] = []
        cursor, pages = None, 0
        while True:
            page = await store.page(wanted, limit=1000, cursor=cursor)
            assert len(insights_json_of(page, wanted)) <= BYTES_OF_PAGE
            assert page.total_count == len(expected)
            found += [each.conversation_id for each in page.insights]
            pages, cursor = pages + 1, page.next_cursor
            if cursor is None:
                break
        assert found == expected
        assert pages == 3


def insights_json_of(page: InsightPage, wanted: InsightFilter) -> bytes:
    return b"".join(insights_json(page, wanted))


async def test_one_that_is_larger_than_a_page_is_a_page(
    database: Database, store: InsightStore
) -> None:
    ids = await insert_insights(database, [{"text": "\x01" * 400_000}] * 2)
    first = await store.page(insight_filter(), limit=10, cursor=None)
    second = await store.page(insight_filter(), limit=10, cursor=first.next_cursor)
    assert [each.conversation_id for each in (*first.insights, *second.insights)] == ids[::-1]
    assert second.next_cursor is None


async def test_an_export_is_read_in_pieces_of_few_bytes(
    database: Database, store: InsightStore
) -> None:
    ids = await insert_insights(database, [{"text": LONG}] * 5 + [{}] * 300 + [{"text": LONG}] * 5)
    found: list[str] = []
    async for batch in store.all_of(insight_filter()):
        size = sum(len(to_json(insight_item(each))) for each in batch)
        assert size <= BYTES_OF_EXPORT
        found += [each.conversation_id for each in batch]
    assert found == ids[::-1]


@pytest.mark.parametrize("count", [0, 1, 127, 128, 129, 255, 256, 257])
async def test_pages_and_exports_are_whole_around_what_one_statement_gives(
    database: Database, store: InsightStore, count: int
) -> None:
    ids = await insert_insights(database, [{}] * count) if count else []
    for limit in (count or 1, count + 1):
        page = await store.page(insight_filter(), limit=limit, cursor=None)
        assert [each.conversation_id for each in page.insights] == ids[::-1]
        assert page.next_cursor is None
    exported = [each async for batch in store.all_of(insight_filter()) for each in batch]
    assert len(exported) == count


@pytest.mark.parametrize(
    "name", ["text", "author", "clusters", "reasoning", "notes", "label", "handling_by"]
)
def test_each_text_of_a_row_is_measured(name: str) -> None:
    names = SHOWN.selected_columns.keys()
    row = [("x" * 5000 if each == name else None) for each in names]
    assert _size_of([row]) > 5000
