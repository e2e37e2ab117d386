"""The page of insights, its total and its cursors, on both databases."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta, timezone
from typing import Any

import pytest

from analysis.sentiment import Sentiment
from database import Database
from store.conversations import ConversationStore
from store.filters import InsightFilter
from store.insights import InsightStore
from store.listed import ListedInsight
from tests.support.factories import (
    NOON,
    accept,
    complete,
    insert_insight,
    insert_insights,
    insight_filter,
    new_conversation,
)

HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def store(database: Database) -> InsightStore:
    return InsightStore(database)


async def ids_of(store: InsightStore, **overrides: Any) -> list[str]:
    """Everything that the filter lets through, in the order listed."""
    page = await store.page(insight_filter(**overrides), limit=1000, cursor=None)
    assert page.total_count == len(page.insights)
    return [insight.conversation_id for insight in page.insights]


async def walk(
    store: InsightStore, *, limit: int, wanted: InsightFilter | None = None
) -> list[list[str]]:
    """The ids page by page."""
    pages: list[list[str]] = []
    cursor = None
    while True:
        page = await store.page(wanted or insight_filter(), limit=limit, cursor=cursor)
        pages.append([insight.conversation_id for insight in page.insights])
        cursor = page.next_cursor
        if cursor is None:
            return pages


async def test_without_insights_the_page_is_empty(store: InsightStore) -> None:
    page = await store.page(insight_filter(), limit=10, cursor=None)
    assert (list(page.insights), page.total_count, page.next_cursor) == ([], 0, None)


async def test_an_insight_is_listed_with_all_that_it_says(
    database: Database, store: InsightStore
) -> None:
    item = new_conversation("Where is it?", author="ann", timestamp=NOON)
    (id_,) = await complete(
        database, item, clusters=("b", "a"), confidence=0.5, reasoning="Because."
    )
    page = await store.page(insight_filter(), limit=10, cursor=None)
    assert page.insights == [
        ListedInsight(id_, NOON, "Where is it?", "ann", -0.65, ("b", "a"), 0.5, "Because.", {})
    ]
    assert page.insights[0].timestamp.tzinfo is UTC


# --- filters, one by one --------------------------------------------------------------------------


async def test_both_times_are_inclusive_to_the_microsecond(
    database: Database, store: InsightStore
) -> None:
    start, end = NOON, NOON + HOUR
    first, last, _, _ = await insert_insights(
        database,
        [{"timestamp": at} for at in (start, end, start - MICROSECOND, end + MICROSECOND)],
    )
    assert await ids_of(store, start_time=start, end_time=end) == [last, first]


async def test_times_in_another_zone_mean_the_same_moments(
    database: Database, store: InsightStore
) -> None:
    id_ = await insert_insight(database)
    local = NOON.astimezone(timezone(timedelta(hours=-8)))
    assert await ids_of(store, start_time=local, end_time=local) == [id_]


async def test_times_compare_with_the_conversation_not_with_the_analysis(
    database: Database, store: InsightStore
) -> None:
    id_ = await insert_insight(database, created_at=NOON + timedelta(days=300))
    assert await ids_of(store, end_time=NOON) == [id_]


@pytest.mark.parametrize(
    ("score", "sentiment"),
    [
        (1.0, "positive"),
        (0.100001, "positive"),
        (0.1, "neutral"),
        (0.05, "neutral"),
        (0.0, "neutral"),
        (-0.0, "neutral"),
        (-0.1, "neutral"),
        (-0.100001, "negative"),
        (-1.0, "negative"),
        (0.1 + 2**-55, "positive"),  # the next numbers above and below the borders
        (-0.1 - 2**-55, "negative"),
    ],
)
async def test_each_score_has_exactly_one_sentiment(
    database: Database, store: InsightStore, score: float, sentiment: str
) -> None:
    id_ = await insert_insight(database, sentiment_score=score)
    found = {one.value: await ids_of(store, sentiment=one) for one in Sentiment}
    assert found == {"positive": [], "neutral": [], "negative": [], sentiment: [id_]}


async def test_confidence_is_at_least_the_least(database: Database, store: InsightStore) -> None:
    low, exact, high = await insert_insights(
        database, [{"confidence": 0.69}, {"confidence": 0.7}, {"confidence": 1.0}]
    )
    assert await ids_of(store, min_confidence=0.7) == [high, exact]
    assert await ids_of(store, min_confidence=0.0) == [high, exact, low]
    assert await ids_of(store, min_confidence=1.0) == [high]


async def test_a_cluster_matches_whole_names_wherever_it_stands(
    database: Database, store: InsightStore
) -> None:
    first, second, _, _ = await insert_insights(
        database,
        [
            {"clusters": ["late", "price"]},
            {"clusters": ["price", "late"]},
            {"clusters": ["late_delivery"]},
            {"clusters": ["price"]},
        ],
    )
    assert await ids_of(store, cluster="late") == [second, first]
    assert await ids_of(store, cluster="LATE") == []
    assert await ids_of(store, cluster="lat%") == []
    assert await ids_of(store, cluster="") == []


async def test_an_author_matches_exactly(database: Database, store: InsightStore) -> None:
    ann, _, _, nameless = await insert_insights(
        database,
        [{"author": "ann"}, {"author": "Ann"}, {"author": "ann "}, {"author": ""}],
    )
    await insert_insight(database, author=None)
    assert await ids_of(store, author="ann") == [ann]
    assert await ids_of(store, author="") == [nameless]
    assert await ids_of(store, author="an%") == []
    assert await ids_of(store, author="' OR 1=1 --") == []


async def test_what_is_erased_is_listed_and_counted_no_more(
    database: Database, store: InsightStore
) -> None:
    erased, kept = await insert_insights(database, [{}, {}])
    await ConversationStore(database).erase(erased)
    assert await ids_of(store) == [kept]
    assert await ids_of(store, cluster="delivery_problems") == [kept]


async def test_what_is_not_completed_is_not_listed(database: Database, store: InsightStore) -> None:
    await accept(database, new_conversation(timestamp=NOON))
    assert await ids_of(store) == []


# --- against counting by hand ---------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """A row as it was made, in the order in which it was."""

    number: int
    id: str
    row: dict[str, Any]


def matches(row: dict[str, Any], wanted: InsightFilter) -> bool:
    score = row["sentiment_score"]
    sentiment = (
        Sentiment.POSITIVE
        if score > 0.1
        else Sentiment.NEGATIVE
        if score < -0.1
        else Sentiment.NEUTRAL
    )
    return (
        wanted.start_time <= row["timestamp"] <= wanted.end_time
        and (wanted.min_confidence is None or row["confidence"] >= wanted.min_confidence)
        and wanted.sentiment in (None, sentiment)
        and (wanted.cluster is None or wanted.cluster in row["clusters"])
        and wanted.author in (None, row["author"])
    )


def random_row(chance: random.Random) -> dict[str, Any]:
    clusters = chance.sample(["late", "price", "app", "praise", "late_delivery"], 3)
    return {
        "timestamp": NOON + chance.randint(-4, 4) * HOUR,  # few moments, so that many are equal
        "sentiment_score": chance.choice([-1.0, -0.5, -0.1, -0.1000001, 0.0, 0.1, 0.1000001, 0.9]),
        "clusters": clusters[: chance.randint(1, 3)],
        "confidence": chance.choice([0.0, 0.3, 0.5, 0.7, 1.0]),
        "author": chance.choice([None, "ann", "bob", "Ann"]),
    }


def random_filter(chance: random.Random) -> InsightFilter:
    def sometimes(*values: Any) -> Any:
        return chance.choice(values) if chance.random() < 0.4 else None

    start, end = sorted(NOON + chance.randint(-5, 5) * HOUR for _ in range(2))
    return InsightFilter(
        start_time=start,
        end_time=end,
        min_confidence=sometimes(0.0, 0.3, 0.5, 0.50001, 1.0),
        sentiment=sometimes(*Sentiment),
        cluster=sometimes("late", "price", "app", "absent"),
        author=sometimes("ann", "bob", "Ann", "absent"),
    )


async def make_rows(database: Database, rows: Sequence[dict[str, Any]]) -> list[Made]:
    ids = await insert_insights(database, rows)
    return [Made(number, id_, row) for number, (id_, row) in enumerate(zip(ids, rows, strict=True))]


def newest_first(made: Sequence[Made]) -> list[str]:
    ordered = sorted(made, key=lambda one: (one.row["timestamp"], one.number), reverse=True)
    return [one.id for one in ordered]


async def test_pages_and_totals_equal_counting_by_hand_for_random_filters(
    database: Database, store: InsightStore
) -> None:
    chance = random.Random(20250120)
    made = await make_rows(database, [random_row(chance) for _ in range(300)])
    sizes = []
    for _ in range(120):
        wanted = random_filter(chance)
        expected = newest_first([one for one in made if matches(one.row, wanted)])
        limit = chance.randint(1, 60)
        pages = await walk(store, limit=limit, wanted=wanted)
        assert [id_ for page in pages for id_ in page] == expected
        assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
        page = await store.page(wanted, limit=1, cursor=None)
        assert page.total_count == len(expected)
        sizes.append(len(expected))
    assert sum(size > 0 for size in sizes) > 40  # the filters were not all too narrow


# --- cursors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "limit", "sizes"),
    [
        (5, 10, [5]),
        (5, 5, [5]),
        (5, 4, [4, 1]),
        (6, 3, [3, 3]),
        (7, 3, [3, 3, 1]),
        (3, 1, [1, 1, 1]),
        (0, 3, [0]),
    ],
)
async def test_the_last_page_has_no_next_also_when_it_is_full(
    database: Database, store: InsightStore, rows: int, limit: int, sizes: list[int]
) -> None:
    if rows:
        await insert_insights(database, [{}] * rows)
    assert [len(page) for page in await walk(store, limit=limit)] == sizes


async def test_the_total_is_the_same_on_every_page(database: Database, store: InsightStore) -> None:
    await insert_insights(database, [{}] * 7)
    first = await store.page(insight_filter(), limit=3, cursor=None)
    second = await store.page(insight_filter(), limit=3, cursor=first.next_cursor)
    assert (first.total_count, second.total_count) == (7, 7)


async def test_among_equal_times_the_order_is_stable_and_newest_first(
    database: Database, store: InsightStore
) -> None:
    ids = await insert_insights(database, [{"timestamp": NOON}] * 50)
    for limit in (1, 7, 50):
        pages = await walk(store, limit=limit)
        assert [id_ for page in pages for id_ in page] == ids[::-1]


@pytest.mark.parametrize("seed", range(3))
async def test_paging_while_rows_come_and_go_neither_skips_nor_repeats(
    database: Database, store: InsightStore, seed: int
) -> None:
    chance = random.Random(seed)
    there = dict.fromkeys(await insert_insights(database, [random_row(chance) for _ in range(100)]))
    always_there = set(there)
    seen: list[str] = []
    cursor = None
    while True:
        page = await store.page(insight_filter(), limit=9, cursor=cursor)
        seen += [insight.conversation_id for insight in page.insights]
        cursor = page.next_cursor
        if cursor is None:
            break
        there |= dict.fromkeys(
            await insert_insights(database, [random_row(chance) for _ in range(8)])
        )
        for id_ in [*chance.sample(sorted(there), 3), seen[-1]]:  # the cursor's own row as well
            if id_ in there:
                await ConversationStore(database).erase(id_)
                del there[id_]
                always_there.discard(id_)
    assert len(seen) == len(set(seen))
    assert always_there <= set(seen)
    assert len(always_there) > 20


async def test_a_cursor_keeps_its_place_when_its_own_row_is_erased(
    database: Database, store: InsightStore
) -> None:
    ids = await insert_insights(database, [{}] * 4)
    first = await store.page(insight_filter(), limit=2, cursor=None)
    await ConversationStore(database).erase(first.insights[-1].conversation_id)
    rest = await store.page(insight_filter(), limit=2, cursor=first.next_cursor)
    assert [insight.conversation_id for insight in rest.insights] == [ids[1], ids[0]]
