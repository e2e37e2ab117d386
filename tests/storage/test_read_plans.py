"""No read goes through a whole table: the databases are asked how they would carry each out."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from itertools import chain, product
from typing import Any
from unittest.mock import patch

import pytest
import pytest_asyncio
from sqlalchemy import Connection, event, text

from analysis.alerts import RuleKind
from analysis.handling import HandlingState
from analysis.labels import LastWord
from analysis.report_times import Period
from analysis.sentiment import Sentiment
from analysis.urgency import Urgency
from analysis.words import parse_search
from backends import sqlite_driver
from database import Database
from models import to_micros
from store import cursors, derived
from store.alert_rules import AlertRuleStore
from store.alert_singles import SingleStore
from store.derived import day_cache, rollups, word_index
from store.derived.word_counts import MatchCounter
from store.erasure import ErasureStore
from store.figures import FigureStore
from store.filters import InsightFilter
from store.handling import HandlingStore
from store.insight_row import InsightRow
from store.insights import InsightStore
from store.priority import PriorityStore
from store.reports import ReportStore
from store.summaries import Interval, SummaryStore
from store.trends import TrendStore, Window
from tests.support.alerts import alert_store, judge_at, make_rule, trial_store
from tests.support.factories import NOON, insight_filter, scalar
from tests.support.http_helpers import on_shared_loop
from tests.support.newest_schema import copy_where_new
from tests.support.servers import postgres_database, server_of

ROWS = 20_000
TABLES = ("insights", "insight_clusters", "insight_rollups", "conversations", "insight_terms")

Statement = tuple[str, Any]

_FILL = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)
INSERT INTO {table} SELECT {columns} FROM n
"""
_TIMESTAMP = "1737374400000000 + (i - 10000) * CAST(57500000 AS BIGINT)"
_FILLED = {
    "conversations (id, text, author, timestamp, status, created_at, lane)": (
        f"'conv_' || i, 'late', 'author' || (i % 500), {_TIMESTAMP}, 'completed', i, 'live'"
    ),
    "insights (id, conversation_id, timestamp, text, author, sentiment_score, clusters, confidence,"
    " reasoning, grok_analysis, created_at, language, urgency, labelled, handling, handling_at,"
    " priority)": (
        f"i, 'conv_' || i, {_TIMESTAMP}, 'late', 'author' || (i % 500), i % 200 / 100.0 - 1,"
        " '[\"a\"]', i % 100 / 100.0, '', '{}', i,"
        " CASE WHEN i % 4 = 0 THEN 'fr' ELSE 'en' END,"
        " CASE WHEN i % 10 = 0 THEN 'now' ELSE 'none' END,"
        " CASE WHEN i % 1000 = 0 THEN 'person' ELSE 'model' END,"
        f" CASE WHEN i % 20 = 0 THEN 'open' ELSE 'answered' END, {_TIMESTAMP} + 1000000,"
        f" CASE WHEN i % 20 = 0 THEN - ({_TIMESTAMP}) END"
    ),
    "insight_clusters (cluster, timestamp, insight_id, sentiment_score, confidence)": (
        f"'cluster' || (i % 40), {_TIMESTAMP}, i, i % 200 / 100.0 - 1, i % 100 / 100.0"
    ),
}


def _fill(connection: Connection) -> None:
    for table, columns in _FILLED.items():
        if connection.dialect.name == "postgresql":
            columns = columns.replace("'[\"a\"]'", "CAST('[\"a\"]' AS JSON)")
            columns = columns.replace("'{}'", "CAST('{}' AS JSON)")
        statement = _FILL.format(table=table, columns=columns)
        connection.execute(text(statement), {"rows": ROWS})


