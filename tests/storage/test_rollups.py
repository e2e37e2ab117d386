"""The rollups and the index of words stay what a recount would make of them."""

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, select, text, update

from analysis.outcomes import Complete, Fail, Outcome, Retry
from analysis.urgency import Urgency
from analysis.words import parse_search
from config import Settings
from database import Database
from errors import NotFound
from models import Lane, derived_data, insight_rollups, status_counts
from store import derived
from store.conversations import ConversationStore
from store.derived.rollups import (
    CONFIDENCE_BINS,
    UNIT,
    Grain,
    confidence_bin,
    rollup_rows,
)
from store.erasure import ErasureStore
from store.facets import Facet
from store.figures import FigureStore
from store.insight_row import InsightRow
from store.insights import InsightStore
from store.queue import WorkQueue
from tests.support.factories import (
    NOON,
    RUN_OUT,
    analysis,
    claim_all,
    claim_some,
    complete,
    insert_insight,
    insert_insights,
    insight_filter,
    new_conversation,
    new_conversations,
    of_another_process,
    run_sql,
    scalar,
)
from tools import rebuild_derived

HOUR = 3_600_000_000


def row(**overrides: Any) -> InsightRow:
    defaults = {
        "id": 1,
        "timestamp": 1,
        "text": "",
        "author": None,
        "sentiment_score": -0.5,
        "confidence": 0.9,
        "clusters": (),
    }
    return InsightRow(**{**defaults, **overrides})


# --- pure -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("confidence", "bin_"),
    [(0.0, 0), (0.049, 0), (0.05, 1), (0.85, 17), (0.85 - 2**-53, 16), (0.9999, 19), (1.0, 20)],
)
def test_a_bin_begins_with_its_own_number(confidence: float, bin_: int) -> None:
    assert confidence_bin(confidence) == bin_
    assert confidence >= CONFIDENCE_BINS[bin_]


