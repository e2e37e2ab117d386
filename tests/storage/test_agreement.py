"""List, total, summary and export agree with counting by hand, for random filters."""

import asyncio
import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.handling import HandlingState
from analysis.labels import LastWord
from analysis.micros import DAY, HOUR
from analysis.sentiment import Sentiment
from analysis.urgency import Urgency
from analysis.words import parse_search, words_of
from database import Database
from errors import InvalidInput
from models import to_micros
from store.conversations import ConversationStore
from store.derived.rollup_query import decompose
from store.erasure import ErasureStore
from store.filters import InsightFilter, Span
from store.handling_figures import HandlingFigures
from store.insights import InsightStore
from store.summaries import MAX_BUCKETS, Aggregate, Interval, Summary, SummaryStore
from tests.support.factories import NOON, insert_insights, insight_filter

SPREAD = 6 * 86_400
"""Seconds to either side of noon: whole days, hours, and what is left at the edges."""
WORDS = ["late", "parcel", "refund", "app", "crash", "thanks"]
CLUSTERS = ["late", "price", "app", "praise", "late_delivery"]
Row = dict[str, Any]


def random_row(chance: random.Random) -> Row:
    clusters = chance.sample(CLUSTERS, chance.randint(1, 3))
    at = NOON + timedelta(seconds=chance.randint(-SPREAD, SPREAD))
    row = {
        # Some at the very start of an hour or day, some just before it, some with a fraction.
        "timestamp": chance.choice(
            [
                at,
                at.replace(minute=0, second=0),
                at.replace(minute=0, second=0) - timedelta(microseconds=1),
                at.replace(hour=0, minute=0, second=0),
                at + timedelta(microseconds=chance.randint(0, 999_999)),
            ]
        ),
        "text": " ".join(chance.choices(WORDS, k=4)),
        "sentiment_score": chance.choice(
            [-1.0, -0.1, 0.0, 0.1, 0.1 + 2**-55, chance.uniform(-1, 1)]
        ),
        "clusters": clusters,
        "confidence": chance.choice([0.0, 0.3, 0.7, 0.85, 1.0, chance.random()]),
        **chance.choice(
            [{"author": None}, {"author": "ann"}, {"author": "bob"}, {"author": "shop", "own": 1}]
        ),
        "language": chance.choice(["en", "en", "fr", "und"]),
        "urgency": chance.choice(["none", "none", *Urgency]),
        "labelled": chance.choice(["model", "model", *LastWord]),
        "handling": chance.choice(["open", "open", *HandlingState]),
    }
    waited = timedelta(
        seconds=chance.choice([-60, 0, 1, 3600, 3600.000001, chance.uniform(0, 10**6)])
    )
    handled = row["handling"] != "open"
    return {**row, "handling_at": to_micros(row["timestamp"] + waited) if handled else None}


def random_filter(chance: random.Random) -> InsightFilter:
    def sometimes(*values: Any) -> Any:
        return chance.choice(values) if chance.random() < 0.25 else None

    moments = [NOON + timedelta(seconds=chance.randint(-SPREAD, SPREAD)) for _ in range(2)]
    if chance.random() < 0.3:
        moments[0] = moments[0].replace(hour=0, minute=0, second=0)
    if chance.random() < 0.1:
        moments = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)]
    start, end = sorted(moments)
    q = sometimes("late", "parcel refund", '"late parcel"', "absent")
    return InsightFilter(
        start,
        end,
        min_confidence=sometimes(0.0, 0.7, 0.85, 1.0, chance.random()),
        sentiment=sometimes(*Sentiment),
        cluster=sometimes(*CLUSTERS, "absent", "", "language=en"),
        author=sometimes("ann", "shop", "absent"),
        words=q and parse_search(q),
        language=sometimes("en", "fr", "und", "absent"),
        urgency=sometimes(*Urgency),
        labelled=sometimes(*LastWord),
        handling=sometimes(*HandlingState),
    )


def sentiment_of(score: float) -> Sentiment:
    if score > 0.1:
        return Sentiment.POSITIVE
    return Sentiment.NEGATIVE if score < -0.1 else Sentiment.NEUTRAL


def matches(row: Row, wanted: InsightFilter) -> bool:
    text = f" {' '.join(words_of(row['text']))} "
    if row.get("own") and wanted.author is None:
        return False  # found by its author alone
    return (
        wanted.start_time <= row["timestamp"] <= wanted.end_time
        and (wanted.min_confidence is None or row["confidence"] >= wanted.min_confidence)
        and wanted.sentiment in (None, sentiment_of(row["sentiment_score"]))
        and (wanted.cluster is None or wanted.cluster in row["clusters"])
        and wanted.author in (None, row["author"])
        and wanted.language in (None, row["language"])
        and wanted.urgency in (None, row["urgency"])
        and wanted.labelled in (None, row["labelled"])
        and wanted.handling in (None, row["handling"])
        and all(f" {' '.join(phrase)} " in text for phrase in wanted.words or ())
    )