def _derive(numbers: range, connection: Connection) -> None:
    rows = [
        InsightRow(
            number,
            1_737_374_400_000_000 + (number - 10_000) * 57_500_000,
            f"late word{number % 100}",
            f"author{number % 500}",
            number % 200 / 100.0 - 1,
            number % 100 / 100.0,
            (f"cluster{number % 40}",),
            "fr" if number % 4 == 0 else "en",
            "now" if number % 10 == 0 else "none",
            "person" if number % 1000 == 0 else "model",
            handling="open" if number % 20 == 0 else "answered",
        )
        for number in numbers
    ]
    word_index.add(connection, rows)
    rollups.add(connection, rows)
    day_cache.bump_day_version(connection, (row.timestamp for row in rows))


def _analyze(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("ANALYZE"))


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def full_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('full')}/insights.db"
        return
    with postgres_database(server_of(request.getfixturevalue("postgres_url"))) as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def full(full_url: str) -> AsyncIterator[Database]:
    """With many rows, which no test changes."""
    copy_where_new(full_url)
    async with Database(full_url) as database:
        await database.write(_fill)
        for start in range(1, ROWS + 1, 2000):  # a transaction that thinks for long is ended
            await database.write(partial(_derive, range(start, start + 2000)))
        await database.write(_analyze)
        yield database


@contextmanager
def asked(database: Database) -> Iterator[list[Statement]]:
    """All that readers ask inside, through SQLAlchemy and past it."""
    backend: Any = database._backend
    engine = backend._reader if database.is_sqlite else backend._engine.sync_engine
    seen: list[Statement] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        seen.append((statement, parameters))

    def execute(connection: Connection, statement: str, parameters: Sequence[Any]) -> Any:
        if database.is_sqlite:  # on PostgreSQL `note` sees it
            seen.append((statement, tuple(parameters)))
        return sqlite_driver.execute(connection, statement, parameters)

    event.listen(engine, "before_cursor_execute", note)
    try:
        with patch("store.statements.execute", execute):
            yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def scans(statement: Statement, connection: Connection) -> list[str]:
    """The tables that carrying it out would go through from end to end."""
    question, parameters = statement
    if connection.dialect.name == "sqlite":
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {question}", parameters)
        return [detail for *_, detail in plan if _is_scan(detail)]
    answer = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {question}", parameters)
    nodes: Any = answer.scalar()
    return [
        f"{node['Node Type']} {node['Relation Name']}"
        for node in _nodes(nodes[0]["Plan"])
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in TABLES
    ]


def _is_scan(detail: str) -> bool:
    words = detail.split()
    if "AUTOMATIC" in words:
        return True
    if words[0] != "SCAN" or words[1] not in TABLES:
        return False
    return words[1] != "insight_terms" or "M" not in words[-1]  # an index's number, then a match


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)


Options = list[dict[str, Any]]

_SENTIMENTS: Options = [{}, {"sentiment": Sentiment.NEGATIVE}, {"sentiment": Sentiment.NEUTRAL}]
_CONFIDENCES: Options = [{}, {"min_confidence": 0.8}, {"min_confidence": 0.985}]
_FACETS: Options = [
    {"language": "en"},
    {"labelled": LastWord.PERSON},
    {"handling": HandlingState.OPEN},
    {"language": "fr", "urgency": Urgency.NOW},
]
_OTHERS: list[Options] = [
    [{}, {"cluster": "cluster7"}],
    [{}, {"author": "author77"}],
    [{}, {"words": parse_search("word55")}],
    [{}, {"start_time": NOON - timedelta(days=365), "end_time": NOON + timedelta(days=365)}],
]


def filters() -> Iterator[InsightFilter]:
    """Every mix of conditions, over a month and over everything; facets with some of them."""
    mixes = chain(
        product(_SENTIMENTS, _CONFIDENCES, *_OTHERS),
        product(_FACETS, _SENTIMENTS[:2], _CONFIDENCES[::2], *_OTHERS[:3]),
    )
    for mix in mixes:
        yield insight_filter(**{name: value for part in mix for name, value in part.items()})


