"""Searching in texts, on both databases alike."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from analysis.words import parse_search
from database import Database
from store.conversations import ConversationStore
from store.derived import word_index
from store.derived.word_index import full_seconds, last_key, second_key
from store.erasure import ErasureStore
from store.filters import Span
from store.insight_row import InsightRow
from store.insights import InsightStore
from tests.support.factories import (
    NOON,
    complete,
    insert_insight,
    insert_insights,
    insight_filter,
    new_conversation,
    scalar,
)

TEXTS = [
    "The parcel has not arrived, I want a refund!",
    "Not a refund but the parcel",
    "Café près de la gare",
    "don't ask, arrived not",
    "配送が遅いです",
    "🙂🙂",
    "मेरा दिल टूट गया",
    "दाल अच्छी थी",
    "राजनीतिक दल",
    "كتاب جديد",
    "كِتَابٌ",
    "שָׁלוֹם לכם",
]


async def numbers_of(database: Database, q: str) -> list[int]:
    """Which of `TEXTS` are found."""
    page = await InsightStore(database).page(
        insight_filter(words=parse_search(q)), limit=100, cursor=None
    )
    assert page.total_count == len(page.insights)
    return sorted(TEXTS.index(insight.text) for insight in page.insights)


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("parcel", [0, 1]),
        ("PARCEL refund", [0, 1]),
        ("parcel absent", []),
        ("not arrived", [0, 3]),
        ('"not arrived"', [0]),
        ('"arrived not"', [3]),
        ('"parcel has" refund', [0]),
        ('"refund but the parcel"', [1]),
        ("parc", []),
        ("parc*", [0, 1]),
        ("PARC* refu*", [0, 1]),
        ("parc* absent*", []),
        ("caf*", [2]),
        ("arriv* not", [0, 3]),
        ('"parc*"', []),
        ("parc * el", []),
        ("*parcel", [0, 1]),
        ("sentiment*", []),
        ("negative*", []),
        ("配送*", [4]),
        ("दाल*", [7]),
        ("राजनी*", [8]),
        ("कित*", []),
        ("parcel*", [0, 1]),
        ("cafe", [2]),
        ("CAFÉ", [2]),
        ("don't", [3]),
        ("t", [3]),
        ("配送", [4]),
        ("送配", []),
        ("遅", [4]),
        ("parcel OR gare", []),
        ("दिल", [6]),
        ("दाल", [7]),
        ("दल", [8]),
        ('"दिल टूट"', [6]),
        ("द", []),
        ("كتاب", [9, 10]),
        ("كِتاب", [9, 10]),
        ("שלום", [11]),
        ("parcel -refund", [0, 1]),
        ("'; DROP TABLE insights; --", []),
        ("%", None),
    ],
)
async def test_a_search_finds_the_same_on_both_databases(
    database: Database, q: str, found: list[int] | None
) -> None:
    await insert_insights(database, [{"text": each} for each in TEXTS])
    if found is None:
        return
    assert await numbers_of(database, q) == found


async def test_a_settled_result_can_be_searched_for_at_once(database: Database) -> None:
    (id_,) = await complete(database, new_conversation("A most peculiar thing", timestamp=NOON))
    page = await InsightStore(database).page(
        insight_filter(words=parse_search("peculiar")), limit=9, cursor=None
    )
    assert [insight.conversation_id for insight in page.insights] == [id_]


async def test_long_texts_and_words_are_indexed(database: Database) -> None:
    """PostgreSQL keeps the first 255 places of a word in a text, for phrases."""
    long = " ".join(["word"] * 200 + ["needle"] + ["word"] * 5000)
    await insert_insights(database, [{"text": long}, {"text": "x" * 9000}, {"text": "é" * 9000}])
    for q, count in (("needle", 1), ('"word needle"', 1), ("x" * 70, 1), ("é" * 70, 1)):
        page = await InsightStore(database).page(
            insight_filter(words=parse_search(q)), limit=9, cursor=None
        )
        assert page.total_count == count, q


# --- order and times ------------------------------------------------------------------------------


async def test_matches_come_newest_first_also_within_a_second(database: Database) -> None:
    """The index tells no times below a second, and its ids may run against the times."""
    moments = [NOON + timedelta(microseconds=micros) for micros in (5, 900_000, 3, 3, 400_000)]
    moments += [NOON + timedelta(seconds=1), NOON - timedelta(seconds=1)]
    ids = await insert_insights(database, [{"timestamp": moment} for moment in moments])
    order = [ids[n] for n in (5, 1, 4, 0, 3, 2, 6)]
    store, wanted = InsightStore(database), insight_filter(words=parse_search("parcel"))
    for limit in (1, 2, 3, 7, 10):
        seen: list[str] = []
        cursor = None
        while True:
            page = await store.page(wanted, limit=limit, cursor=cursor)
            assert page.total_count == 7
            seen += [insight.conversation_id for insight in page.insights]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert seen == order, limit


@pytest.mark.parametrize("micros", [0, 1, 500_000, 999_999])
async def test_edges_of_the_range_are_exact_to_the_microsecond(
    database: Database, micros: int
) -> None:
    edge = NOON + timedelta(microseconds=micros)
    around = [edge + timedelta(microseconds=step) for step in (-1, 0, 1)]
    await insert_insights(database, [{"timestamp": moment} for moment in around])
    store, words = InsightStore(database), parse_search("parcel")
    for start, end, count in (
        (edge, edge, 1),
        (edge, NOON + timedelta(days=1), 2),
        (NOON - timedelta(days=1), edge, 2),
        (edge + timedelta(microseconds=2), NOON + timedelta(days=1), 0),
    ):
        wanted = insight_filter(start_time=start, end_time=end, words=words)
        page = await store.page(wanted, limit=9, cursor=None)
        assert page.total_count == len(page.insights) == count


async def test_times_beyond_what_the_index_tells_apart_are_still_in_order(
    database: Database,
) -> None:
    years = [1, 1500, 1800, 1832, 1834, 1969, 2025, 2105, 2107, 9999]
    moments = [datetime(year, 6, 1, tzinfo=UTC) for year in years]
    ids = await insert_insights(database, [{"timestamp": moment} for moment in moments])
    store, words = InsightStore(database), parse_search("parcel")
    for first in range(len(years)):
        wanted = insight_filter(
            start_time=moments[first], end_time=datetime(9999, 12, 31, tzinfo=UTC), words=words
        )
        page = await store.page(wanted, limit=100, cursor=None)
        assert [insight.conversation_id for insight in page.insights] == ids[first:][::-1]
        assert page.total_count == len(ids) - first


@pytest.mark.parametrize("last", [timedelta(0), -timedelta(microseconds=1)])
async def test_a_page_that_ends_where_a_day_or_the_range_does_is_not_the_last(
    database: Database, last: timedelta
) -> None:
    midnight = datetime(2025, 1, 21, tzinfo=UTC)
    earlier = [NOON - timedelta(days=day) for day in (1, 1, 1, 2, 2)]
    moments = [midnight + last] * 5 + earlier
    ids = await insert_insights(database, [{"timestamp": moment} for moment in moments])
    wanted = insight_filter(
        start_time=NOON - timedelta(days=9), end_time=midnight, words=parse_search("parcel")
    )
    seen: list[str] = []
    cursor = None
    while True:
        page = await InsightStore(database).page(wanted, limit=2, cursor=cursor)
        seen += [insight.conversation_id for insight in page.insights]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(seen) == sorted(ids)


async def test_more_days_than_a_statement_may_name_are_counted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.derived.word_counts._DAYS_AT_A_TIME", 7)
    days = [NOON + timedelta(days=3 * day) for day in range(20)]
    await insert_insights(database, [{"timestamp": day} for day in days])
    wanted = insight_filter(
        start_time=days[0] - timedelta(days=2),
        end_time=days[-1] + timedelta(days=2),
        words=parse_search("parcel"),
    )
    page = await InsightStore(database).page(wanted, limit=100, cursor=None)
    assert page.total_count == len(page.insights) == 20


def test_keys_keep_the_order_of_seconds() -> None:
    seconds = [-(10**12), -(2**32), -1, 0, 1_700_000_000, 2**32 - 1, 10**12]
    keys = [second_key(second * 1_000_000) for second in seconds]
    assert keys == sorted(keys)
    assert keys[0] >= 0
    assert last_key(10**18) < 2**63
    low, high = full_seconds(Span(5, 6))
    assert low > high


# --- erasing --------------------------------------------------------------------------------------


def files_with(folder: Path, needle: bytes) -> list[str]:
    return [path.name for path in folder.glob("insights.db*") if needle in path.read_bytes()]


async def test_the_words_of_an_erased_text_leave_the_files(sqlite_url: str, tmp_path: Path) -> None:
    async with Database(sqlite_url) as database:
        ids = []
        for number in range(30):  # parts of the index of their own, as settling makes them
            ids += await complete(database, new_conversation(f"filler{number} zanzibarish{number}"))
        await complete(database, new_conversation("the keeper"))
        for id_ in ids:
            await ConversationStore(database).erase(id_)
        assert files_with(tmp_path, b"keeper") != []
        assert files_with(tmp_path, b"anzibarish") == []
        assert files_with(tmp_path, b"iller") == []
        assert await scalar(database, text("SELECT count(*) FROM words_to_sweep")) == 0


async def test_sweeping_goes_on_where_a_process_left_it(sqlite_url: str, tmp_path: Path) -> None:
    """As after a kill between the erasing and the sweeping."""
    async with Database(sqlite_url) as database:
        await complete(database, new_conversation("zanzibarish", timestamp=NOON))
        await complete(database, new_conversation("keeper", timestamp=NOON + timedelta(days=1)))
        erasure = ErasureStore(database)
        assert await erasure.erase_older_than(NOON + timedelta(seconds=1), limit=10) == 1
        while await erasure.sweep():
            pass
        assert files_with(tmp_path, b"anzibarish") == []
        assert files_with(tmp_path, b"keeper") != []


async def test_the_index_stays_whole_through_sweeping(sqlite_url: str, tmp_path: Path) -> None:
    async with Database(sqlite_url) as database:
        ids = await insert_insights(
            database, [{"text": f"word{n % 7} text{n}"} for n in range(400)]
        )
        for id_ in ids[::40]:
            await ConversationStore(database).erase(id_)
        for n in range(7):
            wanted = insight_filter(words=parse_search(f"word{n}"))
            page = await InsightStore(database).page(wanted, limit=1000, cursor=None)
            left = [id_ for number, id_ in enumerate(ids) if number % 7 == n and number % 40]
            assert {insight.conversation_id for insight in page.insights} == set(left)
        await insert_insight(database, text="word0 again")
    with closing(sqlite3.connect(tmp_path / "insights.db")) as file:
        file.execute("INSERT INTO insight_terms (insight_terms) VALUES ('integrity-check')")


# --- merging --------------------------------------------------------------------------------------


async def test_few_parts_are_left_though_the_index_merges_none_by_itself(sqlite_url: str) -> None:
    """Each insight that comes alone adds a part, and a search looks into all."""
    parts: list[int] = []

    def add(connection: Connection, number: int) -> None:
        parts.append(_value(connection, "SELECT count(DISTINCT segid) FROM insight_terms_idx"))
        row = InsightRow(number, number, f"word{number} {number % 50} is late", None, 0.5, 0.5, [])
        word_index.add(connection, [row])

    async with Database(sqlite_url) as database:
        for number in range(1, 800):
            await database.write(partial(add, number=number))
        for name, value in (("automerge", 0), ("usermerge", 8)):
            told = f"SELECT v FROM insight_terms_config WHERE k = '{name}'"
            assert await database.read(partial(_value, statement=told)) == value
    assert max(parts) <= 20  # up to seven on a level, and eight that are being merged


def _value(connection: Connection, statement: str) -> int:
    return int(connection.scalar(text(statement)))
