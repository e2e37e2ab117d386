"""The page behind an alert's link shows as many posts as its message tells of."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from analysis.report_times import Period
from database import Database
from models import to_micros
from store.alert_singles import A_MINUTE, SingleStore
from store.filters import filter_of
from store.summaries import Interval, SummaryStore
from tests.support.alerts import (
    alert_store,
    judge_at,
    make_endpoint,
    make_rule,
    messages,
    posts,
)
from tests.support.factories import NOON, insert_insights
from tests.support.outbox import report_store

MOMENT = NOON + timedelta(microseconds=123_456)
URGENT = {"urgency": "now", "sentiment_score": -0.9}


async def last_evidence(database: Database) -> Mapping[str, Any]:
    *_, (_, data) = await messages(database)
    evidence: Mapping[str, Any] = data["evidence"]
    return evidence


async def behind(database: Database, link: str) -> int:
    """The number of posts in the summary of a link's filter."""
    wanted = filter_of(dict(parse_qsl(urlsplit(link).query)))
    return (await SummaryStore(database).summary(wanted, Interval.HOUR)).totals.count


def at(*times: datetime, **values: Any) -> list[dict[str, Any]]:
    """A post at each time."""
    rows = posts(len(times), **values)
    return [{**row, "timestamp": time} for row, time in zip(rows, times, strict=True)]


async def test_of_a_count_the_window_begins_with_its_first_microsecond(database: Database) -> None:
    await make_endpoint(database)
    await make_rule(database)
    start, least = MOMENT - timedelta(hours=1), timedelta(microseconds=1)
    outside = start - least, start - timedelta(milliseconds=100), MOMENT, MOMENT + least
    await insert_insights(database, [*posts(5), *at(start, MOMENT - least), *at(*outside)])
    assert await judge_at(alert_store(database), MOMENT) == 1
    evidence = await last_evidence(database)
    assert evidence["count"] == 7
    assert await behind(database, evidence["link"]) == 7


async def test_of_a_sum_up_those_that_were_told_before_are_not_among_them(
    database: Database,
) -> None:
    await make_endpoint(database)
    await make_rule(database, "single", window="24h")
    times = [NOON + number * timedelta(milliseconds=7) for number in range(A_MINUTE + 15)]
    await insert_insights(database, at(*times, **URGENT))
    between = times[-2] + timedelta(milliseconds=1)
    await insert_insights(database, at(between, urgency="now", sentiment_score=0.0))
    after = times[-1] + timedelta(milliseconds=1)
    await insert_insights(database, at(after, **{**URGENT, "sentiment_score": -0.7}))
    later = to_micros(NOON + timedelta(minutes=1))
    assert await SingleStore(database).judge(sum_up=True, now=later) == A_MINUTE + 1
    evidence = await last_evidence(database)
    assert evidence["count"] == 15
    assert await behind(database, evidence["link"]) == 15


async def test_of_a_report_all_of_its_last_day_is_there(database: Database) -> None:
    midnight = NOON + timedelta(hours=12)
    least = timedelta(microseconds=1)
    outside = midnight, midnight - timedelta(days=1) - least
    await insert_insights(database, [*posts(2), *at(midnight - least, *outside)])
    report = await report_store(database).report(Period.DAY, NOON.date())
    assert await behind(database, report["link"].replace("page=figures&", "")) == 3
    assert report["totals"]["count"] == 3