async def expect_no_scans(database: Database, statements: list[Statement]) -> None:
    different = dict(statements)
    assert different

    def check(connection: Connection) -> dict[str, list[str]]:
        found = {
            question: scans((question, given), connection) for question, given in different.items()
        }
        return {question: plan for question, plan in found.items() if plan}

    assert await database.read(check, seconds=240) == {}  # hundreds of questions, on any machine


@on_shared_loop
async def test_no_read_scans_a_table(full: Database) -> None:
    insights, summaries = InsightStore(full), SummaryStore(full)
    with asked(full) as statements:
        for wanted in filters():
            page = await insights.page(wanted, limit=3, cursor=None)
            if page.next_cursor is not None:
                await insights.page(wanted, limit=100, cursor=page.next_cursor)
            if wanted.words is None:
                await summaries.summary(wanted, Interval.DAY)
        for cluster in (None, "cluster7"):
            await summaries.summary(insight_filter(cluster=cluster), Interval.HOUR)
        short = insight_filter(start_time=NOON, end_time=NOON + timedelta(hours=3))
        await summaries.summary(short, Interval.MINUTE)
        for window in Window:
            await TrendStore(full).trends(window, as_of=NOON + timedelta(minutes=7))
        await insights.since(ROWS - 10, limit=200)
        await insights.newest_id()
        await FigureStore(full).all()
    await expect_no_scans(full, statements)


@on_shared_loop
async def test_rebuilding_goes_through_no_table_for_each_part_that_it_reads(full: Database) -> None:
    with asked(full) as statements:
        parts = await full.read(lambda connection: [*derived._chunks(connection)], seconds=60)
    assert sum(map(len, parts)) == ROWS
    await expect_no_scans(full, statements)


@on_shared_loop
async def test_looking_for_what_is_too_old_scans_no_table(full: Database) -> None:
    with asked(full) as statements:
        long_ago = NOON - timedelta(days=400)
        assert await ErasureStore(full).erase_older_than(long_ago, limit=100) == 0
    assert len(statements) == 3
    await expect_no_scans(full, statements)


@on_shared_loop
async def test_no_page_by_priority_and_no_handling_scans_a_table(full: Database) -> None:
    """Where many match, and where few do."""
    handling = HandlingStore(full)
    with asked(full) as statements:
        for conditions, total in product(PRIORITY_CONDITIONS, (10, 4_000)):
            priorities = PriorityStore(full, Told(total))
            wanted = insight_filter(handling=HandlingState.OPEN, **conditions)
            for cursor in (None, cursors.encode("priority", 0, 1)):
                await priorities.page(wanted, limit=100, cursor=cursor)
        await handling.find("conv_20")
        await handling.end_leases()
        await handling.newest_event()
        await handling.events_since(0)
    await expect_no_scans(full, statements)


@on_shared_loop
async def test_the_walk_by_priority_reads_its_index_alone(full: Database) -> None:
    """On SQLite: rows are read for the page, not for all that the walk passes by."""
    if not full.is_sqlite:
        pytest.skip("PostgreSQL decides by what it knows of the table")
    wanted = insight_filter(handling=HandlingState.OPEN)
    with asked(full) as statements:
        await PriorityStore(full, MatchCounter()).page(wanted, limit=100, cursor=None)
    (walk,) = [each for each in statements if "picked" in each[0]]
    assert "USING COVERING INDEX idx_insight_priority" in await full.read(partial(_plan, walk))


def _plan(statement: Statement, connection: Connection) -> str:
    """On SQLite."""
    explained = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement[0]}", statement[1])
    return "\n".join(detail for *_, detail in explained)


@on_shared_loop
async def test_an_author_is_counted_in_an_index_alone(full: Database) -> None:
    """Some have very many."""
    if not full.is_sqlite:
        pytest.skip("PostgreSQL decides by what it knows of the table")
    store = InsightStore(full)
    for facet in _FACETS:
        with asked(full) as statements:
            wanted = insight_filter(author="author77", **facet)
            await full.read(partial(store.count, wanted))
            await store.page(wanted, limit=1, cursor=None)
        counts = [each for each in statements if "picked" not in each[0]]
        assert len(counts) > 1
        for each in counts:
            assert "USING COVERING INDEX idx_insight_author" in await full.read(
                partial(_plan, each)
            )


