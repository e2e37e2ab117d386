"""Posts of one's own accounts: counted in nothing, listed by their author, on both databases."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import insert, select

from analysis.handling import HandlingState
from analysis.labels import Labelling, LastWord
from analysis.outcomes import Complete
from analysis.sentiment import Sentiment
from analysis.words import parse_search
from database import Database
from models import (
    Lane,
    conversations,
    from_micros,
    insight_clusters,
    insight_rollups,
    insights,
    now_micros,
)
from store import derived
from store.conversations import ConversationStore, NewConversation
from store.insights import InsightStore
from store.label_history import LabelStore
from store.own_posts import OwnPostStore
from store.queue import WorkQueue
from store.summaries import Interval, SummaryStore
from tables.people import applied_settings
from tests.support.factories import (
    analysis,
    claim_all,
    insert_insights,
    insight_filter,
    of_another_process,
    run_sql,
)

SHOP = [{"author": name, "text": "late answer"} for name in ("Shop", "@shop", "SHOP")]
OTHERS = [{"author": name, "text": "late parcel"} for name in ("ana", "shopper", None)]


async def take_up(database: Database, *accounts: str) -> None:
    """As a start with these as `OWN_AUTHORS` does."""
    store = OwnPostStore(database, accounts)
    if await store.is_taken_up():
        return
    position: str | None = ""
    while position is not None:
        position = await store.step(position)


async def authors_of(database: Database, **filters: Any) -> set[str | None]:
    page = await InsightStore(database).page(insight_filter(**filters), limit=1000, cursor=None)
    assert page.total_count == len(page.insights)
    return {insight.author for insight in page.insights}


async def contents(database: Database) -> list[Any]:
    """All that counts and lists by topic."""
    return await database.read(
        lambda connection: [
            connection.execute(select(table).order_by(*table.primary_key)).all()
            for table in (insight_rollups, insight_clusters)
        ]
    )


async def assert_counted(database: Database, count: int) -> None:
    """By list, summary, topics and search alike; and what is kept is what a recount gives."""
    summary = await SummaryStore(database).summary(insight_filter(), Interval.DAY)
    assert summary.totals.count == count
    assert sum(each.count for _, each in summary.clusters) == count
    for filters in ({}, {"cluster": "delivery_problems"}, {"words": parse_search("late")}):
        found = await InsightStore(database).page(insight_filter(**filters), limit=99, cursor=None)
        assert found.total_count == len(found.insights) == count
    assert not await derived.rebuild(database)


async def test_what_comes_in_is_marked_by_its_author_or_by_its_direction(
    database: Database,
) -> None:
    store = ConversationStore(database, own_authors=["shop"])
    items = [
        NewConversation("late answer", author="@Shop"),
        NewConversation("late answer", author="agent", outbound=True),
        NewConversation("late parcel", author="ana", followers=999),
        NewConversation("late parcel"),
    ]
    ids = await store.accept(items, lane=Lane.LIVE)
    await WorkQueue(database).settle(
        [(item, Complete(analysis())) for item in await claim_all(database)]
    )
    marked = await database.read(
        lambda connection: dict(
            connection.execute(
                select(insights.c.conversation_id, insights.c.own * 10 + insights.c.reach)
            ).all()
        )
    )
    assert [marked[id_] for id_ in ids] == [10.0, 10.0, 0.5, 0.0]


async def test_another_list_of_accounts_is_taken_up_and_given_back(database: Database) -> None:
    await insert_insights(database, SHOP + OTHERS)
    before = await contents(database)
    await take_up(database)
    await assert_counted(database, 6)

    await take_up(database, "shop")
    assert await OwnPostStore(database, ["shop"]).is_taken_up()
    await assert_counted(database, 3)
    assert await authors_of(database) == {"ana", "shopper", None}
    assert await authors_of(database, author="@shop") == {"@shop"}

    await take_up(database)
    await assert_counted(database, 6)
    assert await contents(database) == before


LATE = parse_search("late")
TOPICS = ["grüße", "praise"]
SAID: list[dict[str, Any]] = [
    {"text": "Late answer", "clusters": TOPICS, "sentiment_score": -0.5},
    {"text": "a late parcel", "labelled": "person", "clusters": ["delivery_problems"]},
    {"text": "We are late, answers follow", "clusters": TOPICS},
]
FOUND: list[tuple[dict[str, Any], int]] = [
    ({"words": LATE}, 3),
    ({"words": parse_search('"late answer"')}, 1),
    ({"words": parse_search("parcel")}, 1),
    ({"words": LATE, "min_confidence": 0.85}, 3),
    ({"words": LATE, "min_confidence": 0.91}, 0),
    ({"words": LATE, "labelled": LastWord.MODEL}, 2),
    ({"words": LATE, "labelled": LastWord.PERSON}, 1),
    ({"words": LATE, "cluster": "grüße"}, 2),
    ({"cluster": "grüße"}, 2),
    ({"cluster": "gr"}, 0),
    ({"cluster": "grüße", "sentiment": Sentiment.NEGATIVE}, 2),
    ({"cluster": "grüße", "handling": HandlingState.OPEN}, 2),
    ({"cluster": "delivery_problems"}, 1),
]


@pytest.mark.parametrize("late", [False, True])
async def test_own_posts_are_found_by_their_author_with_whatever_else_is_asked(
    database: Database, late: bool
) -> None:
    """Whether they were marked as they came or later; by list, total and export alike."""
    usual = {"labelled": "model", "sentiment_score": -0.65}
    own = [{**usual, **row, "author": "Shop", "own": int(not late)} for row in SAID]
    await insert_insights(database, own + [{**usual, **row, "author": "ana"} for row in SAID])
    await take_up(database, "shop")
    store = InsightStore(database)
    for filters, count in FOUND:
        for author in ("Shop", "ana"):
            wanted = insight_filter(author=author, **filters)
            page = await store.page(wanted, limit=99, cursor=None)
            exported = [row async for some in store.all_of(wanted) for row in some]
            counts = page.total_count, len(page.insights), len(exported)
            assert (filters, *counts) == (filters, count, count, count)
            corrected = sum("parcel" in row.text for row in exported)
            assert (filters, author, page.corrected_count) == (filters, author, corrected)
        without = await store.page(insight_filter(**filters), limit=99, cursor=None)
        assert [each.author for each in without.insights] == ["ana"] * count
        assert without.total_count == count


async def test_an_own_post_is_found_by_what_is_said_of_it_until_it_is_erased(
    database: Database,
) -> None:
    own = {"author": "shop", "own": 1, "text": "late answer"}
    kept, gone = await insert_insights(database, [own] * 2)
    store = InsightStore(database)

    async def count(**filters: Any) -> int:
        return (
            await store.page(insight_filter(words=LATE, **filters), limit=9, cursor=None)
        ).total_count

    assert await count(author="shop", sentiment=Sentiment.NEGATIVE) == 2
    await ConversationStore(database).erase(gone)
    assert await count(author="shop", sentiment=Sentiment.NEGATIVE) == 1
    positive = Labelling(sentiment_score=0.6)
    await LabelStore(database).label(kept, positive, by="ana", reason=None)
    assert await count(author="shop", sentiment=Sentiment.NEGATIVE) == 0
    assert await count(author="shop", sentiment=Sentiment.POSITIVE) == 1
    await derived.rebuild(database)
    assert await count(author="shop", sentiment=Sentiment.POSITIVE) == 1
    assert await count() == 0
    await run_sql(database, insert(applied_settings).values(name="OWN_AUTHORS", value=["shop"]))
    await take_up(database)
    assert (await count(), await count(author="shop")) == (1, 1)


async def test_what_goes_out_stays_ones_own_whoever_is_named(database: Database) -> None:
    store = ConversationStore(database, own_authors=["shop"])
    outbound = NewConversation(
        "late answer", author="agent", raw_data='{"inbound": "False"}', outbound=True
    )
    await store.accept([outbound, NewConversation("late", author="shop")], lane=Lane.BULK)
    await take_up(database, "shop")
    await take_up(database, "other")
    marked = await database.read(
        lambda connection: dict(
            connection.execute(select(conversations.c.author, conversations.c.own)).all()
        )
    )
    assert marked == {"agent": 1, "shop": 0}


async def test_what_waits_is_marked_as_well(database: Database) -> None:
    items = [NewConversation("late", author=name) for name in ("shop", "ana")]
    await ConversationStore(database).accept(items, lane=Lane.LIVE)
    claimed = await claim_all(database)
    await take_up(database, "shop")
    await WorkQueue(database).settle([(item, Complete(analysis())) for item in claimed])
    ever = {"end_time": from_micros(now_micros())}
    assert await authors_of(database, **ever) == {"ana"}


async def test_a_change_that_was_cut_short_is_begun_anew(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.own_posts._ROWS_READ", 2)
    await insert_insights(database, SHOP + OTHERS)
    await OwnPostStore(database, ["shop"]).step("")
    assert not await OwnPostStore(database, ["shop"]).is_taken_up()
    await take_up(database, "shop")
    await assert_counted(database, 3)


async def test_several_replicas_and_erasing_meanwhile_count_nothing_twice(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.own_posts._ROWS_PER_COMMIT", 3)
    ids = await insert_insights(database, (SHOP + OTHERS) * 10)

    async def erase() -> None:
        for id_ in ids[:6]:  # one of each
            await ConversationStore(database).erase(id_)

    async with of_another_process(database) as other:
        await asyncio.gather(take_up(database, "shop"), take_up(other, "shop"), erase())
    await assert_counted(database, 27)
