"""What a report says of a period beside those before it."""

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest

from analysis.handling import HandlingChange, HandlingState
from analysis.report_times import Period, ReportTime
from database import Database
from models import now_micros, utc_now
from store.endpoints import EndpointStore
from store.handling import HandlingStore
from tests.support.alerts import ENDPOINT, fill, make_endpoint
from tests.support.factories import NOON
from tests.support.outbox import report_store

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("period", "backs", "rises"),
    [
        (Period.DAY, (1, 7), True),
        (Period.WEEK, (7,), False),  # which are as few as by chance
    ],
)
async def test_a_week_before_tells_as_much_as_one(
    database: Database, period: Period, backs: tuple[int, ...], rises: bool
) -> None:
    await fill(database, 11, clusters=["late"])
    for back in backs:
        await fill(database, 2, before=NOON - timedelta(days=back), clusters=["late"])
    store = report_store(database)
    report = await store.report(period, NOON.date())
    (topic,) = report["topics"]
    assert (topic["count"], topic["before"], topic["week_earlier"]) == (11, 2, 2)
    assert [each["cluster"] for each in report["rising"]] == (["late"] if rises else [])


@pytest.mark.parametrize("period", list(Period))
@pytest.mark.parametrize(("count", "rises"), [(40, True), (2, False)])
async def test_where_nothing_came_before_many_posts_have_risen(
    database: Database, period: Period, count: int, rises: bool
) -> None:
    await fill(database, count, clusters=["late"])
    store = report_store(database)
    report = await store.report(period, NOON.date())
    assert [each["cluster"] for each in report["rising"]] == (["late"] if rises else [])


@pytest.mark.parametrize(("days", "is_over"), [(-1, True), (0, False), (1, False)])
@pytest.mark.parametrize("period", list(Period))
async def test_a_day_that_goes_on_is_not_over(
    database: Database, period: Period, days: int, is_over: bool
) -> None:
    store = report_store(database)
    report = await store.report(period, utc_now().date() + timedelta(days=days))
    assert report["is_over"] is is_over


async def test_what_is_fewer_than_the_day_before_has_not_risen(database: Database) -> None:
    """A week earlier there was next to nothing, which makes little be expected."""
    await fill(database, 220, clusters=["late"])
    await fill(database, 230, before=NOON - timedelta(days=1), clusters=["late"])
    await fill(database, 1, before=NOON - timedelta(days=7), clusters=["late"])
    store = report_store(database)
    report = await store.report(Period.DAY, NOON.date())
    (topic,) = report["topics"]
    assert (topic["count"], topic["before"], topic["week_earlier"]) == (220, 230, 1)
    assert report["rising"] == []


async def test_a_snooze_that_has_run_out_is_open_in_a_report(database: Database) -> None:
    (id_,) = await fill(database, 1)
    change = HandlingChange(HandlingState.SNOOZED, "ana", until=now_micros() - 1)
    await HandlingStore(database).change(id_, change, key_name="", now=now_micros())
    store = report_store(database)
    report = await store.report(Period.DAY, NOON.date())
    assert report["answers"]["open"] == 1
    assert [each["conversation_id"] for each in report["oldest_unanswered"]] == [id_]


async def test_the_link_of_a_report_leads_to_the_page_which_asks_for_a_key(
    database: Database,
) -> None:
    await fill(database, 1, clusters=["late"])
    store = report_store(database)
    report = await store.report(Period.WEEK, NOON.date())
    path, _, query = report["link"].partition("?")
    asked = dict(parse_qsl(query))
    assert (path, asked.pop("page")) == ("/dashboard", "figures")
    first = NOON.date() - timedelta(days=6)
    assert asked == {
        "start_time": f"{first}T00:00:00Z",
        "end_time": f"{NOON.date()}T23:59:59.999999Z",
    }


async def test_what_is_sent_of_a_report_masks_people_and_the_api_does_not(
    database: Database,
) -> None:
    said = "@Ana_B and @ben: read https://evil.example/x or www.evil.example"
    await fill(database, 1, author="carla", text=said)
    store = report_store(database)
    (asked,) = (await store.report(Period.DAY, NOON.date()))["oldest_unanswered"]
    assert (asked["author"], asked["text"]) == ("carla", said)

    told = await store.told(Period.DAY, NOON.date())
    (post,) = told["summary"]["oldest_unanswered"]
    assert (post["author"], post["text"]) == (None, "@user and @user: read URL or URL")
    for form in ("markdown", "html", "lines"):
        assert "conv_" in told[form]
        assert not any(each in told[form] for each in ("carla", "author", "Ana_B", "evil"))


async def test_a_report_that_nobody_takes_is_sent_once_somebody_does(database: Database) -> None:
    await make_endpoint(database, enabled=False)
    store, at = report_store(database), ReportTime.parse("11:00")
    assert await store.send_due(at, NOON) == 0
    await EndpointStore(database).enable(ENDPOINT)
    assert [await store.send_due(at, NOON + minute * MINUTE) for minute in (1, 2)] == [1, 0]


async def test_a_report_whose_taker_goes_while_it_is_made_is_not_sent(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_endpoint(database)
    store, at = report_store(database), ReportTime.parse("11:00")
    make = store.report

    async def disable_meanwhile(*asked: Any) -> Any:
        await EndpointStore(database).change(ENDPOINT, enabled=False)
        return await make(*asked)

    with monkeypatch.context() as patched:
        patched.setattr(store, "report", disable_meanwhile)
        assert await store.send_due(at, NOON) == 0
    await EndpointStore(database).enable(ENDPOINT)
    assert await store.send_due(at, NOON + MINUTE) == 1