@on_shared_loop
async def test_the_index_of_words_is_not_asked_about_times_without_insights(
    full: Database,
) -> None:
    wanted = insight_filter(
        start_time=NOON - timedelta(days=365, microseconds=1),
        end_time=NOON - timedelta(days=300),
        words=parse_search("late"),
    )
    with asked(full) as statements:
        page = await InsightStore(full).page(wanted, limit=3, cursor=None)
    assert page.total_count == 0
    assert statements
    assert not [question for question, _ in statements if "insight_terms" in question]


@on_shared_loop
async def test_a_part_of_all_days_is_counted_by_words_or_by_key_as_the_words_are(
    full: Database,
) -> None:
    start, days = NOON.replace(hour=0) - timedelta(days=6), 4
    for q, rarity in (("late", 1), ("word55", 100), ("late word56", 100)):
        end = start + timedelta(days=days, microseconds=-1)
        wanted = insight_filter(start_time=start, end_time=end, words=parse_search(q))
        with asked(full) as statements:
            page = await InsightStore(full).page(wanted, limit=3, cursor=None)
        assert page.total_count == pytest.approx(days * 86400 / 57.5 / rarity, abs=1)
        counted = [question for question, _ in statements if "GROUP BY" in question]
        assert full.is_sqlite or (counted and not any("key + 0" in each for each in counted))


ALERT_FILTERS: list[dict[str, Any]] = [
    {},
    {"sentiment": "negative", "min_confidence": 0.5},
    {"cluster": "cluster7"},
    {"cluster": "cluster7", "language": "fr"},
    {"language": "fr"},
    {"author": "author77"},
    {"q": "word55"},
]


@on_shared_loop
async def test_no_judging_of_alerts_and_no_report_scans_a_table(full: Database) -> None:
    store, insights, trials = alert_store(full), InsightStore(full), trial_store(full)
    for kind, named in product(("rising", "count"), ALERT_FILTERS):
        above = 1.0 if kind == "count" else 1000.0
        await make_rule(full, kind, filter=named, above=above, window="24h", at_least=1)
    await make_rule(full, "share", window="24h", above=0.1)
    await make_rule(full, "single")
    moment = NOON + timedelta(minutes=7)
    with asked(full) as statements:
        await judge_at(store, moment)
        await SingleStore(full).judge(sum_up=False, now=to_micros(moment))
        await store.page(None, limit=100, cursor=None)
        for rule in await AlertRuleStore(full).all():
            if rule.kind is not RuleKind.COUNT or "q" in rule.filter:
                await trials.run(rule, now=to_micros(moment))
        await ReportStore(full, SummaryStore(full), insights).report(Period.WEEK, NOON.date())
    await expect_no_scans(full, statements)


class Told(MatchCounter):
    """As if so many matched, whoever asks."""

    def __init__(self, total: int) -> None:
        super().__init__()
        self._total = total

    def total(self, wanted: InsightFilter, connection: Connection) -> int:
        return self._total


PRIORITY_CONDITIONS: list[dict[str, Any]] = [
    {},
    {"sentiment": Sentiment.NEGATIVE},
    {"min_confidence": 0.985},
    {"min_confidence": 0.2},
    {"cluster": "cluster20"},
    {"author": "author20"},
    {"language": "fr"},
    {"urgency": Urgency.NOW, "sentiment": Sentiment.POSITIVE},
    {"words": parse_search("late")},
]


async def test_a_scan_would_be_noticed(database: Database) -> None:
    with asked(database) as statements:
        await scalar(database, text("SELECT count(*) FROM insights WHERE reasoning = 'x'"))
    with pytest.raises(AssertionError, match=r"(?i)scan"):
        await expect_no_scans(database, statements)
