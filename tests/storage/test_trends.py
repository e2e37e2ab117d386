"""What stands out, and what does not: the statistic, and the counts that it is given."""

import random
from collections import Counter
from datetime import datetime, timedelta

import pytest

from analysis.trend_score import CALLED_FROM, LEAST_COUNT, judge
from database import Database
from store.trends import TrendStore, Window
from tests.support.factories import NOON, insert_insights

# --- pure -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("usual", [5, 8, 20, 100, 1000])
def test_a_threefold_rise_is_called(usual: int) -> None:
    verdict = judge(3 * usual, [usual] * 24)
    assert verdict is not None
    assert (verdict.direction, verdict.expected) == ("rising", usual)
    assert verdict.score >= CALLED_FROM


def test_silence_where_few_were_expected_is_not_called() -> None:
    assert judge(0, [7] * 24) is None


@pytest.mark.parametrize("usual", [8, 20, 100])
def test_silence_is_called_falling(usual: int) -> None:
    verdict = judge(0, [usual] * 24)
    assert verdict is not None
    assert verdict.direction == "falling"
    assert verdict.score <= -CALLED_FROM


def test_what_was_never_there_is_new() -> None:
    verdict = judge(LEAST_COUNT, [0] * 24)
    assert verdict is not None
    assert (verdict.direction, verdict.expected) == ("new", 0.0)


@pytest.mark.parametrize("count", range(LEAST_COUNT))
def test_a_tiny_count_is_never_called(count: int) -> None:
    assert judge(count, [0] * 24) is None
    assert judge(count, [1] * 24) is None


@pytest.mark.parametrize("count", [7, 10, 13])
def test_what_is_usual_is_not_called(count: int) -> None:
    assert judge(count, [10] * 24) is None


def test_a_lively_cluster_has_to_do_more_to_stand_out() -> None:
    quiet, lively = [10] * 24, [0, 20] * 12
    calm, wild = judge(30, quiet), judge(30, lively)
    assert calm is not None
    assert wild is None or wild.score < calm.score


def test_what_came_between_counts_as_a_part_of_a_window() -> None:
    verdict = judge(30, [10] * 9, more=5, part=0.5)
    assert verdict is not None
    assert verdict.expected == pytest.approx(10)
    (without,) = [judge(30, [10] * 9)]
    assert without is not None


def test_steady_random_traffic_is_seldom_called() -> None:
    chance = random.Random(6)
    calls = looks = 0
    for rate in (0.5, 2, 8, 30):
        for _ in range(1500):
            counts = [_poisson(rate, chance) for _ in range(25)]
            calls += judge(counts[0], counts[1:]) is not None
            looks += 1
    assert calls / looks < 0.004


def _poisson(rate: float, chance: random.Random) -> int:
    count, moment = 0, chance.expovariate(rate)
    while moment < 1:
        count, moment = count + 1, moment + chance.expovariate(rate)
    return count


# --- the counts -----------------------------------------------------------------------------------

AS_OF = NOON + timedelta(minutes=37, seconds=12, microseconds=345_678)


async def test_counts_are_those_of_the_windows_themselves(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against counting by hand, for every window, at a moment that no hour begins or ends at."""
    chance = random.Random(8)
    rows = [
        {
            "timestamp": AS_OF
            - chance.random() * timedelta(days=chance.choice([0.01, 0.1, 1, 17])),
            "clusters": chance.sample(["a", "b", "c"], 2),
            "sentiment_score": chance.uniform(-1, 1),
        }
        for _ in range(600)
    ]
    rows += [{"timestamp": AS_OF - window_width(each), "clusters": ["edge"]} for each in Window]
    await insert_insights(database, rows)
    given: dict[str, tuple[int, int, float]] = {}

    def keep(count: int, before: list[int], *, more: int = 0, part: float = 0.0) -> None:
        given[seen[len(given)]] = (count, sum(before) + more, len(before) + part)

    monkeypatch.setattr("store.trends.judge", keep)
    for window in Window:
        given.clear()
        seen = ["a", "b", "c", "edge"]
        await TrendStore(database).trends(window, as_of=AS_OF)
        width = window_width(window)
        last = counted(rows, AS_OF - width, AS_OF)
        for cluster in seen:
            count, total, windows = given[cluster]
            before = counted(rows, AS_OF - (1 + windows) * width, AS_OF - width)
            assert (count, total) == (last[cluster], before[cluster]), (window, cluster)


def window_width(window: Window) -> timedelta:
    return timedelta(microseconds=window.width)


def counted(rows: list[dict[str, object]], after: datetime, until: datetime) -> Counter[str]:
    """Later than the one, and not later than the other."""
    return Counter(
        cluster
        for row in rows
        if after < row["timestamp"] <= until  # type: ignore[operator]
        for cluster in row["clusters"]  # type: ignore[attr-defined]
    )


async def test_a_rise_is_told_with_its_newest_conversations(database: Database) -> None:
    steady = [
        {"timestamp": AS_OF - timedelta(minutes=minute), "clusters": ["steady"]}
        for minute in range(0, 60 * 25, 10)
    ]
    calm = [
        {"timestamp": AS_OF - timedelta(minutes=minute), "clusters": ["late"]}
        for minute in range(65, 60 * 25, 10)
    ]
    rise = [
        {
            "timestamp": AS_OF - timedelta(minutes=minute),
            "clusters": ["late"],
            "sentiment_score": -0.5,
        }
        for minute in range(20)
    ]
    await insert_insights(database, steady + calm)
    ids = await insert_insights(database, rise)
    (trend,) = await TrendStore(database).trends(Window.ONE_HOUR, as_of=AS_OF)
    assert (trend.cluster, trend.count, trend.verdict.direction) == ("late", 20, "rising")
    assert trend.verdict.expected == pytest.approx(6, abs=0.3)
    assert trend.average_sentiment == -0.5
    assert list(trend.examples) == ids[:3]


async def test_in_its_first_hours_a_service_does_not_call_everything_rising(
    database: Database,
) -> None:
    """Windows before the very first insight tell nothing."""
    await insert_insights(
        database,
        [
            {"timestamp": AS_OF - timedelta(minutes=minute), "clusters": ["late"]}
            for minute in range(0, 240, 6)
        ],
    )
    assert await TrendStore(database).trends(Window.ONE_HOUR, as_of=AS_OF) == []


async def test_without_insights_nothing_is_called(database: Database) -> None:
    for window in Window:
        assert await TrendStore(database).trends(window, as_of=AS_OF) == []
