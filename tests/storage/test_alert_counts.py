"""What alerts count hour by hour is what is stored now, whenever it was counted before."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from analysis.micros import HOUR
from analysis.rising import KEPT_HOURS, HourCounts
from database import Database
from models import to_micros
from store.alert_counts import AlertCounter, between
from store.derived.word_counts import MatchCounter
from store.erasure import ErasureStore
from tests.support.alerts import fill
from tests.support.factories import NOON

ALL = "all"
NOW = to_micros(NOON)
FILTERS: list[dict[str, Any]] = [
    {},
    {"cluster": "topic1"},
    {"sentiment": "negative"},
    {"min_confidence": 0.8},
    {"language": "und"},
    {"author": "author 1"},
    {"q": "parcel"},
]


async def by_hour(
    counter: AlertCounter, database: Database, named: Mapping[str, Any]
) -> dict[str, dict[int, float]]:
    """Of the filter and, where that can be, of each topic: counts by hours ago, those not 0."""
    wanted = between(named, NOW - HOUR, NOW)
    hours = {ALL: await database.read(lambda connection: counter.hours(wanted, connection))}
    if named.keys() <= {"sentiment", "min_confidence"}:
        topics = await database.read(lambda connection: counter.by_topic(wanted, connection))
        hours |= {name: found.hours for name, found in topics.items()}
    return {name: _counts(found) for name, found in hours.items()}


def _counts(hours: HourCounts) -> dict[int, float]:
    counts = {
        ago: hours.between(NOW - ago * HOUR, NOW - (ago - 1) * HOUR)
        for ago in range(1, KEPT_HOURS + 1)
    }
    return {ago: count for ago, count in counts.items() if count}


@pytest.mark.parametrize("named", FILTERS, ids=str)
async def test_posts_of_before_count_as_soon_as_they_are_there_and_until_they_are_gone(
    database: Database, named: dict[str, Any]
) -> None:
    what = {"clusters": ["topic1"], "sentiment_score": -0.5, "confidence": 0.9}
    await fill(database, 4, **what)
    counter = AlertCounter(MatchCounter())
    one = 1 if "author" in named else 4
    everywhere = {1: one}
    names = [ALL, "topic1"] if named.keys() <= {"sentiment", "min_confidence"} else [ALL]
    assert await by_hour(counter, database, named) == dict.fromkeys(names, everywhere)

    came = []
    for ago in (5, 3 * 24, KEPT_HOURS):
        came += await fill(database, 4, before=NOON - timedelta(hours=ago - 1), **what)
        everywhere = {**everywhere, ago: one}
    await fill(database, 4, before=NOON - timedelta(hours=KEPT_HOURS), **what)
    assert await by_hour(counter, database, named) == dict.fromkeys(names, everywhere)

    for id_ in came:
        assert await ErasureStore(database).erase(id_)
    assert await by_hour(counter, database, named) == {name: {1: one} for name in names}


async def test_hours_of_which_nothing_has_changed_are_not_made_again(database: Database) -> None:
    """Their rhythm takes longer to find than they to count."""
    await fill(database, 4)
    counter = AlertCounter(MatchCounter())
    wanted = between({}, NOW - HOUR, NOW)

    async def hours() -> HourCounts:
        return await database.read(lambda connection: counter.hours(wanted, connection))

    first = await hours()
    await fill(database, 4, before=NOON + timedelta(minutes=1))  # in the hour that is not over
    assert await hours() is first
    await fill(database, 4, before=NOON - timedelta(hours=1))
    assert await hours() is not first