def assert_counts(aggregate: Aggregate, rows: Sequence[Row]) -> None:
    found = [sentiment_of(row["sentiment_score"]) for row in rows]
    assert (aggregate.positive, aggregate.neutral, aggregate.negative) == tuple(
        map(found.count, Sentiment)
    )
    if rows:
        for average, name in (
            (aggregate.average_sentiment, "sentiment_score"),
            (aggregate.average_confidence, "confidence"),
        ):
            assert average == pytest.approx(sum(row[name] for row in rows) / len(rows), abs=2e-9)
    else:
        assert aggregate.average_sentiment is None


def grouped(rows: Iterable[Row], keys: Callable[[Row], Iterable[Any]]) -> dict[Any, list[Row]]:
    groups = defaultdict(list)
    for row in rows:
        for key in keys(row):
            groups[key].append(row)
    return groups


def assert_summary(summary: Summary, rows: Sequence[Row], interval: Interval) -> None:
    assert_counts(summary.totals, rows)
    buckets = grouped(rows, lambda row: [to_micros(row["timestamp"]) // interval.width])
    for bucket, aggregate in summary.series.items():
        assert_counts(aggregate, buckets.pop(to_micros(bucket) // interval.width, []))
    assert not buckets
    clusters = grouped(rows, lambda row: row["clusters"])
    ordered = sorted(clusters, key=lambda name: (-len(clusters[name]), name))
    assert [name for name, _ in summary.clusters] == ordered
    for name, aggregate in summary.clusters:
        assert_counts(aggregate, clusters[name])


def assert_handling(figures: HandlingFigures, rows: Sequence[Row]) -> None:
    states = Counter(row["handling"] for row in rows)
    assert figures.counts == {state: states[state] for state in HandlingState}
    opened = [row["timestamp"] for row in rows if row["handling"] == "open"]
    assert figures.oldest_open == min(opened, default=None)
    times = [
        max(0, row["handling_at"] - to_micros(row["timestamp"]))
        for row in rows
        if row["handling"] == "answered"
    ]
    if times:
        assert figures.median_answer_seconds == statistics.median(times) / 1e6
        in_time = sum(time <= 3_600_000_000 for time in times)
        assert figures.answered_in_goal == pytest.approx(in_time / len(times), abs=1e-9)
    else:
        assert (figures.median_answer_seconds, figures.answered_in_goal) == (None, None)


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an export goes on after rows at every kind of moment."""
    monkeypatch.setattr("store.insights.ROWS_OF_EXPORT", 7)


async def expect_agreement(
    insights: InsightStore, summaries: SummaryStore, wanted: InsightFilter, rows: dict[str, Row]
) -> int:
    """Whatever is asked agrees with what `rows` hold; how many match."""
    expected = {id_: row for id_, row in rows.items() if matches(row, wanted)}
    page = await insights.page(wanted, limit=1000, cursor=None)
    listed = [insight.conversation_id for insight in page.insights]
    assert page.total_count == len(listed) == len(expected), wanted
    corrected = sum(row["labelled"] != LastWord.MODEL for row in expected.values())
    assert page.corrected_count == corrected, wanted
    assert set(listed) == set(expected), wanted
    assert [insight.timestamp for insight in page.insights] == sorted(
        (row["timestamp"] for row in expected.values()), reverse=True
    )
    exported = [
        insight.conversation_id async for batch in insights.all_of(wanted) for insight in batch
    ]
    assert exported == listed
    if wanted.words is None:
        for interval in Interval:
            if (wanted.end_time - wanted.start_time).total_seconds() > 1900 * interval.width / 1e6:
                continue
            summary = await summaries.summary(wanted, interval)
            assert_summary(summary, list(expected.values()), interval)
            assert summary.corrected == corrected, wanted
            assert_handling(summary.handling, list(expected.values()))
    return len(expected)


async def test_all_figures_agree_with_counting_by_hand(database: Database) -> None:
    chance = random.Random(20250120)
    made = [random_row(chance) for _ in range(500)]
    ids = await insert_insights(database, made)
    rows = dict(zip(ids, made, strict=True))
    for id_ in chance.sample(ids, 60):
        await ErasureStore(database).erase(id_)
        del rows[id_]
    insights, summaries = InsightStore(database), SummaryStore(database)
    sizes = [
        await expect_agreement(insights, summaries, random_filter(chance), rows) for _ in range(120)
    ]
    assert sum(size > 0 for size in sizes) > 40  # the filters were not all too narrow


@pytest.mark.parametrize("passed", [10**9, 0], ids=["by key", "by words"])
async def test_what_was_kept_of_an_earlier_answer_agrees_as_well(
    database: Database, monkeypatch: pytest.MonkeyPatch, passed: int
) -> None:
    """The same few questions again and again, while insights come and go; on PostgreSQL, matches
    are found in either way."""
    for name in ("_PASSED_AT_ONCE", "_PASSED_FOR_ONE"):
        monkeypatch.setattr(f"store.derived.word_counts.{name}", passed)
    chance = random.Random(7)
    rows: dict[str, Row] = {}
    insights, summaries = InsightStore(database), SummaryStore(database)
    filters = [random_filter(chance) for _ in range(60)]
    filters = [each for each in filters if each.words or each.cluster or each.facets][:15]
    assert len(filters) == 15
    for comes in (100, 0, 3, 0, 3, 0):
        if made := [random_row(chance) for _ in range(comes)]:
            rows.update(zip(await insert_insights(database, made), made, strict=True))
        else:
            for id_ in chance.sample(list(rows), 3):
                await ErasureStore(database).erase(id_)
                del rows[id_]
        for wanted in filters:
            await expect_agreement(insights, summaries, wanted, rows)


async def test_a_summary_has_every_bucket_cut_by_the_range(database: Database) -> None:
    await insert_insights(
        database,
        [{"timestamp": NOON + timedelta(minutes=minute)} for minute in (-31, -30, 0, 90, 91)],
    )
    start, end = NOON - timedelta(minutes=30), NOON + timedelta(minutes=90)
    wanted = insight_filter(start_time=start, end_time=end)
    summary = await SummaryStore(database).summary(wanted, Interval.HOUR)
    assert {bucket.hour: aggregate.count for bucket, aggregate in summary.series.items()} == {
        11: 1,
        12: 1,
        13: 1,
    }
    assert summary.totals.count == 3


async def test_a_summary_of_nothing_has_zeros_and_no_averages(database: Database) -> None:
    wanted = insight_filter(start_time=NOON, end_time=NOON + timedelta(hours=1))
    summary = await SummaryStore(database).summary(wanted, Interval.MINUTE)
    assert len(summary.series) == 61
    assert {aggregate.count for aggregate in summary.series.values()} == {0}
    assert summary.clusters == []
    assert (summary.totals.average_sentiment, summary.totals.average_confidence) == (None, None)


async def test_too_many_buckets_are_invalid_input(database: Database) -> None:
    store = SummaryStore(database)
    wanted = insight_filter(end_time=NOON, start_time=NOON - timedelta(hours=MAX_BUCKETS - 1))
    assert len((await store.summary(wanted, Interval.HOUR)).series) == MAX_BUCKETS
    wider = replace(wanted, start_time=wanted.start_time - timedelta(microseconds=1))
    with pytest.raises(InvalidInput, match=r"^interval: 2001 buckets"):
        await store.summary(wider, Interval.HOUR)


async def test_times_before_1970_are_in_the_bucket_that_they_are_in(database: Database) -> None:
    moment = datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    await insert_insights(database, [{"timestamp": moment}, {"timestamp": moment}])
    for interval in Interval:
        wanted = insight_filter(
            start_time=moment - timedelta(minutes=5), end_time=moment + timedelta(minutes=5)
        )
        summary = await SummaryStore(database).summary(wanted, interval)
        (bucket,) = [bucket for bucket, aggregate in summary.series.items() if aggregate.count]
        assert bucket <= moment < bucket + timedelta(microseconds=interval.width)
        assert summary.totals.count == 2


async def test_who_reads_while_others_write_sees_page_and_total_of_one_moment(
    database: Database,
) -> None:
    insights = InsightStore(database)
    done = asyncio.Event()

    async def write() -> None:
        for _ in range(30):
            ids = await insert_insights(database, [{}] * 3)
            await ConversationStore(database).erase(ids[0])
        done.set()

    writing = asyncio.create_task(write())
    while not done.is_set():
        page = await insights.page(insight_filter(), limit=1000, cursor=None)
        assert page.total_count == len(page.insights)
    await writing


moments = st.integers(-(10**17), 10**17) | st.integers(-40, 40).map(lambda n: n * HOUR + n % 3 - 1)


@given(moments, moments)
@settings(max_examples=300, deadline=None)
def test_a_range_is_cut_into_pieces_that_are_it(one: int, other: int) -> None:
    start, end = sorted((one, other))
    pieces = decompose(Span(start, end + 1))
    spans = (*pieces.partial_buckets, *pieces.hours, pieces.days)
    used = sorted(span for span in spans if span.start < span.stop)
    assert (used[0].start, used[-1].stop) == (start, end + 1)
    assert all(left.stop == right.start for left, right in pairwise(used))
    assert all(span.stop - span.start < HOUR for span in pieces.partial_buckets)
    for span in used:
        if span in pieces.hours:
            assert span.start % HOUR == span.stop % HOUR == 0
        if span == pieces.days:
            assert span.start % DAY == span.stop % DAY == 0
    assert sum(span.stop - span.start for span in pieces.hours) < 2 * DAY
