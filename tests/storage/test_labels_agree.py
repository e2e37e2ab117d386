"""After any mix of labels, rules, erasures and new posts, every figure is what one would count by
hand from what each giver said; and taking it all back leaves nothing."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, text

from analysis.labels import PERSON, Label, Labelling, LastWord
from analysis.outcomes import Complete
from analysis.sentiment import Sentiment
from database import Database
from models import Lane, now_micros
from store import derived
from store.conversations import ConversationStore
from store.erasure import ErasureStore
from store.filters import InsightFilter
from store.insights import InsightStore
from store.labels import MOST_AT_ONCE, LabelChange, PutBack
from store.queue import WorkQueue
from store.rules import RuleStore
from store.summaries import Interval, SummaryStore
from store.trends import TrendStore, Window
from tests.storage.test_agreement import (
    CLUSTERS,
    Row,
    expect_agreement,
    matches,
    random_filter,
    random_row,
)
from tests.support.factories import (
    NOON,
    analysis,
    claim_one,
    complete,
    insert_insights,
    insight_filter,
    new_conversation,
)
from tests.support.labels import find_priorities, give, put_back, take_back

Given = dict[str, dict[int, Label]]


def model_row(chance: random.Random) -> Row:
    return {**random_row(chance), "labelled": "model", "handling": "open"}


def served(row: Row, given: dict[int, Label]) -> Row:
    """What is served of a row, told step by step."""
    result = dict(row)
    for giver in sorted(given, key=lambda number: number or 10**9):  # a person comes last
        label = given[giver]
        if label.sentiment_score is not None:
            result["sentiment_score"] = label.sentiment_score
        if label.clusters is not None:
            result["clusters"] = list(label.clusters)
        result["labelled"] = "rule" if giver else "person"
        result["confidence"] = row["confidence"] if giver else 1.0
    return result


def random_labelling(chance: random.Random) -> Labelling:
    score = chance.choice([None, -0.6, 0.0, 0.6, 0.1])
    clusters = tuple(chance.sample(CLUSTERS, chance.randint(1, 3)))
    if chance.random() < 0.5:
        return Labelling(score, add_cluster=chance.choice(CLUSTERS), remove_cluster="late")
    return Labelling(score, clusters if score is None or chance.random() < 0.3 else None)


async def test_all_figures_agree_after_any_mix_of_labels(database: Database) -> None:
    chance = random.Random(1717)
    made = [model_row(chance) for _ in range(150)]
    rows = dict(zip(await insert_insights(database, made), made, strict=True))
    given: Given = {id_: {} for id_ in rows}
    insights, summaries = InsightStore(database), SummaryStore(database)

    def remember(giver: int, changes: Sequence[LabelChange]) -> None:
        for change in changes:
            assert change.label_before == given[change.conversation_id].get(giver)
            if change.label_after is None:
                given[change.conversation_id].pop(giver, None)
            else:
                given[change.conversation_id][giver] = change.label_after

    async def label() -> None:
        giver, ids = chance.randint(PERSON, 3), chance.sample(list(rows), 20)
        said = random_labelling(chance)
        remember(giver, await give(database, ids, said, giver, at=now_micros()))

    async def unlabel() -> None:
        giver, ids = chance.randint(PERSON, 3), chance.sample(list(rows), 40)
        remember(giver, await take_back(database, ids, giver))

    async def undo() -> None:
        id_ = chance.choice(list(rows))
        for giver, said in list(given[id_].items()):
            remember(giver, await put_back(database, {id_: PutBack(said, None)}, giver))

    async def erase() -> None:
        id_ = chance.choice(list(rows))
        await ErasureStore(database).erase(id_)
        del rows[id_], given[id_]

    filters = [random_filter(chance) for _ in range(8)]
    for _ in range(4):
        for job in chance.choices([label, unlabel, undo, erase], [6, 2, 1, 1], k=8):
            await job()
        expected = {id_: served(row, given[id_]) for id_, row in rows.items()}
        for wanted in filters:
            await expect_agreement(insights, summaries, wanted, expected)
            corrected = sum(
                matches(row, wanted) and row["labelled"] != "model" for row in expected.values()
            )
            page = await insights.page(wanted, limit=1, cursor=None)
            assert page.corrected_count == corrected
            if wanted.words is None:
                day = replace(wanted, start_time=NOON, end_time=NOON + timedelta(days=2))
                summary = await summaries.summary(day, Interval.DAY)
                assert summary.corrected == sum(
                    matches(row, day) and row["labelled"] != "model" for row in expected.values()
                )
        trends = await all_trends(database)
        assert not await derived.rebuild(database)
        assert await all_trends(database) == trends


async def all_trends(database: Database) -> list[Any]:
    return list(await TrendStore(database).trends(Window.ONE_DAY, as_of=NOON + timedelta(days=6)))


async def test_taking_everything_back_leaves_the_served_tables_byte_for_byte(
    database: Database,
) -> None:
    chance = random.Random(5)
    ids = await insert_insights(database, [model_row(chance) for _ in range(60)])
    await find_priorities(database)
    before = await served_tables(database)
    for giver in (3, PERSON, 1):
        for _ in range(3):
            await give(database, chance.sample(ids, 30), random_labelling(chance), giver)
    assert await served_tables(database) != before
    for giver in (PERSON, 1, 3):
        await take_back(database, ids, giver)
    assert await served_tables(database) == before
    assert not await derived.rebuild(database)


async def served_tables(database: Database) -> dict[str, Any]:
    """As they are stored."""
    orders = {
        "insights": "id",
        "insight_clusters": "cluster, timestamp, insight_id",
        "insight_rollups": "name, grain, bucket, confidence_bin",
        "labels": "conversation_id, giver",
    }

    def work(connection: Connection) -> dict[str, Any]:
        return {
            table: connection.execute(text(f"SELECT * FROM {table} ORDER BY {order}")).all()
            for table, order in orders.items()
        }

    return await database.read(work)


async def test_new_insights_are_written_with_what_rules_say_and_counted_so(
    database: Database,
) -> None:
    rules = RuleStore(database)
    await rules.create("games", {"q": "war zone"}, {"sentiment": "neutral"}, enabled=True)
    await rules.create("more", {"q": "war"}, {"add_cluster": "games"}, enabled=True)
    when = {"timestamp": NOON}
    (game,) = await complete(database, new_conversation("War Zone is broken", **when))
    (other,) = await complete(database, new_conversation("It is late", **when))
    page = await InsightStore(database).page(insight_filter(), limit=9, cursor=None)
    said = {each.conversation_id: each for each in page.insights}
    assert said[game][4:7] == (0.0, ("delivery_problems", "games"), 0.9)
    labelled = said[game].labelled
    assert labelled is not None
    assert labelled.name == "more"
    assert said[other].labelled is None
    assert (page.total_count, page.corrected_count) == (2, 1)
    for wanted, count in (
        ({"cluster": "games"}, 1),
        ({"labelled": LastWord.RULE}, 1),
        ({"sentiment": Sentiment.NEUTRAL}, 1),
    ):
        assert (await count_of(database, insight_filter(**wanted))) == count
    assert not await derived.rebuild(database)


async def count_of(database: Database, wanted: InsightFilter) -> int:
    return (await InsightStore(database).page(wanted, limit=1, cursor=None)).total_count


async def test_a_rule_that_another_process_makes_acts_at_once(database: Database) -> None:
    queue = WorkQueue(database)
    rules = RuleStore(database)

    async def labelled(words: str) -> bool:
        (id_,) = await store_new(words)
        await queue.settle([(await claim_one(database), Complete(analysis()))])
        found = await InsightStore(database).page(
            insight_filter(labelled=LastWord.RULE), limit=9, cursor=None
        )
        return id_ in {each.conversation_id for each in found.insights}

    async def store_new(words: str) -> list[str]:
        item = new_conversation(words, timestamp=NOON)
        return list(await ConversationStore(database).accept([item], lane=Lane.LIVE))

    assert not await labelled("war one")
    rule = await rules.create("w", {"q": "war"}, {"sentiment": "neutral"}, enabled=True)
    assert await labelled("war two")
    await rules.change(rule.id, enabled=False)
    assert not await labelled("war three")
    await rules.change(rule.id, enabled=True, filter={"q": "peace"})
    assert not await labelled("war four")
    assert await labelled("peace")
    await rules.delete(rule.id)
    assert not await labelled("peace again")


async def test_reuse_and_topics_go_by_what_the_model_said(database: Database) -> None:
    (id_,) = await store_with_fingerprint(database, "f" * 32)
    await give(database, [id_], Labelling(0.6, ("games",)))
    queue = WorkQueue(database)
    earlier = await queue.analysed_before(["f" * 32], within=timedelta(days=1))
    found = earlier["f" * 32].analysis
    assert (found.sentiment_score, found.clusters, found.confidence) == (
        -0.65,
        ("delivery_problems",),
        0.9,
    )
    sightings = await queue.recent_sightings(10)
    assert {name for each in sightings for name in each.clusters} == {"delivery_problems"}


async def store_with_fingerprint(database: Database, fingerprint: str) -> list[str]:
    return await insert_insights(database, [{"fingerprint": fingerprint, "author": "ann"}])


async def test_of_ten_thousand_labels_none_is_lost(sqlite_url: str) -> None:
    """Over a rule that comes and goes, an equal text, and a restart."""
    async with Database(sqlite_url) as database:
        ids = await insert_insights(database, [{"text": f"text {n}"} for n in range(10_000)])
        for start in range(0, len(ids), MOST_AT_ONCE):
            await give(database, ids[start : start + MOST_AT_ONCE], Labelling(0.6, ("praise",)))
        await complete(database, new_conversation("text 7"))
        await give(database, ids[:MOST_AT_ONCE], Labelling(-0.6, ("late",)), 7)
        await take_back(database, ids[: MOST_AT_ONCE // 2], 7)
    async with Database(sqlite_url) as again:
        wanted = insight_filter(
            sentiment=Sentiment.POSITIVE, cluster="praise", labelled=LastWord.PERSON
        )
        assert await count_of(again, wanted) == 10_000
        assert not await derived.rebuild(again)