def test_one_insight_is_counted_under_each_of_its_names_in_every_grain() -> None:
    moment = 30 * HOUR + 5
    insight = row(timestamp=moment, clusters=("late", "price"), language="en", urgency="soon")
    rows = rollup_rows([insight])
    assert rows == {
        key: [0, 0, 0, 0, 0, 0, 1, -UNIT // 2, 9 * UNIT // 10]
        for name in ("", "late", "price", "language=en", "urgency=soon")
        for key in (
            (name, Grain.HOUR, 30 * HOUR, 0),
            (name, Grain.HOUR_BY_BIN, 30 * HOUR, 18),
            (name, Grain.DAY_BY_BIN, 24 * HOUR, 18),
            (name, Grain.DAY, 24 * HOUR, 0),
        )
    }


@pytest.mark.parametrize("facet", [facet for facet in Facet if facet.usual])
def test_a_usual_value_is_not_written(facet: Facet) -> None:
    usual = {key[0] for key in rollup_rows([row(**{facet: facet.usual})])}
    assert usual == {"", "language=und"}
    for other in facet.others:
        assert f"{facet}={other}" in {key[0] for key in rollup_rows([row(**{facet: other})])}


scores = st.floats(-1, 1)


@given(st.lists(st.tuples(scores, st.floats(0, 1), st.integers(-(10**16), 10**16)), max_size=20))
def test_the_order_of_adding_makes_no_difference(values: list[tuple[float, float, int]]) -> None:
    rows = [row(sentiment_score=s, confidence=c, timestamp=t) for s, c, t in values]
    assert rollup_rows(rows) == rollup_rows(rows[::-1])


# --- kept -----------------------------------------------------------------------------------------


async def is_right(database: Database) -> bool:
    return not await derived.rebuild(database)


async def test_after_any_mix_of_work_the_tallies_equal_a_recount(
    database: Database,
) -> None:
    """Two processes accept, settle, fail, retry, rescue and erase, all at once."""
    chance = random.Random(4)
    ids: list[str] = []

    async def accept(on: Database) -> None:
        items = [
            new_conversation(
                chance.choice(["late parcel", "great app", "refund"]),
                timestamp=NOON + timedelta(minutes=chance.randint(-3000, 3000)),
            )
            for _ in range(chance.randint(1, 5))
        ]
        ids.extend(await ConversationStore(on).accept(items, lane=chance.choice(list(Lane))))

    def outcome() -> Outcome:
        if chance.random() < 0.3:
            return Fail("no") if chance.random() < 0.5 else Retry("again", 0.0)
        clusters = tuple(chance.sample(["a", "b", "c", "d"], 2))
        score, confidence = chance.uniform(-1, 1), chance.random()
        language, urgency = chance.choice(["en", "fr"]), chance.choice(list(Urgency))
        return Complete(
            analysis(
                score,
                confidence=confidence,
                clusters=clusters,
                language=language,
                urgency=urgency,
            )
        )

    async def work(on: Database) -> None:
        lanes = chance.sample(list(Lane), 2)
        claimed = await claim_some(on, limit=chance.randint(1, 6), lanes=lanes)
        outcomes = [outcome() for _ in claimed]
        await WorkQueue(on).settle(list(zip(claimed, outcomes, strict=True)))

    async def erase(on: Database) -> None:
        if ids:
            # Now and then the same one twice at once.
            await asyncio.gather(
                *(ErasureStore(each).erase(chance.choice(ids[-20:])) for each in (on, other))
            )

    async def lose_a_lease(on: Database) -> None:
        await claim_some(on, limit=2, lease=RUN_OUT)
        await WorkQueue(on).rescue()
        await ConversationStore(on).retry_failed()

    jobs = [accept, accept, work, work, work, erase, lose_a_lease]
    async with of_another_process(database) as other:
        for _ in range(25):
            async with asyncio.timeout(60):
                await asyncio.gather(
                    *(chance.choice(jobs)(chance.choice([database, other])) for _ in range(8))
                )
    counted = await scalar(database, text("SELECT count(*) FROM insights"))
    assert counted > 50
    queue = (await FigureStore(database).all()).queue
    assert sum(queue.counts[key] for key in queue.counts if key[0] == "completed") == counted
    found = await search_all(database, "late parcel", "great app", "refund")
    assert found == counted
    assert await is_right(database)
    assert await search_all(database, "late parcel", "great app", "refund") == counted


async def search_all(database: Database, *searches: str) -> int:
    totals = [
        (
            await InsightStore(database).page(
                insight_filter(words=parse_search(q)), limit=1000, cursor=None
            )
        ).total_count
        for q in searches
    ]
    return sum(totals)


async def test_what_is_erased_leaves_no_row_behind(database: Database) -> None:
    """Not even the name of a cluster that only one conversation had."""
    (id_,) = await complete(database, new_conversation(), clusters=("only_mine", "praise"))
    kept = await insert_insight(database, clusters=["praise"])
    await ConversationStore(database).erase(id_)
    names = await database.read(
        lambda connection: set(connection.scalars(select(insight_rollups.c.name)))
    )
    assert names == {"", "praise", "language=und"}
    await ConversationStore(database).erase(kept)
    assert await scalar(database, text("SELECT count(*) FROM insight_rollups")) == 0


async def test_a_result_that_is_dropped_is_not_counted(database: Database) -> None:
    await ConversationStore(database).accept(new_conversations(1), lane=Lane.LIVE)
    (claimed,) = await claim_all(database)
    await ErasureStore(database).erase(claimed.id)
    settled = await WorkQueue(database).settle([(claimed, Complete(analysis()))])
    assert settled.done == set()
    assert await is_right(database)
    assert await scalar(database, text("SELECT count(*) FROM insight_rollups")) == 0


async def test_of_two_who_erase_the_same_only_one_takes_it_out(database: Database) -> None:
    (id_, *_) = await insert_insights(database, [{}] * 3)
    store = ConversationStore(database)
    answers = await asyncio.gather(*(store.erase(id_) for _ in range(8)), return_exceptions=True)
    assert [type(answer) for answer in answers if answer is not None] == [NotFound] * 7
    assert await is_right(database)


# --- rebuilt --------------------------------------------------------------------------------------

SPOILT: dict[str, Any] = {
    "a count": update(insight_rollups).values(negative=insight_rollups.c.negative + 1),
    "a sum": update(insight_rollups).values(negative_score=insight_rollups.c.negative_score + 1),
    "a row too few": delete(insight_rollups).where(insight_rollups.c.name == "late"),
    "a row too many": insight_rollups.insert().values(
        **dict.fromkeys(insight_rollups.c.keys(), 1) | {"name": "ghost"}
    ),
    "a status": update(status_counts).values(count=status_counts.c["count"] + 1),
    "no status": delete(status_counts),
}


@pytest.mark.parametrize("name", SPOILT)
async def test_what_is_wrong_is_found_and_made_right(database: Database, name: str) -> None:
    await insert_insights(database, [{"clusters": ["late"]}] * 5)
    assert await is_right(database)
    await run_sql(database, SPOILT[name])
    assert not await is_right(database)
    assert await is_right(database)
    page = await InsightStore(database).page(insight_filter(cluster="late"), limit=9, cursor=None)
    assert page.total_count == len(page.insights) == 5


async def test_a_rebuild_of_many_goes_some_at_a_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.derived._ROWS_AT_A_TIME", 7)
    await insert_insights(
        database,
        [
            {"timestamp": NOON + timedelta(minutes=minute % 5), "text": "late"}
            for minute in range(50)
        ],
    )
    assert await is_right(database)
    assert await search_all(database, "late") == 50


def test_the_command_says_whether_the_figures_were_right(
    make_settings: Callable[..., Settings],
    sqlite_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", sqlite_url)

    async def prepare(*statements: Any) -> None:
        async with Database(sqlite_url) as database:
            await insert_insights(database, [{}] * 3)
            await run_sql(database, *statements)

    asyncio.run(prepare())
    assert rebuild_derived.main() == 0
    assert "were right" in capsys.readouterr().out
    asyncio.run(prepare(delete(insight_rollups)))
    assert rebuild_derived.main() == 1
    assert "were wrong" in capsys.readouterr().out
    monkeypatch.setenv("DATABASE_URL", "sqlite+aiosqlite:////no/such/folder/insights.db")
    assert rebuild_derived.main() == 2


async def test_what_another_version_kept_is_made_anew_at_the_start(database: Database) -> None:
    """As after the migration of an old database: insights, and nothing beside them."""
    ids = await insert_insights(database, [{"text": f"late number{n}"} for n in range(20)])
    await derived.ensure(database)
    expected = await _tallies(database)
    await run_sql(database, delete(insight_rollups), delete(status_counts))
    await derived.ensure(database)
    assert await _tallies(database) == []

    await run_sql(database, update(derived_data).values(version=derived.VERSION - 1))
    await derived.ensure(database)

    assert await _tallies(database) == expected
    assert await search_all(database, "late number3") == 1
    await ConversationStore(database).erase(ids[3])
    assert await search_all(database, "late number3") == 0


async def _tallies(database: Database) -> Sequence[Any]:
    statement = select(insight_rollups).order_by(*insight_rollups.primary_key)
    return await database.read(lambda connection: connection.execute(statement).all())
